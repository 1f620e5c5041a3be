//! A broker's way with one log, as little of it as a crash needs: directory, checkpoints, log; and the model beside
//! it. Invariant: an answer enters the model only if the process lived to give it.

use crate::model::{Batch, Doing, Model};
use crate::script::Step;
use crate::twin::disk::TwinDisk;
use firnline_tiering::batch::builder::BatchBuilder;
use firnline_tiering::batch::header::batches;
use firnline_tiering::clock::Clock;
use firnline_tiering::config::{LogConfig, LogId};
use firnline_tiering::entropy::OsEntropy;
use firnline_tiering::gc::expired_local;
use firnline_tiering::hot::file::Files;
use firnline_tiering::log::append::{AppendAs, Appended, Origin};
use firnline_tiering::log::directory::{CheckpointKind, DirectoryOwner, LogDirectory, LogName, Offsets};
use firnline_tiering::log::open::{OpenLog, Recovered};
use firnline_tiering::log::read::Read;
use firnline_tiering::log::unified::Log;
use firnline_tiering::offsets::Offset;
use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// The process died, or the disk failed: what comes next is another process.
#[derive(Debug)]
pub struct Died(pub String);

impl<E: Display> From<E> for Died {
    fn from(error: E) -> Self {
        Died(error.to_string())
    }
}

#[derive(Debug)]
pub struct StillClock(pub AtomicI64);

impl Clock for StillClock {
    fn now_ms(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}

pub fn root() -> &'static Path {
    Path::new("/data")
}

pub fn name() -> LogName {
    LogName { name: "orders".into(), number: 0 }
}

fn config() -> LogConfig {
    LogConfig {
        segment_bytes: 1000,
        index_interval_bytes: 150,
        file_delete_delay_ms: 5,
        retention_bytes: 3500,
        retention_ms: -1,
        tip_note_bytes: 200,
        ..LogConfig::default()
    }
}

/// One process with its log open.
pub struct Process {
    disk: TwinDisk,
    clock: Arc<StillClock>,
    directory: LogDirectory,
    pub log: Arc<Log>,
    pub recovered: Recovered,
}

impl Process {
    /// Opens directory and log as a broker does at its start.
    pub fn start(disk: &TwinDisk, clock: &Arc<StillClock>) -> Result<Self, Died> {
        let files: Arc<dyn Files> = Arc::new(disk.clone());
        let owner = DirectoryOwner { cluster_id: "c".into(), node_id: 1 };
        let directory = LogDirectory::open(files.clone(), clock.clone(), &OsEntropy, root(), &owner)?;
        let known = |kind| -> Result<Offset, Died> {
            Ok(directory.load(kind)?.get(&name()).copied().unwrap_or(Offset::ZERO))
        };
        let (recovery_point, log_start) =
            (known(CheckpointKind::RecoveryPoint)?, known(CheckpointKind::LogStart)?);
        let dir = directory.create_log(&name(), "version: 0\ntopic_id: x")?;
        let (log, recovered) = Log::open(OpenLog {
            id: LogId::new("test/0"),
            dir,
            config: config(),
            files,
            health: Arc::default(),
            clock: clock.clone(),
            boot: Some(disk.boot()),
            clean_shutdown: directory.was_clean(),
            recovery_point,
            log_start,
            committed_remote_end: None,
        })?;
        directory.sync()?;
        log.settle_names()?;
        Ok(Self { disk: disk.clone(), clock: clock.clone(), directory, log, recovered })
    }

    fn alive(&self) -> Result<(), Died> {
        if self.disk.is_dead() { Err(Died("between two operations".into())) } else { Ok(()) }
    }

    /// Does one step; the model learns of it when it is done.
    pub fn step(&mut self, step: Step, model: &mut Model) -> Result<(), Died> {
        match step {
            Step::Append(count) => {
                for _ in 0..count {
                    self.append(model)?;
                }
            }
            Step::Epoch => model.epoch.0 += 1,
            Step::Wait => drop(self.clock.0.fetch_add(10, Ordering::SeqCst)),
            Step::Roll => drop(self.log.roll()?),
            Step::Maintain => self.log.maintain()?,
            Step::Flush => self.flush(model)?,
            Step::Checkpoint => self.checkpoint()?,
            Step::Truncate(count) => {
                let at = model.history.len().saturating_sub(count);
                self.truncate(model.history[at].base, model)?;
            }
            Step::TruncateInside => {
                let inside = model.history.iter().rposition(|batch| batch.next - batch.base > 1);
                let at = inside.expect("a batch of several records");
                self.truncate(model.history[at].base + 1, model)?;
            }
            Step::Trim(count) => {
                let after = model.history.iter().filter(|batch| batch.next > model.log_start).nth(count);
                let to = after.expect("enough batches").base;
                self.move_start(to, model)?;
            }
            Step::Retain => {
                if let Some(to) = expired_local(&self.log, self.log.offsets().end, self.clock.now_ms()) {
                    self.move_start(to, model)?;
                }
            }
            Step::Crash => {
                self.disk.kill();
                self.disk.revive();
                *self = Self::start(&self.disk, &self.clock)?;
            }
            Step::Restart => {
                model.doing = Doing::Flush;
                self.log.close()?;
                self.checkpoint()?;
                self.directory.mark_clean(1)?;
                self.alive()?;
                model.flushed(self.log.offsets().end);
                self.disk.kill();
                self.disk.revive();
                *self = Self::start(&self.disk, &self.clock)?;
            }
        }
        self.alive()?;
        model.doing = Doing::Nothing;
        Ok(())
    }

