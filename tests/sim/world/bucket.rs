//! A bucket that is slow, refuses, and sometimes hands out damaged bytes; what it stored it never forgets.
//! Every request stands in the journal; every fault is counted.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::journal::Journal;

/// Chances per request, in 1/1,000.
#[derive(Debug, Clone, Copy)]
pub struct Chances {
    /// The request is refused before it has an effect.
    pub refuse: u32,
    /// The request takes effect and its answer is lost.
    pub lose_answer: u32,
    /// One bit of a GET's bytes is wrong.
    pub flip_bit: u32,
}

impl Chances {
    /// A bucket that works.
    pub const NONE: Chances = Chances { refuse: 0, lose_answer: 0, flip_bit: 0 };
}

/// The bucket; it outlives every broker that uses it.
#[derive(Debug, Clone)]
pub struct SimBucket {
    inner: Arc<InMemory>,
    dice: Arc<Mutex<(StdRng, Chances)>>,
    journal: Journal,
}

enum Fate {
    Fine,
    Refused,
    AnswerLost,
}

impl SimBucket {
    pub fn new(seed: u64, journal: Journal) -> Self {
        let dice = (StdRng::seed_from_u64(seed), Chances::NONE);
        Self { inner: Arc::new(InMemory::new()), dice: Arc::new(Mutex::new(dice)), journal }
    }

    pub fn set_chances(&self, chances: Chances) {
        self.dice.lock().expect("no thrower panics").1 = chances;
    }

    /// Waits as a network would, then draws what happens to the request.
    async fn draw(&self, call: &str, at: String) -> Fate {
        self.journal.note("bucket", format_args!("{call} {at}"));
        let (wait_ms, throw, chances) = {
            let mut dice = self.dice.lock().expect("no thrower panics");
            (dice.0.random_range(1..30), dice.0.random_range(0..1_000), dice.1)
        };
        tokio::time::sleep(Duration::from_millis(wait_ms)).await;
        if throw < chances.refuse {
            self.journal.fault("bucket_refused", format_args!("{call} {at}"));
            return Fate::Refused;
        }
        if throw < chances.refuse + chances.lose_answer {
            self.journal.fault("bucket_answer_lost", format_args!("{call} {at}"));
            return Fate::AnswerLost;
        }
        Fate::Fine
    }

    fn damage(&self, at: &Path, bytes: Bytes) -> Bytes {
        let mut dice = self.dice.lock().expect("no thrower panics");
        let chance = dice.1.flip_bit;
        if bytes.is_empty() || chance == 0 || dice.0.random_range(0..1_000) >= chance {
            return bytes;
        }
        let bit = dice.0.random_range(0..bytes.len() * 8);
        drop(dice);
        self.journal.fault("bucket_bit_flip", format_args!("{at} bit {bit}"));
        let mut damaged = bytes.to_vec();
        damaged[bit / 8] ^= 1 << (bit % 8);
        damaged.into()
    }
}

fn broken(call: &'static str) -> Error {
    Error::Generic { store: "simulated", source: format!("{call} failed by simulation").into() }
}

impl fmt::Display for SimBucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("simulated bucket")
    }
}

#[async_trait]
impl ObjectStore for SimBucket {
    async fn put_opts(&self, at: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let fate = self.draw("put", format!("{at} {} bytes", payload.content_length())).await;
        if matches!(fate, Fate::Refused) {
            return Err(broken("put"));
        }
        let put = self.inner.put_opts(at, payload, options).await;
        if matches!(fate, Fate::AnswerLost) { Err(broken("put")) } else { put }
    }

    async fn put_multipart_opts(
        &self,
        at: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        match self.draw("put_multipart", at.to_string()).await {
            Fate::Fine => self.inner.put_multipart_opts(at, options).await,
            _ => Err(broken("put_multipart")),
        }
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> Result<GetResult> {
        let range = options.range.clone();
        if !matches!(self.draw("get", format!("{at} {range:?}")).await, Fate::Fine) {
            return Err(broken("get"));
        }
        let head = options.head;
        let result = self.inner.get_opts(at, options).await?;
        if head {
            return Ok(result);
        }
        let (meta, range, attributes) =
            (result.meta.clone(), result.range.clone(), result.attributes.clone());
        let bytes = self.damage(at, result.bytes().await?);
        let payload = GetResultPayload::Stream(futures::stream::once(async { Ok(bytes) }).boxed());
        Ok(GetResult { payload, meta, range, attributes, extensions: Default::default() })
    }

    async fn get_ranges(&self, at: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let mut parts = Vec::new();
        for range in ranges {
            let options = GetOptions { range: Some(range.clone().into()), ..Default::default() };
            parts.push(self.get_opts(at, options).await?.bytes().await?);
        }
        Ok(parts)
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let bucket = self.clone();
        let delete = move |at: Path| {
            let bucket = bucket.clone();
            async move {
                let fate = bucket.draw("delete", at.to_string()).await;
                if matches!(fate, Fate::Refused) {
                    return Err(broken("delete"));
                }
                let one = futures::stream::once({
                    let at = at.clone();
                    async { Ok(at) }
                });
                let deleted: Result<Vec<Path>> = bucket.inner.delete_stream(one.boxed()).try_collect().await;
                deleted?;
                if matches!(fate, Fate::AnswerLost) { Err(broken("delete")) } else { Ok(at) }
            }
        };
        locations.and_then(delete).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.journal.note("bucket", format_args!("list {prefix:?}"));
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.journal.note("bucket", format_args!("list_with_delimiter {prefix:?}"));
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.journal.note("bucket", format_args!("copy {from} {to}"));
        self.inner.copy_opts(from, to, options).await
    }
}
