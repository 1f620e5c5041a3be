//! What a fetch session remembers, whom it gives way to, and how much all of them may hold.
//! Looked at through the sessions' own door; none of it waits.
#![cfg(test)]

use super::*;
use bytes::Bytes;
use firnline_tiering::entropy::OsEntropy;

use crate::wire::fetch::{FetchTopic, ForgottenTopic};
use crate::wire::response::Piece;

fn sessions(slots: usize) -> FetchSessions {
    FetchSessions::new(slots, Arc::new(OsEntropy))
}

fn name(topic: &str) -> TopicRef {
    TopicRef::Name(StrBytes::from_string(topic.to_owned()))
}

fn ask(index: i32, offset: i64) -> FetchPartition {
    FetchPartition {
        index,
        current_leader_epoch: -1,
        fetch_offset: offset,
        last_fetched_epoch: -1,
        log_start_offset: -1,
        max_bytes: 1 << 20,
    }
}

fn view(id: i32, epoch: i32, parts: &[(i32, i64)], forgotten: &[i32]) -> FetchView {
    let topics = match parts {
        [] => vec![],
        _ => vec![FetchTopic {
            topic: name("t"),
            partitions: parts.iter().map(|(index, offset)| ask(*index, *offset)).collect(),
        }],
    };
    let forgotten = match forgotten {
        [] => vec![],
        _ => vec![ForgottenTopic { topic: name("t"), partitions: forgotten.to_vec() }],
    };
    FetchView {
        replica_id: -1,
        replica_epoch: -1,
        max_wait_ms: 0,
        min_bytes: 1,
        max_bytes: 1 << 20,
        read_committed: false,
        session_id: id,
        session_epoch: epoch,
        topics,
        forgotten,
        rack_id: StrBytes::from_string(String::new()),
        cluster_id: None,
    }
}

fn found(index: i32, high_watermark: i64, bytes: usize) -> Fetched {
    let records = match bytes {
        0 => vec![],
        _ => vec![Piece::Bytes(Bytes::from(vec![0; bytes]))],
    };
    Fetched { high_watermark, log_start_offset: 0, records, ..Fetched::empty(index, 0) }
}

fn answered(topics: &[FetchedTopic]) -> Vec<i32> {
    topics.iter().flat_map(|topic| topic.partitions.iter().map(|part| part.index)).collect()
}

fn start(sessions: &FetchSessions, parts: &[(i32, i64)]) -> i32 {
    let opened = sessions.open(&view(0, 0, parts, &[]), false).unwrap();
    let fetched = parts.iter().map(|(index, _)| found(*index, 0, 0)).collect();
    let (id, topics) = sessions.close(opened, fetched, false);
    assert_eq!(answered(&topics), parts.iter().map(|part| part.0).collect::<Vec<_>>());
    id
}

#[test]
fn an_idle_session_answers_nothing_the_second_time() {
    let sessions = sessions(10);
    let id = start(&sessions, &[(0, 0), (1, 0)]);
    assert!(id > 0);
    let opened = sessions.open(&view(id, 1, &[], &[]), false).unwrap();
    assert_eq!(opened.wanted.len(), 2);
    let (again, topics) = sessions.close(opened, vec![found(0, 0, 0), found(1, 0, 0)], false);
    assert_eq!((again, topics.len()), (id, 0));
}

#[test]
fn only_what_changed_is_answered_and_the_served_go_last() {
    let sessions = sessions(10);
    let id = start(&sessions, &[(0, 0), (1, 0), (2, 0)]);
    let opened = sessions.open(&view(id, 1, &[], &[]), false).unwrap();
    let (_, topics) = sessions.close(opened, vec![found(0, 5, 9), found(1, 0, 0), found(2, 3, 0)], false);
    assert_eq!(answered(&topics), [0, 2]);
    let opened = sessions.open(&view(id, 2, &[(0, 5)], &[]), false).unwrap();
    let line: Vec<_> = opened.wanted.iter().map(|w| (w.ask.index, w.ask.fetch_offset)).collect();
    assert_eq!(line, [(1, 0), (2, 0), (0, 5)]);
}

#[test]
fn an_error_is_told_and_so_is_its_end() {
    let sessions = sessions(10);
    let id = start(&sessions, &[(0, 0)]);
    for (epoch, fetched, told) in [
        (1, Fetched { error: 56, ..found(0, 0, 0) }, true),
        (2, found(0, 0, 0), true),
        (3, found(0, 0, 0), false),
    ] {
        let opened = sessions.open(&view(id, epoch, &[], &[]), false).unwrap();
        let (_, topics) = sessions.close(opened, vec![fetched], false);
        assert_eq!(!topics.is_empty(), told, "epoch {epoch}");
    }
}

