//! Replicas that move between log directories of this broker (KIP-113): what was asked, and how far each is. Plain values.
//! It copies nothing (`broker/log_mover.rs` does). Invariant: a replica moves to one directory at a time, and the newest
//! request counts.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use firnline_tiering::offsets::Offset;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::partition::replica::PartitionId;

/// Directories remembered for partitions that are not here yet; the oldest request gives way.
const PREFERRED_MAX: usize = 10_000;

/// One replica on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    /// The log directory it goes to.
    pub to: PathBuf,
    /// Bytes of log data in the copy.
    pub copied: u64,
    /// Everything below is in the copy.
    pub upto: Offset,
    /// Tells this request from later ones.
    pub serial: u64,
}

/// All moves of one broker.
#[derive(Debug, Default)]
pub struct LogMoves {
    state: Mutex<State>,
    news: Notify,
}

#[derive(Debug, Default)]
struct State {
    under_way: BTreeMap<PartitionId, Move>,
    preferred: BTreeMap<(String, i32), (u64, PathBuf)>,
    serial: u64,
}

impl LogMoves {
    /// Asks for a move; one to the same directory goes on, one to another is given up.
    pub fn ask(&self, id: PartitionId, to: &Path) {
        let mut state = self.state.lock();
        if state.under_way.get(&id).is_some_and(|known| known.to == to) {
            return;
        }
        state.serial += 1;
        let asked = Move { to: to.to_owned(), copied: 0, upto: Offset(0), serial: state.serial };
        state.under_way.insert(id, asked);
        drop(state);
        self.news.notify_one();
    }

    /// The replica stays where it is.
    pub fn cancel(&self, id: PartitionId) {
        self.state.lock().under_way.remove(&id);
        self.news.notify_one();
    }

    /// The move of this number is over; a newer one stays.
    pub fn end(&self, id: PartitionId, serial: u64) {
        let mut state = self.state.lock();
        if state.under_way.get(&id).is_some_and(|known| known.serial == serial) {
            state.under_way.remove(&id);
        }
    }

    /// Notes how far a move is; false when it is not wanted any more.
    pub fn note(&self, id: PartitionId, serial: u64, copied: u64, upto: Offset) -> bool {
        let mut state = self.state.lock();
        match state.under_way.get_mut(&id).filter(|known| known.serial == serial) {
            Some(known) => {
                (known.copied, known.upto) = (copied, upto);
                true
            }
            None => false,
        }
    }

    /// The move of a replica, if it moves.
    pub fn of(&self, id: PartitionId) -> Option<Move> {
        self.state.lock().under_way.get(&id).cloned()
    }

    /// All of them.
    pub fn all(&self) -> Vec<(PartitionId, Move)> {
        self.state.lock().under_way.iter().map(|(id, one)| (*id, one.clone())).collect()
    }

    /// Waits until something was asked or taken back.
    pub async fn changed(&self) {
        self.news.notified().await;
    }

    /// Remembers where a partition that is not here yet is to lie.
    pub fn prefer(&self, topic: &str, index: i32, dir: &Path) {
        let mut state = self.state.lock();
        state.serial += 1;
        let serial = state.serial;
        state.preferred.insert((topic.to_owned(), index), (serial, dir.to_owned()));
        if state.preferred.len() > PREFERRED_MAX {
            let oldest = state.preferred.iter().min_by_key(|(_, (serial, _))| *serial);
            if let Some(key) = oldest.map(|(key, _)| key.clone()) {
                state.preferred.remove(&key);
            }
        }
    }

    /// Where it is to lie, asked once.
    pub fn take_preferred(&self, topic: &str, index: i32) -> Option<PathBuf> {
        self.state.lock().preferred.remove(&(topic.to_owned(), index)).map(|(_, dir)| dir)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use firnline_controller::id::TopicId;

    #[test]
    fn the_newest_request_counts() {
        let (moves, id) = (LogMoves::default(), PartitionId { topic: TopicId::ZERO, index: 1 });
        let serial = || moves.of(id).expect("a move").serial;
        moves.ask(id, Path::new("/b"));
        let first = serial();
        moves.ask(id, Path::new("/b"));
        assert_eq!(serial(), first, "asked twice, moved once");
        assert!(moves.note(id, first, 10, Offset(5)));
        moves.ask(id, Path::new("/c"));
        assert!(!moves.note(id, first, 20, Offset(9)), "the first is given up");
        moves.end(id, first);
        assert_eq!(moves.of(id).expect("the second goes on").copied, 0);
        moves.cancel(id);
        assert_eq!(moves.all(), []);
    }

    #[test]
    fn a_preference_is_bounded_and_taken_once() {
        let moves = LogMoves::default();
        (0..=PREFERRED_MAX as i32).for_each(|index| moves.prefer("t", index, Path::new("/b")));
        assert_eq!(moves.take_preferred("t", 0), None, "the oldest gave way");
        assert_eq!(moves.take_preferred("t", 1), Some(PathBuf::from("/b")));
        assert_eq!(moves.take_preferred("t", 1), None);
    }
}
