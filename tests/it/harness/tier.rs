//! Setting a cold scene: a topic filled until what was sealed lies in the bucket and nowhere else.

use bytes::Bytes;

use super::asks::{COLD, EARLIEST, EARLIEST_LOCAL, LATEST, LATEST_TIERED};
use super::broker::{Client, TestBroker};
use super::records::{assert_same_batch, bulk};
use super::wait::until;

/// Bytes of one batch of these scenes.
pub const BATCH: usize = 64 << 10;

/// Batches sent to a partition, one record each: the place in the list is the offset.
pub struct Scene {
    pub topic: &'static str,
    pub sent: Vec<Bytes>,
}

impl Scene {
    /// Creates `topic` and writes `batches` of [`BATCH`] bytes to each partition.
    pub async fn write(client: &mut Client, topic: &'static str, partitions: i32, batches: u64) -> Self {
        Self::write_with(client, topic, partitions, batches, &[]).await
    }

    /// The same with further settings, which go over those of [`COLD`].
    pub async fn write_with(
        client: &mut Client,
        topic: &'static str,
        partitions: i32,
        batches: u64,
        configs: &[(&str, &str)],
    ) -> Self {
        let kept = COLD.iter().filter(|(key, _)| configs.iter().all(|(other, _)| other != key));
        let configs: Vec<_> = kept.chain(configs).copied().collect();
        client.create(topic, partitions, &configs).await;
        let sent: Vec<Bytes> = (0..batches).map(|serial| bulk(serial, BATCH)).collect();
        for index in 0..partitions {
            for (offset, batch) in sent.iter().enumerate() {
                assert_eq!(client.append(topic, index, batch.clone()).await, offset as i64);
            }
        }
        Self { topic, sent }
    }

    /// Waits until all sealed segments of a partition are in the bucket only; answers the first local offset.
    pub async fn settle(&self, client: &mut Client, index: i32) -> i64 {
        let mut local = 0;
        until("sealed segments left the disk", async || {
            local = client.offset(self.topic, index, EARLIEST_LOCAL).await;
            local > 0 && client.offset(self.topic, index, LATEST_TIERED).await == local - 1 && {
                // The active segment alone is left: one more batch would not fit a sealed one.
                let end = client.offset(self.topic, index, LATEST).await;
                (end - local) as u64 * (BATCH as u64) < 1 << 20
            }
        })
        .await;
        assert_eq!(client.offset(self.topic, index, EARLIEST).await, 0);
        local
    }

    /// Reads `[from, to)` and compares every byte with what was sent.
    pub async fn check(&self, client: &mut Client, index: i32, from: i64, to: i64) {
        let read = client.read(self.topic, index, from, to).await;
        for (place, (header, batch)) in read.iter().enumerate() {
            let offset = from + place as i64;
            assert_eq!(header.base_offset.0, offset, "{}-{index}", self.topic);
            assert_same_batch(batch, &self.sent[offset as usize]);
        }
        assert_eq!(read.len() as i64, to - from);
    }

    /// The end of a partition nobody writes to any more.
    pub fn end(&self) -> i64 {
        self.sent.len() as i64
    }

    /// Keys of a partition's segment objects, oldest first.
    pub async fn segments(&self, broker: &TestBroker, index: i32) -> Vec<String> {
        let folder = broker.folder(self.topic, index);
        let keys = broker.bucket.keys().await;
        keys.into_iter().filter(|key| key.contains(&folder) && key.ends_with(".firn")).collect()
    }
}
