//! The tier row against a model: random changes, right and wrong, and a list of segments that knows what must come.

use firnline_tiering::cold::entry::Entry;
use firnline_tiering::cold::manifest::ManifestPointer;
use firnline_tiering::cold::tier::{Refused, TierChange, TierChangeKind, TierRow, TierVersion};
use firnline_tiering::epoch::LeaderEpoch;
use firnline_tiering::offsets::Offset;
use proptest::prelude::*;
use uuid::Uuid;

pub fn entry(base: i64, next: i64, epoch: i32, previous: i32, uuid: u128) -> Entry {
    Entry {
        base: Offset(base),
        next: Offset(next),
        min_timestamp: 1,
        max_timestamp: 2,
        leader_epoch: LeaderEpoch(epoch),
        previous_epoch: LeaderEpoch(previous),
        first_epoch: LeaderEpoch(epoch),
        last_epoch: LeaderEpoch(epoch),
        log_bytes: 100,
        footer_at: 150,
        footer_len: 60,
        footer_crc: 7,
        aborted: 0,
        uuid: Uuid::from_u128(uuid),
    }
}

fn change(row: &TierRow, kind: TierChangeKind) -> TierChange {
    TierChange { on_version: row.version, leader_epoch: row.leader_epoch, kind }
}

fn pointer(uuid: u128, base: i64, end: i64, segments: u32) -> ManifestPointer {
    ManifestPointer {
        uuid: Uuid::from_u128(uuid),
        on_version: 0,
        object_bytes: 100,
        crc: 1,
        base: Offset(base),
        end: Offset(end),
        segments,
        log_bytes: 100,
        graves: 0,
    }
}

fn with_two() -> TierRow {
    let row = TierRow::new(LeaderEpoch(3), Offset(0));
    let row = row.apply(&change(&row, TierChangeKind::Append(entry(0, 10, 3, -1, 1)))).unwrap();
    row.apply(&change(&row, TierChangeKind::Append(entry(10, 20, 3, 3, 2)))).unwrap()
}

#[test]
fn stale_versions_and_leaders_change_nothing() {
    let row = with_two();
    let append = TierChangeKind::Append(entry(20, 30, 3, 3, 3));
    let stale = TierChange { on_version: TierVersion(1), ..change(&row, append.clone()) };
    let expected = Refused::StaleVersion { decided_on: TierVersion(1), current: TierVersion(2) };
    assert_eq!(row.apply(&stale), Err(expected));
    let deposed = row.with_leader_epoch(LeaderEpoch(4));
    let late = TierChange { leader_epoch: LeaderEpoch(3), ..change(&row, append) };
    assert!(matches!(deposed.apply(&late), Err(Refused::StaleLeader { .. })));
}

#[test]
fn an_append_continues_offsets_and_lineage() {
    let row = with_two();
    let refused = |entry: Entry| row.apply(&change(&row, TierChangeKind::Append(entry))).unwrap_err();
    assert!(matches!(refused(entry(21, 30, 3, 3, 3)), Refused::NotAtEnd { .. }), "a hole");
    assert!(matches!(refused(entry(19, 30, 3, 3, 3)), Refused::NotAtEnd { .. }), "an overlap");
    assert!(matches!(refused(entry(20, 30, 3, 2, 3)), Refused::OffLineage { .. }), "another history");
    assert!(matches!(refused(entry(20, 30, 4, 3, 3)), Refused::StaleLeader { .. }), "another uploader");
    assert!(matches!(refused(entry(20, 20, 3, 3, 3)), Refused::BadEntry(_)), "an empty one");
}

#[test]
fn a_swap_takes_exactly_the_oldest_entries_and_leaves_later_ones() {
    let row = with_two();
    let swap = |folded: Vec<u128>, manifest| {
        let folded = folded.into_iter().map(Uuid::from_u128).collect();
        row.apply(&change(&row, TierChangeKind::Swap { manifest, folded }))
    };
    let next = swap(vec![1], pointer(9, 0, 10, 1)).unwrap();
    assert_eq!((next.entries.len(), next.end, next.log_bytes()), (1, Offset(20), 200));
    for (folded, manifest) in [
        (vec![2], pointer(9, 0, 20, 1)),
        (vec![2, 1], pointer(9, 0, 20, 2)),
        (vec![1, 2], pointer(9, 0, 10, 2)),
        (vec![1], pointer(9, 10, 10, 0)),
        (vec![1, 2], pointer(9, 10, 20, 1)),
        (vec![1, 2, 3], pointer(9, 0, 30, 3)),
    ] {
        let refused = swap(folded.clone(), manifest);
        assert!(matches!(refused, Err(Refused::BadSwap(_))), "{folded:?} {manifest:?}: {refused:?}");
    }
}

