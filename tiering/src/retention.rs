//! What may go from which tier, by age and size. Pure: segments, settings and the time in, offsets out.
//! Not the going itself: the log start moves through the quorum first (`gc.rs`), local files go through the log.
//! Invariants: the log start never passes the bound; on a tiered log nothing leaves the local disk, and nothing
//! expires, that the bucket does not hold (I15).

use crate::config::LogConfig;
use crate::offsets::Offset;

/// A segment, in whichever tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// First offset.
    pub base: Offset,
    /// The offset after the last.
    pub next: Offset,
    /// Bytes of log.
    pub bytes: u64,
    /// Largest record timestamp, milliseconds; −1 if none: such a segment never expires by age.
    pub max_timestamp_ms: i64,
}

/// A log as retention sees it.
#[derive(Debug, Clone, Copy)]
pub struct Tiers<'a> {
    /// Remote segments, oldest first; empty for a log that is not tiered.
    pub remote: &'a [Held],
    /// Sealed local segments, oldest first.
    pub local: &'a [Held],
    /// Bytes of the active segment.
    pub active_bytes: u64,
    /// The committed remote end; `None` for a log that is not tiered.
    pub remote_end: Option<Offset>,
    /// First offset a reader may ask for.
    pub log_start: Offset,
    /// The high watermark: nothing at or above it expires.
    pub bound: Offset,
}

impl Tiers<'_> {
    /// All segments of the whole log, oldest first: remote ones, then those only local.
    fn whole(&self) -> impl Iterator<Item = &Held> {
        let remote_end = self.remote_end.unwrap_or(Offset::ZERO);
        let remote = self.remote.iter().filter(|held| held.next > self.log_start);
        let only_local =
            self.local.iter().filter(move |held| held.next > remote_end && held.next > self.log_start);
        remote.chain(only_local)
    }
}

/// Where the log start moves by `retention.ms` and `retention.bytes` over both tiers; `None` if it stays.
///
/// As in Kafka, on a tiered log a segment that is not in the bucket yet does not expire, unless copying is
/// disabled: then nothing will ever take it there.
pub fn new_log_start(tiers: &Tiers<'_>, config: &LogConfig, now_ms: i64) -> Option<Offset> {
    if !config.delete {
        return None;
    }
    let total = tiers.whole().map(|held| held.bytes).sum::<u64>() + tiers.active_bytes;
    let mut excess = excess(total, config.retention_bytes);
    let mut start = tiers.log_start;
    for held in tiers.whole() {
        let waits = tiers.remote_end.is_some_and(|end| held.next > end) && !config.remote_copy_disable;
        let breached = is_too_old(held, config.retention_ms, now_ms) || excess >= held.bytes.max(1);
        if waits || held.next > tiers.bound || !breached {
            break;
        }
        excess = excess.saturating_sub(held.bytes);
        start = held.next;
    }
    (start > tiers.log_start).then_some(start)
}

/// Below which offset local segments of a tiered log may go by `local.retention.*`, because the bucket holds
/// them; `None` if all stay, or the log is not tiered.
pub fn release_below(tiers: &Tiers<'_>, config: &LogConfig, now_ms: i64) -> Option<Offset> {
    let remote_end = tiers.remote_end?;
    let local: u64 = tiers.local.iter().map(|held| held.bytes).sum::<u64>() + tiers.active_bytes;
    let mut excess = excess(local, config.effective_local_retention_bytes());
    let max_age = config.effective_local_retention_ms();
    let mut below = None;
    for held in tiers.local {
        let breached = is_too_old(held, max_age, now_ms) || excess >= held.bytes.max(1);
        if held.next > remote_end || held.next > tiers.bound || !breached {
            break;
        }
        excess = excess.saturating_sub(held.bytes);
        below = Some(held.next);
    }
    below
}

/// Bytes above the limit; a limit of −1 is none.
fn excess(total: u64, limit: i64) -> u64 {
    u64::try_from(limit).map_or(0, |limit| total.saturating_sub(limit))
}

