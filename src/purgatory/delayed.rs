//! Who waits for what on one core, and how an append on another core reaches them.
//! It is not a queue of requests: a waiter is told "look again", it decides itself whether it has enough.
//! Invariant: whoever registers and then looks sees every append, or is woken by it (the mask is set before the look,
//! the end is published before the mask is read).

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::future::poll_fn;
use std::hash::{BuildHasherDefault, Hasher};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::task::{Poll, Waker};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::purgatory::timer::{Place, Tick, Timer};

/// What a request can wait for: news of one partition. The topic is its id's 128 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WaitKey {
    /// The topic id.
    pub topic: u128,
    /// The partition's index.
    pub partition: i32,
    /// News of what is appended, not only of what is committed.
    pub tail: bool,
}

/// Which cores hold a waiter for one partition: bit `core % 64`. It lives in the partition, so that an append that
/// nobody waits for costs one load.
#[derive(Debug, Default)]
pub struct Interest(AtomicU64);

impl Interest {
    fn bit(core: usize) -> u64 {
        1 << (core % 64)
    }

    fn cores(&self) -> u64 {
        // Pairs with the fence in `Purgatory::watch`: either the waiter sees our end, or we see its bit.
        fence(Ordering::SeqCst);
        self.0.load(Ordering::Relaxed)
    }
}

/// The letter boxes of all cores.
#[derive(Debug)]
pub struct WakeBoard {
    boxes: Vec<LetterBox>,
    cross_core_wakes: AtomicU64,
}

#[derive(Debug, Default)]
struct LetterBox {
    keys: Mutex<Vec<WaitKey>>,
    /// Set while the owner has been told and has not looked yet: it is told once per look.
    told: AtomicBool,
    owner: Notify,
}

impl WakeBoard {
    /// A board for `cores` cores, at least one.
    pub fn new(cores: usize) -> Arc<Self> {
        let boxes = (0..cores.max(1)).map(|_| LetterBox::default()).collect();
        Arc::new(Self { boxes, cross_core_wakes: AtomicU64::new(0) })
    }

    /// How many cores there are.
    pub fn cores(&self) -> usize {
        self.boxes.len()
    }

    /// How often one core had to wake another.
    pub fn cross_core_wakes(&self) -> u64 {
        self.cross_core_wakes.load(Ordering::Relaxed)
    }

    /// Tells every core that waits for `key`, from a thread that is no serving core.
    pub fn announce(&self, key: WaitKey, interest: &Interest) {
        let cores = interest.cores();
        if cores == 0 {
            return;
        }
        for core in (0..self.boxes.len()).filter(|core| cores & Interest::bit(*core) != 0) {
            self.post(core, key);
            self.tell(core);
        }
    }

    /// Tells every core that waits for any of these, each at most once: every letter is posted before the first core
    /// is told. From a thread that is no serving core.
    pub fn announce_all<'a>(&self, news: impl IntoIterator<Item = (WaitKey, &'a Interest)>) {
        let mut waiting = 0;
        for (key, interest) in news {
            let cores = interest.cores();
            waiting |= cores;
            for core in (0..self.boxes.len()).filter(|core| cores & Interest::bit(*core) != 0) {
                self.post(core, key);
            }
        }
        for core in (0..self.boxes.len()).filter(|core| waiting & Interest::bit(*core) != 0) {
            self.tell(core);
        }
    }

    fn post(&self, core: usize, key: WaitKey) {
        let mut keys = self.boxes[core].keys.lock();
        if keys.last() != Some(&key) {
            keys.push(key);
        }
    }

    fn tell(&self, core: usize) {
        let letters = &self.boxes[core];
        if !letters.told.swap(true, Ordering::AcqRel) {
            self.cross_core_wakes.fetch_add(1, Ordering::Relaxed);
            letters.owner.notify_one();
        }
    }

    /// Takes the letters of `core`. `told` falls first: a letter posted after it is announced again.
    fn collect(&self, core: usize, into: &mut Vec<WaitKey>) {
        let letters = &self.boxes[core];
        letters.told.store(false, Ordering::Release);
        into.append(&mut letters.keys.lock());
    }
}