#[test]
fn wrong_epochs_ids_and_names_are_refused_and_change_nothing() {
    let sessions = sessions(10);
    let id = start(&sessions, &[(0, 0)]);
    let refused = |view: FetchView, by_id| sessions.open(&view, by_id).err();
    assert_eq!(refused(view(id + 1, 1, &[], &[]), false), Some(SessionRefused::NotFound));
    assert_eq!(refused(view(id, 2, &[], &[]), false), Some(SessionRefused::Epoch { got: 2, expected: 1 }));
    assert_eq!(refused(view(id, 1, &[], &[]), true), Some(SessionRefused::TopicNaming));
    assert!(sessions.open(&view(id, 1, &[], &[]), false).is_ok());
}

#[test]
fn forgetting_the_last_partition_ends_the_session() {
    let sessions = sessions(10);
    let id = start(&sessions, &[(0, 0), (1, 0)]);
    let opened = sessions.open(&view(id, 1, &[], &[1]), false).unwrap();
    assert_eq!(opened.wanted.len(), 1);
    sessions.close(opened, vec![found(0, 0, 0)], false);
    assert!(sessions.open(&view(id, 2, &[], &[0]), false).unwrap().wanted.is_empty());
    assert!(sessions.is_empty());
}

#[test]
fn closing_and_starting_over_replace_a_session() {
    let sessions = sessions(10);
    let id = start(&sessions, &[(0, 0)]);
    let opened = sessions.open(&view(id, 0, &[(0, 0)], &[]), false).unwrap();
    let (next, _) = sessions.close(opened, vec![found(0, 0, 0)], false);
    assert!(next != id && sessions.len() == 1);
    sessions.open(&view(next, -1, &[], &[]), false).unwrap();
    assert!(sessions.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_full_cache_serves_without_sessions_until_one_is_idle() {
    let sessions = sessions(1);
    let first = start(&sessions, &[(0, 0)]);
    assert_eq!(start(&sessions, &[(0, 0)]), 0);
    tokio::time::advance(EVICT_AFTER).await;
    let second = start(&sessions, &[(0, 0)]);
    assert!(second > 0 && second != first);
    assert_eq!((sessions.len(), sessions.partitions(), sessions.evictions()), (1, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_larger_session_and_a_followers_take_the_place_of_an_old_one_in_use() {
    let sessions = sessions(1);
    let small = start(&sessions, &[(0, 0)]);
    assert_eq!(start(&sessions, &[(0, 0), (1, 0)]), 0, "it is new");
    tokio::time::advance(EVICT_AFTER).await;
    sessions.open(&view(small, 1, &[], &[]), false).unwrap();
    assert_eq!(start(&sessions, &[(5, 0)]), 0, "no larger than the one in use");
    let larger = start(&sessions, &[(0, 0), (1, 0)]);
    assert!(larger > 0 && sessions.open(&view(small, 2, &[], &[]), false).is_err());
    tokio::time::advance(EVICT_AFTER / 2).await;
    sessions.open(&view(larger, 1, &[], &[]), false).unwrap();
    tokio::time::advance(EVICT_AFTER / 2).await;
    let follower = FetchView { replica_id: 3, ..view(0, 0, &[(0, 0)], &[]) };
    let opened = sessions.open(&follower, false).unwrap();
    assert!(sessions.close(opened, vec![found(0, 0, 0)], false).0 > 0, "a follower is worth more");
}

#[test]
fn what_sessions_hold_is_counted_and_bounded() {
    let sessions = sessions(1000);
    let parts: Vec<(i32, i64)> = (0..50_000).map(|index| (index, 0)).collect();
    let made: Vec<i32> = (0..5).map(|_| start(&sessions, &parts)).collect();
    assert!(made[..3].iter().all(|id| *id > 0), "{made:?}");
    assert_eq!(made[4], 0, "the memory is spent");
    let full = sessions.partitions();
    assert!(full * PARTITION_BYTES <= BYTES_MAX, "{full} partitions");
    let forgotten: Vec<i32> = (1..50_000).collect();
    sessions.open(&view(made[0], 1, &[], &forgotten), false).unwrap();
    assert_eq!(sessions.partitions(), full - 49_999);
    made.iter().filter(|id| **id > 0).for_each(|id| drop(sessions.open(&view(*id, -1, &[], &[]), false)));
    assert_eq!((sessions.partitions(), sessions.len()), (0, 0));
}

#[test]
fn a_session_that_grows_past_the_memory_starts_over() {
    let sessions = sessions(1000);
    let parts: Vec<(i32, i64)> = (0..80_000).map(|index| (index, 0)).collect();
    let first = start(&sessions, &parts);
    let second = start(&sessions, &parts[..1]);
    let grown = sessions.open(&view(second, 1, &parts[..50_000], &[]), false).map(drop);
    assert!(grown.is_ok(), "{} fit", sessions.partitions());
    let third = start(&sessions, &parts[..1]);
    let refused = sessions.open(&view(third, 1, &parts[..60_000], &[]), false).err();
    assert_eq!(refused, Some(SessionRefused::NotFound));
    assert!(first > 0 && sessions.len() == 2);
}
