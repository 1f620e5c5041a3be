//! The deadlines of one core on a timer wheel: pure, the clock is an argument.
//! It is not a source of time: whoever drives it sleeps until `next` and then asks for what is due.
//! One wheel of 256 slots for each power of eight milliseconds: a deadline lies on the finest that reaches it, in the slot
//! it is rounded up to, and is never moved. So it fires late by up to 1/31 of the time it waits (not at all below 256 ms),
//! and the many that wait about as long share a wake. Invariants: nothing fires early; every step costs the same however
//! much waits.

/// Milliseconds since the core started: a monotonic scale.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tick(pub u64);

/// A deadline on the wheel, as its owner keeps it to take it off again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place(u32);

/// Slots of one wheel.
const SLOTS: u64 = 256;

/// Each wheel's slots are 2^3 times as long as the one's before; the first one's are a millisecond.
const SHIFT: u32 = 3;

/// Wheels: the last one turns once in 49 days, longer than any protocol field can say.
const WHEELS: usize = 9;

/// No deadline.
const NONE: u32 = u32::MAX;

/// Nodes kept while nothing waits.
const NODES_KEPT: usize = 64;

/// Deadlines, each owned by a number that its owner chose. About 19 KiB, and 24 bytes for each deadline.
#[derive(Debug)]
pub struct Timer {
    wheels: Box<[Wheel; WHEELS]>,
    /// No slot before it holds a deadline.
    now: Tick,
    nodes: Vec<Node>,
    /// First of the nodes in no slot, linked by `after`.
    free: u32,
}

/// The slots of one length: which of them hold deadlines, and the first and last of each.
#[derive(Clone, Copy, Debug)]
struct Wheel {
    taken: [u64; SLOTS as usize / 64],
    slots: [Slot; SLOTS as usize],
    /// Deadlines in them.
    waiting: u32,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    first: u32,
    last: u32,
}

/// A deadline in its slot, or a free node.
#[derive(Clone, Copy, Debug)]
struct Node {
    owner: u64,
    before: u32,
    after: u32,
    wheel: u8,
    slot: u8,
    waits: bool,
}

impl Default for Timer {
    fn default() -> Self {
        let slot = Slot { first: NONE, last: NONE };
        let wheel = Wheel { taken: [0; SLOTS as usize / 64], slots: [slot; SLOTS as usize], waiting: 0 };
        Self { wheels: Box::new([wheel; WHEELS]), now: Tick(0), nodes: Vec::new(), free: NONE }
    }
}

impl Timer {
    /// Adds a deadline at `now`; true when it is now the first to fire, so that the driver has to sleep shorter.
    /// One further than the last wheel reaches fires when that has turned.
    pub fn insert(&mut self, now: Tick, at: Tick, owner: u64) -> (Place, bool) {
        let next = self.next();
        if next.is_none_or(|next| next > now) {
            self.now = self.now.max(now);
        }
        let (wheel, number) = self.slot_of(at);
        let place = self.link(wheel, (number % SLOTS) as u8, owner);
        let fires = Tick(number << (SHIFT * wheel as u32));
        (Place(place), next.is_none_or(|next| fires < next))
    }

    /// Takes a deadline off that has not fired.
    pub fn cancel(&mut self, place: Place) {
        debug_assert!(self.nodes[place.0 as usize].waits, "{place:?} has fired");
        self.unlink(place.0);
    }

    /// When the first deadline fires.
    pub fn next(&self) -> Option<Tick> {
        self.first().map(|(fires, _, _)| fires)
    }

    /// Takes one owner whose deadline has passed at `now`, those of the earliest slot first, in the order they came.
    pub fn pop_due(&mut self, now: Tick) -> Option<u64> {
        let Some((_, wheel, slot)) = self.first().filter(|(fires, _, _)| *fires <= now) else {
            self.now = self.now.max(now);
            return None;
        };
        let first = self.wheels[wheel].slots[slot].first;
        let owner = self.nodes[first as usize].owner;
        self.unlink(first);
        Some(owner)
    }

    /// How many deadlines there are.
    pub fn waiting(&self) -> usize {
        self.wheels.iter().map(|wheel| wheel.waiting as usize).sum()
    }

    /// The finest wheel that reaches `at`, and the number of the slot on it, counted from the beginning of time.
    fn slot_of(&self, at: Tick) -> (usize, u64) {
        let at = at.max(self.now).0;
        let reached = (0..WHEELS).find_map(|wheel| {
            let shift = SHIFT * wheel as u32;
            let number = at.div_ceil(1 << shift);
            (number - (self.now.0 >> shift) < SLOTS).then_some((wheel, number))
        });
        let last = WHEELS - 1;
        reached.unwrap_or((last, (self.now.0 >> (SHIFT * last as u32)) + SLOTS - 1))
    }

