//! What produce cannot do without: receive a frame, check its CRC, write it to a file, answer. One thread, no protocol.
//! The load sends the same frame again and again with a window of unanswered ones, as `firn bench produce` does.
//! Invariant: a frame is answered after it was written.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt as _;
use std::process::{Child, Command};

use crate::arguments::Arguments;
use crate::meter::{Figures, Meter};

/// Bytes of an answer: about a Produce response's.
pub const ANSWER_BYTES: usize = 48;
/// What is received at once, at most.
const RECEIVE_BYTES: usize = 1 << 20;

/// Starts this program again as the load of `address`.
pub fn start_load(asked: &Arguments, program: &str, address: &str) -> io::Result<Child> {
    Command::new(std::env::current_exe()?).args(asked.of_load(program, address)).spawn()
}

/// Waits for the load to end well.
pub fn end_load(mut load: Child) -> io::Result<()> {
    let status = load.wait()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("the load ended with {status}"))) }
}

/// The serving side.
pub fn serve(asked: &Arguments) -> io::Result<Figures> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let load = start_load(asked, "push", &listener.local_addr()?.to_string())?;
    let (mut stream, _) = listener.accept()?;
    stream.set_nodelay(true)?;
    let path = asked.dir.join("sink");
    let file = File::create(&path)?;
    let meter = Meter::start()?;
    let (frames, bytes) = receive(&mut stream, &file, asked.chunk)?;
    let figures = meter.end(frames, bytes)?;
    end_load(load)?;
    std::fs::remove_file(&path)?;
    Ok(figures)
}

fn receive(stream: &mut TcpStream, file: &File, chunk: usize) -> io::Result<(u64, u64)> {
    let mut buffer = vec![0; RECEIVE_BYTES.max(2 * chunk)];
    let (mut have, mut frames, mut at) = (0, 0, 0);
    let mut answers = Vec::new();
    loop {
        let read = stream.read(&mut buffer[have..])?;
        if read == 0 {
            return Ok((frames, at));
        }
        have += read;
        let whole = have / chunk;
        for frame in buffer[..whole * chunk].chunks_exact(chunk) {
            std::hint::black_box(crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, frame));
            file.write_all_at(frame, at)?;
            at += chunk as u64;
            answers.extend_from_slice(&[0; ANSWER_BYTES]);
        }
        frames += whole as u64;
        buffer.copy_within(whole * chunk..have, 0);
        have -= whole * chunk;
        stream.write_all(&answers)?;
        answers.clear();
    }
}

/// The load.
pub fn push(asked: &Arguments) -> io::Result<()> {
    let mut stream = TcpStream::connect(&asked.address)?;
    stream.set_nodelay(true)?;
    let frame: Vec<u8> = (0..asked.chunk).map(|at| (at * 31 % 251) as u8).collect();
    let mut answers = vec![0; ANSWER_BYTES * asked.window];
    let (mut sent, mut answered, mut read) = (0, 0, 0);
    while answered < asked.chunks() {
        while sent < asked.chunks() && sent - answered < asked.window as u64 {
            stream.write_all(&frame)?;
            sent += 1;
        }
        let more = stream.read(&mut answers)?;
        if more == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        read += more as u64;
        answered = read / ANSWER_BYTES as u64;
    }
    Ok(())
}
