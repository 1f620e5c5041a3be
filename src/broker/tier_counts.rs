//! What moves to the bucket, counted, and what is wrong with it now: for metrics and tier status.
//! Plain numbers and one text; nothing decides by them.

use firnline_tiering::cold::probe::ProbeReport;
use firnline_tiering::offload::task::Offloaded;
use parking_lot::Mutex;

use crate::api::counters::Counter;

/// Counts since the start, and the newest findings.
#[derive(Debug, Default)]
pub struct TierCounts {
    /// Segments offloaded.
    pub copies: Counter,
    /// Their bytes of log.
    pub copy_bytes: Counter,
    /// Turns at a log that failed and are repeated.
    pub copy_errors: Counter,
    /// Manifests committed.
    pub folds: Counter,
    last_error: Mutex<Option<String>>,
    probe: Mutex<Option<ProbeReport>>,
}

impl TierCounts {
    /// A turn at a log came to this.
    pub fn offloaded(&self, done: &Offloaded) {
        if let Some(entry) = &done.uploaded {
            self.copies.add(1);
            self.copy_bytes.add(entry.log_bytes);
            *self.last_error.lock() = None;
        }
        self.folds.add(u64::from(done.folded));
    }

    /// A turn at a log failed.
    pub fn failed(&self, error: String) {
        self.copy_errors.add(1);
        *self.last_error.lock() = Some(error);
    }

    /// A log that had failed works again.
    pub fn works_again(&self) {
        *self.last_error.lock() = None;
    }

    /// Why the newest turn failed, if none has succeeded since.
    pub fn last_error(&self) -> Option<String> {
        self.last_error.lock().clone()
    }

    /// The probe at start came to this.
    pub fn probed(&self, report: ProbeReport) {
        *self.probe.lock() = Some(report);
    }

    /// What the probe at start found, once it is done.
    pub fn probe(&self) -> Option<ProbeReport> {
        self.probe.lock().clone()
    }
}
