//! The real binary as a process of its own: a properties file, a data directory, and every line it logs.
//! It asserts nothing but that the process starts. Invariant: what it wrote survives each way to end it.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use firnline::client::http;
use firnline::telemetry::tier_status::TierStatus;
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpStream;

use super::broker::Client;
use super::wait::eventually;
use super::wire_client::WireClient;

/// A formatted data directory and the settings of the brokers that use it, one after the other.
pub struct Home {
    dir: TempDir,
}

impl Home {
    /// Formats a directory for a broker with these settings, `key=value`, over the flows' own.
    pub fn new(set: &[&str]) -> Self {
        let home = Self { dir: tempfile::tempdir().expect("a directory") };
        home.write(set);
        let formatted = home.run(&["storage", "format", "--config", "server.properties"]);
        let said = String::from_utf8_lossy(&formatted.stderr);
        assert!(formatted.status.success(), "format: {said}");
        home
    }

    /// Writes the properties file.
    pub fn write(&self, set: &[&str]) {
        let bucket = self.path().join("bucket");
        let mut text = format!("log.dirs={}\n", self.path().join("log").display());
        text.push_str(&format!("firn.remote.url=file://{}\n", bucket.display()));
        for line in OWN.iter().chain(set) {
            text.push_str(line);
            text.push('\n');
        }
        std::fs::write(self.path().join("server.properties"), text).expect("a properties file");
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    fn firn(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_firn"));
        command.current_dir(self.path()).env_clear().args(arguments).stdin(Stdio::null());
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command
    }

    /// One command to its end.
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.firn(arguments).output().expect("the binary runs")
    }

    /// Starts the broker and waits until Kafka and admin port are open.
    pub async fn start(&self, set: &[&str]) -> Process {
        let mut arguments = vec!["server", "--config", "server.properties"];
        arguments.extend(set.iter().flat_map(|each| ["--set", each]));
        let mut child = self.firn(&arguments).stderr(Stdio::piped()).spawn().expect("the binary runs");
        let log = Arc::<Mutex<Vec<String>>>::default();
        let lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let kept = log.clone();
        let reader = std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                kept.lock().expect("no holder panics").push(line);
            }
        });
        let mut process =
            Process { child, log, reader: Some(reader), kafka: String::new(), admin: String::new() };
        process.admin = process.field("http listener is open", "firn.admin.listener", "address").await;
        process.kafka = process.field("listening", "PLAINTEXT", "bound").await;
        process
    }
}

/// What every flow with a process has in common. Ports are free ones; the log tells which.
const OWN: &[&str] = &[
    "node.id=1",
    "listeners=PLAINTEXT://127.0.0.1:0",
    "firn.metrics.listener=",
    "firn.admin.listener=127.0.0.1:0",
    "firn.cores=2",
    "firn.log.format=json",
    "firn.cache.disk.bytes=0",
    "remote.log.storage.system.enable=true",
    "remote.log.manager.task.interval.ms=50",
    "remote.log.manager.task.retry.backoff.ms=50",
    "remote.log.manager.task.retry.backoff.max.ms=200",
    "log.retention.check.interval.ms=100",
    "log.segment.delete.delay.ms=0",
];

/// A running broker; dropped, it is killed.
pub struct Process {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
    pub kafka: String,
    pub admin: String,
}

impl Process {
    /// Every line so far.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().expect("no holder panics").clone()
    }

    /// Lines so far that hold `part`.
    pub fn said(&self, part: &str) -> Vec<String> {
        self.log().into_iter().filter(|line| line.contains(part)).collect()
    }

    /// A field of the line that says `message` and names `about`.
    async fn field(&mut self, message: &str, about: &str, field: &str) -> String {
        eventually(message, async || {
            let ended = self.child.try_wait().expect("a child of ours");
            assert!(ended.is_none(), "the broker ended with {ended:?}:\n{}", self.log().join("\n"));
            self.log().into_iter().find_map(|line| {
                let line: Value = serde_json::from_str(&line).ok()?;
                let named = line["message"] == message && line.to_string().contains(about);
                named.then(|| line[field].as_str().map(str::to_owned)).flatten()
            })
        })
        .await
    }

    /// A new connection.
    pub async fn client(&self) -> Client {
        WireClient::new(TcpStream::connect(&self.kafka).await.expect("the port answers"))
    }

    /// What lies where.
    pub async fn status(&self, topic: &str) -> TierStatus {
        let answer = http::get(&self.admin, &format!("/tier?topic={topic}")).await.expect("an answer");
        assert_eq!(answer.status, 200, "{}", answer.body);
        serde_json::from_str(&answer.body).expect("a status")
    }

    /// SIGKILL: no line of its code runs any more.
    pub fn kill(&mut self) {
        self.child.kill().expect("it still ran");
        self.child.wait().expect("it ends");
        if let Some(reader) = self.reader.take() {
            reader.join().expect("the reader of its log ends");
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
