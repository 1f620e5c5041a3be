//! Simulated time and randomness: the clock is the simulation's own, the dice are one seeded stream.
//! Neither ever asks the machine.

use std::sync::Mutex;

use firnline_tiering::clock::Clock;
use firnline_tiering::entropy::Entropy;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::journal::Journal;

/// Where simulated wall-clock time starts: 2026-01-01T00:00:00Z.
pub const EPOCH_MS: i64 = 1_767_225_600_000;

/// The simulation's wall clock.
#[derive(Debug)]
pub struct SimClock(pub Journal);

impl Clock for SimClock {
    fn now_ms(&self) -> i64 {
        let elapsed = turmoil::sim_elapsed().unwrap_or_default();
        let now_ms = EPOCH_MS + i64::try_from(elapsed.as_millis()).expect("a short simulation");
        self.0.note("clock", now_ms);
        now_ms
    }
}

/// The machine's real clock, taken past every door: planted to show that two runs would differ.
#[derive(Debug)]
pub struct PlantedClock(pub Journal);

impl Clock for PlantedClock {
    fn now_ms(&self) -> i64 {
        // A raw system call: the C library's clock functions are replaced in this binary.
        let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: clock_gettime writes one timespec to the valid, exclusive pointer it is given.
        #[allow(unsafe_code, reason = "the only way past the simulation's clock is a raw system call")]
        unsafe {
            libc::syscall(libc::SYS_clock_gettime, libc::CLOCK_REALTIME, &raw mut now);
        }
        let now_ms = now.tv_sec * 1_000 + now.tv_nsec / 1_000_000;
        self.0.note("clock", now_ms);
        now_ms
    }
}

/// One seeded stream of dice.
#[derive(Debug)]
pub struct SimEntropy {
    dice: Mutex<StdRng>,
    journal: Journal,
}

impl SimEntropy {
    /// Every seed is its own stream.
    pub fn new(seed: u64, journal: Journal) -> Self {
        Self { dice: Mutex::new(StdRng::seed_from_u64(seed)), journal }
    }
}

impl Entropy for SimEntropy {
    fn fill(&self, out: &mut [u8]) {
        self.dice.lock().expect("no thrower panics").fill_bytes(out);
        self.journal
            .note("entropy", format_args!("{} bytes {:02x}", out.len(), out.first().copied().unwrap_or(0)));
    }
}