    /// The first slot that holds a deadline: when it fires, its wheel and its place there.
    fn first(&self) -> Option<(Tick, usize, usize)> {
        let wheels = self.wheels.iter().enumerate().filter(|(_, wheel)| wheel.waiting > 0);
        let slots = wheels.filter_map(|(at, wheel)| {
            let shift = SHIFT * at as u32;
            let number = wheel.first_from(self.now.0 >> shift)?;
            Some((Tick(number << shift), at, (number % SLOTS) as usize))
        });
        slots.min()
    }

    fn link(&mut self, wheel: usize, slot: u8, owner: u64) -> u32 {
        let ends = &mut self.wheels[wheel].slots[slot as usize];
        let node = Node { owner, before: ends.last, after: NONE, wheel: wheel as u8, slot, waits: true };
        let place = match self.nodes.get_mut(self.free as usize) {
            Some(free) => {
                let place = self.free;
                (self.free, *free) = (free.after, node);
                place
            }
            None => {
                self.nodes.push(node);
                (self.nodes.len() - 1) as u32
            }
        };
        match self.nodes.get_mut(node.before as usize) {
            Some(before) => before.after = place,
            None => ends.first = place,
        }
        ends.last = place;
        self.wheels[wheel].waiting += 1;
        self.wheels[wheel].taken[slot as usize / 64] |= 1 << (slot % 64);
        place
    }

    fn unlink(&mut self, place: u32) {
        let Node { before, after, wheel, slot, .. } = self.nodes[place as usize];
        let wheel = &mut self.wheels[wheel as usize];
        let ends = &mut wheel.slots[slot as usize];
        match self.nodes.get_mut(before as usize) {
            Some(before) => before.after = after,
            None => ends.first = after,
        }
        match self.nodes.get_mut(after as usize) {
            Some(after) => after.before = before,
            None => ends.last = before,
        }
        wheel.waiting -= 1;
        if ends.first == NONE {
            wheel.taken[slot as usize / 64] &= !(1 << (slot % 64));
        }
        let node = &mut self.nodes[place as usize];
        (node.waits, node.after) = (false, self.free);
        self.free = place;
        if self.nodes.len() > NODES_KEPT && self.waiting() == 0 {
            (self.nodes, self.free) = (Vec::new(), NONE);
        }
    }
}

