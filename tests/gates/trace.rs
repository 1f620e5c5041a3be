//! Counts the system calls of one thread of a child process with ptrace, which needs no installed tool and sees them
//! all, those of the runtime too. It changes nothing about the thread but its speed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use nix::sys::ptrace::{self, Options};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// System calls by number.
pub type Calls = BTreeMap<u64, u64>;

/// The calls of a thread so far. Counting ends with the thread.
pub struct Trace {
    calls: Arc<Mutex<Calls>>,
}

impl Trace {
    /// Begins to count on `thread`.
    pub fn of(thread: Pid) -> Result<Self, String> {
        let calls = Arc::<Mutex<Calls>>::default();
        let (begun, has_begun) = std::sync::mpsc::channel();
        let counted = calls.clone();
        // Only the thread that attached may go on tracing.
        std::thread::spawn(move || {
            let attached = ptrace::seize(thread, Options::PTRACE_O_TRACESYSGOOD);
            let attached = attached.and_then(|()| ptrace::interrupt(thread));
            let refused = attached.is_err();
            begun.send(attached.map_err(|error| format!("ptrace is refused: {error}"))).expect("awaited");
            if !refused {
                follow(thread, &counted);
            }
        });
        has_begun.recv().expect("it sends once")?;
        Ok(Self { calls })
    }

    pub fn so_far(&self) -> Calls {
        self.calls.lock().expect("no holder panics").clone()
    }
}

/// Follows the thread from stop to stop until it ends.
fn follow(thread: Pid, calls: &Mutex<Calls>) {
    // It is stopped between two calls, and from here on each stops it twice: where it begins and where it ends.
    let mut inside = false;
    loop {
        let signal = match waitpid(thread, Some(WaitPidFlag::__WALL)) {
            Ok(WaitStatus::PtraceSyscall(_)) => {
                inside = !inside;
                if inside {
                    *calls.lock().expect("no holder panics").entry(number(thread)).or_insert(0) += 1;
                }
                None
            }
            Ok(WaitStatus::PtraceEvent(..)) => None,
            Ok(WaitStatus::Stopped(_, Signal::SIGTRAP)) => None,
            Ok(WaitStatus::Stopped(_, signal)) => Some(signal),
            _ => return,
        };
        if ptrace::syscall(thread, signal).is_err() {
            return;
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn number(thread: Pid) -> u64 {
    ptrace::getregs(thread).map_or(u64::MAX, |registers| registers.orig_rax)
}

#[cfg(not(target_arch = "x86_64"))]
fn number(_: Pid) -> u64 {
    u64::MAX
}

/// A call's name, where it is one that a serving core makes.
pub fn name(number: u64) -> String {
    let name = match number {
        0 => "read",
        1 => "write",
        17 => "pread64",
        18 => "pwrite64",
        20 => "writev",
        40 => "sendfile",
        44 => "sendto",
        45 => "recvfrom",
        54 => "setsockopt",
        202 => "futex",
        232 => "epoll_wait",
        451 => "cachestat",
        _ => return format!("#{number}"),
    };
    name.to_owned()
}
