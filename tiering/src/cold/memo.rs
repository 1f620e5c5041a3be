//! A small bounded memory of decoded things (manifests, opened objects), loaded once however many ask at a time.
//! Not for log bytes: those live in the cache, which knows disks. Invariant: a failure is told to all who wait and
//! never remembered; what is remembered never costs more than the limit, but for one oversized newest.

use firnline_cache::error::LoadError;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use tokio::runtime::Handle;

type Flight<V> = Shared<BoxFuture<'static, Result<V, LoadError>>>;

/// Values by key; `V` is cheap to clone.
pub(crate) struct Memo<K, V: Clone> {
    limit: usize,
    cold: Handle,
    state: Mutex<State<K, V>>,
}

struct State<K, V: Clone> {
    ready: BTreeMap<K, Ready<V>>,
    /// Last use → key: the order of eviction.
    used: BTreeMap<u64, K>,
    flying: BTreeMap<K, Flight<V>>,
    clock: u64,
    cost: usize,
}

struct Ready<V> {
    value: V,
    cost: usize,
    used: u64,
}

impl<K, V> Memo<K, V>
where
    K: Ord + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// Loads run on `cold` and outlive who asked.
    pub(crate) fn new(limit: usize, cold: Handle) -> Arc<Self> {
        let state = State {
            ready: BTreeMap::new(),
            used: BTreeMap::new(),
            flying: BTreeMap::new(),
            clock: 0,
            cost: 0,
        };
        Arc::new(Self { limit, cold, state: Mutex::new(state) })
    }

    /// The value, remembered or loaded; `load` also says what it costs to keep.
    pub(crate) async fn get<L, F>(self: &Arc<Self>, key: K, load: L) -> Result<V, LoadError>
    where
        L: FnOnce() -> F,
        F: Future<Output = Result<(V, usize), LoadError>> + Send + 'static,
    {
        let flight = {
            let mut state = self.state.lock();
            if let Some(value) = state.touch(&key) {
                return Ok(value);
            }
            match state.flying.get(&key) {
                Some(flight) => flight.clone(),
                None => {
                    let flight = self.take_off(key.clone(), load());
                    state.flying.insert(key, flight.clone());
                    flight
                }
            }
        };
        flight.await
    }

    /// The value if it is remembered.
    pub(crate) fn peek(&self, key: &K) -> Option<V> {
        self.state.lock().touch(key)
    }

    fn take_off<F>(self: &Arc<Self>, key: K, load: F) -> Flight<V>
    where
        F: Future<Output = Result<(V, usize), LoadError>> + Send + 'static,
    {
        let memo = self.clone();
        let landing = key.clone();
        let task = self.cold.spawn(async move {
            let loaded = load.await;
            let mut state = memo.state.lock();
            state.flying.remove(&landing);
            let (value, cost) = loaded?;
            state.insert(landing, value.clone(), cost, memo.limit);
            Ok(value)
        });
        let memo = self.clone();
        async move {
            let lost = |_| LoadError::Unavailable { what: "the load was stopped".to_owned() };
            let outcome = task.await.map_err(lost).and_then(|outcome| outcome);
            if outcome.is_err() {
                memo.state.lock().flying.remove(&key);
            }
            outcome
        }
        .boxed()
        .shared()
    }
}

impl<K: Ord + Clone, V: Clone> State<K, V> {
    fn touch(&mut self, key: &K) -> Option<V> {
        self.clock += 1;
        let ready = self.ready.get_mut(key)?;
        self.used.remove(&ready.used);
        ready.used = self.clock;
        self.used.insert(self.clock, key.clone());
        Some(ready.value.clone())
    }

    fn remove(&mut self, key: &K) {
        if let Some(gone) = self.ready.remove(key) {
            self.used.remove(&gone.used);
            self.cost -= gone.cost;
        }
    }

    fn insert(&mut self, key: K, value: V, cost: usize, limit: usize) {
        self.remove(&key);
        while self.cost + cost > limit {
            let Some((_, oldest)) = self.used.pop_first() else {
                break;
            };
            if let Some(gone) = self.ready.remove(&oldest) {
                self.cost -= gone.cost;
            }
        }
        self.clock += 1;
        self.used.insert(self.clock, key.clone());
        self.ready.insert(key, Ready { value, cost, used: self.clock });
        self.cost += cost;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[tokio::test]
    async fn many_who_ask_at_once_share_one_load() {
        let memo = Memo::<u32, u32>::new(100, Handle::current());
        let loads = Arc::new(AtomicU32::new(0));
        let ask = || {
            let loads = loads.clone();
            memo.get(7, move || async move {
                tokio::task::yield_now().await;
                Ok((loads.fetch_add(1, Ordering::Relaxed), 1))
            })
        };
        let (a, b, c) = tokio::join!(ask(), ask(), ask());
        assert_eq!((a, b, c), (Ok(0), Ok(0), Ok(0)));
        assert_eq!(ask().await, Ok(0), "remembered");
    }

    #[tokio::test]
    async fn a_failure_is_not_remembered_and_the_oldest_leaves_first() {
        let memo = Memo::<u32, u32>::new(2, Handle::current());
        let failed = memo.get(1, || async { Err(LoadError::NotFound { what: "x".into() }) }).await;
        assert!(failed.is_err());
        for key in [1, 2, 1, 3] {
            assert_eq!(memo.get(key, || async move { Ok((key, 1)) }).await, Ok(key));
        }
        assert_eq!((memo.peek(&1), memo.peek(&2), memo.peek(&3)), (Some(1), None, Some(3)));
    }
}
