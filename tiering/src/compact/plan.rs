//! Which part of a log is dirty, how far it may be cleaned, and whether it is worth it. Pure: facts in, [`Dirt`] out.
//! It reads no file. Invariant: nothing at or above the last stable offset, of the active segment, or younger than
//! `min.compaction.lag.ms` is ever named as cleanable.

use crate::config::LogConfig;
use crate::offsets::Offset;

/// A sealed, durable segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// First offset.
    pub base: Offset,
    /// The base of the segment after it.
    pub next: Offset,
    /// Bytes of log data.
    pub bytes: u64,
    /// Largest record timestamp, milliseconds; −1 if there is none.
    pub max_timestamp_ms: i64,
    /// Max timestamp of the first batch, milliseconds; −1 if there is none.
    pub first_timestamp_ms: i64,
}

/// A log as the plan sees it.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// Sealed, durable segments, oldest first, without a gap between neighbours.
    pub pieces: &'a [Piece],
    /// First offset a reader may ask for.
    pub log_start: Offset,
    /// The log's end.
    pub end: Offset,
    /// Up to where it was cleaned before, if that is known.
    pub clean_point: Option<Offset>,
    /// The last stable offset, at most the high watermark.
    pub stable: Offset,
}

/// What there is to clean in a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dirt {
    /// The first offset that no cleaning has covered.
    pub from: Offset,
    /// The first offset that may not be cleaned: a segment's base.
    pub upto: Offset,
    /// Bytes of segments below `from`.
    pub clean_bytes: u64,
    /// Bytes of segments between `from` and `upto`.
    pub dirty_bytes: u64,
    /// How long the oldest dirty segment is past `max.compaction.lag.ms`, milliseconds; 0 if it is not.
    pub overdue_ms: i64,
}

impl Dirt {
    /// What there is to clean.
    pub fn of(view: &View<'_>, config: &LogConfig, now_ms: i64) -> Dirt {
        let from = first_dirty(view);
        let cleanable = cleanable(view, config, from, now_ms);
        let upto = cleanable.last().map_or(from, |piece| piece.next).max(from);
        let bytes = |dirty: bool| {
            cleanable.iter().filter(|piece| (piece.next > from) == dirty).map(|piece| piece.bytes).sum()
        };
        let overdue_ms = overdue_ms(view, config, from, now_ms);
        Dirt { from, upto, clean_bytes: bytes(false), dirty_bytes: bytes(true), overdue_ms }
    }

    /// The dirty part in millionths; 0 for a log without cleanable bytes.
    pub fn ratio_ppm(&self) -> u64 {
        let total = u128::from(self.clean_bytes) + u128::from(self.dirty_bytes);
        // cannot truncate: a part of the whole is at most a million millionths.
        (u128::from(self.dirty_bytes) * 1_000_000).checked_div(total).unwrap_or(0) as u64
    }

    /// Worth a cleaning: dirty enough, or dirty for too long.
    pub fn is_due(&self, config: &LogConfig) -> bool {
        let total = u128::from(self.clean_bytes) + u128::from(self.dirty_bytes);
        let above = u128::from(self.dirty_bytes) * 1_000_000 > u128::from(config.min_cleanable_ppm) * total;
        self.dirty_bytes > 0 && (above || self.overdue_ms > 0)
    }
}

/// The log to clean first: the dirtiest of those that are due, the first of equals. Answers its place.
pub fn dirtiest<'a>(logs: impl IntoIterator<Item = (&'a Dirt, &'a LogConfig)>) -> Option<usize> {
    let due = logs.into_iter().enumerate().filter(|(_, (dirt, config))| dirt.is_due(config));
    due.max_by_key(|(at, (dirt, _))| (dirt.ratio_ppm(), std::cmp::Reverse(*at))).map(|(at, _)| at)
}

/// A point outside the log is of another time: everything counts as dirty then, which costs work and harms nothing.
fn first_dirty(view: &View<'_>) -> Offset {
    let known = view.clean_point.filter(|point| (view.log_start..=view.end).contains(point));
    known.unwrap_or(view.log_start)
}

fn cleanable<'a>(view: &View<'a>, config: &LogConfig, from: Offset, now_ms: i64) -> &'a [Piece] {
    let youngest = now_ms.saturating_sub(config.min_compaction_lag_ms);
    let too_young = |piece: &Piece| {
        config.min_compaction_lag_ms > 0 && piece.next > from && piece.max_timestamp_ms > youngest
    };
    let stop = view.pieces.iter().position(|piece| piece.next > view.stable || too_young(piece));
    &view.pieces[..stop.unwrap_or(view.pieces.len())]
}

