//! A topic's settings: its own overrides over the broker's defaults, typed, and the rules between them.
//! It does not store anything: overrides live in the metadata image, as text that was validated here before.

use std::collections::BTreeMap;

use firnline_tiering::codec::{Codec, CompressionLevels, TimestampType};
use firnline_tiering::config::{LogConfig, TopicCompression};

use crate::config::error::ConfigError;
use crate::config::key::{Scope, list_items};
use crate::config::resolve::{self, Origin};
use crate::config::settings::{self, Settings, integer};
use crate::config::throttled::ThrottledReplicas;

/// A topic's overrides as stored: key name → text.
pub type Overrides = BTreeMap<String, String>;

/// Topics of the broker's own; they are never tiered.
pub const INTERNAL_TOPICS: &[&str] = &["__consumer_offsets", "__transaction_state", "__share_group_state"];

/// True for a topic of the broker's own.
pub fn is_internal(topic: &str) -> bool {
    INTERNAL_TOPICS.contains(&topic)
}

/// What the broker reads of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicConfig {
    /// The log's part.
    pub log: LogConfig,
    /// `min.insync.replicas`: fewer in-sync replicas refuse acks=all.
    pub min_insync_replicas: i32,
    /// `firn.durability=disk`: a record counts as committed once it is fsynced.
    pub durable: bool,
    /// Replicas that their leaders throttle (`leader.replication.throttled.replicas`).
    pub throttled_by_leaders: ThrottledReplicas,
    /// Replicas that throttle themselves (`follower.replication.throttled.replicas`).
    pub throttled_followers: ThrottledReplicas,
}

/// The built-in defaults.
impl Default for TopicConfig {
    fn default() -> Self {
        TopicConfig {
            log: LogConfig::default(),
            min_insync_replicas: 1,
            durable: false,
            throttled_by_leaders: ThrottledReplicas::None,
            throttled_followers: ThrottledReplicas::None,
        }
    }
}

impl TopicConfig {
    /// Resolves the overrides of `topic` over the broker's settings. Only text that `validate` would refuse fails.
    pub fn resolve(
        settings: &Settings,
        topic: &str,
        overrides: &Overrides,
    ) -> Result<TopicConfig, ConfigError> {
        let read = Reader::new(settings, overrides)?;
        let policies = read.text("cleanup.policy");
        let has = |policy: &str| list_items(&policies).any(|item| item == policy);
        let (compact, delete) = (has("compact"), has("delete"));
        let tierable = !compact
            && !is_internal(topic)
            && settings.flag("remote.log.storage.system.enable") == Some(true);
        let mut log = LogConfig {
            segment_bytes: read.unsigned("segment.bytes"),
            segment_ms: read.number("segment.ms"),
            segment_jitter_ms: read.number("segment.jitter.ms"),
            preallocate: read.flag("preallocate"),
            index_interval_bytes: read.unsigned("index.interval.bytes") as u32,
            segment_index_bytes: read.unsigned("segment.index.bytes") as u32,
            retention_ms: read.number("retention.ms"),
            retention_bytes: read.number("retention.bytes").max(-1),
            local_retention_ms: read.number("local.retention.ms"),
            local_retention_bytes: read.number("local.retention.bytes"),
            remote_enabled: tierable && read.flag("remote.storage.enable"),
            remote_copy_disable: read.flag("remote.log.copy.disable"),
            compact,
            delete,
            max_message_bytes: read.unsigned("max.message.bytes") as u32,
            timestamp_type: timestamp_type(&read.text("message.timestamp.type")),
            timestamp_before_max_ms: read.number("message.timestamp.before.max.ms"),
            timestamp_after_max_ms: read.number("message.timestamp.after.max.ms"),
            compression: compression(&read.text("compression.type")),
            compression_levels: CompressionLevels {
                gzip: read.number("compression.gzip.level") as i32,
                zstd: read.number("compression.zstd.level") as i32,
            },
            flush_messages: read.number("flush.messages"),
            flush_ms: read.number("flush.ms"),
            file_delete_delay_ms: read.number("file.delete.delay.ms"),
            validate_compressed: settings.flag("firn.validate.compressed") == Some(true),
            producer_expiration_ms: settings.number("producer.id.expiration.ms").unwrap_or(i64::MAX),
            min_cleanable_ppm: millionths(&read.text("min.cleanable.dirty.ratio")),
            delete_retention_ms: read.number("delete.retention.ms"),
            min_compaction_lag_ms: read.number("min.compaction.lag.ms"),
            max_compaction_lag_ms: read.number("max.compaction.lag.ms"),
            producer_check_ms: settings
                .number("producer.id.expiration.check.interval.ms")
                .unwrap_or(i64::MAX),
            tip_note_bytes: LogConfig::default().tip_note_bytes,
        };
        if log.remote_copy_disable {
            // Nothing new goes to the bucket, so nothing local may go before the whole log's retention (KIP-950).
            (log.local_retention_ms, log.local_retention_bytes) = (-2, -2);
        }
        log.local_retention_ms = within(log.local_retention_ms, log.retention_ms);
        log.local_retention_bytes = within(log.local_retention_bytes, log.retention_bytes);
        let min_insync_replicas = i32::try_from(read.number("min.insync.replicas")).unwrap_or(i32::MAX);
        Ok(TopicConfig {
            log,
            min_insync_replicas,
            durable: read.text("firn.durability") == "disk",
            throttled_by_leaders: read.throttled(BY_LEADERS)?,
            throttled_followers: read.throttled(FOLLOWERS)?,
        })
    }
}

