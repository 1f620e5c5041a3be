//! Races a release build of firn against Apache Kafka: `run ROW...` beside this calls it with its places filled in.
//! It starts both brokers, loads them in turn with `firn bench`, and writes a table, JSON and a picture per row.
#![allow(clippy::disallowed_methods, reason = "a race is no part of the simulated broker")]

mod cluster;
mod contest;
mod figures;
mod load;
mod machine;
mod measure;
mod plot;
mod process;
mod race;
mod report;
mod rows;
mod start;
mod statistics;
mod trio;

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use contest::Arena;
use race::{Plan, Stage};
use rows::{ROWS, Row};
use serde_json::Value;

const USAGE: &str =
    "usage: run ROW...|all [--quick] [--pairs COUNT] [--alone] [--save] [--dir DIR] [--port PORT]
  --quick   short runs: minutes for all rows
  --pairs   interleaved pairs of each case (5)
  --alone   without Kafka
  --save    write the results folder; without it only the table is printed
  --dir     data of both brokers goes below this (the system's temporary directory)
  --port    twenty ports from this one are used (39400)";

fn main() -> ExitCode {
    let asked = match Asked::parse(std::env::args().skip(1)) {
        Ok(asked) => asked,
        Err(why) => {
            eprintln!("race: {why}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match race(&asked) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("race: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What the words ask for.
#[derive(Debug, Default)]
struct Asked {
    rows: Vec<&'static Row>,
    plan: Option<Plan>,
    save: bool,
    home: PathBuf,
    kafka: PathBuf,
    results: PathBuf,
    dir: Option<PathBuf>,
    port: Option<u16>,
}

impl Asked {
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Asked, String> {
        let mut asked = Asked::default();
        let mut plan = Plan { quick: false, pairs: 5, alone: false };
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
            let wrong = |error: std::num::ParseIntError| error.to_string();
            match word.as_str() {
                "all" => asked.rows = ROWS.iter().collect(),
                "--quick" => plan.quick = true,
                "--alone" => plan.alone = true,
                "--save" => asked.save = true,
                "--pairs" => plan.pairs = value()?.parse::<usize>().map_err(wrong)?.max(1),
                "--home" => asked.home = value()?.into(),
                "--kafka" => asked.kafka = value()?.into(),
                "--results" => asked.results = value()?.into(),
                "--dir" => asked.dir = Some(value()?.into()),
                "--port" => asked.port = Some(value()?.parse().map_err(wrong)?),
                number => asked.rows.push(row(number)?),
            }
        }
        if asked.rows.is_empty() {
            return Err("which row?".into());
        }
        asked.plan = Some(plan);
        Ok(asked)
    }
}

fn row(number: &str) -> Result<&'static Row, String> {
    let found = number.parse().ok().and_then(|number: u32| ROWS.iter().find(|row| row.number == number));
    found.ok_or_else(|| {
        let numbers: Vec<String> = ROWS.iter().map(|row| row.number.to_string()).collect();
        format!("there is no row {number}; rows are {}", numbers.join(" "))
    })
}

fn race(asked: &Asked) -> io::Result<()> {
    let binaries = std::env::current_exe()?.parent().map(Path::to_owned).unwrap_or_default();
    let dir = asked.dir.clone().unwrap_or_else(std::env::temp_dir).join("firn-race");
    std::fs::create_dir_all(&dir)?;
    let facts = machine::facts(&binaries, &asked.home, &asked.kafka);
    let arena = Arena {
        binaries,
        home: asked.home.clone(),
        kafka: asked.kafka.clone(),
        dir: dir.clone(),
        port: asked.port.unwrap_or(39_400),
    };
    let plan = asked.plan.unwrap_or(Plan { quick: true, pairs: 5, alone: false });
    let mut stage = Stage::new(arena.clone(), plan);
    let mut failed = Vec::new();
    for row in &asked.rows {
        let began = Instant::now();
        eprintln!("row {}: {}", row.number, row.title);
        let outcomes = match stage.row(row) {
            Ok(outcomes) => outcomes,
            // The others are still worth running, on brokers that have not seen this.
            Err(error) => {
                eprintln!("row {} failed: {error}", row.number);
                failed.push(row.number.to_string());
                stage = Stage::new(arena.clone(), plan);
                continue;
            }
        };
        let took = began.elapsed().as_secs();
        println!("{}\nrow {} took {took} s\n", report::table(row, &outcomes), row.number);
        if asked.save {
            let mut told = report::json(row, &outcomes, &facts);
            told["quick"] = Value::from(plan.quick);
            told["took_seconds"] = Value::from(took);
            save(
                &asked.results.join(machine::folder(&facts)),
                row,
                &told,
                &report::table(row, &outcomes),
                &report::cells(row, &outcomes),
            )?;
        }
    }
    drop(stage);
    std::fs::remove_dir_all(&dir)?;
    match failed.is_empty() {
        true => Ok(()),
        false => Err(io::Error::other(format!("not all rows ran: {}", failed.join(" ")))),
    }
}

fn save(folder: &Path, row: &Row, told: &Value, table: &str, cells: &[report::Cell]) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let file = |ending: &str| folder.join(format!("row-{:02}.{ending}", row.number));
    std::fs::write(file("json"), serde_json::to_string_pretty(told).map_err(io::Error::other)? + "\n")?;
    std::fs::write(file("txt"), table)?;
    std::fs::write(file("svg"), plot::svg(&format!("row {}: {}", row.number, row.title), cells))
}