/// Why a waiter was woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// Something happened to one of its partitions.
    News,
    /// Its time is up.
    Deadline,
}

/// The waiters of one core. It never leaves its core.
pub struct Purgatory {
    core: usize,
    board: Arc<WakeBoard>,
    started: Instant,
    state: RefCell<State>,
    /// Cores that got a letter in this turn and are not told yet.
    to_tell: RefCell<Vec<usize>>,
    /// Tells the driver that an earlier deadline came in.
    rearm: Notify,
}

#[derive(Default)]
struct State {
    waiters: Seats,
    by_key: HashMap<WaitKey, Waiting, BuildHasherDefault<KeyHasher>>,
    timer: Timer,
}

struct Waiting {
    interest: Arc<Interest>,
    ids: BTreeSet<u32>,
}

/// The waiters by number; numbers are used again.
#[derive(Default)]
struct Seats {
    seats: Vec<Option<Waiter>>,
    free: Vec<u32>,
}

/// Seats kept while nobody waits.
const SEATS_KEPT: usize = 64;

impl Seats {
    fn take(&mut self, waiter: Waiter) -> u32 {
        match self.free.pop() {
            Some(id) => {
                self.seats[id as usize] = Some(waiter);
                id
            }
            None => {
                self.seats.push(Some(waiter));
                (self.seats.len() - 1) as u32
            }
        }
    }

    fn get(&mut self, id: u32) -> Option<&mut Waiter> {
        self.seats.get_mut(id as usize)?.as_mut()
    }

    fn leave(&mut self, id: u32) -> Option<Waiter> {
        let waiter = self.seats.get_mut(id as usize)?.take()?;
        self.free.push(id);
        if self.taken() == 0 && self.seats.len() > SEATS_KEPT {
            *self = Self::default();
        }
        Some(waiter)
    }

    fn taken(&self) -> usize {
        self.seats.len() - self.free.len()
    }
}

/// Keys are topic ids, which are random, and indexes of partitions there are: no client makes them collide.
#[derive(Default)]
struct KeyHasher(u64);

impl KeyHasher {
    fn mix(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    }
}

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.mix(u64::from(*byte)));
    }

    fn write_u128(&mut self, word: u128) {
        self.mix(word as u64);
        self.mix((word >> 64) as u64);
    }

    fn write_i32(&mut self, word: i32) {
        self.mix(u64::from(word.cast_unsigned()));
    }
}

struct Waiter {
    /// Until it fires.
    deadline: Option<Place>,
    woken: Option<Woken>,
    waker: Option<Waker>,
}

impl Purgatory {
    /// The purgatory of core `core` of `board`.
    pub fn new(core: usize, board: Arc<WakeBoard>) -> Rc<Self> {
        assert!(core < board.cores(), "core {core} of {}", board.cores());
        Rc::new(Self {
            core,
            board,
            started: Instant::now(),
            state: RefCell::default(),
            to_tell: RefCell::default(),
            rearm: Notify::new(),
        })
    }

    /// An append (or another event) on this core: its own waiters are woken now, other cores at the turn's end.
    pub fn announce(&self, key: WaitKey, interest: &Interest) {
        let cores = interest.cores();
        if cores == 0 {
            return;
        }
        if cores & Interest::bit(self.core) != 0 {
            self.state.borrow_mut().wake_key(key);
        }
        for core in 0..self.board.cores() {
            if core != self.core && cores & Interest::bit(core) != 0 {
                self.board.post(core, key);
                let mut to_tell = self.to_tell.borrow_mut();
                if !to_tell.contains(&core) {
                    to_tell.push(core);
                }
            }
        }
    }

    /// Ends a turn: every other core that got a letter is told, once.
    pub fn end_turn(&self) {
        if self.to_tell.borrow().is_empty() {
            return;
        }
        for core in self.to_tell.borrow_mut().drain(..) {
            self.board.tell(core);
        }
    }