const BY_LEADERS: &str = "leader.replication.throttled.replicas";
const FOLLOWERS: &str = "follower.replication.throttled.replicas";

/// A broker-wide local retention never keeps more than the topic's whole log: -2 then says "as the whole log".
fn within(local: i64, whole: i64) -> i64 {
    if whole >= 0 && !(0..=whole).contains(&local) { -2 } else { local }
}

/// A checked ratio in millionths.
fn millionths(ratio: &str) -> u32 {
    // What is no number was refused before; the default stands in.
    (ratio.parse::<f64>().unwrap_or(0.5).clamp(0.0, 1.0) * 1e6).round() as u32
}

fn timestamp_type(word: &str) -> TimestampType {
    if word == "LogAppendTime" { TimestampType::LogAppendTime } else { TimestampType::CreateTime }
}

fn compression(word: &str) -> TopicCompression {
    match word {
        "uncompressed" => TopicCompression::Always(Codec::None),
        "gzip" => TopicCompression::Always(Codec::Gzip),
        "snappy" => TopicCompression::Always(Codec::Snappy),
        "lz4" => TopicCompression::Always(Codec::Lz4),
        "zstd" => TopicCompression::Always(Codec::Zstd),
        _ => TopicCompression::Producer,
    }
}

/// Checks the whole set of overrides of a topic that is created or altered: names, values, and rules between keys.
/// `was_remote`: the topic offloads today (false for a new one).
pub fn validate(
    settings: &Settings,
    topic: &str,
    overrides: &Overrides,
    was_remote: bool,
) -> Result<TopicConfig, ConfigError> {
    let read = Reader::new(settings, overrides)?;
    let resolved = TopicConfig::resolve(settings, topic, overrides)?;
    if read.number("compression.gzip.level") == 0 {
        let expected = "Value must be between 1 and 9 or equal to -1".to_owned();
        let (key, value) = ("compression.gzip.level".to_owned(), "0".to_owned());
        return Err(ConfigError::Invalid { key, value, expected });
    }
    remote_rules(settings, topic, &read, &resolved.log, was_remote)?;
    local_retention_rules(&read, "local.retention.ms", "retention.ms")?;
    local_retention_rules(&read, "local.retention.bytes", "retention.bytes")?;
    Ok(resolved)
}

fn remote_rules(
    settings: &Settings,
    topic: &str,
    read: &Reader<'_>,
    log: &LogConfig,
    was_remote: bool,
) -> Result<(), ConfigError> {
    let conflict = |text: &str| Err(ConfigError::Conflict(text.to_owned()));
    let asked = read.own("remote.storage.enable").is_some() && read.flag("remote.storage.enable");
    if asked && settings.flag("remote.log.storage.system.enable") != Some(true) {
        return conflict(
            "remote.storage.enable=true needs a bucket: the broker runs with remote.log.storage.system.enable=false",
        );
    }
    if asked && is_internal(topic) {
        return conflict("remote.storage.enable=true is refused: internal topics are never tiered");
    }
    if log.compact && (asked || was_remote) {
        return conflict(
            "remote.storage.enable=true is refused with cleanup.policy=compact: compaction in the bucket is not built yet",
        );
    }
    if was_remote && !log.remote_enabled {
        return conflict(
            "remote.storage.enable cannot go back to false: taking a topic out of the bucket is not built yet; \
             remote.log.copy.disable=true stops offloading",
        );
    }
    if read.flag("remote.log.copy.disable") {
        for (local, whole) in
            [("local.retention.ms", "retention.ms"), ("local.retention.bytes", "retention.bytes")]
        {
            if read.own(local).is_some_and(|own| own != -2 && own != read.number(whole)) {
                let text =
                    format!("{local} must be -2 or equal to {whole} when remote.log.copy.disable is true");
                return Err(ConfigError::Conflict(text));
            }
        }
    }
    Ok(())
}

