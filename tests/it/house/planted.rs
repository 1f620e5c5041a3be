//! One planted violation per rule: a rule that cannot fail guards nothing.
//! Each tree here is a small house of its own, in memory.

use super::rules::{self, Door, Floor};
use super::source::{Source, Tree};

const FLOORS: &[Floor] = &[Floor { folder: "src/", rooms: &["ground", "middle", "roof"] }];
const DOORS: &[Door] = &[Door { package: "foyer", at: &["src/ground/hybrid.rs"] }];
const HEAD: &str = "//! What it is.\n//! What it is not.\n";

fn tree(files: &[(&str, &str)]) -> Tree {
    let parse =
        |(path, text): &(&str, &str)| ((*path).to_owned(), Source::parse(path, &format!("{HEAD}{text}")));
    files.iter().map(parse).collect()
}

fn one(found: &[String], says: &str) {
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains(says), "{found:?}");
}

#[test]
fn an_arrow_that_runs_up_is_found_however_it_is_written() {
    let spellings = [
        "use crate::roof::Tile;",
        "pub use crate::roof::Tile;",
        "use super::super::roof::Tile as Slate;",
        "use crate::{middle::Wall, roof::*};",
        "fn f() { crate::roof::lay(); }",
        "fn f() { assert!(crate::roof::lay()); }",
    ];
    for spelling in spellings {
        let house = tree(&[("src/middle/wall.rs", spelling), ("src/roof.rs", ""), ("src/ground.rs", "")]);
        one(&rules::arrows_run_down(&house, FLOORS), "`middle` imports `roof`");
    }
    let down =
        tree(&[("src/middle/wall.rs", "use crate::ground::Floor; use super::Wall;"), ("src/ground.rs", "")]);
    assert_eq!(rules::arrows_run_down(&down, FLOORS), Vec::<String>::new());
}

#[test]
fn a_room_without_a_place_is_found() {
    one(&rules::arrows_run_down(&tree(&[("src/cellar.rs", "")]), FLOORS), "no place");
}

#[test]
fn a_circle_between_files_is_found() {
    let house = tree(&[
        ("src/middle/a.rs", "use super::b::B;"),
        ("src/middle/b.rs", "pub use crate::middle::c::C;"),
        ("src/middle/c.rs", "fn f() { super::a::g(); }"),
        ("src/middle/d.rs", "use super::a::A;"),
    ]);
    one(&rules::no_circles(&house, FLOORS), "src/middle/a.rs -> src/middle/b.rs -> src/middle/c.rs");
}

#[test]
fn a_circle_through_a_door_plate_is_found() {
    let house = tree(&[
        ("src/middle/mod.rs", "mod a; pub mod b;"),
        ("src/middle/a.rs", "use super::b::B;"),
        ("src/middle/b.rs", "use super::a::A;"),
    ]);
    one(&rules::no_circles(&house, FLOORS), "circle");
}

#[test]
fn a_package_outside_its_door_is_found_however_it_is_written() {
    for spelling in ["use foyer::Cache;", "pub use foyer::*;", "fn f() -> foyer::Cache { todo!() }"] {
        let house = tree(&[("src/middle/wall.rs", spelling), ("src/ground/hybrid.rs", spelling)]);
        one(&rules::packages_use_their_door(&house, DOORS), "src/middle/wall.rs:3: `foyer` has one door");
    }
}

#[test]
fn rooms_that_must_stay_strangers_are_found() {
    let house = tree(&[
        ("src/roof/tile.rs", "use crate::ground::Floor;"),
        ("src/roof/beam.rs", "fn f() { std::fs::read(\"\"); }"),
    ]);
    one(&rules::strangers(&house, &[("src/roof/", "ground")], FLOORS), "must not know `ground`");
    one(&rules::strangers(&house, &[("src/roof/", "std::fs")], FLOORS), "must not know `std::fs`");
}

#[test]
fn logic_in_a_door_plate_is_found() {
    let house = tree(&[
        ("src/middle/mod.rs", "mod wall;\npub use wall::Wall;\nfn f() {}"),
        ("src/middle/wall.rs", "fn f() {}"),
    ]);
    one(&rules::plates_hold_no_logic(&house), "src/middle/mod.rs:5");
    let long = format!("mod a;{}", "\n".repeat(rules::PLATE_LINES_MAX));
    one(&rules::plates_hold_no_logic(&tree(&[("src/middle/mod.rs", &long)])), "at most 60 lines");
}

#[test]
fn a_file_without_a_head_is_found() {
    let mut house = tree(&[("src/middle/wall.rs", "")]);
    assert_eq!(rules::files_introduce_themselves(&house), Vec::<String>::new());
    house.insert("src/roof.rs".to_owned(), Source::parse("src/roof.rs", "//! Only one line.\nfn f() {}"));
    one(&rules::files_introduce_themselves(&house), "src/roof.rs");
}

#[test]
fn a_panic_without_a_reason_is_found() {
    let calls = ["x.unwrap();", "x.expect(\"why\");", "x\n    .y()\n    .unwrap();", "assert!(x.unwrap());"];
    for call in calls {
        let house = tree(&[("src/middle/wall.rs", &format!("fn f() {{\n    {call}\n}}"))]);
        one(&rules::panics_give_reasons(&house), "say why");
        let reasoned = format!(
            "fn f() {{\n    // cannot fail: checked above, twice,\n    // by two people.\n    {call}\n}}"
        );
        let house = tree(&[("src/middle/wall.rs", &reasoned)]);
        assert_eq!(rules::panics_give_reasons(&house), Vec::<String>::new(), "{reasoned}");
    }
    let far = "fn f() {\n    // cannot fail: another one.\n    a.unwrap();\n    b.unwrap();\n}";
    one(&rules::panics_give_reasons(&tree(&[("src/middle/wall.rs", far)])), "wall.rs:6");
    let tests = "#[cfg(test)]\nmod tests { fn f() { x.unwrap(); } }\n#[test]\nfn g() { x.unwrap(); }";
    assert_eq!(rules::panics_give_reasons(&tree(&[("src/middle/wall.rs", tests)])), Vec::<String>::new());
    let all_tests = "#![cfg(test)]\nfn f() { x.unwrap(); }";
    assert_eq!(rules::panics_give_reasons(&tree(&[("src/middle/wall.rs", all_tests)])), Vec::<String>::new());
}

#[test]
fn a_long_function_is_found() {
    let long = |lines: usize| format!("impl A {{ fn f() {{{}}} }}", "\n".repeat(lines - 1));
    let fits = tree(&[("src/middle/wall.rs", &long(rules::FUNCTION_LINES_MAX))]);
    assert_eq!(rules::functions_fit_a_screen(&fits), Vec::<String>::new());
    let house = tree(&[("src/middle/wall.rs", &long(rules::FUNCTION_LINES_MAX + 1))]);
    one(&rules::functions_fit_a_screen(&house), "`f` has 71 lines");
}
