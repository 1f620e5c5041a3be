//! Floor programs: each does the part of a broker's work that nobody can leave out, and nothing else. Its cost is the
//! denominator of ours. The serving side is this process, the load a second one, so that the CPU told is a broker's.
//! It prints one line of JSON.
#![allow(clippy::disallowed_methods, reason = "a floor is no part of the simulated broker")]

mod arguments;
mod direct;
mod echo;
mod fsync;
mod meter;
mod prime;
mod sink;
mod source;

use std::io;
use std::process::ExitCode;

use arguments::Arguments;

const USAGE: &str = "usage: firn-floor sink|source|direct|fsync|echo|prime [--dir DIR] [--chunk BYTES] \
[--megabytes COUNT] [--operations COUNT] [--connections COUNT] [--window COUNT]";

fn main() -> ExitCode {
    let outcome =
        Arguments::parse(std::env::args().skip(1)).map_err(io::Error::other).and_then(|asked| run(&asked));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("firn-floor: {error}\n{USAGE}");
            ExitCode::FAILURE
        }
    }
}

fn run(asked: &Arguments) -> io::Result<()> {
    let figures = match asked.program.as_str() {
        "sink" => sink::serve(asked)?,
        "source" => source::serve(asked)?,
        "direct" => direct::read(asked)?,
        "fsync" => fsync::append(asked)?,
        "echo" => echo::serve(asked)?,
        "prime" => return prime::pages(asked),
        // The other side of a floor, started by it.
        "push" => return sink::push(asked),
        "pull" => return source::pull(asked),
        "call" => return echo::call(asked),
        other => return Err(io::Error::other(format!("there is no floor named {other}"))),
    };
    println!("{}", figures.json());
    Ok(())
}
