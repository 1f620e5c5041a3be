//! `firn demo` as a newcomer runs it, only smaller: the real binary, without a terminal.
//! It must succeed, say what it did, and leave nothing behind.

use std::process::Command;

#[test]
fn the_demo_reads_back_what_it_wrote_and_cleans_up() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = Command::new(env!("CARGO_BIN_EXE_firn"))
        .args(["demo", "--megabytes", "24"])
        .env("TMPDIR", folder.path())
        .output()
        .expect("firn runs");
    let (said, failed) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}\n{failed}");
    assert_eq!(failed, "", "no bars and no complaints without a terminal");
    for step in ["  write ", "  hot ", "  offload ", "  cold ", "░"] {
        assert!(said.contains(step), "{step:?} is missing in:\n{said}");
    }
    assert!(said.contains("All 23440 records came back from offset 0"), "{said}");
    assert_eq!(std::fs::read_dir(folder.path()).expect("the folder").count(), 0, "something is left behind");
}

#[test]
fn the_demo_says_where_it_cannot_write() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("file"), "no directory").expect("a file");
    let blocked = Command::new(env!("CARGO_BIN_EXE_firn"))
        .arg("demo")
        .env("TMPDIR", folder.path().join("file").join("below"))
        .output()
        .expect("firn runs");
    assert_eq!(blocked.status.code(), Some(1));
    let failed = String::from_utf8_lossy(&blocked.stderr);
    assert!(failed.contains("cannot be made") && failed.contains("TMPDIR"), "{failed}");
}
