//! A produce request as it goes over the wire, with the places that change from one to the next patched in place.
//! It opens no connection. Invariant: two requests differ in correlation id, partition and stamp only.

use bytes::BytesMut;
use tokio::time::Instant;

use crate::cli::bench::stamp::{self, Place};
use crate::client::connection::{CORRELATION_ID_AT, Connection};
use crate::client::error::ClientError;
use crate::wire::message::ProduceRequest;

/// A request that is sent again and again.
pub struct Frame {
    bytes: BytesMut,
    partition_at: Option<usize>,
    stamp_at: Option<Place>,
}

impl Frame {
    /// The frame of `request`, which names the partition it is given; `batch` is what it carries.
    pub fn new(
        connection: &Connection,
        version: i16,
        request: impl Fn(i32) -> ProduceRequest,
        batch: &[u8],
        partitions: &[i32],
    ) -> Result<Frame, ClientError> {
        let of = |partition| connection.frame(version, 0, &request(partition));
        let (mut bytes, other) = (of(0)?, of(-1)?);
        // Two requests that differ in nothing else show where the partition stands.
        let partition_at = bytes.iter().zip(&other).position(|(one, two)| one != two);
        if let (Some(at), [only]) = (partition_at, partitions) {
            bytes[at..at + 4].copy_from_slice(&only.to_be_bytes());
        }
        let stamp_at = Place::find(&bytes, batch);
        let partition_at = partition_at.filter(|_| partitions.len() > 1);
        Ok(Frame { bytes, partition_at, stamp_at })
    }

    /// As it goes over the wire.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Makes it the request of `place`, due at `due`; answers its correlation id.
    pub fn set(&mut self, place: u32, due: Instant, partitions: &[i32]) -> i32 {
        let id = place as i32;
        self.bytes[CORRELATION_ID_AT..CORRELATION_ID_AT + 4].copy_from_slice(&id.to_be_bytes());
        if let Some(at) = self.partition_at {
            let partition = partitions[place as usize % partitions.len()];
            self.bytes[at..at + 4].copy_from_slice(&partition.to_be_bytes());
        }
        if let Some(stamp_at) = self.stamp_at {
            let late_us = u64::try_from(due.elapsed().as_micros()).unwrap_or_default();
            stamp_at.write(&mut self.bytes, stamp::now_us().saturating_sub(late_us));
        }
        id
    }
}
