//! A log on a real disk and batches to fill it with. It knows neither sockets nor a broker.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use firnline_tiering::batch::builder::BatchBuilder;
use firnline_tiering::batch::validate::Origin;
use firnline_tiering::clock::{Clock, SystemClock};
use firnline_tiering::config::{LogConfig, LogId};
use firnline_tiering::epoch::LeaderEpoch;
use firnline_tiering::hot::file::OsFiles;
use firnline_tiering::log::append::AppendAs;
use firnline_tiering::log::open::OpenLog;
use firnline_tiering::log::unified::Log;
use firnline_tiering::offsets::Offset;

/// Bytes of the batches.
pub const BATCH_BYTES: usize = 16 << 10;

/// An empty log below `dir`.
pub fn log(dir: &Path, segment_bytes: u64) -> Arc<Log> {
    let config =
        LogConfig { segment_bytes, remote_enabled: true, file_delete_delay_ms: 0, ..LogConfig::default() };
    let (log, _) = Log::open(OpenLog {
        id: LogId::new("AAAAAAAAAAAAAAAAAAAAAQ/0"),
        dir: dir.join("log-0"),
        config,
        files: Arc::new(OsFiles),
        health: Arc::default(),
        clock: Arc::new(SystemClock),
        boot: None,
        clean_shutdown: false,
        recovery_point: Offset(0),
        log_start: Offset(0),
        committed_remote_end: None,
    })
    .expect("an empty log opens");
    log
}

/// How a client's batch is appended.
pub fn as_leader() -> AppendAs {
    AppendAs {
        leader_epoch: LeaderEpoch(0),
        now_ms: SystemClock.now_ms(),
        origin: Origin::Client,
        produce_version: 9,
    }
}

/// A batch of exactly [`BATCH_BYTES`]: fifteen records and one that fills up.
pub fn batch() -> Bytes {
    let now_ms = SystemClock.now_ms();
    let build = |last: usize| {
        let mut builder = BatchBuilder::new();
        for _ in 0..15 {
            builder.push(now_ms, None, Some(&[b'x'; 1000]), &[]);
        }
        builder.push(now_ms, None, Some(&vec![b'y'; last]), &[]);
        builder.build()
    };
    let short = BATCH_BYTES - build(500).len();
    let batch = build(500 + short);
    assert_eq!(batch.len(), BATCH_BYTES);
    batch
}