impl Wheel {
    /// The number of the first taken slot from slot number `from` on, within one turn.
    fn first_from(&self, from: u64) -> Option<u64> {
        let words = self.taken.len();
        let start = (from % SLOTS) as usize;
        for turn in 0..=words {
            let at = (start / 64 + turn) % words;
            let within = match turn {
                0 => u64::MAX << (start % 64),
                // Once around: what lies before the start in its word.
                turn if turn == words => !(u64::MAX << (start % 64)),
                _ => u64::MAX,
            };
            let word = self.taken[at] & within;
            if word != 0 {
                let slot = (at * 64) as u64 + u64::from(word.trailing_zeros());
                return Some(from + (slot + SLOTS - from % SLOTS) % SLOTS);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// All that are due, in the order they fire.
    fn due(timer: &mut Timer, now: u64) -> Vec<u64> {
        std::iter::from_fn(|| timer.pop_due(Tick(now))).collect()
    }

    #[test]
    fn only_what_is_due_fires_and_in_order() {
        let mut timer = Timer::default();
        assert!(timer.insert(Tick(0), Tick(30), 1).1);
        assert!(timer.insert(Tick(0), Tick(10), 2).1);
        let (third, first) = timer.insert(Tick(0), Tick(20), 3);
        assert!(!first);
        assert!(!timer.insert(Tick(0), Tick(30), 4).1);
        timer.cancel(third);
        assert_eq!(timer.next(), Some(Tick(10)));
        assert!(due(&mut timer, 9).is_empty());
        assert_eq!(due(&mut timer, 30), [2, 1, 4]);
        assert_eq!((timer.next(), timer.waiting()), (None, 0));
    }

    #[test]
    fn those_that_wait_half_a_second_share_a_slot_and_none_is_early() {
        let mut timer = Timer::default();
        for now in 1..=8 {
            timer.insert(Tick(now), Tick(now + 500), now);
        }
        assert_eq!(timer.next(), Some(Tick(504)));
        assert!(due(&mut timer, 503).is_empty());
        assert_eq!(due(&mut timer, 504), [1, 2, 3, 4]);
        assert_eq!(due(&mut timer, 512), [5, 6, 7, 8]);
    }

    #[test]
    fn a_core_that_slept_for_long_is_as_exact_as_before() {
        let mut timer = Timer::default();
        timer.insert(Tick(0), Tick(40_000), 1);
        timer.insert(Tick(30_000), Tick(30_200), 2);
        assert_eq!(timer.next(), Some(Tick(30_200)));
        assert_eq!(due(&mut timer, 30_200), [2]);
        // What is due already fires at once, also while nobody has looked for a while.
        timer.insert(Tick(50_000), Tick(49_000), 3);
        assert_eq!(due(&mut timer, 50_000), [1, 3]);
    }

    #[test]
    fn the_longest_wait_that_a_request_can_ask_for_is_kept() {
        let mut timer = Timer::default();
        let longest = i32::MAX as u64;
        timer.insert(Tick(7), Tick(7 + longest), 1);
        let fires = timer.next().unwrap().0;
        assert!((7 + longest..=7 + longest + longest / 31).contains(&fires), "{fires}");
        assert!(timer.insert(Tick(7), Tick(u64::MAX), 2).0 != Place(0));
        assert_eq!(due(&mut timer, u64::MAX / 2), [1, 2]);
    }

    #[test]
    fn memory_comes_back_when_nothing_waits() {
        let mut timer = Timer::default();
        let places: Vec<Place> = (0..1000).map(|at| timer.insert(Tick(0), Tick(500 + at), at).0).collect();
        places.into_iter().for_each(|place| timer.cancel(place));
        assert_eq!((timer.waiting(), timer.nodes.capacity()), (0, 0));
        let kept = timer.insert(Tick(0), Tick(500), 1).0;
        timer.cancel(kept);
        assert_eq!(timer.insert(Tick(0), Tick(500), 2).0, kept, "a place is used again");
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert { after: u64 },
        Cancel { which: prop::sample::Index },
        Pass { time: u64 },
    }

    fn step() -> impl Strategy<Value = Step> {
        let time = || prop_oneof![0..20_u64, 200..700_u64, 0..100_000_u64, 0..3_000_000_000_u64];
        prop_oneof![
            4 => time().prop_map(|after| Step::Insert { after }),
            1 => any::<prop::sample::Index>().prop_map(|which| Step::Cancel { which }),
            2 => time().prop_map(|time| Step::Pass { time }),
        ]
    }

    /// What the model knows of a deadline: when it was set, and for when.
    struct Known {
        place: Place,
        set: u64,
        at: u64,
    }

    impl Known {
        /// The latest it may fire.
        fn latest(&self) -> u64 {
            self.at + (self.at - self.set) / 31
        }
    }

    proptest! {
        #[test]
        fn each_fires_once_never_early_and_at_most_a_31st_late(steps in prop::collection::vec(step(), 1..200)) {
            let (mut timer, mut now, mut next_owner) = (Timer::default(), 0, 0);
            let mut model: BTreeMap<u64, Known> = BTreeMap::new();
            for step in steps {
                match step {
                    Step::Insert { after } => {
                        let before = timer.next();
                        let (place, first) = timer.insert(Tick(now), Tick(now + after), next_owner);
                        prop_assert_eq!(first, before.is_none_or(|before| timer.next().unwrap() < before));
                        model.insert(next_owner, Known { place, set: now, at: now + after });
                        next_owner += 1;
                    }
                    Step::Cancel { which } => {
                        let Some(owner) = (!model.is_empty()).then(|| *which.get(&model.keys().collect::<Vec<_>>()))
                        else { continue };
                        let owner = *owner;
                        timer.cancel(model.remove(&owner).unwrap().place);
                    }
                    Step::Pass { time } => now += time,
                }
                while let Some(owner) = timer.pop_due(Tick(now)) {
                    let known = model.remove(&owner);
                    prop_assert!(known.is_some_and(|known| known.at <= now), "{} fired", owner);
                }
                prop_assert_eq!(timer.waiting(), model.len());
                for (owner, known) in &model {
                    prop_assert!(known.latest() > now, "{} should have fired", owner);
                }
                let soonest = model.values().map(|known| known.at).min();
                prop_assert!(timer.next() >= soonest.map(Tick), "it would fire early");
                let latest = model.values().map(Known::latest).min();
                prop_assert!(latest.is_none_or(|latest| timer.next() <= Some(Tick(latest))), "it would fire late");
            }
        }
    }
}
