//! What the kernel says of a process: CPU of all its threads, memory, voluntary switches, bytes from disk.
//! Reading is a thin shell; the texts are taken apart by pure functions. Invariant: CPU never falls while it lives.

use std::io;
use std::path::Path;
use std::time::Duration;

/// Clock ticks of `/proc/PID/stat` per second; Linux fixes it for user space.
const TICKS_PER_SECOND: f64 = 100.0;

/// A process at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Moment {
    /// CPU-seconds in user mode, all threads, also those that ended.
    pub user: f64,
    /// CPU-seconds in the kernel.
    pub system: f64,
    /// Bytes resident.
    pub resident: u64,
    /// Of these, bytes that are no file's.
    pub anonymous: u64,
    /// Times a living thread went to sleep by itself: what a wake-up must end.
    pub sleeps: u64,
    /// Bytes it had read from a device.
    pub from_disk: u64,
}

impl Moment {
    /// Now.
    pub fn of(pid: u32) -> io::Result<Moment> {
        let proc = format!("/proc/{pid}");
        let read = |name: &str| std::fs::read_to_string(Path::new(&proc).join(name));
        let (user, system) = cpu(&read("stat")?).ok_or_else(|| io::Error::other("stat has no times"))?;
        let status = read("status")?;
        let mut sleeps = 0;
        for task in std::fs::read_dir(Path::new(&proc).join("task"))? {
            // A thread may end between the listing and the reading.
            let status = std::fs::read_to_string(task?.path().join("status")).unwrap_or_default();
            sleeps += line(&status, "voluntary_ctxt_switches:").unwrap_or_default();
        }
        Ok(Moment {
            user,
            system,
            resident: line(&status, "VmRSS:").unwrap_or_default() * 1024,
            anonymous: line(&status, "RssAnon:").unwrap_or_default() * 1024,
            sleeps,
            from_disk: line(&read("io").unwrap_or_default(), "read_bytes:").unwrap_or_default(),
        })
    }

    /// CPU-seconds in both modes.
    pub fn cpu(&self) -> f64 {
        self.user + self.system
    }
}

/// CPU-seconds of every process this one started and waited for: the load's.
pub fn cpu_of_children() -> io::Result<f64> {
    let text = std::fs::read_to_string("/proc/self/stat")?;
    let children = fields(&text).map(|fields| fields.skip(13).take(2).filter_map(ticks).sum());
    children.ok_or_else(|| io::Error::other("stat has no times"))
}

/// CPU-seconds all processes of this machine used since it started.
pub fn cpu_of_machine() -> io::Result<f64> {
    let text = std::fs::read_to_string("/proc/stat")?;
    let all = text.lines().next().unwrap_or_default().split_whitespace().skip(1);
    // user nice system idle iowait irq softirq steal
    Ok(all
        .enumerate()
        .filter(|(place, _)| ![3, 4].contains(place))
        .take(6)
        .filter_map(|(_, w)| ticks(w))
        .sum())
}

/// Waits until `done` or for `patience`; answers whether it was done.
pub fn wait_until(patience: Duration, mut done: impl FnMut() -> bool) -> bool {
    let began = std::time::Instant::now();
    while began.elapsed() < patience {
        if done() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    done()
}

/// User and system time of a `stat` line.
fn cpu(stat: &str) -> Option<(f64, f64)> {
    let mut times = fields(stat)?.skip(11);
    Some((ticks(times.next()?)?, ticks(times.next()?)?))
}

/// The fields behind the name, which may hold spaces and brackets.
fn fields(stat: &str) -> Option<impl Iterator<Item = &str>> {
    stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace())
}

fn ticks(word: &str) -> Option<f64> {
    word.parse::<f64>().ok().map(|ticks| ticks / TICKS_PER_SECOND)
}

fn line(text: &str, name: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    value.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_stand_behind_a_name_that_may_hold_anything() {
        let stat = "42 (a) b (c)) S 1 42 42 0 -1 4194560 100 0 0 0 150 75 30 20 20 0 8 0 100 0";
        assert_eq!(cpu(stat), Some((1.5, 0.75)));
        assert_eq!(fields(stat).unwrap().skip(13).take(2).filter_map(ticks).sum::<f64>(), 0.5);
        assert_eq!(cpu("42 (a"), None);
    }

    #[test]
    fn lines_are_found_by_name() {
        let status = "Name:\tfirn\nVmRSS:\t   2048 kB\nvoluntary_ctxt_switches:\t17\n";
        assert_eq!(line(status, "VmRSS:"), Some(2048));
        assert_eq!(line(status, "voluntary_ctxt_switches:"), Some(17));
        assert_eq!(line(status, "RssAnon:"), None);
    }

    #[test]
    fn this_process_is_alive() {
        let moment = Moment::of(std::process::id()).unwrap();
        assert!(moment.resident > 0, "{moment:?}");
        assert!(Moment::of(u32::MAX).is_err());
    }
}
