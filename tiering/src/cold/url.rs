//! Which bucket, and how to talk to it: parsed settings. Opens nothing; the store does (`cold/store.rs`).
//! Invariant: a secret never shows in a `Debug` or `Display` text.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Where the bucket is: `s3://BUCKET/PREFIX` or `file:///DIR`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BucketUrl {
    /// A bucket behind the S3 API.
    S3 {
        /// Its name.
        bucket: String,
        /// What stands before every key, without slashes at its ends; may be empty.
        prefix: String,
    },
    /// A directory.
    File {
        /// Absolute.
        dir: PathBuf,
    },
}

/// Why a text is not a bucket's url.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Neither scheme.
    #[error("{0:?} is no bucket: write s3://BUCKET/PREFIX or file:///DIR")]
    Scheme(String),
    /// `s3://` and nothing behind it.
    #[error("{0:?} names no bucket: write s3://BUCKET/PREFIX")]
    NoBucket(String),
    /// `file://` with a relative path.
    #[error("{0:?} is not absolute: write file:///DIR, with three slashes")]
    Relative(String),
    /// A prefix with an empty or dotted part.
    #[error("prefix {0:?} has an empty part, \".\" or \"..\"")]
    Prefix(String),
}

impl FromStr for BucketUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        if let Some(path) = text.strip_prefix("file://") {
            let dir = PathBuf::from(path);
            return if dir.is_absolute() {
                Ok(Self::File { dir })
            } else {
                Err(UrlError::Relative(text.to_owned()))
            };
        }
        let Some(rest) = text.strip_prefix("s3://") else {
            return Err(UrlError::Scheme(text.to_owned()));
        };
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() {
            return Err(UrlError::NoBucket(text.to_owned()));
        }
        let prefix = prefix.trim_matches('/');
        if !prefix.is_empty() && prefix.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(UrlError::Prefix(prefix.to_owned()));
        }
        Ok(Self::S3 { bucket: bucket.to_owned(), prefix: prefix.to_owned() })
    }
}

impl fmt::Display for BucketUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::S3 { bucket, prefix } if prefix.is_empty() => write!(f, "s3://{bucket}"),
            Self::S3 { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
            Self::File { dir } => write!(f, "file://{}", dir.display()),
        }
    }
}

/// A key pair given in our own settings.
#[derive(Clone, PartialEq, Eq)]
pub struct AccessKey {
    /// `firn.s3.access.key.id`.
    pub id: String,
    /// `firn.s3.secret.access.key`.
    pub secret: String,
}

impl fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessKey").field("id", &self.id).field("secret", &"[hidden]").finish()
    }
}

/// How to talk to an S3-compatible store.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct S3Options {
    /// `firn.s3.endpoint`, `http(s)://HOST[:PORT]`; AWS's own without one.
    pub endpoint: Option<String>,
    /// `firn.s3.region`; without one `us-east-1`, which MinIO and others take.
    pub region: Option<String>,
    /// `firn.s3.path.style`: the bucket in the path, not in the host name.
    pub path_style: bool,
    /// A key pair of our own settings; without one AWS's environment, profile and instance roles are asked.
    pub access_key: Option<AccessKey>,
}

impl S3Options {
    /// The region to sign for.
    pub fn region(&self) -> &str {
        self.region.as_deref().unwrap_or("us-east-1")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_and_spelled_back() {
        for text in ["s3://bucket", "s3://bucket/a/b", "file:///tmp/x"] {
            assert_eq!(text.parse::<BucketUrl>().map(|url| url.to_string()), Ok(text.to_owned()));
        }
        let slashed: BucketUrl = "s3://bucket/a/".parse().unwrap();
        assert_eq!(slashed.to_string(), "s3://bucket/a");
    }

    #[test]
    fn what_is_no_bucket_says_what_to_write() {
        for text in ["", "bucket", "s3://", "s3:///x", "file://x", "s3://b/a//c", "s3://b/../c", "http://x"] {
            assert!(text.parse::<BucketUrl>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_secret_never_shows() {
        let key = AccessKey { id: "me".into(), secret: "hunter2".into() };
        assert!(
            !format!("{:?}", S3Options { access_key: Some(key), ..Default::default() }).contains("hunter2")
        );
    }
}