#[test]
fn the_tier_goes_on_at_the_log_start_when_all_of_it_expired() {
    let row = with_two();
    let row = row.apply(&change(&row, TierChangeKind::MoveLogStart(Offset(45)))).unwrap();
    let append = |base, next| row.apply(&change(&row, TierChangeKind::Append(entry(base, next, 3, 3, 3))));
    assert!(matches!(append(46, 60), Err(Refused::NotAtEnd { .. })), "a hole above the log start");
    assert!(matches!(append(30, 45), Err(Refused::NotAtEnd { .. })), "wholly below the log start");
    let row = append(40, 60).unwrap();
    assert_eq!(row.end, Offset(60));
    assert_eq!(TierRow::decode(&row.encode()), Ok(row));
}

#[test]
fn the_row_is_bounded() {
    let mut row = TierRow::new(LeaderEpoch(0), Offset(0));
    let mut at = 0;
    let refused = loop {
        let previous = if at == 0 { -1 } else { 0 };
        let next = entry(at, at + 1, 0, previous, u128::from(at.unsigned_abs()));
        match row.apply(&change(&row, TierChangeKind::Append(next))) {
            Ok(next) => row = next,
            Err(error) => break error,
        }
        at += 1;
    };
    assert_eq!(refused, Refused::Full(64));
}

proptest! {
    /// Whatever is asked, in whatever order: what is accepted keeps the row's promises, what is refused keeps the row.
    #[test]
    fn no_sequence_of_changes_breaks_the_row(steps in proptest::collection::vec((0..5_u8, 0..40_i64, 0..40_i64, 0..4_i32), 1..60)) {
        let mut row = TierRow::new(LeaderEpoch(0), Offset(0));
        for (n, (kind, a, b, c)) in steps.into_iter().enumerate() {
            let uuid = n as u128 + 1;
            let kind = match kind {
                // Mostly right appends, so that rows grow.
                0 | 1 => {
                    let base = if row.log_start > row.end { row.log_start.0 } else { row.end.0 };
                    TierChangeKind::Append(entry(base, base + 1 + a, row.leader_epoch.0, row.end_epoch.0, uuid))
                }
                2 => TierChangeKind::Append(entry(a, b, c, c - 1, uuid)),
                3 => TierChangeKind::MoveLogStart(Offset(row.log_start.0 + a - 10)),
                _ => {
                    let take = usize::try_from(a).unwrap().min(row.entries.len());
                    let folded: Vec<Uuid> = row.entries[..take].iter().map(|entry| entry.uuid).collect();
                    let old = row.manifest.map_or((0, 0), |old| (old.base.0, old.end.0));
                    let end = row.entries[..take].last().map_or(old.1, |entry| entry.next.0);
                    let segments = u32::from(b > 5);
                    let base = if segments == 0 { end } else { old.0.min(end) };
                    TierChangeKind::Swap { manifest: pointer(uuid, base, end, segments), folded }
                }
            };
            let mut change = change(&row, kind);
            if c == 3 && b == 0 {
                change.on_version = TierVersion(change.on_version.0 + 1);
            }
            let before = row.clone();
            match row.apply(&change) {
                Ok(next) => {
                    prop_assert_eq!(next.contradiction(), None);
                    prop_assert_eq!(TierChange::decode(&change.encode()), Ok(change));
                    prop_assert!(next.end >= before.end && next.log_start >= before.log_start);
                    prop_assert_eq!(next.version.0, before.version.0 + 1);
                    prop_assert_eq!(TierRow::decode(&next.encode()), Ok(next.clone()));
                    row = if b == 1 { next.with_leader_epoch(LeaderEpoch(next.leader_epoch.0 + 1)) } else { next };
                }
                Err(_) => prop_assert_eq!(&row, &before),
            }
        }
    }
}
