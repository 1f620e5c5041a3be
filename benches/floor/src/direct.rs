//! What reading cold local data cannot do without: O_DIRECT reads of the device, one at a time, no page cache.
//! Nothing is sent. Invariant: no byte comes from the page cache.

use std::fs::File;
use std::io::{self, Write as _};
use std::time::Instant;

use rustix::fs::{Mode, OFlags};

use crate::arguments::Arguments;
use crate::meter::{Figures, Meter};

/// What the device wants of a buffer's address, a read's place and its length.
const ALIGNMENT: usize = 4096;

/// Writes the file, then reads it from the device.
pub fn read(asked: &Arguments) -> io::Result<Figures> {
    let path = asked.dir.join("direct");
    let chunk_bytes = asked.chunk.next_multiple_of(ALIGNMENT);
    let mut file = File::create(&path)?;
    let chunk = vec![7; chunk_bytes];
    for _ in 0..asked.chunks() {
        file.write_all(&chunk)?;
    }
    file.sync_data()?;
    let file = rustix::fs::open(&path, OFlags::RDONLY | OFlags::DIRECT, Mode::empty())?;
    let mut buffer = vec![0; chunk_bytes + ALIGNMENT];
    let from = buffer.as_ptr().align_offset(ALIGNMENT);
    let buffer = &mut buffer[from..from + chunk_bytes];
    let (mut at, mut latencies) = (0, Vec::new());
    let meter = Meter::start()?;
    loop {
        let began = Instant::now();
        let read = rustix::io::pread(&file, &mut *buffer, at)?;
        if read == 0 {
            break;
        }
        latencies.push(began.elapsed());
        at += read as u64;
    }
    let figures = meter.end(latencies.len() as u64, at)?.with(latencies);
    std::fs::remove_file(&path)?;
    Ok(figures)
}
