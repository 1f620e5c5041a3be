//! When the active segment is sealed. Pure. It seals nothing.
//! Invariant: a segment never grows past what its indexes and Kafka's int32 positions can reach.

use crate::batch::header::BatchHeader;
use crate::config::{LogConfig, LogId};
use crate::hot::segment::{SEGMENT_BYTES_MAX, Segment};
use crate::offsets::Offset;

/// Kafka's rule: size, age counted in the batches' own time, a full index, offsets too far apart.
pub(super) fn must_roll(
    id: &LogId,
    active: &Segment,
    batch: &BatchHeader,
    now_ms: i64,
    config: &LogConfig,
) -> bool {
    let bytes = active.bytes();
    if bytes == 0 {
        // A fresh segment takes any batch at its base; a follower may jump further than an index entry reaches.
        return !active.reaches(batch.last_offset());
    }
    let waited = match active.first_timestamp() {
        first if first >= 0 => batch.max_timestamp.saturating_sub(first),
        _ => now_ms.saturating_sub(active.first_append_ms().unwrap_or(now_ms)),
    };
    bytes + batch.size() as u64 > config.segment_bytes.min(SEGMENT_BYTES_MAX)
        || waited > longest_age(id, active.base(), config)
        || active.index_is_full(config.segment_index_bytes)
        || !active.reaches(batch.last_offset())
}

/// `segment.ms`, less this segment's own part of `segment.jitter.ms`: logs that began together do not roll together.
/// Drawn from the segment's name, so that a restart does not draw again.
pub(super) fn longest_age(id: &LogId, base: Offset, config: &LogConfig) -> i64 {
    let (roll_ms, span) = (config.roll_ms(), config.segment_jitter_ms.min(config.roll_ms()));
    if span <= 0 {
        return roll_ms;
    }
    // FNV-1a over the name, then a finalizer that lets every bit reach the low ones.
    let name = id.as_str().bytes().chain(base.0.to_be_bytes());
    let mut hash = name.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    hash = (hash ^ hash >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash ^= hash >> 31;
    // cannot wrap: the top bit is shifted out.
    roll_ms - (hash >> 1) as i64 % span
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_takes_off_at_most_itself_and_tells_segments_apart() {
        let ages = |segment_jitter_ms, segment_ms| -> Vec<i64> {
            let config = LogConfig { segment_ms, segment_jitter_ms, ..LogConfig::default() };
            (0..200).map(|at| longest_age(&LogId::new("t/0"), Offset(at * 1000), &config)).collect()
        };
        assert!(ages(0, 5000).iter().all(|age| *age == 5000));
        let jittered = ages(1000, 5000);
        assert!(jittered.iter().all(|age| (4001..=5000).contains(age)), "{jittered:?}");
        let span = jittered.iter().max().expect("some") - jittered.iter().min().expect("some");
        assert!(span > 800, "they are spread over {span} ms");
        assert_eq!(jittered, ages(1000, 5000), "and stay what they are");
        assert!(ages(i64::MAX, 5000).iter().all(|age| (1..=5000).contains(age)));
        let config = LogConfig { segment_jitter_ms: 1000, ..LogConfig::default() };
        let of = |name: &str| longest_age(&LogId::new(name), Offset(0), &config);
        assert_ne!(of("t/0"), of("t/1"));
    }
}
