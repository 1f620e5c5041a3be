//! Bugs planted by hand, one at a time, to show that the simulation sees them: each is a file of `planted/`.
//! All go into one scratch copy of the tree, each behind a switch that the environment sets (`FIRN_PLANT=NN`), so that
//! one build serves for all. Invariant: a plant's old text stands exactly once in the tree, which every run checks.
//!
//! ```text
//!  # what is wrong, in one line
//!  file PATH  old  TEXT  new  TEXT with PLANTED as a condition  ...  end      (each word on a line of its own)
//! ```
#![allow(clippy::disallowed_types, reason = "this reads and writes the tree's own sources")]

use std::path::{Path, PathBuf};

/// Set to a plant's number, in a build that holds all: that plant is in bloom.
pub const SWITCH: &str = "FIRN_PLANT";
const PLACEHOLDER: &str = "PLANTED";

/// A bug.
#[derive(Debug)]
pub struct Plant {
    /// Two digits.
    pub number: String,
    /// What is wrong, in one line.
    pub what: String,
    places: Vec<Place>,
}

/// One text that is replaced.
#[derive(Debug)]
struct Place {
    file: PathBuf,
    old: String,
    new: String,
}

/// All plants of a tree, by number.
pub fn plants(tree: &Path) -> Vec<Plant> {
    let beds = std::fs::read_dir(tree.join("tests/sim/planted")).expect("the plants");
    let mut paths: Vec<PathBuf> = beds.map(|entry| entry.expect("an entry").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "plant"));
    paths.sort();
    paths.iter().map(|path| parse(path)).collect()
}

fn parse(path: &Path) -> Plant {
    let text = std::fs::read_to_string(path).expect("a plant is text");
    let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
    let mut lines = text.lines();
    let what = lines.next().and_then(|line| line.strip_prefix("# ")).expect("what is wrong").to_owned();
    let mut places = Vec::new();
    let mut line = lines.next();
    while let Some(file) = line.and_then(|line| line.strip_prefix("file ")) {
        assert_eq!(lines.next(), Some("old"), "{name}");
        let mut take = |until: &[&str]| {
            let mut taken = Vec::new();
            loop {
                let line = lines.next().expect("a plant ends with `end`");
                if until.iter().any(|word| line == *word || (*word == "file" && line.starts_with("file "))) {
                    return (taken.join("\n"), line);
                }
                taken.push(line);
            }
        };
        let (old, _) = take(&["new"]);
        let (new, ended) = take(&["file", "end"]);
        assert!(new.contains(PLACEHOLDER), "{name}: nothing switches it on");
        places.push(Place { file: file.into(), old, new });
        line = Some(ended);
    }
    assert_eq!(line, Some("end"), "{name}");
    Plant { number: name[..2].to_owned(), what, places }
}

/// Why a plant does not go into this tree, one line each; none means that it is true.
pub fn misfits(tree: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for plant in plants(tree) {
        for place in &plant.places {
            let text = std::fs::read_to_string(tree.join(&place.file)).unwrap_or_default();
            let times = text.matches(&place.old).count();
            if times != 1 {
                let (number, file) = (&plant.number, place.file.display());
                found.push(format!("plant {number}: its text stands {times} times in {file}"));
            }
        }
    }
    found
}

/// Puts all of them into a copy of the tree.
pub fn plant_all(tree: &Path) {
    for plant in plants(tree) {
        let switch =
            format!("std::env::var_os(\"{SWITCH}\").is_some_and(|plant| plant == \"{}\")", plant.number);
        for Place { file, old, new } in &plant.places {
            let path = tree.join(file);
            let text = std::fs::read_to_string(&path).expect("a source");
            assert_eq!(text.matches(old.as_str()).count(), 1, "plant {}: {}", plant.number, file.display());
            let text = text.replace(old.as_str(), &new.replace(PLACEHOLDER, &switch));
            std::fs::write(&path, text).expect("a copy of the tree");
        }
    }
}
