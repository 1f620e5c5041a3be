//! What is in the log of each partition against what was acknowledged: values say their partition and number, and
//! stand in the order they were written. It reads and writes nothing. Invariant: nothing acknowledged is left unlooked for.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use firnline_tiering::batch::header::{BatchHeader, HEADER_BYTES};
use firnline_tiering::batch::record::RecordReader;
use serde::Serialize;
use tokio::time::Instant;

use crate::cli::bench::route::Router;
use crate::client::connection::Connection;
use crate::client::error::ClientError;
use crate::client::records::{FetchTogether, fetch_together};

/// Bytes of a partition in one fetch, and of all.
const PART_BYTES: i32 = 1 << 20;
const ALL_BYTES: i32 = 32 << 20;
/// Partitions in one fetch.
const AT_ONCE: usize = 250;
/// How long the log may take to be readable.
const PATIENCE: Duration = Duration::from_secs(30);
const MAGIC: &[u8; 8] = b"firnthru";
/// Bytes of a value at least.
pub const VALUE_BYTES: usize = 20;

/// Per partition: records acknowledged, and whether one more was sent.
pub type Expected = BTreeMap<i32, (u64, bool)>;

/// What the log holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Proof {
    /// Records found.
    pub found: u64,
    /// Acknowledged and not there.
    pub lost: u64,
    /// There more than once.
    pub twice: u64,
    /// There behind a later one.
    pub disordered: u64,
    /// There and never sent.
    pub strange: u64,
}

impl Proof {
    /// Nothing is wrong.
    pub fn holds(&self) -> bool {
        self.lost + self.twice + self.disordered + self.strange == 0
    }
}

/// The value of a partition's record `number`, `bytes` long at least.
pub fn value(partition: i32, number: u64, bytes: usize) -> Vec<u8> {
    let mut value = [&MAGIC[..], &partition.to_be_bytes(), &number.to_be_bytes()].concat();
    value.resize(bytes.max(VALUE_BYTES), b'.');
    value
}

fn read(value: &[u8]) -> Option<(i32, u64)> {
    let rest = value.strip_prefix(MAGIC)?;
    let (partition, number) = (rest.get(..4)?, rest.get(4..12)?);
    Some((i32::from_be_bytes(partition.try_into().ok()?), u64::from_be_bytes(number.try_into().ok()?)))
}

/// Reads every partition whole, each from its leader.
pub async fn check(
    router: &Router,
    topic: &str,
    client_id: &str,
    expected: &Expected,
) -> Result<Proof, ClientError> {
    let mut found: BTreeMap<i32, Vec<Option<u64>>> = BTreeMap::new();
    let mut left: BTreeMap<i32, i64> = expected.keys().map(|index| (*index, 0)).collect();
    let until = Instant::now() + PATIENCE;
    while !left.is_empty() {
        let mut by_leader: BTreeMap<i32, Vec<(i32, i64)>> = BTreeMap::new();
        for (index, from) in &left {
            let parts = router.leader(*index).map(|leader| by_leader.entry(leader).or_default());
            parts.into_iter().for_each(|parts| parts.push((*index, *from)));
        }
        let mut failed = None;
        for (leader, parts) in by_leader {
            let address = router.address(leader).unwrap_or_default();
            let swept = sweep(&address, topic, client_id, parts, (&mut left, &mut found)).await;
            failed = swept.err().or(failed);
        }
        // A new leader tells what is committed a moment after it leads: what is acknowledged must come.
        left.retain(|index, _| {
            let found = found.get(index).map_or(0, |values| values.len() as u64);
            failed.is_some() || found < expected.get(index).map_or(0, |(acked, _)| *acked)
        });
        match failed {
            Some(error) if Instant::now() >= until => return Err(error),
            None if Instant::now() >= until => break,
            _ => router.news().await,
        }
    }
    Ok(judge(expected, &found))
}

/// Where reading goes on in each partition, and what was found in it.
type Reading<'a> = (&'a mut BTreeMap<i32, i64>, &'a mut BTreeMap<i32, Vec<Option<u64>>>);

