//! A home for one log in a temporary directory, with a clock that stands still until told, and batches to put in.
#![allow(dead_code, reason = "each test binary uses its part")]

pub mod faulty;
pub mod twin;

use firnline_tiering::batch::builder::BatchBuilder;
use firnline_tiering::batch::header::Codec;
use firnline_tiering::clock::Clock;
use firnline_tiering::config::{LogConfig, LogId};
use firnline_tiering::epoch::LeaderEpoch;
use firnline_tiering::hot::file::{Files, OsFiles};
use firnline_tiering::log::append::{AppendAs, AppendError, Appended, Origin};
use firnline_tiering::log::open::{OpenError, OpenLog, Recovered};
use firnline_tiering::log::read::Slice;
use firnline_tiering::log::unified::Log;
use firnline_tiering::offsets::Offset;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// A clock for tests.
#[derive(Debug)]
pub struct TestClock(pub AtomicI64);

impl Clock for TestClock {
    fn now_ms(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// One batch as it stands in the log.
#[derive(Debug, Clone)]
pub struct Stored {
    pub base: Offset,
    pub next: Offset,
    pub bytes: Vec<u8>,
    pub timestamps: Vec<i64>,
}

/// Where one log lives.
pub struct Home {
    dir: tempfile::TempDir,
    pub clock: Arc<TestClock>,
    pub files: Arc<dyn Files>,
    pub config: LogConfig,
    pub boot: Option<uuid::Uuid>,
}

impl Home {
    pub fn new() -> Self {
        let config = LogConfig {
            segment_bytes: 2000,
            index_interval_bytes: 100,
            file_delete_delay_ms: 5,
            ..LogConfig::default()
        };
        Self::with(Arc::new(OsFiles), config)
    }

    pub fn with(files: Arc<dyn Files>, config: LogConfig) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let clock = Arc::new(TestClock(AtomicI64::new(1_700_000_000_000)));
        Self { dir, clock, files, config, boot: None }
    }

    pub fn path(&self) -> PathBuf {
        self.dir.path().join("orders-0")
    }

    pub fn now(&self) -> i64 {
        self.clock.now_ms()
    }

    /// Ten milliseconds pass.
    pub fn tick(&self) -> i64 {
        self.clock.0.fetch_add(10, Ordering::SeqCst) + 10
    }

    pub fn open_log(&self) -> OpenLog {
        OpenLog {
            id: LogId::new("test/0"),
            dir: self.path(),
            config: self.config.clone(),
            files: self.files.clone(),
            health: Arc::default(),
            clock: self.clock.clone(),
            boot: self.boot,
            clean_shutdown: false,
            recovery_point: Offset::ZERO,
            log_start: Offset::ZERO,
            committed_remote_end: None,
        }
    }

    pub fn try_open(
        &self,
        clean_shutdown: bool,
        recovery_point: Offset,
        log_start: Offset,
    ) -> Result<(Arc<Log>, Recovered), OpenError> {
        Log::open(OpenLog { clean_shutdown, recovery_point, log_start, ..self.open_log() })
    }

    pub fn open(&self, clean: bool, recovery_point: Offset, log_start: Offset) -> (Arc<Log>, Recovered) {
        self.try_open(clean, recovery_point, log_start).expect("opens")
    }

    pub fn append(&self, log: &Log, batch: &mut [u8], epoch: i32) -> Result<Appended, AppendError> {
        let leader_epoch = LeaderEpoch(epoch);
        let how = AppendAs { leader_epoch, now_ms: self.now(), origin: Origin::Client, produce_version: 9 };
        log.append(batch, &how)
    }
}

/// A client's batch; record i has timestamp `timestamp + i`.
pub fn batch(
    records: usize,
    value: usize,
    timestamp: i64,
    codec: Codec,
    producer: Option<(i64, i32)>,
) -> Vec<u8> {
    let mut builder = BatchBuilder::new().codec(codec);
    if let Some((id, sequence)) = producer {
        builder = builder.producer(id, 0, sequence);
    }
    for at in 0..records {
        builder.push(timestamp + at as i64, Some(b"k"), Some(&vec![at as u8; value]), &[]);
    }
    builder.build().to_vec()
}

/// What a slice holds.
pub fn bytes_of(slice: &Slice) -> Vec<u8> {
    let mut bytes = vec![0; slice.len as usize];
    slice.file.read_exact_at(&mut bytes, slice.at).expect("a slice is readable");
    bytes
}
