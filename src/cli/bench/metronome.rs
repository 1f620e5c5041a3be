//! Sends on time: one thread of its own that sleeps to the microsecond, because the runtime's timers only know
//! milliseconds, and a latency from the intended time must not hold the load's own lateness.
//! It reads no answers. Invariant: every planned request is sent, late ones at once, in the order they were due.

use std::io::{self, Write};
use std::net::TcpStream;
use std::time::Duration;

use tokio::time::Instant;

use crate::cli::bench::frame::Frame;
use crate::cli::bench::pace::Pace;

/// Before the next attempt to write to a full socket.
const FULL: Duration = Duration::from_micros(20);
/// Where a thread says how exact its sleep has to be, nanoseconds; a new thread does as the one that made it.
const SLACK: &str = "/proc/self/timerslack_ns";

/// One connection's part.
pub struct Beat {
    /// Its connection, which does not block: its answers are awaited elsewhere.
    pub stream: TcpStream,
    /// What it sends.
    pub frame: Frame,
    /// Where to, in turn.
    pub partitions: Vec<i32>,
    /// When.
    pub pace: Pace,
    /// How many.
    pub planned: u32,
}

/// Sends everything on a thread of its own; the answer comes when the last request is sent.
#[allow(clippy::disallowed_methods, reason = "the load generator is no part of the simulated broker")]
pub fn play(beats: Vec<Beat>) -> tokio::sync::oneshot::Receiver<io::Result<()>> {
    // Where the kernel refuses, sleeps are as exact as they are: 50 us.
    let _ = std::fs::write(SLACK, "1");
    let (done, ended) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || done.send(send_all(beats)));
    ended
}

fn send_all(mut beats: Vec<Beat>) -> io::Result<()> {
    let most = beats.iter().map(|beat| beat.planned).max().unwrap_or_default();
    for place in 0..most {
        // Connections are one part of an interval apart, so this is the order of the times.
        for beat in beats.iter_mut().filter(|beat| place < beat.planned) {
            let due = beat.pace.at(place);
            sleep(due.saturating_duration_since(Instant::now()));
            beat.frame.set(place, due, &beat.partitions);
            write(&mut beat.stream, beat.frame.bytes())?;
        }
    }
    Ok(())
}

fn write(stream: &mut impl Write, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match stream.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => sleep(FULL),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[allow(clippy::disallowed_methods, reason = "this thread serves nobody")]
fn sleep(time: Duration) {
    if !time.is_zero() {
        std::thread::sleep(time);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes three bytes, is full, takes three bytes.
    #[derive(Default)]
    struct Narrow {
        taken: Vec<u8>,
        full: bool,
    }

    impl Write for Narrow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.full = !self.full;
            if !self.full {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let some = bytes.len().min(3);
            self.taken.extend_from_slice(&bytes[..some]);
            Ok(some)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_full_socket_gets_the_rest_later() {
        let mut narrow = Narrow::default();
        write(&mut narrow, b"0123456789").unwrap();
        assert_eq!(narrow.taken, b"0123456789");
    }
}
