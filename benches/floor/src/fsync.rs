//! What a durable acknowledgement cannot do without: an append and fdatasync, one after the other, into a file that
//! grows. Invariant: each time is one append with its sync.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::time::Instant;

use crate::arguments::Arguments;
use crate::meter::{Figures, Meter};

/// Appends `--operations` chunks.
pub fn append(asked: &Arguments) -> io::Result<Figures> {
    let path = asked.dir.join("fsync");
    let file = File::create(&path)?;
    let (chunk, mut latencies) = (vec![7; asked.chunk], Vec::new());
    let meter = Meter::start()?;
    for place in 0..asked.operations {
        let began = Instant::now();
        file.write_all_at(&chunk, place * asked.chunk as u64)?;
        file.sync_data()?;
        latencies.push(began.elapsed());
    }
    let figures = meter.end(asked.operations, asked.operations * asked.chunk as u64)?.with(latencies);
    std::fs::remove_file(&path)?;
    Ok(figures)
}
