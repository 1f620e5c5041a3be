//! The door to the bucket, and the only place where a request to it is repeated: time limits, bounded retries with
//! back-off, errors that say what to do, and a count of every request. Knows keys and bytes, no format.
//! Invariant: a key is PUT once, by whoever drew its uuid; repeating a PUT writes the same bytes again.

use crate::cold::pace::Pace;
use crate::cold::requests::{Counters, Requests};
use crate::cold::s3::CredentialChain;
use crate::cold::store_error::{Operation, StoreError};
use crate::cold::url::{BucketUrl, S3Options};
use crate::entropy::Entropy;
use crate::hot::file::{Files, OsFiles};
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::{StreamExt, TryStreamExt};
use object_store::aws::{AmazonS3Builder, AwsCredential};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    ClientOptions, CredentialProvider, MultipartUpload, ObjectStore, ObjectStoreExt, PutPayload, RetryConfig,
};
use std::future::Future;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Limits of one request and of its repetitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreLimits {
    /// Tries of one request, the first included.
    pub attempts: u32,
    /// Time of one try; for bodies, one second more per MiB.
    pub timeout: Duration,
    /// Wait before the second try; doubles, with jitter, up to `max_wait`.
    pub first_wait: Duration,
    /// Longest wait between two tries.
    pub max_wait: Duration,
}

impl Default for StoreLimits {
    fn default() -> Self {
        Self {
            attempts: 4,
            timeout: Duration::from_secs(10),
            first_wait: Duration::from_millis(100),
            max_wait: Duration::from_secs(2),
        }
    }
}

/// Why a store cannot be built from its settings; nothing was sent.
#[derive(Debug, thiserror::Error)]
pub enum OpenStoreError {
    /// The directory of a `file://` url cannot be made or used.
    #[error("cannot use {url} as a bucket: {source}")]
    Directory {
        /// The url.
        url: String,
        /// Why.
        source: std::io::Error,
    },
    /// The settings contradict themselves.
    #[error("cannot use {url}: {why}")]
    Settings {
        /// The url.
        url: String,
        /// Why.
        why: String,
    },
}

/// An object's length and the store's word for its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Bytes.
    pub len: u64,
    /// The store's entity tag, if it has one.
    pub e_tag: Option<String>,
}

/// One listed object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Key below the store's prefix.
    pub key: String,
    /// Bytes.
    pub len: u64,
    /// When it was written, milliseconds, by the store's clock.
    pub modified_ms: i64,
}

/// A bucket, or a directory that plays one.
#[derive(Debug)]
pub struct Store {
    inner: Arc<dyn ObjectStore>,
    prefix: String,
    url: String,
    limits: StoreLimits,
    entropy: Arc<dyn Entropy>,
    counters: Counters,
    copy: Pace,
    fetch: Pace,
}

impl Store {
    /// A store over anything that behaves like one: tests and the simulation bring theirs. `url` is only shown.
    pub fn over(
        inner: Arc<dyn ObjectStore>,
        url: impl Into<String>,
        prefix: impl Into<String>,
        limits: StoreLimits,
        entropy: Arc<dyn Entropy>,
    ) -> Arc<Self> {
        let (url, prefix) = (url.into(), prefix.into());
        let (counters, copy, fetch) = Default::default();
        Arc::new(Self { inner, prefix, url, limits, entropy, counters, copy, fetch })
    }

