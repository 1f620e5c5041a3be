//! The bucket's keys → `Remote`: the URL taken apart and checked, credentials paired.
//! It talks to no bucket; whether one answers is found out beside the start, never by it.

use std::path::PathBuf;

use firnline_tiering::cold::url::{AccessKey, BucketUrl, S3Options, UrlError};

use crate::config::broker::Remote;
use crate::config::settings::Settings;

/// Longest key prefix, bytes: object names add about 140 to it and S3 allows 1024.
pub const PREFIX_BYTES_MAX: usize = 512;

const SWITCH: &str = "remote.log.storage.system.enable";

/// The bucket, `None` when it is switched off.
pub fn read(settings: &Settings) -> Result<Option<Remote>, String> {
    if settings.flag(SWITCH) != Some(true) {
        return Ok(None);
    }
    let Some(url) = settings.text("firn.remote.url") else {
        return Err(format!(
            "{SWITCH}=true needs firn.remote.url, e.g. firn.remote.url=s3://BUCKET/PREFIX or file:///DIR"
        ));
    };
    let url = parse_url(url).map_err(|expected| format!("firn.remote.url={url}: {expected}"))?;
    let text = |name: &str| settings.text(name).map(str::to_owned);
    let (key, secret) = (text("firn.s3.access.key.id"), text("firn.s3.secret.access.key"));
    if key.is_some() != secret.is_some() {
        return Err("firn.s3.access.key.id and firn.s3.secret.access.key: set both or neither".to_owned());
    }
    let endpoint = text("firn.s3.endpoint");
    if let Some(bad) =
        endpoint.as_ref().filter(|at| !at.starts_with("http://") && !at.starts_with("https://"))
    {
        return Err(format!("firn.s3.endpoint={bad} must begin with http:// or https://"));
    }
    let s3 = S3Options {
        path_style: settings.flag("firn.s3.path.style").unwrap_or(endpoint.is_some()),
        endpoint,
        region: text("firn.s3.region"),
        access_key: key.zip(secret).map(|(id, secret)| AccessKey { id, secret }),
    };
    let size = |name: &str| settings.number(name).unwrap_or_default().max(0) as u64;
    Ok(Some(Remote {
        url,
        s3,
        delete_grace_ms: settings.number("firn.remote.delete.grace.ms").unwrap_or_default(),
        task_interval_ms: size("remote.log.manager.task.interval.ms"),
        retry_backoff_ms: size("remote.log.manager.task.retry.backoff.ms"),
        retry_backoff_ms_max: size("remote.log.manager.task.retry.backoff.max.ms"),
        uploads_max: size("remote.log.manager.copier.thread.pool.size") as usize,
        reads_max: size("remote.log.reader.threads") as usize,
        reads_waiting_max: size("remote.log.reader.max.pending.tasks") as usize,
        fetch_wait_ms_max: size("remote.fetch.max.wait.ms"),
        list_offsets_timeout_ms: size("remote.list.offsets.request.timeout.ms"),
        cache_memory_bytes: size("firn.cache.memory.bytes"),
        cache_disk_bytes: size("firn.cache.disk.bytes"),
        cache_disk_dir: text("firn.cache.disk.path").map(PathBuf::from),
    }))
}

/// A warning for a bucket that is named but not switched on.
pub fn unused_url(settings: &Settings) -> Option<String> {
    let unused = settings.is_set("firn.remote.url") && settings.flag(SWITCH) != Some(true);
    unused.then(|| format!("firn.remote.url has no effect: {SWITCH} is false, nothing is offloaded"))
}

/// Reads the bucket's url, with the limits of a name that S3-compatible stores agree on.
fn parse_url(text: &str) -> Result<BucketUrl, String> {
    let url: BucketUrl = text.parse().map_err(|error: UrlError| error.to_string())?;
    match &url {
        BucketUrl::File { dir } if dir.parent().is_none() => {
            Err("the whole file system is no bucket".to_owned())
        }
        BucketUrl::File { .. } => Ok(url),
        BucketUrl::S3 { bucket, prefix } => {
            let letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
            if !(3..=63).contains(&bucket.len()) || !bucket.chars().all(letter) {
                return Err(
                    "a bucket's name is 3 to 63 lower-case letters, digits, dots and dashes".to_owned()
                );
            }
            if prefix.len() > PREFIX_BYTES_MAX || !prefix.chars().all(|c| c.is_ascii_graphic() && c != '%') {
                return Err(format!(
                    "a prefix is at most {PREFIX_BYTES_MAX} visible ASCII characters without %"
                ));
            }
            Ok(url)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let s3 = |bucket: &str, prefix: &str| BucketUrl::S3 { bucket: bucket.into(), prefix: prefix.into() };
        assert_eq!(parse_url("s3://my-bucket"), Ok(s3("my-bucket", "")));
        assert_eq!(parse_url("s3://my-bucket//a/b/"), Ok(s3("my-bucket", "a/b")));
        assert_eq!(parse_url("file:///tmp/x"), Ok(BucketUrl::File { dir: "/tmp/x".into() }));
        for bad in
            ["", "gs://b", "s3://", "s3://B_ad", "s3://abc/a//b", "s3://abc/../x", "file://x", "file:///"]
        {
            assert!(parse_url(bad).is_err(), "{bad}");
        }
    }
}
