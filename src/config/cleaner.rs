//! The cleaner's settings: memory, speed and pause, read anew at each turn, so that a running broker follows a change.
//! What a topic says about compaction is in its own settings (`topic`). Invariant: every cleaning gets room for keys.

use firnline_tiering::compact::clean::CleanerMemory;

use crate::config::settings::Settings;

/// Least memory for one cleaning's key map, bytes; Kafka refuses to start with less.
const DEDUPE_BYTES_MIN: u64 = 1 << 20;
/// Least memory for one cleaning's reads and writes, bytes: a small batch, so that steps stay worth their hop.
const IO_BYTES_MIN: u64 = 16 << 10;

/// How the cleaner works.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cleaner {
    /// Logs cleaned at once (`log.cleaner.threads`).
    pub threads: usize,
    /// Of each of them (`log.cleaner.dedupe.buffer.size`, `.io.buffer.size`, `.io.buffer.load.factor`).
    pub memory: CleanerMemory,
    /// Bytes that all together may move in a second (`log.cleaner.io.max.bytes.per.second`); `None` = any.
    pub bytes_per_second: Option<f64>,
    /// Pause when nothing is dirty enough, ms (`log.cleaner.backoff.ms`).
    pub backoff_ms: u64,
}

impl Cleaner {
    /// The settings in force.
    pub fn of(settings: &Settings) -> Cleaner {
        let size = |name: &str| settings.number(name).unwrap_or_default().max(0) as u64;
        let ratio = |name: &str| settings.text(name).and_then(|text| text.parse::<f64>().ok());
        let threads = size("log.cleaner.threads").max(1);
        let io_bytes = (size("log.cleaner.io.buffer.size") / threads / 2).max(IO_BYTES_MIN);
        Cleaner {
            threads: threads as usize,
            memory: CleanerMemory {
                dedupe_bytes: (size("log.cleaner.dedupe.buffer.size") / threads).max(DEDUPE_BYTES_MIN),
                load_factor: ratio("log.cleaner.io.buffer.load.factor").unwrap_or(0.9),
                io_bytes: io_bytes as usize,
            },
            // Kafka's default is the largest double: no limit.
            bytes_per_second: ratio("log.cleaner.io.max.bytes.per.second").filter(|rate| *rate < 1e15),
            backoff_ms: size("log.cleaner.backoff.ms"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::Source;

    #[test]
    fn memory_is_shared_by_the_threads() {
        let mut settings = Settings::default();
        let default = Cleaner::of(&settings);
        assert_eq!((default.threads, default.backoff_ms, default.bytes_per_second), (1, 15_000, None));
        assert_eq!((default.memory.dedupe_bytes, default.memory.io_bytes), (128 << 20, 256 << 10));
        for (name, value) in [
            ("log.cleaner.threads", "4"),
            ("log.cleaner.dedupe.buffer.size", "100"),
            ("log.cleaner.io.buffer.load.factor", "0.5"),
            ("log.cleaner.io.max.bytes.per.second", "1048576"),
        ] {
            settings.put(Source::File, name, value).unwrap();
        }
        let set = Cleaner::of(&settings);
        assert_eq!((set.threads, set.bytes_per_second), (4, Some(1048576.0)));
        let memory = CleanerMemory { dedupe_bytes: 1 << 20, load_factor: 0.5, io_bytes: 64 << 10 };
        assert_eq!(set.memory, memory);
    }
}
