//! What `--dev` chooses: one node, a local directory as the bucket, small segments, short local retention.
//! It is the weakest place but the defaults: a file, a variable or `--set` overrides each of these.

use std::path::Path;

/// Values for a throw-away broker that keeps everything under `data` (absolute).
pub fn places(data: &Path) -> Vec<(&'static str, String)> {
    assert!(data.is_absolute(), "{} is not absolute: a bucket URL needs it", data.display());
    let bucket = format!("file://{}", data.join("bucket").display());
    vec![
        ("node.id", "1".to_owned()),
        ("log.dirs", data.join("log").display().to_string()),
        ("listeners", "PLAINTEXT://127.0.0.1:9092".to_owned()),
        ("remote.log.storage.system.enable", "true".to_owned()),
        ("firn.remote.url", bucket),
        ("firn.topic.remote.storage.enable", "true".to_owned()),
        ("log.segment.bytes", (1 << 20).to_string()),
        ("log.local.retention.ms", "30000".to_owned()),
        // A handful of records should reach the bucket too while somebody watches.
        ("log.roll.ms", "30000".to_owned()),
        ("log.retention.check.interval.ms", "5000".to_owned()),
        ("log.segment.delete.delay.ms", "5000".to_owned()),
        ("remote.log.manager.task.interval.ms", "1000".to_owned()),
        ("offsets.topic.num.partitions", "4".to_owned()),
        ("group.initial.rebalance.delay.ms", "0".to_owned()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load::{Places, load};
    use crate::config::start;

    #[test]
    fn dev_needs_no_file() {
        let places = Places { dev: places(Path::new("/tmp/x")), ..Places::default() };
        let start = start::build(load(&places).unwrap().settings, true).unwrap();
        assert!(start.config.dev && start.config.remote.is_some());
        assert_eq!(start.warnings, Vec::<String>::new());
    }
}
