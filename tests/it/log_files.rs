//! `firn log verify|dump` as an operator types it, over what a real Kafka wrote and what our broker wrote: exit codes,
//! the first bad byte, and the JSON whose shape scripts rely on. What is found is tested in tiering.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

fn firn(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_firn")).env_clear().args(arguments).output().expect("the binary runs")
}

fn said(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

fn kafkas() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tiering/tests/fixtures/kafka-4.3")
}

fn shown(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

/// A segment of Kafka's with one bit of its second batch flipped.
fn damaged() -> (tempfile::TempDir, PathBuf, u64) {
    let dir = tempfile::tempdir().expect("a directory");
    let from = kafkas().join("log/segments-0/00000000000000000000.log");
    let mut bytes = std::fs::read(from).expect("reads");
    let second = 12 + u32::from_be_bytes(bytes[8..12].try_into().expect("four bytes")) as usize;
    bytes[second + 70] ^= 4;
    let path = dir.path().join("00000000000000000000.log");
    std::fs::write(&path, bytes).expect("writes");
    (dir, path, second as u64)
}

#[test]
fn a_whole_directory_is_said_to_be_whole() {
    let output = firn(&["log", "verify", shown(&kafkas().join("log"))]);
    let (text, errors) = said(&output);
    assert!(output.status.success(), "{text}{errors}");
    assert!(text.contains("SEGMENT") && text.lines().last().expect("lines").starts_with("whole: "), "{text}");
}

#[test]
fn damage_is_exit_1_with_the_first_bad_byte_and_what_is_good() {
    let (_dir, path, at) = damaged();
    let output = firn(&["log", "verify", shown(&path)]);
    let (text, errors) = said(&output);
    assert_eq!(output.status.code(), Some(1), "{text}{errors}");
    assert!(text.contains(&format!("crc {} byte {at}: ", path.display())), "{text}");
    assert!(text.contains(&format!("the first {at} of ")), "{text}");
    assert!(text.contains("are whole batches again"), "{text}");
    assert!(errors.starts_with("error: ") && errors.contains("is damaged"), "{errors}");
}

#[test]
fn the_json_of_verify_has_its_shape() {
    let (_dir, path, at) = damaged();
    let output = firn(&["log", "verify", "--json", shown(&path)]);
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    let keys = |value: &Value| {
        let mut keys: Vec<String> = value.as_object().expect("an object").keys().cloned().collect();
        keys.sort_unstable();
        keys
    };
    assert_eq!(keys(&report), ["findings", "partitions", "path", "segments", "whole"]);
    assert_eq!((&report["whole"], &report["path"]), (&Value::from(false), &Value::from(shown(&path))));
    let finding = &report["findings"][0];
    assert_eq!(keys(finding), ["at", "damage", "file", "rebuilt", "why"]);
    assert_eq!((&finding["at"], &finding["damage"]), (&Value::from(at), &Value::from("crc")));
    let segment = &report["segments"][0];
    let all = ["base", "batches", "bytes", "file", "good_bytes", "islands", "next", "records"];
    assert_eq!(keys(segment), all);
    assert_eq!(segment["good_bytes"], Value::from(at));
    assert_eq!(keys(&segment["islands"][0]), ["at", "bytes", "first", "next"]);
    let whole = firn(&["log", "verify", "--json", shown(&kafkas().join("log"))]);
    let report: Value = serde_json::from_slice(&whole.stdout).expect("one JSON object");
    assert_eq!(report["whole"], Value::from(true));
    let partition = &report["partitions"][0];
    assert_eq!(keys(partition), ["dir", "good_next", "left_over", "next", "segments", "start"]);
}

#[test]
fn a_dump_of_kafkas_records_is_what_its_reader_saw() {
    for topic in ["none", "gzip", "snappy", "lz4", "zstd", "stamped", "segments", "compacted"] {
        let path = kafkas().join("log").join(format!("{topic}-0"));
        let output = firn(&["log", "dump", "--records", "--json", shown(&path)]);
        assert!(output.status.success(), "{topic}: {}", said(&output).1);
        let records: Vec<Value> = said(&output)
            .0
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).expect("a JSON object a line"))
            .filter_map(|item| item.get("record").cloned())
            .collect();
        let listing = std::fs::read_to_string(kafkas().join("expected").join(format!("{topic}.jsonl")));
        let expected: Vec<Value> = listing
            .expect("a listing")
            .lines()
            .map(|line| serde_json::from_str(line).expect("a record"))
            .collect();
        assert_eq!(records, expected, "{topic}");
    }
    let output = firn(&["log", "dump", "--records", shown(&kafkas().join("log/transactions-0"))]);
    let (text, _) = said(&output);
    assert!(text.contains(", transactional\n") && text.contains(", transactional, control\n"), "{text}");
}

#[test]
fn what_is_no_log_is_refused_with_words() {
    let dir = tempfile::tempdir().expect("a directory");
    for path in [dir.path().to_owned(), dir.path().join("nowhere"), PathBuf::from("/proc/self/exe")] {
        for verb in ["verify", "dump"] {
            let output = firn(&["log", verb, shown(&path)]);
            let (text, errors) = said(&output);
            assert_eq!((output.status.code(), &text[..]), (Some(1), ""), "{}", path.display());
            assert!(errors.starts_with("error: ") && errors.contains("was not read"), "{errors}");
        }
    }
}
