//! The rules of the house, each a pure function from a tree of sources to what breaks it.
//! They look at code that ships; the floors between crates are Cargo's to guard, the rooms inside them are ours.

use std::collections::{BTreeMap, BTreeSet};

use super::source::{Named, Source, Tree};

/// Longest function, in lines from the signature to the closing brace.
pub const FUNCTION_LINES_MAX: usize = 70;
/// Longest door plate, in lines.
pub const PLATE_LINES_MAX: usize = 60;
/// What must stand beside an `unwrap` or `expect` that ships.
pub const REASON: &str = "// cannot fail:";

/// Where a room stands: the crate's folder and its rooms from the ground up.
pub struct Floor {
    pub folder: &'static str,
    /// A room may import itself and the rooms named before it. A room is a folder or a file of `src/`.
    pub rooms: &'static [&'static str],
}

/// A package and the files (or folders, ending in `/`) that may name it.
pub struct Door {
    pub package: &'static str,
    pub at: &'static [&'static str],
}

/// One broken rule: the file, the line where it shows, and what to do about it.
pub fn broken(path: &str, line: usize, what: impl std::fmt::Display) -> String {
    format!("{path}:{line}: {what}")
}

/// A room imports a room above it.
pub fn arrows_run_down(tree: &Tree, floors: &[Floor]) -> Vec<String> {
    let mut found = Vec::new();
    for (path, source) in tree {
        let Some((floor, module)) = place(path, floors) else { continue };
        let Some(room) = module.first() else { continue };
        let Some(height) = floor.rooms.iter().position(|name| name == room) else {
            found.push(broken(path, 1, format!("room `{room}` has no place in the order of rooms")));
            continue;
        };
        for named in &source.named {
            let Some(target) = inside(&module, named) else { continue };
            let Some(above) = target.first().and_then(|to| floor.rooms.iter().position(|name| name == to))
            else {
                continue;
            };
            if above > height {
                let (to, line) = (floor.rooms[above], named.line);
                found.push(broken(path, line, format!("`{room}` imports `{to}`, which stands above it")));
            }
        }
    }
    found
}

/// Files import each other in a loop.
pub fn no_circles(tree: &Tree, floors: &[Floor]) -> Vec<String> {
    let mut arrows: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (path, source) in tree {
        let Some((floor, module)) = place(path, floors) else { continue };
        // A door plate names every room behind it; that is not an import.
        if path.ends_with("/mod.rs") || path.ends_with("/lib.rs") {
            continue;
        }
        for named in &source.named {
            let Some(target) = inside(&module, named) else { continue };
            if let Some(file) = file_of(tree, floor, &target).filter(|file| file != path) {
                arrows.entry(path).or_default().insert(file);
            }
        }
    }
    circles(&arrows)
        .into_iter()
        .map(|files| broken(files[0], 1, format!("circle: {}", files.join(" -> "))))
        .collect()
}

/// A package is named outside its door.
pub fn packages_use_their_door(tree: &Tree, doors: &[Door]) -> Vec<String> {
    let mut found = Vec::new();
    for (path, source) in tree {
        for door in doors {
            if door.at.iter().any(|at| path == at || (at.ends_with('/') && path.starts_with(at))) {
                continue;
            }
            for named in source.named.iter().filter(|named| named.path[0] == door.package) {
                let at = door.at.join(" or ");
                found.push(broken(path, named.line, format!("`{}` has one door: {at}", door.package)));
            }
        }
    }
    found
}

/// A room names a room it must never know, whatever the order of rooms says.
pub fn strangers(tree: &Tree, pairs: &[(&str, &str)], floors: &[Floor]) -> Vec<String> {
    let mut found = Vec::new();
    for (path, source) in tree {
        let Some((_, module)) = place(path, floors) else { continue };
        for (from, to) in pairs.iter().filter(|(from, _)| path.starts_with(from)) {
            for named in &source.named {
                let target = inside(&module, named).unwrap_or_else(|| named.path.clone());
                if target.join("::").starts_with(to) {
                    found.push(broken(path, named.line, format!("{from} must not know `{to}`")));
                }
            }
        }
    }
    found
}

/// A door plate holds more than `mod` and `use`, or is too long.
pub fn plates_hold_no_logic(tree: &Tree) -> Vec<String> {
    let mut found = Vec::new();
    for (path, source) in tree.iter().filter(|(path, _)| path.ends_with("/mod.rs")) {
        for line in &source.logic {
            found.push(broken(path, *line, "a door plate holds only `//!`, `mod` and `use`"));
        }
        let lines = source.text.lines().count();
        if lines > PLATE_LINES_MAX {
            found.push(broken(path, lines, format!("a door plate has at most {PLATE_LINES_MAX} lines")));
        }
    }
    found
}

