//! The workload that is stopped everywhere: every verb of a log, in an order that makes each meet the others' leavings.

/// One step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// So many batches; idempotent ones among them.
    Append(usize),
    /// The next leader epoch begins.
    Epoch,
    Roll,
    /// Housekeeping: sealed segments durable, trash emptied.
    Maintain,
    Flush,
    /// The directory's checkpoint files, as the broker writes them now and then.
    Checkpoint,
    /// Cuts so many batches off the end.
    Truncate(usize),
    /// Cuts inside the last batch: it goes whole.
    TruncateInside,
    /// DeleteRecords: the log start moves so many batches up.
    Trim(usize),
    /// Retention by size.
    Retain,
    /// The process dies between two operations and the next one recovers.
    Crash,
    /// A clean stop and start.
    Restart,
    /// Time passes, so that trash is due.
    Wait,
}

use Step::{
    Append, Checkpoint, Crash, Epoch, Flush, Maintain, Restart, Retain, Roll, Trim, Truncate, TruncateInside,
    Wait,
};

/// The workload.
pub const SCRIPT: &[Step] = &[
    Append(4),
    Flush,
    Append(9),
    Maintain,
    Checkpoint,
    Append(3),
    Crash,
    Append(6),
    Epoch,
    Append(4),
    Truncate(3),
    Checkpoint,
    Epoch,
    Append(5),
    Flush,
    Truncate(9),
    Checkpoint,
    Append(2),
    Flush,
    TruncateInside,
    Append(3),
    Trim(2),
    Append(8),
    Maintain,
    Trim(6),
    Wait,
    Maintain,
    Checkpoint,
    Append(12),
    Retain,
    Roll,
    Append(2),
    Wait,
    Maintain,
    Epoch,
    Append(7),
    Flush,
    Checkpoint,
    Restart,
    Append(5),
    Truncate(1),
    Append(2),
    Maintain,
    Crash,
    Append(3),
    Retain,
    Flush,
    Restart,
];
