//! The two brokers: started, given topics, stopped, their files removed. Both get the same words where they have a
//! setting in common. Invariant: what was started here is ended here, also when a race fails.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::load::Contestant;
use crate::process::wait_until;

/// Settings that both brokers know and that differ from both defaults.
const SETTINGS: &[&str] = &[
    "auto.create.topics.enable=false",
    "offsets.topic.num.partitions=1",
    "log.segment.delete.delay.ms=1000",
];
/// How long a broker may take to serve, or to stop.
const PATIENCE: Duration = Duration::from_secs(120);
/// The one core of a one-core race.
pub const CORE: &str = "0";

/// Where things are.
#[derive(Debug, Clone)]
pub struct Arena {
    /// firn, firn-floor.
    pub binaries: PathBuf,
    /// Where Kafka's jars are, below `kafka/libs`.
    pub home: PathBuf,
    /// Kafka's scripts.
    pub kafka: PathBuf,
    /// Data directories go below this.
    pub dir: PathBuf,
    /// First port used; twenty are.
    pub port: u16,
}

/// A running broker.
#[derive(Debug)]
pub struct Broker {
    /// Which.
    pub who: Contestant,
    /// Its address.
    pub bootstrap: String,
    /// Its data directory.
    pub dir: PathBuf,
    child: Child,
    firn: PathBuf,
    keep: bool,
}

impl Arena {
    /// The firn binary.
    pub fn firn(&self) -> PathBuf {
        self.binaries.join("firn")
    }

    /// Starts a broker on an empty directory, and waits until it serves.
    pub fn start(&self, who: Contestant, one_core: bool) -> io::Result<Broker> {
        let dir = self.dir.join(who.name());
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir)?;
        if who == Contestant::Ours {
            self.configure(&dir)?;
            let format = Command::new(self.firn())
                .args(["storage", "format", "--config"])
                .arg(properties(&dir))
                .output();
            ended_well("firn storage format", format)?;
        }
        let broker = self.execute(who, one_core)?;
        let serves = || broker.firn(&["topic", "list"]).is_ok();
        match wait_until(PATIENCE, serves) {
            true => Ok(broker),
            false => Err(io::Error::other(format!(
                "{} does not serve; see {}",
                who.name(),
                broker.log().display()
            ))),
        }
    }

    /// Starts a broker on the directory it had, and does not wait.
    pub fn execute(&self, who: Contestant, one_core: bool) -> io::Result<Broker> {
        let (dir, port) = (self.dir.join(who.name()), self.port_of(who));
        let mut command = match who {
            Contestant::Ours => {
                let mut command = Command::new(self.firn());
                command.args(["server", "--config"]).arg(properties(&dir));
                command
            }
            Contestant::Kafka => {
                let mut command = Command::new(self.kafka.join("start"));
                command.arg(&self.home).arg(port.to_string()).arg(&dir).args(SETTINGS);
                command
            }
        };
        if one_core {
            command = on_one_core(&command);
        }
        let log = File::create(dir.join("broker.log"))?;
        let child = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?;
        let bootstrap = self.address_of(who);
        Ok(Broker { who, bootstrap, dir, child, firn: self.firn(), keep: false })
    }

    fn configure(&self, dir: &Path) -> io::Result<()> {
        let mut lines = vec![
            "node.id=1".to_owned(),
            "process.roles=broker,controller".to_owned(),
            format!("listeners=PLAINTEXT://127.0.0.1:{}", self.port_of(Contestant::Ours)),
            format!("log.dirs={}", dir.join("log").display()),
            "firn.metrics.listener=".to_owned(),
            "firn.admin.listener=".to_owned(),
            "firn.log.level=warn".to_owned(),
        ];
        lines.extend(SETTINGS.iter().map(|setting| (*setting).to_owned()));
        std::fs::write(properties(dir), lines.join("\n") + "\n")
    }

    /// Where a contestant listens.
    pub fn address_of(&self, who: Contestant) -> String {
        format!("127.0.0.1:{}", self.port_of(who))
    }

    fn port_of(&self, who: Contestant) -> u16 {
        match who {
            Contestant::Ours => self.port + 1,
            // Its controller listens ten above.
            Contestant::Kafka => self.port,
        }
    }
}

impl Broker {
    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where its output goes.
    pub fn log(&self) -> PathBuf {
        self.dir.join("broker.log")
    }

    /// Creates a topic and waits until each of its partitions took a record.
    pub fn create(&self, topic: &str, partitions: u32, configs: &[&str]) -> io::Result<()> {
        let partitions = partitions.to_string();
        let mut words = vec!["topic", "create", topic, "-p", &partitions, "-r", "1"];
        words.extend(configs.iter().flat_map(|config| ["-c", config]));
        self.firn(&words)?;
        self.firn(&["bench", "first", "-t", topic, "--partitions", &partitions, "--seconds", "300"])?;
        Ok(())
    }

    /// Deletes a topic.
    pub fn delete(&self, topic: &str) -> io::Result<()> {
        self.firn(&["topic", "delete", topic]).map(drop)
    }

    /// Runs a command of firn against it; answers what it printed.
    pub fn firn(&self, words: &[&str]) -> io::Result<String> {
        let output =
            Command::new(&self.firn).args(words).args(["--bootstrap-server", &self.bootstrap]).output();
        ended_well(&format!("firn {} against {}", words.join(" "), self.who.name()), output)
    }

    /// A clean stop; the directory stays.
    pub fn stop(mut self) -> io::Result<()> {
        self.keep = true;
        signal(self.pid(), "TERM")?;
        let mut ended = false;
        wait_until(PATIENCE, || {
            ended = matches!(self.child.try_wait(), Ok(Some(_)));
            ended
        });
        if ended { Ok(()) } else { Err(io::Error::other(format!("{} does not stop", self.who.name()))) }
    }

    /// kill -9; the directory stays.
    pub fn kill(mut self) {
        self.keep = true;
    }

    /// Puts its logs out of the page cache.
    pub fn cool(&self) -> io::Result<()> {
        for folder in std::fs::read_dir(self.dir.join("log"))?.filter_map(Result::ok) {
            let Ok(files) = std::fs::read_dir(folder.path()) else { continue };
            for file in
                files.filter_map(Result::ok).filter(|file| file.path().extension() == Some("log".as_ref()))
            {
                let file = File::open(file.path())?;
                file.sync_data()?;
                rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
            }
        }
        Ok(())
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if !self.keep {
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }
}

/// Sends a signal by name.
pub fn signal(pid: u32, name: &str) -> io::Result<()> {
    let status = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("kill -{name} {pid}: {status}"))) }
}

/// The same command bound to one core.
pub fn on_one_core(command: &Command) -> Command {
    let mut bound = Command::new("taskset");
    bound.args(["-c", CORE]).arg(command.get_program()).args(command.get_args());
    bound
}

/// What a command printed, or what it said when it failed.
pub fn ended_well(what: &str, output: io::Result<std::process::Output>) -> io::Result<String> {
    let output =
        output.map_err(|error| io::Error::new(error.kind(), format!("{what} does not run: {error}")))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(io::Error::other(format!("{what}: {}", String::from_utf8_lossy(&output.stderr).trim())))
}

fn properties(dir: &Path) -> PathBuf {
    dir.join("firn.properties")
}