/// A topic's own local retention lies within the retention of its whole log (KIP-405).
fn local_retention_rules(read: &Reader<'_>, local: &str, whole: &str) -> Result<(), ConfigError> {
    let (Some(own), bound) = (read.own(local), read.number(whole)) else { return Ok(()) };
    let invalid = |expected: String| {
        Err(ConfigError::Invalid { key: local.to_owned(), value: own.to_string(), expected })
    };
    if own == -1 && bound >= 0 {
        return invalid(format!("Value must not be -1 (no limit) while {whole} is {bound}"));
    }
    if bound >= 0 && own > bound {
        return invalid(format!("Value must not be more than {whole}, which is {bound}"));
    }
    Ok(())
}

/// Typed reads of one topic's values, every override checked by its own kind first.
struct Reader<'a> {
    settings: &'a Settings,
    overrides: &'a Overrides,
}

impl<'a> Reader<'a> {
    fn new(settings: &'a Settings, overrides: &'a Overrides) -> Result<Reader<'a>, ConfigError> {
        for (name, value) in overrides {
            settings::check(settings::known(Scope::Topic, name)?, name, value)?;
        }
        Ok(Reader { settings, overrides })
    }

    fn text(&self, name: &str) -> String {
        resolve::value(self.settings, self.overrides, name).value
    }

    fn number(&self, name: &str) -> i64 {
        integer(name, &self.text(name))
    }

    fn unsigned(&self, name: &str) -> u64 {
        self.number(name).max(0) as u64
    }

    fn flag(&self, name: &str) -> bool {
        self.text(name).eq_ignore_ascii_case("true")
    }

    fn throttled(&self, name: &str) -> Result<ThrottledReplicas, ConfigError> {
        let value = self.text(name);
        let expected = "must be the literal '*' or a list of replicas in the following format: [partitionId]:[brokerId],[partitionId]:[brokerId],...";
        let invalid = || ConfigError::Invalid {
            key: name.to_owned(),
            value: value.clone(),
            expected: expected.to_owned(),
        };
        ThrottledReplicas::parse(&value).ok_or_else(invalid)
    }

    /// The topic's own number (a flag reads as 0 or 1), `None` when it only has a default.
    fn own(&self, name: &str) -> Option<i64> {
        let said = resolve::value(self.settings, self.overrides, name);
        let number = || said.value.parse().unwrap_or(i64::from(said.value.eq_ignore_ascii_case("true")));
        (said.origin == Origin::Topic).then(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::Source;

    fn settings(pairs: &[(&str, &str)]) -> Settings {
        let mut settings = Settings::default();
        for (name, value) in pairs {
            settings.put(Source::File, name, value).unwrap();
        }
        settings
    }

    fn overrides(pairs: &[(&str, &str)]) -> Overrides {
        pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
    }

    const TIERED: &[(&str, &str)] = &[("remote.log.storage.system.enable", "true")];

    fn refusal(broker: &[(&str, &str)], topic: &str, own: &[(&str, &str)]) -> String {
        validate(&settings(broker), topic, &overrides(own), false).unwrap_err().to_string()
    }

    #[test]
    fn nothing_said_is_the_logs_own_default() {
        let resolved = TopicConfig::resolve(&Settings::default(), "t", &Overrides::new()).unwrap();
        assert_eq!(resolved, TopicConfig::default());
    }

    #[test]
    fn broker_defaults_reach_the_log() {
        let broker = settings(&[
            ("remote.log.storage.system.enable", "true"),
            ("firn.topic.remote.storage.enable", "true"),
            ("log.segment.bytes", "1048576"),
            ("log.local.retention.ms", "30000"),
            ("log.retention.hours", "1"),
            ("compression.type", "zstd"),
            ("compression.zstd.level", "19"),
            ("log.flush.interval.ms", "1000"),
            ("log.roll.jitter.hours", "2"),
            ("log.preallocate", "true"),
            ("firn.validate.compressed", "true"),
        ]);
        let log = TopicConfig::resolve(&broker, "t", &Overrides::new()).unwrap().log;
        assert_eq!(
            (log.segment_bytes, log.retention_ms, log.local_retention_ms),
            (1 << 20, 3_600_000, 30_000)
        );
        assert_eq!(log.compression, TopicCompression::Always(Codec::Zstd));
        assert!(log.remote_enabled && log.validate_compressed && log.preallocate);
        assert_eq!((log.flush_ms, log.segment_jitter_ms), (1000, 7_200_000));
        assert_eq!(log.compression_levels, CompressionLevels { gzip: -1, zstd: 19 });
        // What a default asks for gives way where it cannot be; what a topic asks for is refused.
        let short = overrides(&[("retention.ms", "1000")]);
        assert_eq!(validate(&broker, "t", &short, false).unwrap().log.local_retention_ms, -2);
        let compact = overrides(&[("cleanup.policy", "compact")]);
        assert!(!validate(&broker, "t", &compact, false).unwrap().log.remote_enabled);
        assert!(
            !TopicConfig::resolve(&broker, "__consumer_offsets", &Overrides::new())
                .unwrap()
                .log
                .remote_enabled
        );
    }

    #[test]
    fn names_and_values_are_checked() {
        assert_eq!(
            refusal(&[], "t", &[("retention.m", "1")]),
            "Unknown topic config name: retention.m (did you mean retention.ms?)"
        );
        assert_eq!(
            refusal(&[], "t", &[("segment.bytes", "1000")]),
            "Invalid value 1000 for configuration segment.bytes: Value must be at least 1048576"
        );
        assert_eq!(
            refusal(&[], "t", &[("cleanup.policy", "shred")]),
            "Invalid value shred for configuration cleanup.policy: List must hold only: compact, delete"
        );
        assert!(
            refusal(&[], "t", &[("remote.copy.lag.ms", "1")])
                .starts_with("remote.copy.lag.ms is refused: delayed offload")
        );
    }

    #[test]
    fn a_gzip_level_is_gzips_own_or_one_to_nine() {
        let own = |level: &str| {
            validate(&Settings::default(), "t", &overrides(&[("compression.gzip.level", level)]), false)
        };
        for level in ["-1", "1", "9"] {
            assert!(own(level).is_ok(), "{level}");
        }
        for level in ["-2", "0", "10"] {
            assert!(own(level).is_err(), "{level}");
        }
    }

    #[test]
    fn the_bucket_has_rules() {
        let on = ("remote.storage.enable", "true");
        assert_eq!(
            refusal(&[], "t", &[on]),
            "remote.storage.enable=true needs a bucket: the broker runs with remote.log.storage.system.enable=false"
        );
        assert_eq!(
            refusal(TIERED, "t", &[on, ("cleanup.policy", "compact,delete")]),
            "remote.storage.enable=true is refused with cleanup.policy=compact: compaction in the bucket is not built yet"
        );
        assert!(refusal(TIERED, "__consumer_offsets", &[on]).contains("internal topics are never tiered"));
        let broker = settings(TIERED);
        assert!(validate(&broker, "t", &overrides(&[on]), false).unwrap().log.remote_enabled);
        let off = validate(&broker, "t", &Overrides::new(), true).unwrap_err().to_string();
        assert!(off.starts_with("remote.storage.enable cannot go back to false"), "{off}");
        let copy_off = [on, ("remote.log.copy.disable", "true"), ("local.retention.ms", "5")];
        assert_eq!(
            refusal(TIERED, "t", &copy_off),
            "local.retention.ms must be -2 or equal to retention.ms when remote.log.copy.disable is true"
        );
    }

    #[test]
    fn local_retention_lies_within_retention() {
        assert_eq!(
            refusal(TIERED, "t", &[("retention.ms", "10"), ("local.retention.ms", "11")]),
            "Invalid value 11 for configuration local.retention.ms: Value must not be more than retention.ms, which is 10"
        );
        assert_eq!(
            refusal(TIERED, "t", &[("retention.bytes", "10"), ("local.retention.bytes", "-1")]),
            "Invalid value -1 for configuration local.retention.bytes: \
             Value must not be -1 (no limit) while retention.bytes is 10"
        );
        let fine = overrides(&[
            ("retention.ms", "-1"),
            ("local.retention.ms", "-1"),
            ("local.retention.bytes", "7"),
        ]);
        let log = validate(&settings(TIERED), "t", &fine, false).unwrap().log;
        assert_eq!((log.local_retention_ms, log.local_retention_bytes), (-1, 7));
    }
}
