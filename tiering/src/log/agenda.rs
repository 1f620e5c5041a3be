//! Which logs housekeeping looks at: those where something happened since its last look, and those where something is
//! due by the clock. It does nothing to them. Invariant: a log to which nothing happens and where nothing is due costs
//! nothing, and what happens to a log while it is looked at brings the next look.

use crate::log::unified::{Log, Stirs};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

/// The logs to look at, and when. Kept by whoever does the housekeeping.
#[derive(Debug, Default)]
pub struct Agenda {
    /// By time, milliseconds, and the log's number.
    planned: BTreeMap<(i64, u64), Weak<Log>>,
    /// By number: where it stands in `planned`.
    when: BTreeMap<u64, i64>,
}

impl Agenda {
    /// Takes every log that has a note in `list` or is due by `now_ms`, each once, in the order in which they were told
    /// the list. Give each back to [`Agenda::plan`] when it was looked at.
    pub fn take(&mut self, list: &Stirs, now_ms: i64) -> Vec<(u64, Arc<Log>)> {
        let mut taken: BTreeMap<u64, Weak<Log>> = list.take().into_iter().collect();
        while let Some(first) = self.planned.first_entry().filter(|first| first.key().0 <= now_ms) {
            let ((_, number), log) = first.remove_entry();
            self.when.remove(&number);
            taken.insert(number, log);
        }
        let mut logs = Vec::with_capacity(taken.len());
        for (number, log) in taken {
            self.forget(number);
            if let Some(log) = log.upgrade() {
                // From here on whatever happens is noted anew.
                log.stirred.swap(false, Ordering::AcqRel);
                logs.push((number, log));
            }
        }
        logs
    }

    /// Looks at a log again at `due_ms`, or only once something happened to it.
    pub fn plan(&mut self, number: u64, log: &Arc<Log>, due_ms: Option<i64>) {
        self.forget(number);
        if let Some(due_ms) = due_ms {
            self.when.insert(number, due_ms);
            self.planned.insert((due_ms, number), Arc::downgrade(log));
        }
    }

    /// Logs that wait for the clock.
    pub fn planned(&self) -> usize {
        self.planned.len()
    }