/// A file does not say what it is.
pub fn files_introduce_themselves(tree: &Tree) -> Vec<String> {
    let introduced = |source: &Source| source.text.lines().take(2).all(|line| line.starts_with("//!"));
    let silent = tree.iter().filter(|(_, source)| !introduced(source));
    silent
        .map(|(path, _)| broken(path, 1, "open with two to six `//!` lines: what it is, what it is not"))
        .collect()
}

/// An `unwrap` or `expect` ships without a reason beside it.
pub fn panics_give_reasons(tree: &Tree) -> Vec<String> {
    let mut found = Vec::new();
    for (path, source) in tree {
        let lines: Vec<&str> = source.text.lines().collect();
        for line in &source.loose_calls {
            if !has_reason(&lines, *line) {
                found.push(broken(
                    path,
                    *line,
                    format!("say why beside it (`{REASON} ...`) or return an error"),
                ));
            }
        }
    }
    found
}

/// The reason stands on the call's own line or in the comment that ends right above its statement.
fn has_reason(lines: &[&str], call: usize) -> bool {
    if lines[call - 1].contains(REASON) {
        return true;
    }
    let above = lines[..call - 1].iter().rev().take(6);
    let mut in_comment = false;
    for line in above.map(|line| line.trim()) {
        if line.starts_with("//") {
            in_comment = true;
            if line.starts_with(REASON) {
                return true;
            }
        } else if in_comment || line.ends_with(';') || line.ends_with('}') || line.is_empty() {
            return false;
        }
    }
    false
}

/// A function does not fit a screen.
pub fn functions_fit_a_screen(tree: &Tree) -> Vec<String> {
    let mut found = Vec::new();
    for (path, source) in tree {
        for function in source.functions.iter().filter(|function| function.lines > FUNCTION_LINES_MAX) {
            let (name, lines) = (&function.name, function.lines);
            found.push(broken(
                path,
                function.line,
                format!("`{name}` has {lines} lines of {FUNCTION_LINES_MAX}"),
            ));
        }
    }
    found
}

/// The floor a file stands on and its module path there; binaries have no place in the order.
fn place<'a>(path: &str, floors: &'a [Floor]) -> Option<(&'a Floor, Vec<String>)> {
    let floor = floors.iter().find(|floor| path.starts_with(floor.folder))?;
    let inner = path[floor.folder.len()..].strip_suffix(".rs")?;
    let inner = inner.strip_suffix("/mod").unwrap_or(inner);
    match inner {
        "lib" => Some((floor, Vec::new())),
        "main" => None,
        _ => Some((floor, inner.split('/').map(str::to_owned).collect())),
    }
}

/// The path inside the crate that `named` means when `module` says it, if it means one.
fn inside(module: &[String], named: &Named) -> Option<Vec<String>> {
    let mut base = match named.path[0].as_str() {
        "crate" => Vec::new(),
        "self" => module.to_vec(),
        "super" => module[..module.len().saturating_sub(1)].to_vec(),
        _ => return None,
    };
    for name in &named.path[1..] {
        if name == "super" {
            base.pop();
        } else {
            base.push(name.clone());
        }
    }
    Some(base)
}

/// The file that defines the deepest module on `target`'s way.
fn file_of<'a>(tree: &'a Tree, floor: &Floor, target: &[String]) -> Option<&'a str> {
    (1..=target.len()).rev().find_map(|depth| {
        let stem = format!("{}{}", floor.folder, target[..depth].join("/"));
        let known = |path: String| tree.get_key_value(&path).map(|(key, _)| key.as_str());
        known(format!("{stem}.rs")).or_else(|| known(format!("{stem}/mod.rs")))
    })
}

/// Every group of files that reach each other, each in alphabetical order.
fn circles<'a>(arrows: &BTreeMap<&'a str, BTreeSet<&'a str>>) -> Vec<Vec<&'a str>> {
    let reach: BTreeMap<&str, BTreeSet<&str>> =
        arrows.keys().map(|from| (*from, reachable(arrows, from))).collect();
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for (from, to) in reach.iter().filter(|(from, to)| to.contains(*from)) {
        if !seen.contains(from) {
            let group = to.iter().filter(|other| reach.get(*other).is_some_and(|back| back.contains(from)));
            let files: Vec<&str> = group.copied().collect();
            seen.extend(files.iter().copied());
            found.push(files);
        }
    }
    found
}

fn reachable<'a>(arrows: &BTreeMap<&'a str, BTreeSet<&'a str>>, from: &str) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::new();
    let mut next: Vec<&str> = arrows.get(from).into_iter().flatten().copied().collect();
    while let Some(file) = next.pop() {
        if seen.insert(file) {
            next.extend(arrows.get(file).into_iter().flatten());
        }
    }
    seen
}
