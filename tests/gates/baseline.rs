//! The committed counts and the comparison with what was counted now. Pure but for reading and writing the one file.
//! Invariant: a count that is missing on either side is said, and one that rose by more than 5 % fails.
//!
//! ```text
//! # comment | compiler WORDS | LOAD WHAT COUNT
//! ```

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;
use std::process::Command;

/// A rise up to this share is noise.
const RISE_MAX: f64 = 0.05;
/// And so is a rise up to this much: a request that crosses a round of the runtime, a tick of housekeeping.
const SLACK: f64 = 0.05;
/// What depends on the compiler, and so is compared only with counts of the same one.
const BY_COMPILER: &str = "instructions";
const HEAD: &str = "\
# What one request costs, counted and averaged (see main.rs). `FIRN_BLESS=1 cargo test --test gates` writes this anew;
# say in the commit why a count rose.
";

/// Counts by load and kind, per request.
#[derive(Debug, Default)]
pub struct Counts {
    rows: BTreeMap<(String, String), f64>,
    /// How a count came about, by load: printed where it rose.
    pub details: BTreeMap<(String, String), String>,
}

impl Counts {
    pub fn put(&mut self, load: &str, what: &str, count: f64) {
        self.rows.insert((load.to_owned(), what.to_owned()), count);
    }

    pub fn explain(&mut self, load: &str, what: &str, detail: String) {
        self.details.insert((load.to_owned(), what.to_owned()), detail);
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }
}

/// What was counted before.
#[derive(Debug, Default)]
pub struct Baseline {
    compiler: String,
    rows: BTreeMap<(String, String), f64>,
}

/// What the comparison says.
#[derive(Debug, Default)]
pub struct Verdict {
    pub table: String,
    pub notes: Vec<String>,
    pub failures: Vec<String>,
}

fn path() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "gates", "baseline.txt"].iter().collect()
}

/// Compiler and architecture: what the number of instructions hangs on.
fn compiler() -> String {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let said = Command::new(rustc).arg("--version").output().map(|output| output.stdout).unwrap_or_default();
    let version = String::from_utf8_lossy(&said).split_whitespace().nth(1).unwrap_or("unknown").to_owned();
    format!("rustc {version} {}", std::env::consts::ARCH)
}

impl Baseline {
    pub fn read() -> Self {
        let text = std::fs::read_to_string(path()).unwrap_or_default();
        Self::parse(&text)
    }

    fn parse(text: &str) -> Self {
        let mut baseline = Self::default();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words[..] {
                ["compiler", ..] => baseline.compiler = words[1..].join(" "),
                [load, what, count] => {
                    let count = count.parse().unwrap_or_else(|_| panic!("not a count: {line}"));
                    baseline.rows.insert((load.to_owned(), what.to_owned()), count);
                }
                _ => assert!(words.is_empty(), "not a row: {line}"),
            }
        }
        baseline
    }

    /// Writes what was counted; rows that could not be counted stay as they were.
    pub fn bless(counts: &Counts) {
        let mut rows = Self::read().rows;
        rows.extend(counts.rows.iter().map(|(key, count)| (key.clone(), *count)));
        let mut text = format!("{HEAD}compiler {}\n", compiler());
        for ((load, what), count) in rows {
            writeln!(text, "{load} {what} {count:.2}").expect("a String takes everything");
        }
        std::fs::write(path(), text).expect("the baseline is writable");
    }

    pub fn compare(&self, counts: &Counts) -> Verdict {
        let mut verdict = Verdict::default();
        let other_compiler = self.compiler != compiler();
        for (key, count) in &counts.rows {
            let (load, what) = key;
            let told = |verdict: &mut Verdict, text: &str| {
                writeln!(verdict.table, "{load:<18} {what:<14} {count:>12.2}   {text}").expect("a String");
            };
            let Some(before) = self.rows.get(key) else {
                told(&mut verdict, "not in the baseline");
                verdict.failures.push(format!("{load} {what} is not in the baseline: bless it"));
                continue;
            };
            if what == BY_COMPILER && other_compiler {
                told(&mut verdict, "not compared");
                verdict.notes.push(format!("{load} {what}: the baseline was counted with {}", self.compiler));
                continue;
            }
            let rise = if *before > 0.0 { (count - before) / before * 100.0 } else { 0.0 };
            told(&mut verdict, &format!("baseline {before:.2}, {rise:+.1} %"));
            if count - before > (before * RISE_MAX).max(SLACK) {
                let detail = counts.details.get(key).map_or("", String::as_str);
                verdict.failures.push(format!("{load} {what}: {before:.2} before, {count:.2} now {detail}"));
            } else if before - count > (before * RISE_MAX).max(SLACK) {
                verdict.notes.push(format!("{load} {what} fell from {before:.2} to {count:.2}: bless it"));
            }
        }
        for (load, what) in self.rows.keys().filter(|key| !counts.rows.contains_key(*key)) {
            verdict.notes.push(format!("{load} {what} is in the baseline and was not counted"));
        }
        verdict
    }
}

/// A gate that cannot close is no gate: a planted rise must fail and the same counts must not.
pub fn check_the_check() {
    let baseline = Baseline::parse("# c\ncompiler none\nload allocations 10.00\nload wakes 0.00\n");
    let failures = |allocations: f64, wakes: f64| {
        let mut counts = Counts::default();
        counts.put("load", "allocations", allocations);
        counts.put("load", "wakes", wakes);
        baseline.compare(&counts).failures.len()
    };
    assert_eq!([failures(10.4, 0.04), failures(10.6, 0.0), failures(9.0, 1.0)], [0, 1, 1]);
}