fn overdue_ms(view: &View<'_>, config: &LogConfig, from: Offset, now_ms: i64) -> i64 {
    let dirty = view.pieces.iter().filter(|piece| piece.next > from);
    let oldest = dirty.map(|piece| piece.first_timestamp_ms).filter(|first| *first > 0).min();
    let bound = now_ms.saturating_sub(config.max_compaction_lag_ms.max(0));
    oldest.map_or(0, |oldest| bound.saturating_sub(oldest).max(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(base: i64, first: i64) -> Piece {
        let (base, next) = (Offset(base), Offset(base + 10));
        Piece { base, next, bytes: 100, max_timestamp_ms: first + 9, first_timestamp_ms: first }
    }

    fn view(pieces: &[Piece]) -> View<'_> {
        View { pieces, log_start: Offset(0), end: Offset(100), clean_point: None, stable: Offset(100) }
    }

    fn config() -> LogConfig {
        LogConfig { compact: true, delete: false, ..LogConfig::default() }
    }

    #[test]
    fn what_was_never_cleaned_is_all_dirty() {
        let pieces = [piece(0, 100), piece(10, 200), piece(20, 300)];
        let dirt = Dirt::of(&view(&pieces), &config(), 1000);
        assert_eq!(
            (dirt.from, dirt.upto, dirt.clean_bytes, dirt.dirty_bytes),
            (Offset(0), Offset(30), 0, 300)
        );
        assert!(dirt.is_due(&config()) && dirt.ratio_ppm() == 1_000_000);
    }

    #[test]
    fn the_ratio_decides_and_must_be_passed() {
        let pieces = [piece(0, 100), piece(10, 200), piece(20, 300)];
        let cleaned = |point| View { clean_point: Some(Offset(point)), ..view(&pieces) };
        let dirt = Dirt::of(&cleaned(20), &config(), 1000);
        assert_eq!((dirt.clean_bytes, dirt.dirty_bytes, dirt.ratio_ppm()), (200, 100, 333_333));
        assert!(!dirt.is_due(&config()));
        // A segment cleaned in part counts as dirty.
        let dirt = Dirt::of(&cleaned(15), &config(), 1000);
        assert_eq!((dirt.from, dirt.clean_bytes, dirt.dirty_bytes), (Offset(15), 100, 200));
        assert!(dirt.is_due(&config()));
        assert!(!dirt.is_due(&LogConfig { min_cleanable_ppm: 700_000, ..config() }));
        let half = Dirt { clean_bytes: 100, dirty_bytes: 100, ..dirt };
        assert!(!half.is_due(&config()), "Kafka wants more than the ratio");
        let nothing = Dirt::of(&cleaned(30), &config(), 1000);
        assert!(nothing.dirty_bytes == 0 && !nothing.is_due(&LogConfig { min_cleanable_ppm: 0, ..config() }));
    }

    #[test]
    fn undecided_and_young_segments_bound_it() {
        let pieces = [piece(0, 100), piece(10, 200), piece(20, 300)];
        let upto = |view: &View<'_>, lag| {
            let config = LogConfig { min_compaction_lag_ms: lag, ..config() };
            Dirt::of(view, &config, 400).upto
        };
        assert_eq!(upto(&View { stable: Offset(29), ..view(&pieces) }, 0), Offset(20));
        assert_eq!(upto(&View { stable: Offset(9), ..view(&pieces) }, 0), Offset(0));
        assert_eq!(upto(&view(&pieces), 91), Offset(30));
        assert_eq!(upto(&view(&pieces), 92), Offset(20));
        assert_eq!(upto(&view(&pieces), i64::MAX), Offset(0));
        // What is clean already bounds nothing, however young.
        let cleaned = View { clean_point: Some(Offset(30)), ..view(&pieces) };
        assert_eq!(upto(&cleaned, i64::MAX), Offset(30));
    }

    #[test]
    fn a_point_outside_the_log_is_not_believed() {
        let pieces = [piece(0, 100), piece(10, 200)];
        for point in [-1, 4, 101] {
            let view = View { clean_point: Some(Offset(point)), log_start: Offset(5), ..view(&pieces) };
            assert_eq!(Dirt::of(&view, &config(), 400).from, Offset(5), "{point}");
        }
    }

    #[test]
    fn an_old_segment_is_due_whatever_the_ratio() {
        let pieces = [piece(0, 0), piece(10, 200)];
        let config = LogConfig { max_compaction_lag_ms: 50, min_cleanable_ppm: 1_000_000, ..config() };
        let dirt = Dirt::of(&view(&pieces), &config, 251);
        assert_eq!(dirt.overdue_ms, 1, "a first timestamp of 0 says nothing");
        assert!(dirt.is_due(&config));
        assert!(!Dirt::of(&view(&pieces), &config, 250).is_due(&config));
        let forever = LogConfig { max_compaction_lag_ms: i64::MAX, ..config };
        assert_eq!(Dirt::of(&view(&pieces), &forever, i64::MAX).overdue_ms, 0);
    }

    #[test]
    fn the_dirtiest_due_log_comes_first() {
        let dirt = |clean, dirty| Dirt {
            from: Offset(0),
            upto: Offset(9),
            clean_bytes: clean,
            dirty_bytes: dirty,
            overdue_ms: 0,
        };
        let (all, config) = ([dirt(1, 2), dirt(1, 9), dirt(1, 9), dirt(0, 0), dirt(9, 1)], config());
        assert_eq!(dirtiest(all.iter().map(|dirt| (dirt, &config))), Some(1));
        assert_eq!(dirtiest(all[3..].iter().map(|dirt| (dirt, &config))), None);
    }
}