    fn forget(&mut self, number: u64) {
        if let Some(due_ms) = self.when.remove(&number) {
            self.planned.remove(&(due_ms, number));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::builder::BatchBuilder;
    use crate::clock::Clock;
    use crate::config::{LogConfig, LogId};
    use crate::epoch::LeaderEpoch;
    use crate::hot::file::{Files, OsFiles};
    use crate::log::append::{AppendAs, Origin};
    use crate::log::open::OpenLog;
    use crate::offsets::Offset;
    use std::sync::atomic::AtomicI64;

    #[derive(Debug, Default)]
    struct Still(AtomicI64);

    impl Clock for Still {
        fn now_ms(&self) -> i64 {
            self.0.load(Ordering::Relaxed)
        }
    }

    struct Desk {
        dir: tempfile::TempDir,
        clock: Arc<Still>,
        list: Arc<Stirs>,
        agenda: Agenda,
    }

    impl Desk {
        fn new() -> Self {
            let (clock, list) = (Arc::new(Still(AtomicI64::new(1_000_000))), Arc::default());
            Self { dir: tempfile::tempdir().expect("a directory"), clock, list, agenda: Agenda::default() }
        }

        fn log(&self, name: &str, config: &LogConfig) -> Arc<Log> {
            let open = OpenLog {
                id: LogId::new(name),
                dir: self.dir.path().join(name),
                config: config.clone(),
                files: Arc::new(OsFiles),
                health: Arc::default(),
                clock: self.clock.clone(),
                boot: None,
                clean_shutdown: true,
                recovery_point: Offset::ZERO,
                log_start: Offset::ZERO,
                committed_remote_end: None,
            };
            let log = Log::open(open).expect("opens").0;
            log.note_in(&self.list);
            log
        }

        fn append(&self, log: &Log, producer: Option<i64>) {
            let now_ms = self.clock.now_ms();
            let mut builder = BatchBuilder::new();
            if let Some(id) = producer {
                builder = builder.producer(id, 0, 0);
            }
            builder.push(now_ms, None, Some(b"snow"), &[]);
            let how =
                AppendAs { leader_epoch: LeaderEpoch(0), now_ms, origin: Origin::Client, produce_version: 9 };
            log.append(&mut builder.build().to_vec(), &how).expect("appends");
        }

        /// One turn of housekeeping; answers at which logs.
        fn turn(&mut self) -> Vec<String> {
            let due = self.agenda.take(&self.list, self.clock.now_ms());
            for (number, log) in &due {
                log.roll_if_due().expect("rolls");
                log.maintain().expect("maintains");
                log.flush_if_due().expect("flushes");
                self.agenda.plan(*number, log, log.due_ms());
            }
            due.iter().map(|(_, log)| log.id().as_str().to_owned()).collect()
        }

        /// Turns until nothing is left to do.
        fn calm(&mut self) {
            while !self.turn().is_empty() {}
        }

        fn pass(&self, ms: i64) {
            self.clock.0.fetch_add(ms, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_log_to_which_nothing_happens_is_looked_at_once() {
        let mut desk = Desk::new();
        let config = LogConfig::default();
        let logs: Vec<_> = ["c", "a", "b"].iter().map(|name| desk.log(name, &config)).collect();
        assert_eq!(desk.turn(), ["c", "a", "b"], "when it was opened, in the order of that");
        desk.pass(i64::from(i32::MAX));
        assert_eq!((desk.turn(), desk.agenda.planned()), (vec![], 0));
        desk.append(&logs[1], None);
        desk.append(&logs[1], None);
        assert_eq!(desk.turn(), ["a"]);
        logs[2].set_config(LogConfig { segment_ms: 7, ..config });
        assert_eq!(desk.turn(), ["b"]);
    }

    #[test]
    fn what_is_due_by_the_clock_is_looked_at_in_time() {
        let mut desk = Desk::new();
        let config = LogConfig { segment_ms: 1000, file_delete_delay_ms: 50, ..LogConfig::default() };
        let log = desk.log("rolls", &config);
        let flushed = desk.log("flushed", &LogConfig { flush_ms: 300, ..LogConfig::default() });
        desk.append(&log, None);
        desk.append(&flushed, None);
        desk.calm();
        desk.pass(299);
        assert!(desk.turn().is_empty() && flushed.unflushed() == 1);
        desk.pass(1);
        assert_eq!((desk.turn(), flushed.unflushed()), (vec!["flushed".to_owned()], 0));
        desk.pass(700);
        assert!(desk.turn().is_empty() && log.segment_count() == 1);
        desk.pass(1);
        assert_eq!((desk.turn(), log.segment_count()), (vec!["rolls".to_owned()], 2));
        desk.calm();
        log.advance_log_start(Offset(1)).expect("moves");
        desk.calm();
        let dead = || OsFiles.list(log.dir()).expect("lists").len();
        let before = dead();
        desk.pass(50);
        assert_eq!(desk.turn(), ["rolls"]);
        assert!(dead() < before, "files on their way out are removed when they are due");
    }

    #[test]
    fn producers_are_looked_for_and_forgotten_logs_are_not() {
        let mut desk = Desk::new();
        let config =
            LogConfig { producer_check_ms: 100, producer_expiration_ms: 150, ..LogConfig::default() };
        let log = desk.log("t", &config);
        desk.append(&log, Some(5));
        desk.calm();
        let planned_for_roll = 1;
        for _ in 0..2 {
            assert!(!log.producers().is_empty());
            desk.pass(100);
            assert_eq!(desk.turn(), ["t"]);
        }
        assert!(log.producers().is_empty());
        assert_eq!(desk.agenda.planned(), planned_for_roll);
        log.abandon();
        drop(log);
        assert_eq!((desk.turn(), desk.agenda.planned()), (vec![], 0), "of a log that is gone nothing stays");
    }
}
