//! A bucket in memory with a ledger of every request and faults by rule: refuse, truncate, flip a bit, hold back.
//! It is not random (the simulation's is): a rule strikes each request it matches until it is lifted.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetRange, GetResult, GetResultPayload, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use tokio::sync::watch;

/// What was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    Put,
    Get,
    Delete,
}

/// One request, as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    pub verb: Verb,
    pub key: String,
    /// Of a GET that asked for a part.
    pub range: Option<Range<u64>>,
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The request fails and has no effect.
    Refuse,
    /// A GET's answer ends one byte early.
    Truncate,
    /// A GET's answer has one wrong bit.
    FlipBit,
    /// The request waits until the rule is lifted.
    Hold,
}

/// Which requests a fault strikes.
#[derive(Debug, Clone)]
pub struct Rule {
    pub verb: Verb,
    /// Part of the key; empty for all.
    pub key: String,
    /// First byte of the range; `None` for any request.
    pub from: Option<u64>,
    pub fault: Fault,
}

impl Rule {
    pub fn new(verb: Verb, key: impl Into<String>, fault: Fault) -> Self {
        Self { verb, key: key.into(), from: None, fault }
    }

    /// Only GETs whose range begins at `from`.
    pub fn at(mut self, from: u64) -> Self {
        self.from = Some(from);
        self
    }

    fn strikes(&self, asked: &Asked) -> bool {
        let from = asked.range.as_ref().map(|range| range.start);
        self.verb == asked.verb && asked.key.contains(&self.key) && (self.from.is_none() || self.from == from)
    }
}

/// The bucket; it outlives every broker that uses it.
#[derive(Debug, Clone)]
pub struct FaultyBucket {
    inner: Arc<InMemory>,
    rules: Arc<watch::Sender<Vec<Rule>>>,
    ledger: Arc<Mutex<Vec<Asked>>>,
}

impl Default for FaultyBucket {
    fn default() -> Self {
        Self {
            inner: Arc::default(),
            rules: Arc::new(watch::Sender::new(Vec::new())),
            ledger: Arc::default(),
        }
    }
}

impl FaultyBucket {
    /// Adds a rule to those in force.
    pub fn plant(&self, rule: Rule) {
        self.rules.send_modify(|rules| rules.push(rule));
    }

    /// The bucket does not answer at all.
    pub fn go_down(&self) {
        for verb in [Verb::Put, Verb::Get, Verb::Delete] {
            self.plant(Rule::new(verb, "", Fault::Refuse));
        }
    }

    /// Lifts every rule; what was held goes on.
    pub fn heal(&self) {
        self.rules.send_modify(Vec::clear);
    }

    /// Every request since the last [`FaultyBucket::forget`].
    pub fn ledger(&self) -> Vec<Asked> {
        self.ledger.lock().expect("no holder panics").clone()
    }

    /// Empties the ledger.
    pub fn forget(&self) {
        self.ledger.lock().expect("no holder panics").clear();
    }

    /// Requests by `verb` whose key contains `key`.
    pub fn count(&self, verb: Verb, key: &str) -> usize {
        self.ledger().iter().filter(|asked| asked.verb == verb && asked.key.contains(key)).count()
    }

    /// How often each part of each object was asked for.
    pub fn gets(&self) -> BTreeMap<(String, u64), usize> {
        let mut gets = BTreeMap::new();
        for asked in self.ledger().into_iter().filter(|asked| asked.verb == Verb::Get) {
            let from = asked.range.map_or(0, |range| range.start);
            *gets.entry((asked.key, from)).or_default() += 1;
        }
        gets
    }

    /// Puts an object there that no broker wrote.
    pub async fn leave(&self, key: &str, content: &'static str) {
        self.inner.put(&Path::from(key), content.into()).await.expect("memory takes it");
    }

    /// The keys of all objects.
    pub async fn keys(&self) -> BTreeSet<String> {
        let listed: Vec<ObjectMeta> = self.inner.list(None).try_collect().await.expect("memory lists");
        listed.into_iter().map(|object| object.location.to_string()).collect()
    }

    async fn meet(&self, verb: Verb, at: &Path, range: Option<Range<u64>>) -> Result<Option<Fault>> {
        let asked = Asked { verb, key: at.to_string(), range };
        self.ledger.lock().expect("no holder panics").push(asked.clone());
        let strikes = |rules: &Vec<Rule>, fault: Fault| {
            rules.iter().any(|rule| rule.fault == fault && rule.strikes(&asked))
        };
        let mut rules = self.rules.subscribe();
        rules.wait_for(|rules| !strikes(rules, Fault::Hold)).await.expect("the bucket holds the sender");
        let rules = self.rules.borrow();
        if strikes(&rules, Fault::Refuse) {
            return Err(Error::Generic {
                store: "faulty",
                source: format!("{verb:?} {at} refused by a rule").into(),
            });
        }
        Ok([Fault::Truncate, Fault::FlipBit].into_iter().find(|fault| strikes(&rules, *fault)))
    }
}

impl fmt::Display for FaultyBucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("faulty bucket")
    }
}

fn damaged(bytes: Bytes, fault: Option<Fault>) -> Bytes {
    match fault {
        Some(Fault::Truncate) => bytes.slice(..bytes.len().saturating_sub(1)),
        Some(Fault::FlipBit) if !bytes.is_empty() => {
            let mut damaged = bytes.to_vec();
            damaged[bytes.len() / 2] ^= 1;
            damaged.into()
        }
        _ => bytes,
    }
}

fn bounds(range: &GetRange) -> Range<u64> {
    match range {
        GetRange::Bounded(range) => range.clone(),
        GetRange::Offset(from) => *from..u64::MAX,
        GetRange::Suffix(len) => u64::MAX - len..u64::MAX,
    }
}

#[async_trait]
impl ObjectStore for FaultyBucket {
    async fn put_opts(&self, at: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.meet(Verb::Put, at, None).await?;
        self.inner.put_opts(at, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        at: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.meet(Verb::Put, at, None).await?;
        self.inner.put_multipart_opts(at, options).await
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> Result<GetResult> {
        let fault = self.meet(Verb::Get, at, options.range.as_ref().map(bounds)).await?;
        let head = options.head;
        let result = self.inner.get_opts(at, options).await?;
        if head {
            return Ok(result);
        }
        let (meta, range, attributes) =
            (result.meta.clone(), result.range.clone(), result.attributes.clone());
        let bytes = damaged(result.bytes().await?, fault);
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
                bucket.meet(Verb::Delete, &at, None).await?;
                let one = at.clone();
                let one = futures::stream::once(async { Ok(one) }).boxed();
                let deleted: Result<Vec<Path>> = bucket.inner.delete_stream(one).try_collect().await;
                deleted.map(|_| at)
            }
        };
        locations.and_then(delete).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
