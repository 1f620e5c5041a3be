//! The twin disk in the simulated world: every call goes into the journal, and dice decide which of them fail.
//! What a killed process wrote stays (its page cache survives it), what it was writing is cut at any byte; what a power
//! loss takes is the twin's to say. Invariant: after `kill`, nothing changes until `revive`.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use firnline_tiering::hot::file::Files;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::journal::Journal;
use super::twin::disk::{Call, Fate, Nature, TwinDisk, Verb};

/// Chances of each fault per call, in 1/10,000.
#[derive(Debug, Clone, Copy)]
pub struct Chances {
    /// The process dies in the middle of a write.
    pub torn_write: u32,
    /// A read of a segment fails with EIO.
    pub read_eio: u32,
    /// A write to a segment fails with EIO before its first byte.
    pub write_eio: u32,
}

impl Chances {
    /// A disk that works.
    pub const NONE: Chances = Chances { torn_write: 0, read_eio: 0, write_eio: 0 };
}

/// The disk; clones share it.
#[derive(Debug, Clone)]
pub struct SimDisk {
    twin: TwinDisk,
    weather: Arc<Weather>,
}

/// What goes wrong, by dice.
#[derive(Debug)]
struct Weather {
    journal: Journal,
    state: Mutex<(StdRng, Chances)>,
    lag: Mutex<Duration>,
}

impl SimDisk {
    pub fn new(seed: u64, journal: Journal) -> Self {
        let state = Mutex::new((StdRng::seed_from_u64(seed), Chances::NONE));
        let weather = Arc::new(Weather { journal, state, lag: Mutex::default() });
        Self { twin: TwinDisk::new(weather.clone()), weather }
    }

    /// The door for a broker.
    pub fn door(&self) -> Arc<dyn Files> {
        Arc::new(self.twin.clone())
    }

    pub fn set_chances(&self, chances: Chances) {
        self.weather.state.lock().expect("no caller panics inside the dice").1 = chances;
    }

    /// From now on an fsync takes this long.
    pub fn set_lag(&self, lag: Duration) {
        *self.weather.lag.lock().expect("no caller panics inside the lag") = lag;
    }

    /// The process is gone, and the disk is replaced by an empty one.
    pub fn wipe(&self) {
        self.twin.wipe();
    }

    /// The process is gone: its locks fall, its calls fail.
    pub fn kill(&self) {
        self.twin.kill();
    }

    /// The power is gone: what was not synced survives as a seed says, drawn from the disk's own dice.
    pub fn lose_power(&self) {
        let seed = self.weather.state.lock().expect("no caller panics inside the dice").0.random();
        self.weather.journal.fault("lost_power", seed);
        self.twin.lose_power(seed);
    }

    /// A new process may use the disk.
    pub fn revive(&self) {
        self.twin.revive();
    }

    /// Whether the process died and was not replaced yet.
    pub fn is_dead(&self) -> bool {
        self.twin.is_dead()
    }

    /// Names of all files, for the closing check.
    pub fn files(&self) -> Vec<PathBuf> {
        self.twin.files().into_keys().collect()
    }
}

/// Only segments get EIO: a broker whose quorum log fails stops, and that is another scenario.
fn is_segment(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "log")
        && !path.components().any(|part| part.as_os_str().to_string_lossy().starts_with("__"))
}

impl Nature for Weather {
    fn lag(&self) -> Duration {
        *self.lag.lock().expect("no caller panics inside the lag")
    }

    fn decide(&self, call: &Call<'_>) -> Fate {
        let (path, segment) = (call.path.display(), is_segment(call.path));
        self.journal.note("files", format_args!("{:?} {path} {} at {}", call.verb, call.bytes, call.at));
        let mut state = self.state.lock().expect("no caller panics inside the dice");
        let (dice, chances) = &mut *state;
        let mut hit = |of_10_000: u32| of_10_000 > 0 && dice.random_range(0..10_000) < of_10_000;
        match call.verb {
            Verb::Write if segment && hit(chances.write_eio) => {
                self.journal.fault("write_eio", path);
                Fate::Fails(ErrorKind::Other, 0)
            }
            Verb::Write if hit(chances.torn_write) => {
                let kept = dice.random_range(0..=call.bytes);
                self.journal.fault("torn_write", format_args!("{path} kept {kept} of {}", call.bytes));
                Fate::Dies(kept)
            }
            Verb::Read if segment && hit(chances.read_eio) => {
                self.journal.fault("read_eio", path);
                Fate::Fails(ErrorKind::Other, 0)
            }
            _ => Fate::Happens,
        }
    }
}
