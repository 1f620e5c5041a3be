//! Many ask for a chunk, one load runs: who comes while it is under way waits for its answer.
//! It runs nothing itself. Invariant: a flight leaves the table when its pilot is done, fails, panics or is dropped.

use crate::error::LoadError;
use crate::key::ChunkKey;
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::watch;

type Answer = Option<Result<Bytes, LoadError>>;

/// The loads under way.
#[derive(Debug, Default)]
pub(crate) struct Flights {
    table: Arc<Mutex<BTreeMap<ChunkKey, watch::Receiver<Answer>>>>,
}

/// What came of asking for a flight.
pub(crate) enum Boarded {
    /// Somebody's load is under way: wait for it.
    Joined(Waiter),
    /// There was none: the caller must run the load and land it.
    Started(Pilot, Waiter),
    /// The bytes had come in the meantime.
    Arrived(Bytes),
}

/// Waits for a flight's answer.
#[derive(Debug)]
pub(crate) struct Waiter {
    key: ChunkKey,
    answer: watch::Receiver<Answer>,
}

/// The duty to land a flight. Dropped without landing (a panic, a runtime that stops), its waiters get an error.
#[derive(Debug)]
pub(crate) struct Pilot {
    key: ChunkKey,
    answer: watch::Sender<Answer>,
    table: Arc<Mutex<BTreeMap<ChunkKey, watch::Receiver<Answer>>>>,
}

impl Flights {
    /// Joins the flight of `key` or starts one. `arrived` looks whether a flight that just landed left the bytes;
    /// it is asked under the table's lock, so no second load can slip in between.
    pub(crate) fn board(&self, key: ChunkKey, arrived: impl FnOnce() -> Option<Bytes>) -> Boarded {
        let mut table = self.table.lock();
        if let Some(answer) = table.get(&key) {
            return Boarded::Joined(Waiter { key, answer: answer.clone() });
        }
        if let Some(bytes) = arrived() {
            return Boarded::Arrived(bytes);
        }
        let (sender, receiver) = watch::channel(None);
        table.insert(key, receiver.clone());
        let pilot = Pilot { key, answer: sender, table: self.table.clone() };
        Boarded::Started(pilot, Waiter { key, answer: receiver })
    }
}

impl Pilot {
    /// Gives every waiter the answer. Whoever asks from now on starts anew.
    pub(crate) fn land(self, result: Result<Bytes, LoadError>) {
        self.table.lock().remove(&self.key);
        self.answer.send_replace(Some(result));
    }
}

impl Drop for Pilot {
    fn drop(&mut self) {
        // After a landing the key may be another flight's already; ours is the one our waiters listen to.
        let mut table = self.table.lock();
        if table.get(&self.key).is_some_and(|answer| answer.same_channel(&self.answer.subscribe())) {
            table.remove(&self.key);
        }
    }
}

impl Waiter {
    pub(crate) async fn answer(mut self) -> Result<Bytes, LoadError> {
        let ended = |key: ChunkKey| LoadError::Unavailable {
            what: format!(
                "the load of chunk {} of object {:032x} ended without an answer",
                key.chunk, key.object
            ),
        };
        match self.answer.wait_for(Option::is_some).await {
            Ok(answer) => answer.clone().unwrap_or_else(|| Err(ended(self.key))),
            Err(_) => Err(ended(self.key)),
        }
    }
}