/// Reads partitions of one leader to their ends.
async fn sweep(
    address: &str,
    topic: &str,
    client_id: &str,
    parts: Vec<(i32, i64)>,
    (left, found): Reading<'_>,
) -> Result<(), ClientError> {
    let mut connection = Connection::open(address, client_id).await?;
    for some in parts.chunks(AT_ONCE) {
        let mut open = some.to_vec();
        while !open.is_empty() {
            let ask = FetchTogether {
                topic,
                parts: &open,
                part_bytes_max: PART_BYTES,
                bytes_max: ALL_BYTES,
                wait_ms: 0,
            };
            let fetched = fetch_together(&mut connection, &ask).await?;
            for (index, part) in fetched {
                let Some(place) = open.iter().position(|(known, _)| *known == index) else { continue };
                let next = values(index, &part.records, open[place].1, found.entry(index).or_default());
                open[place].1 = next;
                left.insert(index, next);
                if next >= part.high_watermark {
                    open.remove(place);
                }
            }
            // The ones served last time stand last, so that none starves.
            let turn = open.len() / 2;
            open.rotate_left(turn);
        }
    }
    Ok(())
}

/// Notes each value from offset `next` on; answers the offset after the last whole batch.
fn values(index: i32, bytes: &Bytes, mut next: i64, found: &mut Vec<Option<u64>>) -> i64 {
    let mut at = 0;
    while let Ok(header) = BatchHeader::parse(&bytes[at..]) {
        let Some(batch) = bytes.get(at..at + header.size()) else { break };
        at += header.size();
        if header.next_offset().0 <= next {
            continue;
        }
        next = header.next_offset().0;
        let mut records = RecordReader::new(batch.get(HEADER_BYTES..).unwrap_or_default());
        while let Ok(Some(record)) = records.next_record() {
            let said = record.value.and_then(read).filter(|(partition, _)| *partition == index);
            found.push(said.map(|(_, number)| number));
        }
    }
    next
}

fn judge(expected: &Expected, found: &BTreeMap<i32, Vec<Option<u64>>>) -> Proof {
    let mut proof = Proof::default();
    for (index, (acked, open)) in expected {
        let (values, sent) = (found.get(index).map_or(&[][..], Vec::as_slice), acked + u64::from(*open));
        let mut times = vec![0_u64; usize::try_from(sent).unwrap_or_default()];
        let mut highest = None;
        for value in values {
            proof.found += 1;
            let place = value.and_then(|number| usize::try_from(number).ok());
            let Some(seen) = place.and_then(|place| times.get_mut(place)) else {
                proof.strange += 1;
                continue;
            };
            *seen += 1;
            match *seen {
                1 if highest > *value => proof.disordered += 1,
                1 => highest = *value,
                _ => proof.twice += 1,
            }
        }
        let acked = usize::try_from(*acked).unwrap_or_default();
        proof.lost += times[..acked].iter().filter(|times| **times == 0).count() as u64;
    }
    proof
}

#[cfg(test)]
mod tests {
    use super::*;
    use firnline_tiering::batch::builder::BatchBuilder;

    fn judged(acked: u64, open: bool, found: &[Option<u64>]) -> Proof {
        judge(&Expected::from([(0, (acked, open))]), &BTreeMap::from([(0, found.to_vec())]))
    }

    #[test]
    fn what_is_lost_double_disordered_or_strange_shows() {
        let right = Proof { found: 3, ..Proof::default() };
        assert_eq!(judged(3, false, &[Some(0), Some(1), Some(2)]), right);
        assert_eq!(judged(2, true, &[Some(0), Some(1), Some(2)]), right, "nobody acknowledged the last one");
        assert!(right.holds());
        assert_eq!(judged(3, true, &[Some(0), Some(1)]).lost, 1);
        assert_eq!(judged(3, false, &[]).lost, 3);
        assert_eq!(judged(3, false, &[Some(0), Some(1), Some(1), Some(2)]).twice, 1);
        assert_eq!(judged(3, false, &[Some(1), Some(0), Some(2)]).disordered, 1);
        assert_eq!(judged(1, false, &[Some(0), Some(1), None]).strange, 2);
    }

    #[test]
    fn values_are_read_from_whole_batches_behind_the_offset() {
        let batch = |number| {
            let mut builder =
                BatchBuilder::new().base_offset(firnline_tiering::offsets::Offset(number as i64));
            builder.push(0, None, Some(&value(7, number, 0)), &[]);
            builder.build()
        };
        let (one, two) = (batch(0), batch(1));
        let bytes = Bytes::from([&one[..], &two[..], &two[..30]].concat());
        let mut found = Vec::new();
        assert_eq!(values(7, &bytes, 1, &mut found), 2);
        assert_eq!(found, [Some(1)]);
        assert_eq!(values(8, &bytes, 0, &mut found), 2);
        assert_eq!(found, [Some(1), None, None], "another partition's values");
    }
}
