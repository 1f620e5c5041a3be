//! What goes wrong, and when: processes die, links break one way or both, messages are held, clocks jump, disks and the
//! bucket fail. It looks at nothing. Invariant: at most one node is out of action at a time, so that what was acked can
//! always be served by somebody; after `heal` nothing goes wrong any more.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::cluster::{Cluster, NODES};
use crate::world::{bucket, disk};

/// What is wrong now; it ends before the next begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wrong {
    Nothing,
    /// This node's process is gone.
    Down(usize),
    /// No message passes between this node and the others.
    CutOff(usize),
    /// No message passes between these two.
    Parted(usize, usize),
    /// Messages from the first to the second are lost.
    OneWay(usize, usize),
    /// Messages between this node and the others stand still, and come later: what a paused process looks like.
    Held(usize),
    /// Disk and bucket fail now and then.
    Weather,
}

/// The driver of one run.
pub struct Trouble {
    dice: StdRng,
    now: Wrong,
    next_at: Duration,
}

impl Trouble {
    /// Everything drawn from `seed`, the first trouble after `start`.
    pub fn new(seed: u64, start: Duration) -> Self {
        Self { dice: StdRng::seed_from_u64(seed), now: Wrong::Nothing, next_at: start }
    }

    /// Lets the next trouble begin or the present one end, when it is time.
    pub fn tick(&mut self, sim: &mut turmoil::Sim<'_>, cluster: &Cluster) {
        if sim.elapsed() < self.next_at {
            return;
        }
        let lasts = if self.now == Wrong::Nothing {
            self.now = self.draw();
            cluster.journal.note("world", format_args!("trouble: {:?}", self.now));
            self.begin(sim, cluster);
            Duration::from_millis(self.dice.random_range(500..5_000))
        } else {
            self.end(sim, cluster);
            Duration::from_millis(self.dice.random_range(200..3_000))
        };
        self.next_at = sim.elapsed() + lasts;
    }

    /// Nothing is wrong from here on: links work, processes run, disks, clocks and bucket are sound.
    pub fn heal(&mut self, sim: &mut turmoil::Sim<'_>, cluster: &Cluster) {
        self.end(sim, cluster);
        for node in cluster.nodes.iter() {
            node.clock.jump_to(0);
        }
        cluster.journal.note("world", "healed");
    }

    /// Starts the process of every node whose disk killed it.
    pub fn restart_the_dead(&mut self, sim: &mut turmoil::Sim<'_>, cluster: &Cluster) {
        for (at, node) in cluster.nodes.iter().enumerate() {
            if node.disk.is_dead() && self.now != Wrong::Down(at) {
                cluster.journal.note("world", format_args!("{} starts again", node.name));
                sim.crash(node.name);
                node.disk.revive();
                sim.bounce(node.name);
            }
        }
    }

    fn draw(&mut self) -> Wrong {
        let node = self.dice.random_range(0..NODES.len());
        let other = (node + self.dice.random_range(1..NODES.len())) % NODES.len();
        match self.dice.random_range(0..12) {
            0..=3 => Wrong::Down(node),
            4 | 5 => Wrong::CutOff(node),
            6 => Wrong::Parted(node, other),
            7 | 8 => Wrong::OneWay(node, other),
            9 => Wrong::Held(node),
            _ => Wrong::Weather,
        }
    }

    fn begin(&mut self, sim: &mut turmoil::Sim<'_>, cluster: &Cluster) {
        let name = |at: usize| NODES[at];
        match self.now {
            Wrong::Nothing => {}
            Wrong::Down(at) => {
                cluster.journal.fault("process_killed", name(at));
                cluster.end_process(&cluster.nodes[at]);
                sim.crash(name(at));
            }
            Wrong::CutOff(at) => {
                cluster.journal.fault("node_cut_off", name(at));
                others(at).for_each(|other| sim.partition(name(at), name(other)));
            }
            Wrong::Parted(one, other) => {
                cluster.journal.fault("link_cut", format_args!("{} {}", name(one), name(other)));
                sim.partition(name(one), name(other));
            }
            Wrong::OneWay(from, to) => {
                cluster.journal.fault("link_cut_one_way", format_args!("{} to {}", name(from), name(to)));
                sim.partition_oneway(name(from), name(to));
            }
            Wrong::Held(at) => {
                cluster.journal.fault("node_held", name(at));
                others(at).for_each(|other| sim.hold(name(at), name(other)));
                let skew_ms = self.dice.random_range(-30_000..30_000);
                cluster.journal.fault("clock_jump", format_args!("{} {skew_ms}", name(at)));
                cluster.nodes[at].clock.jump_to(skew_ms);
            }
            Wrong::Weather => {
                let at = self.dice.random_range(0..NODES.len());
                let chances = disk::Chances { torn_write: 100, read_eio: 0, write_eio: 0 };
                cluster.nodes[at].disk.set_chances(chances);
                cluster.bucket.set_chances(bucket::Chances { refuse: 200, lose_answer: 100, flip_bit: 100 });
            }
        }
    }

    fn end(&mut self, sim: &mut turmoil::Sim<'_>, cluster: &Cluster) {
        let name = |at: usize| NODES[at];
        match self.now {
            Wrong::Nothing => {}
            Wrong::Down(at) => {
                cluster.nodes[at].disk.revive();
                sim.bounce(name(at));
            }
            Wrong::CutOff(at) => others(at).for_each(|other| sim.repair(name(at), name(other))),
            Wrong::Parted(one, other) => sim.repair(name(one), name(other)),
            Wrong::OneWay(from, to) => sim.repair_oneway(name(from), name(to)),
            Wrong::Held(at) => others(at).for_each(|other| sim.release(name(at), name(other))),
            Wrong::Weather => {
                cluster.nodes.iter().for_each(|node| node.disk.set_chances(disk::Chances::NONE));
                cluster.bucket.set_chances(bucket::Chances::NONE);
            }
        }
        self.now = Wrong::Nothing;
    }
}

fn others(at: usize) -> impl Iterator<Item = usize> {
    (0..NODES.len()).filter(move |other| *other != at)
}
