//! Finds connections that went quiet: one sweep per core instead of one timer per connection.
//! It closes nothing itself: it knocks, and the connection looks why. Invariant: a sign of life costs one store.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;

/// How often a core looks at its connections.
pub const SWEEP: Duration = Duration::from_secs(5);

/// Why a connection was knocked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Knock {
    /// Quiet for a sweep or two: buffers should go.
    Quiet,
    /// Quiet for longer than is allowed: it should close.
    Idle,
    /// The broker stops: finish what has begun and close.
    Stop,
}

/// One connection's sign of life.
#[derive(Default)]
pub struct Pulse {
    quiet_sweeps: Cell<u32>,
    busy: Cell<bool>,
    knock: Cell<Option<Knock>>,
    door: Notify,
}

impl Pulse {
    /// Bytes came in.
    pub fn beat(&self) {
        self.quiet_sweeps.set(0);
    }

    /// A connection that waits for an answer of ours is not idle, however long it takes.
    pub fn set_busy(&self, busy: bool) {
        self.busy.set(busy);
    }

    /// Waits for the next knock.
    pub async fn knocked(&self) -> Knock {
        loop {
            if let Some(knock) = self.knock.take() {
                return knock;
            }
            self.door.notified().await;
        }
    }

    fn tell(&self, knock: Knock) {
        if self.knock.get() != Some(Knock::Stop) {
            self.knock.set(Some(knock));
        }
        self.door.notify_one();
    }
}

/// The pulses of one core's connections, in the order they came.
#[derive(Default)]
pub struct Pulses {
    pulses: RefCell<BTreeMap<u64, Rc<Pulse>>>,
    next: Cell<u64>,
    stopping: Cell<bool>,
}

impl Pulses {
    /// Adds a connection; it leaves when the guard is dropped.
    pub fn enter(self: &Rc<Self>) -> Registered {
        let id = self.next.get();
        self.next.set(id + 1);
        let pulse = Rc::new(Pulse::default());
        if self.stopping.get() {
            pulse.tell(Knock::Stop);
        }
        self.pulses.borrow_mut().insert(id, pulse.clone());
        Registered { pulses: self.clone(), id, pulse }
    }

    /// Tells every connection to stop, and every later one too.
    pub fn stop(&self) {
        self.stopping.set(true);
        self.pulses.borrow().values().for_each(|pulse| pulse.tell(Knock::Stop));
    }

    /// Sweeps until the core stops. `idle` is `connections.max.idle.ms`, `None` for never.
    pub async fn sweep(self: Rc<Self>, idle: Option<Duration>) {
        let limit = idle.map(|idle| sweeps(idle).max(1));
        loop {
            tokio::time::sleep(SWEEP).await;
            self.sweep_once(limit);
        }
    }

    /// Looks at every connection once; `limit` in sweeps.
    pub(super) fn sweep_once(&self, limit: Option<u32>) {
        for pulse in self.pulses.borrow().values() {
            let quiet = pulse.quiet_sweeps.get().saturating_add(1);
            pulse.quiet_sweeps.set(quiet);
            if limit.is_some_and(|limit| quiet > limit) && !pulse.busy.get() {
                pulse.tell(Knock::Idle);
            } else if quiet == QUIET_SWEEPS {
                pulse.tell(Knock::Quiet);
            }
        }
    }
}

/// Sweeps without a byte until a connection's buffers go.
const QUIET_SWEEPS: u32 = 2;

fn sweeps(idle: Duration) -> u32 {
    u32::try_from(idle.as_millis() / SWEEP.as_millis()).unwrap_or(u32::MAX)
}

/// A connection's entry among the pulses of its core.
pub struct Registered {
    pulses: Rc<Pulses>,
    id: u64,
    /// The connection's own pulse.
    pub pulse: Rc<Pulse>,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.pulses.pulses.borrow_mut().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[tokio::test]
    async fn quiet_then_idle_and_a_beat_starts_over() {
        let pulses = Rc::new(Pulses::default());
        let entry = pulses.enter();
        let mut knocks = Vec::new();
        for round in 0..8 {
            pulses.sweep_once(Some(3));
            if let Some(knock) = entry.pulse.knocked().now_or_never() {
                knocks.push((round, knock));
            }
            if round == 2 {
                entry.pulse.beat();
            }
        }
        assert_eq!(knocks, [(1, Knock::Quiet), (4, Knock::Quiet), (6, Knock::Idle), (7, Knock::Idle)]);
    }

    #[tokio::test]
    async fn who_waits_for_us_is_not_idle_and_a_late_comer_hears_the_stop() {
        let pulses = Rc::new(Pulses::default());
        let entry = pulses.enter();
        entry.pulse.set_busy(true);
        (0..10).for_each(|_| pulses.sweep_once(Some(3)));
        assert_eq!(entry.pulse.knocked().now_or_never(), Some(Knock::Quiet));
        assert_eq!(entry.pulse.knocked().now_or_never(), None);
        pulses.stop();
        assert_eq!(pulses.enter().pulse.knocked().now_or_never(), Some(Knock::Stop));
        drop(entry);
        assert!(pulses.pulses.borrow().is_empty());
    }
}