    /// The store that the settings name. Sends nothing: a bucket that is down is found out by the first request.
    pub fn open(
        url: &BucketUrl,
        options: &S3Options,
        limits: StoreLimits,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Arc<Self>, OpenStoreError> {
        let (inner, prefix): (Arc<dyn ObjectStore>, &str) = match url {
            BucketUrl::File { dir } => {
                let failed = |source| OpenStoreError::Directory { url: url.to_string(), source };
                OsFiles.create_dir_all(dir).map_err(failed)?;
                let local = LocalFileSystem::new_with_prefix(dir);
                let local = local.map_err(|error| failed(std::io::Error::other(error)))?;
                (Arc::new(local.with_fsync(true)), "")
            }
            BucketUrl::S3 { bucket, prefix } => {
                let built = s3_builder(bucket, options, limits).build();
                let settings = |error: object_store::Error| OpenStoreError::Settings {
                    url: url.to_string(),
                    why: error.to_string(),
                };
                (Arc::new(built.map_err(settings)?), prefix)
            }
        };
        Ok(Self::over(inner, url.to_string(), prefix, limits, entropy))
    }

    /// The bucket's url, for people to read.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What was asked of the bucket so far.
    pub fn requests(&self) -> Requests {
        self.counters.snapshot()
    }

    /// The limit on bytes that go to the bucket.
    pub fn copy_pace(&self) -> &Pace {
        &self.copy
    }

    /// The limit on bytes that come from the bucket, whoever asks for them.
    pub fn fetch_pace(&self) -> &Pace {
        &self.fetch
    }

    /// Writes an object whole. Repeated on failure: the key is the caller's alone.
    pub async fn put(&self, key: &str, body: Vec<Bytes>) -> Result<(), StoreError> {
        let payload = PutPayload::from_iter(body);
        let len = payload.content_length() as u64;
        let path = self.path(key);
        self.copy.turn(len).await;
        self.attempt(Operation::Put, key, len, || async {
            self.inner.put(&path, payload.clone()).await.map(drop)
        })
        .await?;
        self.counters.bytes_put.fetch_add(len, Ordering::Relaxed);
        Ok(())
    }

    /// Begins an object that is written in parts; [`PartUpload::complete`] makes it appear.
    pub async fn begin(&self, key: &str) -> Result<PartUpload<'_>, StoreError> {
        let path = self.path(key);
        let upload =
            self.attempt(Operation::Put, key, 0, || async { self.inner.put_multipart(&path).await }).await?;
        Ok(PartUpload { store: self, key: key.to_owned(), upload })
    }