    /// Starts to wait for news of any of `keys` until `deadline`. Look at the partitions after this call, not before.
    pub fn watch<'a>(
        self: &Rc<Self>,
        keys: impl IntoIterator<Item = (WaitKey, &'a Arc<Interest>)>,
        deadline: Instant,
    ) -> Wait {
        // Rounded up: a deadline never fires early.
        let deadline = Tick(self.tick(deadline).0 + 1);
        let mut state = self.state.borrow_mut();
        let id = state.waiters.take(Waiter { deadline: None, woken: None, waker: None });
        let (place, first) = state.timer.insert(self.tick(Instant::now()), deadline, u64::from(id));
        if let Some(waiter) = state.waiters.get(id) {
            waiter.deadline = Some(place);
        }
        if first {
            self.rearm.notify_one();
        }
        let mut registered = Vec::new();
        for (key, interest) in keys {
            interest.0.fetch_or(Interest::bit(self.core), Ordering::Relaxed);
            let waiting = state
                .by_key
                .entry(key)
                .or_insert_with(|| Waiting { interest: interest.clone(), ids: BTreeSet::new() });
            if waiting.ids.insert(id) {
                registered.push(key);
            }
        }
        // Pairs with the fence in `Interest::cores`.
        fence(Ordering::SeqCst);
        drop(state);
        Wait { purgatory: self.clone(), id, keys: registered }
    }

    /// How many requests wait on this core.
    pub fn waiting(&self) -> usize {
        self.state.borrow().waiters.taken()
    }

    /// The last full millisecond at `time`.
    fn tick(&self, time: Instant) -> Tick {
        let after = time.saturating_duration_since(self.started);
        Tick(u64::try_from(after.as_millis()).unwrap_or(u64::MAX / 2))
    }

