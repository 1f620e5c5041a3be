//! Shadows the C library's clock and randomness, so that what never heard of our doors (hash maps, openraft, tokio) is
//! seeded too. It is mad-turmoil's idea with one difference: before `begin` the real ones answer, because a library
//! in this binary measures the processor's clock before `main` and would wait for ever on one that stands still.
#![allow(unsafe_code, reason = "the C library's symbols can only be shadowed by symbols")]

use std::sync::{Mutex, OnceLock};
use std::time::Instant;

use rand::Rng;
use rand::rngs::StdRng;

/// Set once, when the simulation takes over: its dice, and the instant that stands still outside of runtimes.
static TAKEN: OnceLock<Shadow> = OnceLock::new();

struct Shadow {
    dice: Mutex<StdRng>,
    still: OnceLock<Instant>,
}

/// Seconds since boot that the monotonic clock shows outside of any runtime.
const STILL_SECONDS: i64 = 1_000_000;

/// From here on this process's clock and randomness are the simulation's. Call it once, before anything is built.
#[allow(clippy::disallowed_methods, reason = "this is the shadow's own anchor")]
pub fn begin(dice: StdRng) {
    let shadow = Shadow { dice: Mutex::new(dice), still: OnceLock::new() };
    assert!(TAKEN.set(shadow).is_ok(), "a process runs one simulation");
    let shadow = TAKEN.get().expect("just set");
    shadow.still.set(Instant::now()).expect("set once");
}

/// What the shadowed monotonic clock shows: the running host's virtual time, or a clock that stands still.
fn monotonic(shadow: &Shadow) -> libc::timespec {
    let elapsed = match (shadow.still.get(), tokio::runtime::Handle::try_current()) {
        (Some(still), Ok(_)) => tokio::time::Instant::now().into_std().saturating_duration_since(*still),
        _ => std::time::Duration::ZERO,
    };
    libc::timespec {
        tv_sec: STILL_SECONDS + elapsed.as_secs() as i64,
        tv_nsec: i64::from(elapsed.subsec_nanos()),
    }
}

fn wall() -> libc::timespec {
    let elapsed = match tokio::runtime::Handle::try_current() {
        Ok(_) => turmoil::sim_elapsed().unwrap_or_default(),
        Err(_) => std::time::Duration::ZERO,
    };
    let start = super::clock::EPOCH_MS / 1_000;
    libc::timespec { tv_sec: start + elapsed.as_secs() as i64, tv_nsec: i64::from(elapsed.subsec_nanos()) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn clock_gettime(clock: libc::clockid_t, out: *mut libc::timespec) -> libc::c_int {
    let Some(shadow) = TAKEN.get() else {
        // SAFETY: the arguments are the caller's own, handed to the call that this one shadows.
        return unsafe { libc::syscall(libc::SYS_clock_gettime, clock, out) as libc::c_int };
    };
    let time = match clock {
        libc::CLOCK_REALTIME | libc::CLOCK_REALTIME_COARSE => wall(),
        _ => monotonic(shadow),
    };
    // SAFETY: clock_gettime's contract gives `out` as valid for one timespec.
    unsafe { out.write(time) };
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn getrandom(out: *mut u8, len: usize, flags: u32) -> isize {
    let Some(shadow) = TAKEN.get() else {
        // SAFETY: the arguments are the caller's own, handed to the call that this one shadows.
        return unsafe { libc::syscall(libc::SYS_getrandom, out, len, flags) as isize };
    };
    if len > 0 {
        // SAFETY: getrandom's contract gives `out` as valid for `len` bytes, and nobody else holds them meanwhile.
        let bytes = unsafe { std::slice::from_raw_parts_mut(out, len) };
        shadow.dice.lock().expect("no thrower panics").fill_bytes(bytes);
    }
    len as isize
}

#[unsafe(no_mangle)]
unsafe extern "C" fn getentropy(out: *mut u8, len: usize) -> libc::c_int {
    // SAFETY: getentropy's contract is getrandom's, without flags.
    let filled = unsafe { getrandom(out, len, 0) };
    if usize::try_from(filled) == Ok(len) { 0 } else { -1 }
}