    /// The bytes `[range.start, range.end)` of an object; a shorter object is an error, never a short answer.
    pub async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        let path = self.path(key);
        let wanted = range.end.saturating_sub(range.start);
        self.fetch.turn(wanted).await;
        let bytes = self
            .attempt(Operation::Get, key, wanted, || async {
                self.inner.get_range(&path, range.clone()).await
            })
            .await?;
        if bytes.len() as u64 != wanted {
            let why = format!("{} bytes came of range {range:?}", bytes.len());
            return Err(StoreError::Short { key: key.to_owned(), why });
        }
        self.counters.bytes_got.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(bytes)
    }

    /// A whole object of at most `limit` bytes; grows as bytes arrive.
    pub async fn get(&self, key: &str, limit: u64) -> Result<Bytes, StoreError> {
        let path = self.path(key);
        let read = self
            .attempt(Operation::Get, key, limit.min(8 << 20), || async {
                let answer = self.inner.get(&path).await?;
                let len = answer.meta.size;
                if len > limit {
                    return Ok(Err(len));
                }
                let mut stream = answer.into_stream();
                let mut bytes = BytesMut::new();
                while let Some(piece) = stream.try_next().await? {
                    bytes.extend_from_slice(&piece);
                    if bytes.len() as u64 > limit {
                        return Ok(Err(bytes.len() as u64));
                    }
                }
                Ok(Ok(bytes.freeze()))
            })
            .await?;
        let bytes = read.map_err(|len| StoreError::TooLong { key: key.to_owned(), len, limit })?;
        // How long it is shows only now: who comes next waits for it.
        self.fetch.turn(bytes.len() as u64).await;
        self.counters.bytes_got.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(bytes)
    }

    /// An object's length.
    pub async fn head(&self, key: &str) -> Result<Head, StoreError> {
        let path = self.path(key);
        let meta = self.attempt(Operation::Head, key, 0, || async { self.inner.head(&path).await }).await?;
        Ok(Head { len: meta.size, e_tag: meta.e_tag })
    }

    /// Removes an object. One that is not there counts as removed.
    pub async fn delete(&self, key: &str) -> Result<(), StoreError> {
        let path = self.path(key);
        match self.attempt(Operation::Delete, key, 0, || async { self.inner.delete(&path).await }).await {
            Err(StoreError::NotFound { .. }) => Ok(()),
            other => other,
        }
    }

    /// At most `limit` objects below `folder`, in key order as far as the store keeps one. For audits and tests:
    /// nothing the broker does depends on a LIST.
    pub async fn list(&self, folder: &str, limit: usize) -> Result<Vec<Listed>, StoreError> {
        let path = self.path(folder);
        let mut listed = self
            .attempt(Operation::List, folder, 0, || async {
                self.inner.list(Some(&path)).take(limit).try_collect::<Vec<_>>().await
            })
            .await?;
        listed.sort_by(|a, b| a.location.cmp(&b.location));
        Ok(listed
            .into_iter()
            .map(|meta| Listed {
                key: self.below_prefix(meta.location.as_ref()).to_owned(),
                len: meta.size,
                modified_ms: meta.last_modified.timestamp_millis(),
            })
            .collect())
    }

    fn path(&self, key: &str) -> Path {
        match (self.prefix.is_empty(), key.is_empty()) {
            (true, _) => Path::from(key),
            (false, true) => Path::from(self.prefix.as_str()),
            (false, false) => Path::from(format!("{}/{key}", self.prefix)),
        }
    }

    fn below_prefix<'a>(&self, location: &'a str) -> &'a str {
        location.strip_prefix(&self.prefix).unwrap_or(location).trim_start_matches('/')
    }

    /// One request, tried until it succeeds, cannot succeed, or has been tried often enough.
    async fn attempt<T, F>(
        &self,
        op: Operation,
        key: &str,
        body: u64,
        request: impl Fn() -> F,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = object_store::Result<T>>,
    {
        let limit = self.limits.timeout + Duration::from_secs(body >> 20);
        let mut attempts = 0;
        loop {
            attempts += 1;
            self.counters.count(op);
            let failure = match tokio::time::timeout(limit, request()).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => self.judge(op, key, attempts, &error),
                Err(_) => self.unreachable(op, key, attempts, format!("no answer within {limit:?}")),
            };
            self.counters.errors.fetch_add(1, Ordering::Relaxed);
            if !matches!(failure, StoreError::Unreachable { .. }) || attempts >= self.limits.attempts {
                return Err(failure);
            }
            self.counters.retries.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(self.wait_before(attempts)).await;
        }
    }

    fn wait_before(&self, attempts: u32) -> Duration {
        backoff(self.limits.first_wait, self.limits.max_wait, attempts, self.entropy.as_ref())
    }

    fn unreachable(&self, op: Operation, key: &str, attempts: u32, why: String) -> StoreError {
        StoreError::Unreachable { url: self.url.clone(), op, key: key.to_owned(), attempts, why }
    }

    fn judge(&self, op: Operation, key: &str, attempts: u32, error: &object_store::Error) -> StoreError {
        use object_store::Error as E;
        let (url, key_text, why) = (self.url.clone(), key.to_owned(), one_line(error));
        match error {
            _ if why.contains("NoSuchBucket") => StoreError::NoBucket { url, why },
            E::NotFound { .. } if op == Operation::Put => StoreError::NoBucket { url, why },
            E::NotFound { .. } => StoreError::NotFound { key: key_text },
            E::PermissionDenied { .. } | E::Unauthenticated { .. } => {
                StoreError::Denied { url, op, key: key_text, why }
            }
            E::Generic { .. } if op == Operation::Get && is_past_the_end(&why) => {
                StoreError::Short { key: key_text, why }
            }
            E::Generic { .. } if !is_final(&why) => self.unreachable(op, key, attempts, why),
            E::JoinError { .. } => self.unreachable(op, key, attempts, why),
            _ => StoreError::Rejected { url, op, key: key_text, why },
        }
    }
}

/// An object that is being written in parts. Dropped without [`PartUpload::complete`] it never appears, but its
/// parts may stay in the store until [`PartUpload::abort`] or a lifecycle rule removes them.
#[derive(Debug)]
pub struct PartUpload<'a> {
    store: &'a Store,
    key: String,
    upload: Box<dyn MultipartUpload>,
}