    /// Drives deadlines and letters from other cores. One task per core runs it until the core stops.
    pub async fn drive(self: Rc<Self>) {
        let mut letters = Vec::new();
        loop {
            self.fire_due();
            let next = self.state.borrow().timer.next();
            let sleep = async {
                match next {
                    Some(at) => tokio::time::sleep_until(self.started + Duration::from_millis(at.0)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = self.board.boxes[self.core].owner.notified() => {
                    self.board.collect(self.core, &mut letters);
                    let mut state = self.state.borrow_mut();
                    letters.drain(..).for_each(|key| state.wake_key(key));
                }
                () = self.rearm.notified() => {}
                () = sleep => {}
            }
        }
    }

    fn fire_due(&self) {
        let now = self.tick(Instant::now());
        let mut state = self.state.borrow_mut();
        while let Some(owner) = state.timer.pop_due(now) {
            // cannot be cut off: owners are numbers of seats.
            if let Some(waiter) = state.waiters.get(owner as u32) {
                waiter.deadline = None;
                waiter.wake(Woken::Deadline);
            }
        }
    }
}

impl State {
    fn wake_key(&mut self, key: WaitKey) {
        let Some(waiting) = self.by_key.get(&key) else { return };
        for id in &waiting.ids {
            if let Some(waiter) = self.waiters.get(*id) {
                waiter.wake(Woken::News);
            }
        }
    }

    fn forget(&mut self, core: usize, id: u32, keys: &[WaitKey]) {
        if let Some(place) = self.waiters.leave(id).and_then(|waiter| waiter.deadline) {
            self.timer.cancel(place);
        }
        for key in keys {
            let Some(waiting) = self.by_key.get_mut(key) else { continue };
            waiting.ids.remove(&id);
            if waiting.ids.is_empty() {
                waiting.interest.0.fetch_and(!Interest::bit(core), Ordering::Relaxed);
                self.by_key.remove(key);
            }
        }
    }
}

impl Waiter {
    fn wake(&mut self, why: Woken) {
        // A deadline outlasts later news: it must not be hidden by them.
        if self.woken != Some(Woken::Deadline) {
            self.woken = Some(why);
        }
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// One request's place in the purgatory; dropping it leaves.
pub struct Wait {
    purgatory: Rc<Purgatory>,
    id: u32,
    keys: Vec<WaitKey>,
}

impl Wait {
    /// Waits for the next news, or for the deadline, which is answered again and again once it has passed.
    pub async fn woken(&mut self) -> Woken {
        poll_fn(|cx| {
            let mut state = self.purgatory.state.borrow_mut();
            let Some(waiter) = state.waiters.get(self.id) else {
                return Poll::Ready(Woken::Deadline);
            };
            match waiter.woken {
                Some(Woken::Deadline) => Poll::Ready(Woken::Deadline),
                Some(Woken::News) => {
                    waiter.woken = None;
                    Poll::Ready(Woken::News)
                }
                None => {
                    waiter.waker = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        self.purgatory.state.borrow_mut().forget(self.purgatory.core, self.id, &self.keys);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::task::LocalSet;

    const KEY: WaitKey = WaitKey { topic: 7, partition: 0, tail: false };
    const OTHER: WaitKey = WaitKey { topic: 7, partition: 1, tail: false };

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(5)
    }

    #[tokio::test(start_paused = true)]
    async fn news_on_the_same_core_wake_only_their_waiters() {
        let board = WakeBoard::new(1);
        let purgatory = Purgatory::new(0, board.clone());
        let (key, other) = (Arc::new(Interest::default()), Arc::new(Interest::default()));
        let mut waits = purgatory.watch([(KEY, &key)], soon());
        let mut sleeps = purgatory.watch([(OTHER, &other)], soon());
        purgatory.announce(KEY, &key);
        assert_eq!(waits.woken().await, Woken::News);
        assert!(futures::poll!(std::pin::pin!(sleeps.woken())).is_pending());
        assert_eq!(board.cross_core_wakes(), 0);
        drop((waits, sleeps));
        assert_eq!((purgatory.waiting(), key.cores(), other.cores()), (0, 0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_of_many_appends_wakes_another_core_once() {
        let board = WakeBoard::new(2);
        let (here, there) = (Purgatory::new(0, board.clone()), Purgatory::new(1, board.clone()));
        let (key, other) = (Arc::new(Interest::default()), Arc::new(Interest::default()));
        let mut wait = there.watch([(KEY, &key), (OTHER, &other)], soon());
        here.announce(KEY, &key);
        here.announce(OTHER, &other);
        here.announce(KEY, &key);
        assert_eq!(board.cross_core_wakes(), 0, "told before the turn ended");
        here.end_turn();
        assert_eq!(board.cross_core_wakes(), 1);
        let local = LocalSet::new();
        local.spawn_local(there.clone().drive());
        assert_eq!(local.run_until(wait.woken()).await, Woken::News);
    }

    #[tokio::test(start_paused = true)]
    async fn a_round_of_many_partitions_wakes_each_core_once() {
        let board = WakeBoard::new(2);
        let purgatory = Purgatory::new(1, board.clone());
        let (key, other) = (Arc::new(Interest::default()), Arc::new(Interest::default()));
        let mut first = purgatory.watch([(KEY, &key)], soon());
        let mut second = purgatory.watch([(OTHER, &other)], soon());
        board.announce_all([(KEY, &*key), (OTHER, &*other), (KEY, &*key)]);
        assert_eq!(board.cross_core_wakes(), 1);
        let local = LocalSet::new();
        local.spawn_local(purgatory.clone().drive());
        assert_eq!(local.run_until(first.woken()).await, Woken::News);
        assert_eq!(local.run_until(second.woken()).await, Woken::News);
    }

    #[tokio::test(start_paused = true)]
    async fn the_deadline_fires_and_stays() {
        let purgatory = Purgatory::new(0, WakeBoard::new(1));
        let key = Arc::new(Interest::default());
        let local = LocalSet::new();
        local.spawn_local(purgatory.clone().drive());
        let begun = Instant::now();
        let mut wait = purgatory.watch([(KEY, &key)], begun + Duration::from_millis(500));
        assert_eq!(local.run_until(wait.woken()).await, Woken::Deadline);
        assert!(begun.elapsed() >= Duration::from_millis(500));
        purgatory.announce(KEY, &key);
        assert_eq!(wait.woken().await, Woken::Deadline);
    }
}
