//! Files and directories as a disk knows them: what a reader sees now, what is safe, and what lies between.
//! Each decides for itself what survives a power loss. Invariant: after a sync, or a loss, `now` equals `safe`.
//!
//! A loss keeps, of what was never synced, nothing, everything, a prefix, or any part: writes are torn at any byte,
//! a later one may survive an earlier one, a file may have its length without its bytes (they read as zeroes), and
//! changes of names in one directory survive in any selection. POSIX promises no more.

use super::dice::Dice;
use std::collections::BTreeMap;

/// Names a node for as long as the disk lives.
pub type Id = u64;

/// One change of a file's bytes.
#[derive(Debug, Clone)]
enum Change {
    Write { at: usize, bytes: Vec<u8> },
    Cut { len: usize },
}

impl Change {
    fn apply(&self, to: &mut Vec<u8>) {
        match self {
            Change::Write { at, bytes } => {
                if to.len() < at + bytes.len() {
                    to.resize(at + bytes.len(), 0);
                }
                to[*at..at + bytes.len()].copy_from_slice(bytes);
            }
            Change::Cut { len } => to.resize(*len, 0),
        }
    }

    /// What a tear leaves of it.
    fn torn(&self, dice: &mut Dice) -> Option<Change> {
        let Change::Write { at, bytes } = self else { return None };
        Some(Change::Write { at: *at, bytes: bytes[..dice.below(bytes.len() + 1)].to_vec() })
    }
}

/// A file's bytes.
#[derive(Debug, Default)]
pub struct Bytes {
    pub now: Vec<u8>,
    safe: Vec<u8>,
    between: Vec<Change>,
}

impl Bytes {
    pub fn write(&mut self, bytes: &[u8], at: usize) {
        self.change(Change::Write { at, bytes: bytes.to_vec() });
    }

    pub fn cut(&mut self, len: usize) {
        self.change(Change::Cut { len });
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.now);
        self.between.push(change);
    }

    pub fn sync(&mut self) {
        self.between.drain(..).for_each(|change| change.apply(&mut self.safe));
    }

    /// Bytes that a power loss may take.
    pub fn is_dirty(&self) -> bool {
        !self.between.is_empty()
    }

    pub fn lose(&mut self, dice: &mut Dice) {
        let between = std::mem::take(&mut self.between);
        let mut left = std::mem::take(&mut self.safe);
        let whole = dice.below(between.len() + 1);
        match dice.below(4) {
            0 => {}
            1 => between.iter().for_each(|change| change.apply(&mut left)),
            2 => {
                between[..whole].iter().for_each(|change| change.apply(&mut left));
                if let Some(torn) = between.get(whole).and_then(|change| change.torn(dice)) {
                    torn.apply(&mut left);
                }
            }
            _ => {
                for change in &between {
                    match dice.below(3) {
                        0 => {}
                        1 => change.apply(&mut left),
                        _ => change.torn(dice).iter().for_each(|torn| torn.apply(&mut left)),
                    }
                }
                if dice.flip() && left.len() < self.now.len() {
                    left.resize(self.now.len(), 0);
                }
            }
        }
        self.safe = left.clone();
        self.now = left;
    }
}

/// One change of a directory's names.
#[derive(Debug, Clone)]
pub enum Naming {
    Link {
        name: String,
        id: Id,
    },
    Unlink {
        name: String,
    },
    /// Within one directory: both names change or neither.
    Rename {
        from: String,
        to: String,
        id: Id,
    },
}

impl Naming {
    fn apply(&self, names: &mut BTreeMap<String, Id>) {
        match self {
            Naming::Link { name, id } => drop(names.insert(name.clone(), *id)),
            Naming::Unlink { name } => drop(names.remove(name)),
            Naming::Rename { from, to, id } => {
                // A lost creation of `from` does not keep the file from its new name.
                if names.get(from) == Some(id) {
                    names.remove(from);
                }
                names.insert(to.clone(), *id);
            }
        }
    }
}

/// A directory's names.
#[derive(Debug, Default)]
pub struct Names {
    pub now: BTreeMap<String, Id>,
    safe: BTreeMap<String, Id>,
    between: Vec<Naming>,
}

impl Names {
    pub fn change(&mut self, naming: Naming) {
        naming.apply(&mut self.now);
        self.between.push(naming);
    }

    pub fn sync(&mut self) {
        self.between.drain(..).for_each(|naming| naming.apply(&mut self.safe));
    }

    pub fn lose(&mut self, dice: &mut Dice) {
        let between = std::mem::take(&mut self.between);
        let whole = dice.below(between.len() + 1);
        let kept: Vec<&Naming> = match dice.below(4) {
            0 => Vec::new(),
            1 => between.iter().collect(),
            2 => between[..whole].iter().collect(),
            _ => between.iter().filter(|_| dice.flip()).collect(),
        };
        kept.into_iter().for_each(|naming| naming.apply(&mut self.safe));
        self.now = self.safe.clone();
    }
}
