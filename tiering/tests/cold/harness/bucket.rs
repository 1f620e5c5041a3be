//! An object store in memory that writes down every request and fails on command.
//! Invariant: the ledger has one line per request that reached the store, failed or not.

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetRange, GetResult, GetResultPayload, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
    UploadPart,
};
use parking_lot::Mutex;
use std::fmt;
use std::sync::Arc;

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub verb: &'static str,
    pub key: String,
    pub range: Option<(u64, u64)>,
}

/// What goes wrong.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// Every request fails as if nobody answered.
    pub down: bool,
    /// This many of the next requests fail.
    pub fail_next: u32,
    /// Every request after this many in the ledger fails.
    pub down_after: Option<usize>,
    /// PUTs are done, and the answer is lost.
    pub lose_put_answers: bool,
    /// This byte of objects whose key contains the text reads flipped.
    pub flip: Option<(String, u64)>,
    /// The same, for this many reads only.
    pub flip_next: Option<(String, u64, u32)>,
    /// Objects whose key contains the text read (and look) this long at most.
    pub truncate: Option<(String, u64)>,
    /// PUTs of keys that contain the text are answered and forgotten.
    pub drop_puts: Option<String>,
}

#[derive(Debug, Default)]
pub struct FaultyBucket {
    inner: Arc<InMemory>,
    pub faults: Arc<Mutex<Faults>>,
    ledger: Arc<Mutex<Vec<Line>>>,
}

impl FaultyBucket {
    pub fn set(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut self.faults.lock());
    }

    /// Nobody answers any more once the ledger has this many lines.
    pub fn die_after(&self, lines: usize) {
        self.set(|faults| faults.down_after = Some(lines));
    }

    pub fn heal(&self) {
        *self.faults.lock() = Faults::default();
    }

    pub fn clear_ledger(&self) {
        self.ledger.lock().clear();
    }

    pub fn ledger(&self) -> Vec<Line> {
        self.ledger.lock().clone()
    }

    /// Requests of one kind whose key contains the text.
    pub fn count(&self, verb: &str, key: &str) -> usize {
        self.ledger.lock().iter().filter(|line| line.verb == verb && line.key.contains(key)).count()
    }

    /// All keys, sorted, past every fault.
    pub async fn keys(&self) -> Vec<String> {
        let listed: Vec<ObjectMeta> = self.inner.list(None).try_collect().await.unwrap();
        let mut keys: Vec<String> = listed.into_iter().map(|meta| meta.location.to_string()).collect();
        keys.sort();
        keys
    }

    /// An object's bytes, past every fault.
    pub async fn object(&self, key: &str) -> Bytes {
        self.inner.get(&Path::from(key)).await.unwrap().bytes().await.unwrap()
    }

    fn note(&self, verb: &'static str, key: &Path, range: Option<(u64, u64)>) -> Result<()> {
        let mut ledger = self.ledger.lock();
        ledger.push(Line { verb, key: key.to_string(), range });
        let mut faults = self.faults.lock();
        let died = faults.down_after.is_some_and(|lines| ledger.len() > lines);
        let fails = faults.down || faults.fail_next > 0 || died;
        faults.fail_next = faults.fail_next.saturating_sub(1);
        if fails { Err(unanswered()) } else { Ok(()) }
    }
}

fn unanswered() -> Error {
    Error::Generic { store: "test", source: "connection refused".into() }
}

impl fmt::Display for FaultyBucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FaultyBucket")
    }
}

#[async_trait]
impl ObjectStore for FaultyBucket {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        self.note("put", location, None)?;
        let faults = self.faults.lock().clone();
        if faults.drop_puts.is_some_and(|part| location.as_ref().contains(&part)) {
            return Ok(PutResult { e_tag: None, version: None, extensions: Default::default() });
        }
        let done = self.inner.put_opts(location, payload, opts).await?;
        if faults.lose_put_answers { Err(unanswered()) } else { Ok(done) }
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.note("begin", location, None)?;
        let inner = self.inner.put_multipart_opts(location, opts).await?;
        let (faults, ledger) = (self.faults.clone(), self.ledger.clone());
        Ok(Box::new(Parts { inner, key: location.clone(), faults, ledger }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let range = match &options.range {
            Some(GetRange::Bounded(range)) => Some((range.start, range.end)),
            _ => None,
        };
        self.note(if options.head { "head" } else { "get" }, location, range)?;
        let mut result = self.inner.get_opts(location, options).await?;
        let faults = self.faults.lock().clone();
        let hit = |part: &str| location.as_ref().contains(part);
        if let Some((_, longest)) = faults.truncate.filter(|(part, _)| hit(part)) {
            if result.range.start >= longest {
                let text =
                    format!("Wanted range starting at {}, but object was only {longest}", result.range.start);
                return Err(Error::Generic { store: "test", source: text.into() });
            }
            result.meta.size = result.meta.size.min(longest);
            result.range.end = result.range.end.min(longest);
        }
        let (meta, range, attributes) =
            (result.meta.clone(), result.range.clone(), result.attributes.clone());
        let extensions = std::mem::take(&mut result.extensions);
        let mut bytes = result.bytes().await?.to_vec();
        bytes.truncate(usize::try_from(range.end - range.start).unwrap());
        if let Some((_, at)) = faults.flip.filter(|(part, at)| hit(part) && range.contains(at)) {
            bytes[usize::try_from(at - range.start).unwrap()] ^= 1;
        }
        if let Some((part, at, left)) = &mut self.faults.lock().flip_next
            && *left > 0
            && hit(part)
            && range.contains(at)
        {
            *left -= 1;
            bytes[usize::try_from(*at - range.start).unwrap()] ^= 1;
        }
        let stream = futures::stream::once(async move { Ok(Bytes::from(bytes)) }).boxed();
        Ok(GetResult { payload: GetResultPayload::Stream(stream), meta, range, attributes, extensions })
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let (inner, faults, ledger) = (self.inner.clone(), self.faults.clone(), self.ledger.clone());
        let this = Self { inner, faults, ledger };
        let this = Arc::new(this);
        locations
            .and_then(move |location| {
                let this = this.clone();
                async move {
                    this.note("delete", &location, None)?;
                    this.inner.delete(&location).await?;
                    Ok(location)
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.note("list", prefix.unwrap_or(&Path::default()), None) {
            Ok(()) => self.inner.list(prefix),
            Err(error) => futures::stream::once(async { Err(error) }).boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

#[derive(Debug)]
struct Parts {
    inner: Box<dyn MultipartUpload>,
    key: Path,
    faults: Arc<Mutex<Faults>>,
    ledger: Arc<Mutex<Vec<Line>>>,
}

#[async_trait]
impl MultipartUpload for Parts {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.ledger.lock().push(Line { verb: "part", key: self.key.to_string(), range: None });
        let mut faults = self.faults.lock();
        if faults.down || faults.fail_next > 0 {
            faults.fail_next = faults.fail_next.saturating_sub(1);
            return Box::pin(async { Err(unanswered()) });
        }
        self.inner.put_part(data)
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.inner.complete().await
    }

    async fn abort(&mut self) -> Result<()> {
        self.inner.abort().await
    }
}
