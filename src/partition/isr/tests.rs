//! The rules of the ISR one by one, and a property: whatever followers report in whatever order, what was committed is
//! held by everybody whom the quorum may believe to be in sync.

use super::*;
use proptest::prelude::*;

const LAG: Duration = Duration::from_secs(30);
const ME: BrokerId = BrokerId(1);

fn roster(replicas: &[i32], isr: &[i32], epoch: i32) -> Roster {
    let ids = |ids: &[i32]| ids.iter().map(|id| BrokerId(*id)).collect();
    Roster { replicas: ids(replicas), isr: ids(isr), epoch: PartitionEpoch(epoch) }
}

fn report(from: i32, end: i64, leader_end: i64, at: Instant) -> Report {
    Report {
        from: BrokerId(from),
        broker_epoch: BrokerEpoch(7),
        end: Offset(end),
        log_start: Offset(0),
        leader_end: Offset(leader_end),
        at,
        eligible: true,
    }
}

fn ids(wish: &Wish) -> Vec<i32> {
    wish.isr.iter().map(|(id, _)| id.0).collect()
}

#[test]
fn the_least_end_of_those_in_sync_is_committed() {
    let now = Instant::now();
    let mut sync = InSync::new(ME, roster(&[1, 2, 3], &[1, 2, 3], 0), Offset(0), now);
    assert_eq!(sync.committed(Offset(10), 2, now, LAG), None, "nobody has fetched from this leader yet");
    sync.note(&report(2, 8, 10, now));
    assert_eq!(sync.committed(Offset(10), 2, now, LAG), None);
    sync.note(&report(3, 5, 10, now));
    assert_eq!(sync.committed(Offset(10), 2, now, LAG), Some(Offset(5)));
    assert_eq!(
        sync.committed(Offset(4), 2, now, LAG),
        Some(Offset(4)),
        "the leader's own end counts as well"
    );
    assert!(!sync.note(&report(9, 5, 10, now)), "a stranger");
}

#[test]
fn too_few_in_sync_commit_nothing() {
    let now = Instant::now();
    let mut sync = InSync::new(ME, roster(&[1, 2, 3], &[1, 2], 0), Offset(0), now);
    sync.note(&report(2, 10, 10, now));
    assert_eq!(sync.committed(Offset(10), 3, now, LAG), None);
    assert_eq!(sync.committed(Offset(10), 2, now, LAG), Some(Offset(10)));
}

#[test]
fn a_silent_follower_leaves_and_one_that_caught_up_joins() {
    let start = Instant::now();
    let mut sync = InSync::new(ME, roster(&[1, 2, 3], &[1, 2, 3], 0), Offset(0), start);
    sync.note(&report(2, 0, 0, start));
    let soon = start + LAG;
    assert_eq!(sync.propose(Offset(10), Offset(0), soon, LAG), None, "within its lag");
    let late = soon + Duration::from_millis(1);
    sync.note(&report(2, 10, 10, late));
    let wish = sync.propose(Offset(10), Offset(0), late, LAG).expect("3 never fetched");
    assert_eq!((ids(&wish), wish.on), (vec![1, 2], PartitionEpoch(0)));
    assert_eq!(wish.isr[1].1, Some(BrokerEpoch(7)), "the life that fetched");
    assert_eq!(sync.propose(Offset(10), Offset(0), late, LAG), None, "one at a time");
    assert_eq!(
        sync.committed(Offset(10), 1, late, LAG),
        None,
        "3 counts until the quorum has said otherwise"
    );
    assert!(sync.set_roster(roster(&[1, 2, 3], &[1, 2], 1), late));
    assert_eq!(sync.committed(Offset(10), 1, late, LAG), Some(Offset(10)));
    sync.note(&report(3, 9, 10, late));
    assert!(!sync.wants_to_grow(Offset(10)));
    assert_eq!(sync.propose(Offset(10), Offset(10), late, LAG), None, "below the high watermark");
    sync.note(&report(3, 10, 12, late));
    assert!(sync.wants_to_grow(Offset(10)));
    assert_eq!(ids(&sync.propose(Offset(12), Offset(10), late, LAG).expect("3 is back")), [1, 2, 3]);
    assert_eq!(
        sync.committed(Offset(12), 1, late, LAG),
        Some(Offset(10)),
        "a proposed member counts at once"
    );
}

#[test]
fn who_has_not_reached_the_start_of_the_term_does_not_join() {
    let now = Instant::now();
    let mut sync = InSync::new(ME, roster(&[1, 2], &[1], 0), Offset(20), now);
    sync.note(&report(2, 15, 20, now));
    assert_eq!(sync.propose(Offset(20), Offset(10), now, LAG), None);
    sync.note(&report(2, 20, 20, now));
    assert!(sync.propose(Offset(20), Offset(10), now, LAG).is_some());
}

#[test]
fn a_fenced_follower_neither_joins_nor_is_waited_for() {
    let now = Instant::now();
    let mut sync = InSync::new(ME, roster(&[1, 2], &[1], 0), Offset(0), now);
    sync.note(&report(2, 10, 10, now));
    assert_eq!(sync.committed(Offset(12), 1, now, LAG), Some(Offset(10)), "about to join: waited for");
    sync.distrust(BrokerId(2));
    assert_eq!(sync.committed(Offset(12), 1, now, LAG), Some(Offset(12)));
    assert_eq!(sync.propose(Offset(12), Offset(10), now, LAG), None);
    sync.note(&Report { eligible: false, ..report(2, 12, 12, now) });
    assert_eq!(sync.propose(Offset(12), Offset(12), now, LAG), None);
}