impl PartUpload<'_> {
    /// Sends the next part; all but the last must have the same length, at least 5 MiB. Not repeated: a failed
    /// part fails the upload, which begins again under a new key.
    pub async fn part(&mut self, body: Vec<Bytes>) -> Result<(), StoreError> {
        let payload = PutPayload::from_iter(body);
        let len = payload.content_length() as u64;
        let limit = self.store.limits.timeout + Duration::from_secs(len >> 20);
        self.store.copy.turn(len).await;
        self.store.counters.count(Operation::Put);
        let sent = tokio::time::timeout(limit, self.upload.put_part(payload)).await;
        self.settle(sent.map_err(|_| limit))?;
        self.store.counters.bytes_put.fetch_add(len, Ordering::Relaxed);
        Ok(())
    }

    /// Makes the object appear. After an error it may have appeared all the same.
    pub async fn complete(mut self) -> Result<(), StoreError> {
        let limit = self.store.limits.timeout * 2;
        self.store.counters.count(Operation::Put);
        let done = tokio::time::timeout(limit, self.upload.complete()).await;
        self.settle(done.map_err(|_| limit)).map(drop)
    }

    /// Removes the parts. An error is only logged: a lifecycle rule removes what stays.
    pub async fn abort(mut self) {
        self.store.counters.count(Operation::Delete);
        let aborted = tokio::time::timeout(self.store.limits.timeout, self.upload.abort()).await;
        if let Err(error) = self.settle(aborted.map_err(|_| self.store.limits.timeout)) {
            tracing::warn!(key = self.key, %error, "could not remove the parts of a broken upload");
        }
    }

    fn settle<T>(&self, outcome: Result<object_store::Result<T>, Duration>) -> Result<T, StoreError> {
        let failure = match outcome {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => self.store.judge(Operation::Put, &self.key, 1, &error),
            Err(limit) => {
                let why = format!("no answer within {limit:?}");
                self.store.unreachable(Operation::Put, &self.key, 1, why)
            }
        };
        self.store.counters.errors.fetch_add(1, Ordering::Relaxed);
        Err(failure)
    }
}

/// The wait after `failures` failures in a row: `first` doubled each time up to `max`, then a random half of it
/// taken off, so that many who failed together do not return together.
pub fn backoff(first: Duration, max: Duration, failures: u32, entropy: &dyn Entropy) -> Duration {
    let doubled =
        first.saturating_mul(1_u32.checked_shl(failures.saturating_sub(1).min(31)).unwrap_or(u32::MAX));
    let full = doubled.min(max);
    let half_us = u64::try_from(full.as_micros() / 2).unwrap_or(u64::MAX / 2);
    full - Duration::from_micros(entropy.u64() % (half_us + 1))
}

fn s3_builder(bucket: &str, options: &S3Options, limits: StoreLimits) -> AmazonS3Builder {
    // Retries are ours alone: two stacks on one call multiply.
    let no_retries = RetryConfig { max_retries: 0, ..RetryConfig::default() };
    let client = ClientOptions::new().with_connect_timeout(limits.timeout / 2).with_timeout_disabled();
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(bucket)
        .with_region(options.region())
        .with_virtual_hosted_style_request(!options.path_style)
        .with_retry(no_retries)
        .with_client_options(client);
    if let Some(endpoint) = &options.endpoint {
        builder = builder.with_allow_http(endpoint.starts_with("http://")).with_endpoint(endpoint);
    }
    match &options.access_key {
        Some(key) => builder.with_access_key_id(&key.id).with_secret_access_key(&key.secret),
        None => {
            let chain = CredentialChain::new(options.region().to_owned());
            builder.with_credentials(Arc::new(ChainCredentials { chain }))
        }
    }
}

/// Gives object_store the same identity as the AWS tools have: environment, profile, roles.
#[derive(Debug)]
struct ChainCredentials {
    chain: CredentialChain,
}

#[async_trait]
impl CredentialProvider for ChainCredentials {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        match self.chain.keys().await {
            Ok(keys) => {
                Ok(Arc::new(AwsCredential { key_id: keys.id, secret_key: keys.secret, token: keys.token }))
            }
            Err(why) => Err(object_store::Error::Unauthenticated {
                path: "the bucket".to_owned(),
                source: why.into(),
            }),
        }
    }
}

/// A whole chain of causes on one line: the innermost usually says what went wrong.
fn one_line(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        cause = inner.source();
    }
    text.replace(['\n', '\r'], " ")
}

/// Whether a range was refused because the object is shorter: HTTP's 416, or the words of the in-process stores.
fn is_past_the_end(why: &str) -> bool {
    const WORDS: [&str; 5] = [
        "status code: 416",
        "Wanted range starting at",
        "Range started at",
        "Requested range was invalid",
        "Out of range of file",
    ];
    WORDS.iter().any(|words| why.contains(words))
}

/// Whether the store's answer will be the same next time: a 4xx other than "too slow" and "slow down".
fn is_final(why: &str) -> bool {
    let Some(at) = why.find("status code: 4") else {
        return false;
    };
    let status = why[at..].trim_start_matches("status code: ").get(..3);
    !matches!(status, Some("408" | "409" | "425" | "429"))
}
