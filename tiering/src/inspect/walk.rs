//! A walk over the batches of a segment that goes on behind damage, where the next whole batch begins.
//! Invariant: every batch shown has its CRC and lies above all before it; every byte is in a batch or in a break.

use crate::batch::header::{BatchError, BatchHeader};
use crate::hot::file::File;
use crate::hot::recovery::{Depth, Fault, Walk, valid_batch_after};
use crate::inspect::finding::Damage;
use crate::offsets::Offset;
use std::io;

/// Breaks after which the rest of a file is given up.
pub(super) const BREAKS_MAX: usize = 64;

/// What is met on the way.
#[derive(Debug)]
pub(super) enum Step<'a> {
    /// A whole batch and its bytes.
    Batch { position: u64, header: &'a BatchHeader, batch: &'a [u8] },
    /// Bytes that are no whole batch, up to the next one or the end of the file.
    Break { position: u64, until: Option<u64>, fault: &'a Fault },
}

/// Walks the first `len` bytes of a segment that begins at `base`.
pub(super) fn walk(
    file: &dyn File,
    base: Offset,
    len: u64,
    mut meet: impl FnMut(Step<'_>) -> io::Result<()>,
) -> io::Result<()> {
    let (mut position, mut next) = (0, base);
    let mut batch = Vec::new();
    for _ in 0..BREAKS_MAX {
        let mut walk = Walk::new(file, base, Depth::Checked, position, len, next);
        while let Some(met) = walk.step()? {
            // The walk has read all of it: the length is no claim any more.
            batch.resize(met.header.size(), 0);
            file.read_exact_at(&mut batch, met.position)?;
            meet(Step::Batch { position: met.position, header: &met.header, batch: &batch })?;
        }
        let Some(fault) = walk.fault() else { return Ok(()) };
        (position, next) = (walk.position(), walk.next());
        let until = valid_batch_after(file, position, next)?.filter(|until| *until < len);
        meet(Step::Break { position, until, fault })?;
        match until {
            Some(until) => position = until,
            None => return Ok(()),
        }
    }
    Ok(())
}

/// What kind of damage a fault is, `until` being where whole batches go on.
pub(super) fn damage(fault: &Fault, until: Option<u64>) -> Damage {
    match fault {
        Fault::Batch(BatchError::Crc { .. }) => Damage::Crc,
        Fault::Batch(BatchError::Truncated { .. }) if until.is_none() => Damage::Torn,
        Fault::Batch(_) => Damage::Batch,
        Fault::Offsets { .. } | Fault::TooLong => Damage::Offsets,
    }
}
