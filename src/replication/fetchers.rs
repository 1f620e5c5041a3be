//! All fetchers of this broker: for every leader a line with two lanes, begun with the first partition that follows it
//! and ended with the last. What a lane does is in `fetcher.rs`. Invariant: a partition is in the line of the leader it
//! follows, and in no other.

use std::collections::BTreeMap;
use std::sync::Arc;

use firnline_controller::id::BrokerId;
use parking_lot::Mutex;
use tokio::runtime::Handle;

use crate::partition::replica::{PartitionHandle, PartitionId};
use crate::replication::fetcher::Fetcher;
use crate::replication::follow::Follow;
use crate::replication::line::{Lane, Line};
use crate::replication::world::World;

/// The fetchers of this broker.
pub struct Fetchers {
    world: Arc<World>,
    runtime: Handle,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    lines: BTreeMap<BrokerId, Arc<Line>>,
    leaders: BTreeMap<PartitionId, BrokerId>,
    stopped: bool,
}

impl Fetchers {
    /// Fetches on `runtime`, where nothing waits for a disk of housekeeping.
    pub fn new(world: World, runtime: Handle) -> Arc<Fetchers> {
        Arc::new(Fetchers { world: Arc::new(world), runtime, state: Mutex::default() })
    }

    /// Ends all of them, for good.
    pub fn stop(&self) {
        let mut state = self.state.lock();
        state.stopped = true;
        state.leaders.clear();
        std::mem::take(&mut state.lines).into_values().for_each(|line| line.ended.cancel());
    }

    fn begin(&self, leader: BrokerId) -> Arc<Line> {
        let line = Arc::new(Line::new(leader));
        for lane in [Lane::InSync, Lane::CatchingUp] {
            self.runtime.spawn(Fetcher::new(line.clone(), lane, self.world.clone()).run());
        }
        line
    }
}

impl Follow for Fetchers {
    fn attend(&self, partition: &PartitionHandle) {
        let (id, following) = (partition.id(), partition.following());
        let mut state = self.state.lock();
        if state.stopped {
            return;
        }
        let leader = following.map(|following| following.leader);
        if let Some(before) = state.leaders.get(&id).copied().filter(|before| Some(*before) != leader) {
            state.leaders.remove(&id);
            if state.lines.get(&before).is_some_and(|line| line.leave(id))
                && let Some(line) = state.lines.remove(&before)
            {
                line.ended.cancel();
            }
        }
        if let Some(following) = following {
            state.leaders.insert(id, following.leader);
            let line = state.lines.entry(following.leader).or_insert_with(|| self.begin(following.leader));
            line.join(partition, following);
        }
    }
}

impl std::fmt::Debug for Fetchers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let leaders: Vec<BrokerId> = self.state.lock().lines.keys().copied().collect();
        f.debug_struct("Fetchers").field("leaders", &leaders).finish()
    }
}