/// Whether the newest record is older than `max_age_ms`; −1 is no limit. Saturates: an age limit above the
/// present time, or a timestamp far in the future, expires nothing.
fn is_too_old(held: &Held, max_age_ms: i64, now_ms: i64) -> bool {
    max_age_ms >= 0 && held.max_timestamp_ms >= 0 && now_ms.saturating_sub(held.max_timestamp_ms) > max_age_ms
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(base: i64, time: i64) -> Held {
        Held { base: Offset(base), next: Offset(base + 10), bytes: 100, max_timestamp_ms: time }
    }

    fn config() -> LogConfig {
        LogConfig { delete: true, retention_ms: -1, retention_bytes: -1, ..LogConfig::default() }
    }

    fn tiers<'a>(remote: &'a [Held], local: &'a [Held], remote_end: Option<i64>) -> Tiers<'a> {
        Tiers {
            remote,
            local,
            active_bytes: 50,
            remote_end: remote_end.map(Offset),
            log_start: Offset(0),
            bound: Offset::MAX,
        }
    }

    #[test]
    fn age_takes_the_oldest_first_and_stops_at_the_first_that_stays() {
        let local = [held(0, 100), held(10, 900), held(20, 100)];
        let config = LogConfig { retention_ms: 500, ..config() };
        assert_eq!(new_log_start(&tiers(&[], &local, None), &config, 1000), Some(Offset(10)));
    }

    #[test]
    fn size_counts_both_tiers_once_and_never_goes_below_the_limit() {
        let remote = [held(0, 0), held(10, 0), held(20, 0)];
        let local = [held(20, 0), held(30, 0)];
        // 400 bytes sealed + 50 active = 450.
        for (limit, start) in [(450, None), (351, None), (350, Some(10)), (250, Some(20)), (0, Some(30))] {
            let config = LogConfig { retention_bytes: limit, ..config() };
            let moved = new_log_start(&tiers(&remote, &local, Some(30)), &config, 0);
            assert_eq!(moved, start.map(Offset), "limit {limit}");
        }
    }

    #[test]
    fn what_is_not_in_the_bucket_waits_unless_copying_is_disabled() {
        let local = [held(0, 0)];
        let config = LogConfig { retention_ms: 1, ..config() };
        assert_eq!(new_log_start(&tiers(&[], &local, Some(0)), &config, 1000), None);
        let disabled = LogConfig { remote_copy_disable: true, ..config };
        assert_eq!(new_log_start(&tiers(&[], &local, Some(0)), &disabled, 1000), Some(Offset(10)));
    }

    #[test]
    fn nothing_expires_above_the_bound_nor_without_the_delete_policy() {
        let local = [held(0, 0), held(10, 0)];
        let config = LogConfig { retention_ms: 1, ..config() };
        let bounded = Tiers { bound: Offset(15), ..tiers(&[], &local, None) };
        assert_eq!(new_log_start(&bounded, &config, 1000), Some(Offset(10)));
        let compact = LogConfig { delete: false, ..config };
        assert_eq!(new_log_start(&bounded, &compact, 1000), None);
    }

    #[test]
    fn a_timestamp_in_the_future_or_none_at_all_expires_nothing() {
        let local = [held(0, i64::MAX), held(10, -1)];
        let config = LogConfig { retention_ms: 0, ..config() };
        assert_eq!(new_log_start(&tiers(&[], &local, None), &config, 1000), None);
        assert_eq!(new_log_start(&tiers(&[], &local[1..], None), &config, i64::MAX), None);
    }

    #[test]
    fn local_bytes_go_only_below_the_committed_remote_end() {
        let local = [held(0, 0), held(10, 0), held(20, 0)];
        let config = LogConfig { local_retention_ms: 1, ..config() };
        assert_eq!(release_below(&tiers(&[], &local, Some(20)), &config, 1000), Some(Offset(20)));
        assert_eq!(release_below(&tiers(&[], &local, Some(19)), &config, 1000), Some(Offset(10)));
        assert_eq!(release_below(&tiers(&[], &local, None), &config, 1000), None);
    }

    #[test]
    fn minus_two_means_as_the_whole_log() {
        let local = [held(0, 0)];
        let config = LogConfig { retention_ms: 500, local_retention_ms: -2, ..config() };
        assert_eq!(release_below(&tiers(&[], &local, Some(10)), &config, 500), None);
        assert_eq!(release_below(&tiers(&[], &local, Some(10)), &config, 501), Some(Offset(10)));
        let by_size = LogConfig { retention_bytes: 50, local_retention_bytes: -2, ..self::config() };
        assert_eq!(release_below(&tiers(&[], &local, Some(10)), &by_size, 0), Some(Offset(10)));
    }
}
