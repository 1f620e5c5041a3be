//! `firn bench consume`: each connection reads one partition from its start, again from the start after the end.
//! One fetch at a time, because the next offset is only known then. Invariant: a late fetch counts from when it was due.

use firnline_tiering::batch::header::BatchHeader;

use crate::cli::bench::meter::Meter;
use crate::cli::bench::pace::Pace;
use crate::client::connection::Connection;
use crate::client::error::ClientError;
use crate::client::records::{FetchAsk, fetch};

/// How long the broker may wait for bytes, milliseconds.
const FETCH_WAIT_MS: i32 = 500;

/// One connection's work.
pub struct Work<'a> {
    /// Topic.
    pub topic: &'a str,
    /// Partition it reads.
    pub partition: i32,
    /// Bytes of one fetch.
    pub batch_bytes: i32,
    /// When.
    pub pace: Pace,
}

/// Fetches until the pace ends.
pub async fn run(mut connection: Connection, start: i64, work: Work<'_>) -> Result<Meter, ClientError> {
    let (mut meter, mut next) = (Meter::default(), start);
    for place in 0.. {
        let Some(due) = work.pace.due(place).await else { break };
        let ask = FetchAsk {
            topic: work.topic,
            index: work.partition,
            from: next,
            bytes_max: work.batch_bytes,
            wait_ms: FETCH_WAIT_MS,
        };
        let fetched = fetch(&mut connection, &ask).await?;
        let (records, bytes, end) = whole(&fetched.records);
        if records > 0 {
            meter.count(records, bytes, due.elapsed());
        }
        // Not the end: the bytes are still on their way from the bucket.
        next = end.unwrap_or(next);
        if next >= fetched.high_watermark {
            next = fetched.log_start.max(0);
        }
    }
    Ok(meter)
}

/// Records and bytes of the whole batches, and the offset after them.
fn whole(records: &[u8]) -> (u64, u64, Option<i64>) {
    let (mut at, mut count, mut end) = (0, 0, None);
    while let Ok(header) = BatchHeader::parse(&records[at..]) {
        if records.len() - at < header.size() {
            break;
        }
        count += u64::try_from(header.record_count).unwrap_or_default();
        end = Some(header.next_offset().0);
        at += header.size();
    }
    (count, at as u64, end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::bench::produce::batch;

    #[test]
    fn only_whole_batches_count() {
        let (one, records) = batch(100, 1000);
        let mut two = one.to_vec();
        two.extend_from_slice(&one);
        assert_eq!(whole(&two), (2 * records, two.len() as u64, Some(records as i64)));
        assert_eq!(whole(&two[..two.len() - 1]), (records, one.len() as u64, Some(records as i64)));
        assert_eq!(whole(&[]), (0, 0, None));
    }
}
