//! What the bucket can do, found out beside start-up by asking it: reachable, range GET, checksums kept, versioning.
//! For people and dashboards; no other code decides by it. Invariant: it ends within its time limit, never fails,
//! and removes the one small object it writes (`<uuid>.firn-probe`) unless the bucket dies in between.

use crate::cold::layout::PROBE_SUFFIX;
use crate::cold::s3::BucketControl;
use crate::cold::store::Store;
use crate::cold::url::{BucketUrl, S3Options};
use crate::entropy::Entropy;
use bytes::Bytes;
use std::fmt;
use std::time::Duration;

/// Time for the whole probe.
const PROBE_TIMEOUT: Duration = Duration::from_secs(30);
/// Time for one question.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(8);
const BODY: &[u8; 64] = b"firnline probes this bucket with one object and removes it again";

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// It does.
    Yes,
    /// It does not, and what it does instead.
    No(String),
    /// It could not be found out, and why.
    Unknown(String),
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Yes => f.write_str("yes"),
            Self::No(why) => write!(f, "no: {why}"),
            Self::Unknown(why) => write!(f, "unknown: {why}"),
        }
    }
}

/// What a probe found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeReport {
    /// The bucket.
    pub url: String,
    /// It is there, and our credentials open it.
    pub reachable: Finding,
    /// It answers a range with that range.
    pub range_get: Finding,
    /// It keeps the CRC-32C an object was sent with.
    pub checksum: Finding,
    /// It keeps old versions of objects: deleted segments go on costing.
    pub versioning: Finding,
}

impl ProbeReport {
    fn unknown(url: String, why: &str) -> Self {
        let unknown = || Finding::Unknown(why.to_owned());
        Self { url, reachable: unknown(), range_get: unknown(), checksum: unknown(), versioning: unknown() }
    }

    fn unreachable(url: String, why: String) -> Self {
        Self { reachable: Finding::No(why), ..Self::unknown(url, "the bucket is not reachable") }
    }
}

/// Probes the bucket. Spawn it beside start-up: it always returns.
pub async fn probe(
    url: &BucketUrl,
    options: &S3Options,
    store: &Store,
    entropy: &dyn Entropy,
) -> ProbeReport {
    let name = format!("{}{PROBE_SUFFIX}", entropy.uuid());
    let probing = async {
        match url {
            BucketUrl::S3 { bucket, prefix } => {
                let key = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
                let control = BucketControl::new(bucket.clone(), options, QUESTION_TIMEOUT).await;
                probe_s3(url.to_string(), &control, &key).await
            }
            BucketUrl::File { .. } => probe_directory(url.to_string(), store, &name).await,
        }
    };
    let in_time = tokio::time::timeout(PROBE_TIMEOUT, probing).await;
    in_time.unwrap_or_else(|_| ProbeReport::unknown(url.to_string(), "the probe took too long"))
}

async fn probe_s3(url: String, control: &BucketControl, key: &str) -> ProbeReport {
    if let Err(why) = control.head_bucket().await {
        return ProbeReport::unreachable(url, why);
    }
    let versioning = match control.is_versioned().await {
        Ok(true) => Finding::Yes,
        Ok(false) => Finding::No("old versions are not kept".to_owned()),
        Err(why) => Finding::Unknown(why),
    };
    let sent = match control.put(key, BODY.to_vec()).await {
        Ok(sent) => sent,
        Err(why) => {
            let why = format!("it takes no object: {why}");
            return ProbeReport { reachable: Finding::Yes, versioning, ..ProbeReport::unknown(url, &why) };
        }
    };
    let range_get = judge_range(control.get_range(key, 16..=31).await);
    let checksum = match control.checksum(key).await {
        Ok(Some(kept)) if sent.as_ref().is_none_or(|sent| *sent == kept) => Finding::Yes,
        Ok(Some(kept)) => Finding::No(format!("it keeps {kept}, sent was {}", sent.unwrap_or_default())),
        Ok(None) => {
            Finding::No("it keeps none; our own checksums inside each object are not affected".to_owned())
        }
        Err(why) => Finding::Unknown(why),
    };
    if let Err(why) = control.delete(key).await {
        tracing::warn!(key, why, "the probe's object could not be removed");
    }
    ProbeReport { url, reachable: Finding::Yes, range_get, checksum, versioning }
}

async fn probe_directory(url: String, store: &Store, name: &str) -> ProbeReport {
    if let Err(error) = store.put(name, vec![Bytes::from_static(BODY)]).await {
        return ProbeReport::unreachable(url, error.to_string());
    }
    let got = store.get_range(name, 16..32).await;
    let range_get = judge_range(got.map(|bytes| bytes.to_vec()).map_err(|error| error.to_string()));
    if let Err(error) = store.delete(name).await {
        tracing::warn!(key = name, %error, "the probe's object could not be removed");
    }
    let none = |what: &str| Finding::No(format!("a directory keeps no {what}"));
    ProbeReport {
        url,
        reachable: Finding::Yes,
        range_get,
        checksum: none("checksums; our own inside each object are not affected"),
        versioning: none("versions"),
    }
}

fn judge_range(got: Result<Vec<u8>, String>) -> Finding {
    match got {
        Ok(bytes) if bytes == BODY[16..32] => Finding::Yes,
        Ok(bytes) => Finding::No(format!("asked for 16 bytes it sent {}", bytes.len())),
        Err(why) => Finding::Unknown(why),
    }
}
