//! The real binary as a process of its own, bare or under a tool, on a directory of its own with one serving core.
//! It asserts nothing but that it serves. Dropped, it is killed.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

pub struct Process {
    child: Child,
    dir: TempDir,
    pub address: SocketAddr,
}

impl Process {
    /// Starts the broker; `tool` is put before its command line, and may write into the directory it is given.
    pub fn start(tool: impl FnOnce(&Path) -> Vec<String>) -> Result<Self, String> {
        let dir = tempfile::tempdir().expect("a directory");
        let mut words = tool(dir.path());
        words.push(env!("CARGO_BIN_EXE_firn").to_owned());
        words.extend(["server", "--dev"].map(str::to_owned));
        for set in [
            "listeners=PLAINTEXT://127.0.0.1:0",
            "firn.metrics.listener=",
            "firn.admin.listener=",
            "firn.cores=1",
            "firn.log.format=json",
        ] {
            words.extend(["--set".to_owned(), set.to_owned()]);
        }
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).current_dir(dir.path()).stdin(Stdio::null()).stdout(Stdio::null());
        let spawned = command.stderr(Stdio::piped()).spawn();
        let mut child = spawned.map_err(|error| format!("{} does not start: {error}", words[0]))?;
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let mut said = String::new();
        let address = loop {
            let Some(Ok(line)) = lines.next() else {
                return Err(format!("the broker did not start:\n{said}"));
            };
            if let Some(address) = bound(&line) {
                break address;
            }
            said.push_str(&line);
            said.push('\n');
        };
        // What it says later is read, or it would wait for us.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        Ok(Self { child, dir, address })
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The thread of the only serving core.
    pub fn core(&self) -> Option<Pid> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).ok()?;
        tasks.flatten().find_map(|task| {
            let name = std::fs::read_to_string(task.path().join("comm")).ok()?;
            let id = task.file_name().to_str()?.parse().ok()?;
            (name.trim() == "firn-core-0").then_some(Pid::from_raw(id))
        })
    }

    /// A clean end, so that a tool around it tells what it counted.
    pub fn end(&mut self) {
        let id = i32::try_from(self.child.id()).expect("a process id");
        kill(Pid::from_raw(id), Signal::SIGTERM).expect("it still runs");
        self.child.wait().expect("it ends");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The address in the line that says where the broker listens.
fn bound(line: &str) -> Option<SocketAddr> {
    let line: serde_json::Value = serde_json::from_str(line).ok()?;
    (line["message"] == "listening").then(|| line["bound"].as_str()?.parse().ok()).flatten()
}
