//! What the kernel says about this process, read from /proc at each scrape: memory, CPU, open files, disk bytes.
//! Linux only; what cannot be read is left out. It is no file of the broker's, so it does not pass the file door.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "/proc is the kernel's answer, not a file"
)]

use crate::telemetry::exposition::Family;

/// The families that could be read.
pub fn families() -> Vec<Family> {
    let mut families = Vec::new();
    if let Ok(io) = std::fs::read_to_string("/proc/self/io") {
        let mut add = |name, help, line: &str| {
            families.extend(field(&io, line).map(|bytes| Family::gauge(name, help).of(bytes)));
        };
        add(
            "kafka_server_kafkaserver_linux_disk_read_bytes",
            "Bytes this process read from disks",
            "read_bytes:",
        );
        add(
            "kafka_server_kafkaserver_linux_disk_write_bytes",
            "Bytes this process wrote to disks",
            "write_bytes:",
        );
    }
    if let Ok(status) = std::fs::read_to_string("/proc/self/status") {
        let resident = field(&status, "VmRSS:").map(|kib| kib * 1024);
        families.extend(
            resident.map(|bytes| Family::gauge("process_resident_memory_bytes", "Resident memory").of(bytes)),
        );
    }
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        families.push(Family::gauge("process_open_fds", "Open file descriptors").of(open.count()));
    }
    if let Some(ticks) = std::fs::read_to_string("/proc/self/stat").ok().as_deref().and_then(cpu_ticks) {
        let mut seconds = Family::counter("process_cpu_seconds", "CPU time in user and kernel mode");
        seconds.series.push((Vec::new(), ticks as f64 / TICKS_PER_SECOND));
        families.push(seconds);
    }
    families
}

/// USER_HZ, the same on every Linux that Rust runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// The number behind a label at the beginning of a line.
fn field(text: &str, label: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(label))?;
    line.split_whitespace().next()?.parse().ok()
}

/// utime + stime: the 14th and 15th field, counted behind the command's closing bracket.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, behind) = stat.rsplit_once(')')?;
    let mut fields = behind.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    Some(next()? + next()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_is_understood() {
        assert_eq!(field("rchar: 1\nread_bytes: 4096\n", "read_bytes:"), Some(4096));
        assert_eq!(field("VmRSS:\t  512 kB\n", "VmRSS:"), Some(512));
        assert_eq!(field("x", "read_bytes:"), None);
        let stat = "1 (a) b) S 1 1 1 0 -1 4194560 100 0 0 0 17 5 0 0 20 0 1 0 100 0 0";
        assert_eq!(cpu_ticks(stat), Some(22));
        assert!(families().iter().any(|family| family.name == "process_open_fds"));
    }
}
