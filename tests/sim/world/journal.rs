//! The journal of a run: one line per door call, in order, and a count of every fault that was injected.
//! Two runs of one seed must write the same journal, byte for byte.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::{Arc, Mutex, MutexGuard};

/// Shared by every door of one run.
#[derive(Debug, Clone)]
pub struct Journal(Arc<Desk>);

#[derive(Debug)]
struct Desk {
    pages: Mutex<Pages>,
    /// `SIM_WATCH=1`: every line also goes to standard error as it is written.
    watched: bool,
}

#[derive(Debug, Default)]
struct Pages {
    lines: Vec<String>,
    faults: BTreeMap<&'static str, u64>,
}

impl Default for Journal {
    fn default() -> Self {
        let watched = std::env::var_os("SIM_WATCH").is_some();
        Self(Arc::new(Desk { pages: Mutex::default(), watched }))
    }
}

impl Journal {
    /// Writes down a call: which door, what was asked, what came of it.
    pub fn note(&self, door: &str, call: impl Display) {
        let elapsed_us = turmoil::sim_elapsed().unwrap_or_default().as_micros();
        let line = format!("{elapsed_us} {door} {call}");
        if self.0.watched {
            eprintln!("{line}");
        }
        self.pages().lines.push(line);
    }

    /// Writes down a fault the world injected.
    pub fn fault(&self, kind: &'static str, what: impl Display) {
        self.note("fault", format_args!("{kind} {what}"));
        *self.pages().faults.entry(kind).or_default() += 1;
    }

    /// All lines so far.
    pub fn lines(&self) -> Vec<String> {
        self.pages().lines.clone()
    }

    /// How often each kind of fault was injected.
    pub fn faults(&self) -> BTreeMap<&'static str, u64> {
        self.pages().faults.clone()
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.0.pages.lock().expect("no door panics while it writes")
    }
}
