//! `firn bench consume`: each connection reads its partitions from their start, again from the start after the end, or
//! waits at their end for what arrives. One fetch at a time, because the next offsets are only known then.
//! Invariant: a late fetch counts from when it was due.

use std::time::Duration;

use firnline_tiering::batch::header::BatchHeader;

use crate::cli::bench::meter::Meter;
use crate::cli::bench::pace::Pace;
use crate::cli::bench::stamp;
use crate::client::connection::Connection;
use crate::client::error::ClientError;
use crate::client::records::{FetchTogether, Fetched, fetch_together};

/// Bytes of one fetch over several partitions: `fetch.max.bytes` of Kafka's consumers.
const FETCH_BYTES_MAX: i32 = 50 << 20;

/// One connection's work.
pub struct Work<'a> {
    /// Topic.
    pub topic: &'a str,
    /// Partitions it reads and the next offset of each.
    pub parts: Vec<(i32, i64)>,
    /// Bytes of one partition in one fetch.
    pub batch_bytes: i32,
    /// Read what arrives, not what is there.
    pub tail: bool,
    /// How long the broker may hold an empty fetch, milliseconds.
    pub wait_ms: i32,
    /// Stop after so many bytes.
    pub bytes_max: u64,
    /// When.
    pub pace: Pace,
}

/// Fetches until the pace ends or enough bytes came.
pub async fn run(mut connection: Connection, mut work: Work<'_>) -> Result<Meter, ClientError> {
    let mut meter = Meter::default();
    for place in 0.. {
        if meter.bytes() >= work.bytes_max {
            break;
        }
        let Some(due) = work.pace.due(place).await else { break };
        let ask = FetchTogether {
            topic: work.topic,
            parts: &work.parts,
            part_bytes_max: work.batch_bytes,
            bytes_max: if work.parts.len() > 1 { FETCH_BYTES_MAX } else { work.batch_bytes },
            wait_ms: work.wait_ms,
        };
        let fetched = fetch_together(&mut connection, &ask).await?;
        let (mut records, mut bytes, mut served) = (0, 0, 0);
        for (index, part) in &fetched {
            let whole = sweep(&part.records, &mut meter);
            records += whole.records;
            bytes += whole.bytes;
            served += usize::from(whole.records > 0);
            step(&mut work, *index, part, whole.end);
        }
        match records {
            0 => meter.poll(),
            _ => meter.count(records, bytes, due.elapsed()),
        }
        // Those that were served stand last next time, as a consumer's partitions do.
        let turn = served % work.parts.len().max(1);
        work.parts.rotate_left(turn);
    }
    Ok(meter)
}

/// Moves a partition's next offset past what came. Without an end the bytes are still on their way from the bucket.
fn step(work: &mut Work<'_>, index: i32, part: &Fetched, end: Option<i64>) {
    let Some((_, next)) = work.parts.iter_mut().find(|(known, _)| *known == index) else { return };
    *next = end.unwrap_or(*next);
    if !work.tail && *next >= part.high_watermark {
        *next = part.log_start.max(0);
    }
}

/// The whole batches of a partition's bytes.
#[derive(Debug, Default, PartialEq, Eq)]
struct Whole {
    records: u64,
    bytes: u64,
    /// The offset after them.
    end: Option<i64>,
}

/// Counts the whole batches; a stamped one tells the meter how long it was on its way.
fn sweep(bytes: &[u8], meter: &mut Meter) -> Whole {
    let (mut at, mut whole, mut now_us) = (0, Whole::default(), None);
    while let Ok(header) = BatchHeader::parse(&bytes[at..]) {
        let Some(batch) = bytes.get(at..at + header.size()) else { break };
        if let Some(due_us) = stamp::read(&header, batch) {
            let now_us = *now_us.get_or_insert_with(stamp::now_us);
            meter.arrived(Duration::from_micros(now_us.saturating_sub(due_us)));
        }
        whole.records += u64::try_from(header.record_count).unwrap_or_default();
        whole.end = Some(header.next_offset().0);
        at += header.size();
    }
    whole.bytes = at as u64;
    whole
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::bench::produce::{Values, batch};

    #[test]
    fn only_whole_batches_count() {
        let (one, records) = batch(&Values { record_bytes: 100, ..Values::default() }, 1000);
        let mut two = one.to_vec();
        two.extend_from_slice(&one);
        let mut meter = Meter::default();
        let end = Some(records as i64);
        assert_eq!(sweep(&two, &mut meter), Whole { records: 2 * records, bytes: two.len() as u64, end });
        assert_eq!(sweep(&two[..two.len() - 1], &mut meter), Whole { records, bytes: one.len() as u64, end });
        assert_eq!(sweep(&[], &mut meter), Whole::default());
        assert_eq!(meter.result("consume", 1.0).end_to_end_ms, None);
    }
}