    pub fn flush(&self, model: &mut Model) -> Result<(), Died> {
        model.doing = Doing::Flush;
        let end = self.log.flush()?;
        self.alive()?;
        model.flushed(end);
        Ok(())
    }

    pub fn checkpoint(&self) -> Result<(), Died> {
        let one = |offset| Offsets::from([(name(), offset)]);
        self.directory.save(CheckpointKind::RecoveryPoint, &one(self.log.recovery_point()))?;
        self.directory.save(CheckpointKind::LogStart, &one(self.log.offsets().log_start))?;
        Ok(self.directory.save(CheckpointKind::HighWatermark, &one(self.log.offsets().end))?)
    }

    fn truncate(&self, to: Offset, model: &mut Model) -> Result<(), Died> {
        model.doing = Doing::Truncate(to);
        self.log.truncate(to)?;
        self.alive()?;
        model.truncated(to);
        Ok(())
    }

    /// Durable first, then seen.
    fn move_start(&self, to: Offset, model: &mut Model) -> Result<(), Died> {
        model.doing = Doing::Trim(to);
        self.directory.save(CheckpointKind::LogStart, &Offsets::from([(name(), to)]))?;
        self.log.advance_log_start(to)?;
        self.alive()?;
        model.log_start = model.log_start.max(to);
        Ok(())
    }

    fn append(&self, model: &mut Model) -> Result<(), Died> {
        self.clock.0.fetch_add(1, Ordering::SeqCst);
        let (mut bytes, mut batch) = self.next_batch(model);
        let before = Offset(model.end().0.max(model.log_start.0));
        batch.base = before;
        batch.next = before + bytes_records(&bytes);
        batch.bytes = placed(&bytes, &batch);
        model.doing = Doing::Append(batch.clone());
        let appended = self.put(&mut bytes, model)?;
        self.alive()?;
        assert_eq!((appended.base_offset, appended.duplicate), (batch.base, false));
        assert_eq!(bytes, batch.bytes, "the model places batches as the log does");
        model.appended(batch);
        model.doing = Doing::Nothing;
        Ok(())
    }

    pub fn put(&self, bytes: &mut [u8], model: &Model) -> Result<Appended, Died> {
        let how = AppendAs {
            leader_epoch: model.epoch,
            now_ms: self.clock.now_ms(),
            origin: Origin::Client,
            produce_version: 9,
        };
        Ok(self.log.append(bytes, &how)?)
    }

    /// A batch that nobody sent before: its size and producer follow from the history alone.
    fn next_batch(&self, model: &Model) -> (Vec<u8>, Batch) {
        let now = self.clock.now_ms();
        let at = now as usize;
        let records = at % 4 + 1;
        let producer = (!at.is_multiple_of(3)).then_some(9 + (at % 2) as i64);
        let mut builder = BatchBuilder::new();
        let mut told = None;
        if let Some(id) = producer {
            let first = Model::sequence(&model.history, id).map_or(0, |last| last + 1);
            builder = builder.producer(id, 0, first);
            told = Some((id, first + records as i32 - 1));
        }
        for record in 0..records {
            let value = vec![at as u8; at * 13 % 70];
            builder.push(now + record as i64, Some(b"k"), Some(&value), &[]);
        }
        let batch = Batch {
            base: Offset::ZERO,
            next: Offset::ZERO,
            epoch: model.epoch,
            producer: told,
            bytes: Vec::new(),
        };
        (builder.build().to_vec(), batch)
    }

    /// Everything from the log start on, batch by batch.
    pub fn read_all(&self) -> Vec<Batch> {
        let offsets = self.log.offsets();
        let (mut at, mut found) = (offsets.log_start, Vec::new());
        while at < offsets.end {
            let Read::Hot(slice) = self.log.read(at, 1 << 20, offsets.end, true).expect("a readable log")
            else {
                panic!("I5: nothing at {at} of {offsets:?}")
            };
            let mut bytes = vec![0; slice.len as usize];
            slice.file.read_exact_at(&mut bytes, slice.at).expect("a readable slice");
            for batch in batches(&bytes) {
                let (header, bytes) = batch.expect("whole batches");
                header.check_crc(bytes).expect("an undamaged batch");
                at = header.next_offset();
                found.push(Batch {
                    base: header.base_offset,
                    next: header.next_offset(),
                    epoch: header.leader_epoch,
                    producer: None,
                    bytes: bytes.to_vec(),
                });
            }
        }
        found
    }
}

fn bytes_records(bytes: &[u8]) -> i64 {
    let (header, _) = batches(bytes).next().expect("one batch").expect("a whole batch");
    i64::from(header.last_offset_delta) + 1
}

/// The batch as the log will store it.
fn placed(bytes: &[u8], batch: &Batch) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    firnline_tiering::batch::header::set_base_offset(&mut bytes, batch.base);
    firnline_tiering::batch::header::set_leader_epoch(&mut bytes, batch.epoch);
    bytes
}
