//! The facts of the machine and of what ran on it that a reader needs to judge a figure.
//! They name no place and no person. Invariant: a fact that cannot be read is absent, not guessed.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

/// Facts, with the day.
pub fn facts(binaries: &Path, home: &Path, repository: &Path) -> Value {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let (cpu, memory) = (read("/proc/cpuinfo"), read("/proc/meminfo"));
    let guest = cpu.lines().any(|line| line.starts_with("flags") && line.contains(" hypervisor"));
    json!({
        "day": said("date", &["-u", "+%Y-%m-%d"], repository),
        "cpu": field(&cpu, "model name"),
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "memory": field(&memory, "MemTotal"),
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
        "virtual": guest,
        "firn": said(&binaries.join("firn").to_string_lossy(), &["--version"], repository),
        "commit": said("git", &["rev-parse", "--short=12", "HEAD"], repository),
        "kafka": kafka(home),
        "java": java(repository),
        "load_before": read("/proc/loadavg").split(' ').next(),
    })
}

/// A folder's name for these facts: the day and the machine's size.
pub fn folder(facts: &Value) -> String {
    let day = facts["day"].as_str().unwrap_or("undated");
    let kind = if facts["virtual"] == true { "vcpu" } else { "cpu" };
    format!("{day}-{}{kind}", facts["cores"])
}

fn field(text: &str, name: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn said(program: &str, words: &[&str], within: &Path) -> Option<String> {
    let output = Command::new(program).args(words).current_dir(within).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}

fn java(within: &Path) -> Option<String> {
    let output = Command::new("java").arg("-version").current_dir(within).output().ok()?;
    String::from_utf8_lossy(&output.stderr).lines().next().map(str::to_owned)
}

/// The version in the name of Kafka's jar.
fn kafka(home: &Path) -> Option<String> {
    let jars = std::fs::read_dir(home.join("kafka/libs")).ok()?;
    let names = jars.filter_map(|jar| jar.ok()?.file_name().into_string().ok());
    names.filter_map(|name| Some(name.strip_prefix("kafka_2.13-")?.strip_suffix(".jar")?.to_owned())).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_named_by_day_and_size() {
        let facts = json!({ "day": "2026-01-02", "cores": 2, "virtual": true });
        assert_eq!(folder(&facts), "2026-01-02-2vcpu");
    }

    #[test]
    fn fields_are_found_by_name() {
        assert_eq!(field("MemFree: 1 kB\nMemTotal:   2 kB\n", "MemTotal"), Some("2 kB".into()));
        assert_eq!(field("", "MemTotal"), None);
    }
}