#[test]
fn a_follower_that_reads_everything_it_was_shown_is_caught_up_as_of_that_fetch() {
    let start = Instant::now();
    let mut sync = InSync::new(ME, roster(&[1, 2], &[1, 2], 0), Offset(0), start);
    sync.note(&report(2, 0, 100, start));
    let later = start + LAG / 2;
    // By now it has all that there was at its last fetch, though the leader went on.
    sync.note(&report(2, 100, 200, later));
    let stays = start + LAG;
    assert_eq!(sync.propose(Offset(300), Offset(0), stays, LAG), None);
    let gone = stays + Duration::from_millis(1);
    assert!(sync.propose(Offset(300), Offset(0), gone, LAG).is_some());
}

#[test]
fn a_refused_wish_may_be_decided_again_and_an_older_row_changes_nothing() {
    let now = Instant::now();
    let mut sync = InSync::new(ME, roster(&[1, 2], &[1], 5), Offset(0), now);
    sync.note(&report(2, 0, 0, now));
    let wish = sync.propose(Offset(0), Offset(0), now, LAG).expect("2 joins");
    sync.refused(PartitionEpoch(4));
    assert_eq!(sync.wish(), Some(&wish), "that was another");
    sync.refused(PartitionEpoch(5));
    assert_eq!(sync.wish(), None);
    assert!(!sync.set_roster(roster(&[1, 2], &[1, 2], 5), now));
    assert_eq!(*sync.roster().isr, [ME]);
}

#[test]
fn the_low_watermark_is_that_of_those_who_count() {
    let now = Instant::now();
    let mut sync = InSync::new(ME, roster(&[1, 2, 3], &[1, 2], 0), Offset(0), now);
    sync.note(&Report { log_start: Offset(4), ..report(2, 10, 10, now) });
    assert_eq!(sync.low_watermark(Offset(6), |_| true), Offset(0), "3 is unknown");
    assert_eq!(sync.low_watermark(Offset(6), |id| id == BrokerId(2)), Offset(4));
    assert_eq!(sync.low_watermark(Offset(3), |id| id == BrokerId(2)), Offset(3));
    assert!(!sync.is_alone());
    assert!(InSync::new(ME, roster(&[1], &[1], 0), Offset(0), now).is_alone());
}

/// What may happen to a leader.
#[derive(Debug, Clone)]
enum Event {
    Append(i64),
    Fetch(usize),
    Tick(u64),
    Propose,
    /// The quorum takes the proposal; the leader learns it or not yet.
    Commit(bool),
    Refuse,
    Fence(usize),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        (1..5_i64).prop_map(Event::Append),
        (0..2_usize).prop_map(Event::Fetch),
        (0..20_000_u64).prop_map(Event::Tick),
        Just(Event::Propose),
        any::<bool>().prop_map(Event::Commit),
        Just(Event::Refuse),
        (0..2_usize).prop_map(Event::Fence),
    ];
    proptest::collection::vec(event, 1..120)
}

proptest! {
    /// Followers fetch what they were shown last; the quorum's ISR may be ahead of the leader's by one commit.
    #[test]
    fn what_is_committed_is_held_by_everybody_the_quorum_believes_in_sync(events in events()) {
        let (mut now, mut end, mut high) = (Instant::now(), 0_i64, Offset(0));
        let mut sync = InSync::new(ME, roster(&[1, 2, 3], &[1, 2, 3], 0), Offset(0), now);
        let (mut ends, mut shown) = ([0_i64; 2], [0_i64; 2]);
        let mut quorum = roster(&[1, 2, 3], &[1, 2, 3], 0);
        for event in events {
            match event {
                Event::Append(records) => end += records,
                Event::Fetch(which) => {
                    ends[which] = shown[which];
                    sync.note(&report(which as i32 + 2, ends[which], end, now));
                    shown[which] = end;
                }
                Event::Tick(ms) => now += Duration::from_millis(ms),
                Event::Propose => {
                    sync.propose(Offset(end), high, now, LAG);
                }
                Event::Commit(told) => {
                    if let Some(wish) = sync.wish().filter(|wish| wish.on == quorum.epoch) {
                        quorum = roster(&[1, 2, 3], &ids(wish), quorum.epoch.0 + 1);
                    }
                    if told {
                        sync.set_roster(quorum.clone(), now);
                    }
                }
                // What the quorum has taken it does not refuse.
                Event::Refuse => if quorum.epoch == sync.roster().epoch { sync.refused(quorum.epoch) },
                Event::Fence(which) => sync.distrust(BrokerId(which as i32 + 2)),
            }
            high = high.max(sync.committed(Offset(end), 1, now, LAG).unwrap_or(high));
            prop_assert!(high <= Offset(end));
            for id in quorum.isr.iter().filter(|id| **id != ME) {
                let has = ends[id.0 as usize - 2];
                prop_assert!(Offset(has) >= high, "{id:?} has {has}, {high} is committed");
            }
            prop_assert!(quorum.isr.contains(&ME));
        }
    }
}
