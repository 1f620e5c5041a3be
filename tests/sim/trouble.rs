//! What goes wrong, and when: processes die alone or together, links break one way or both, messages are held, disks are
//! slow, torn, wiped, the bucket fails, clocks jump, operators restart nodes. It looks at nothing but whether a disk may
//! be lost. Invariant: no more is lost than the run's promise covers, and after `heal` nothing goes wrong any more.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::cluster::{Cluster, End, NODES, Promise};
use crate::world::{bucket, disk};

/// Where clients run.
pub const CLIENTS: &str = "client";

/// What is wrong now; it ends before the next begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wrong {
    Nothing,
    /// This node's process is gone.
    Down(usize, End),
    /// All processes are gone; each comes back at its own time.
    AllDown(End),
    /// This node is stopped as an operator would, and started again.
    Stopped(usize),
    /// No message passes between this node and the others; clients reach it.
    CutOff(usize),
    /// No message passes between these two.
    Parted(usize, usize),
    /// Messages from the first to the second are lost.
    OneWay(usize, usize),
    /// Messages between this node and the others stand still, and come later.
    Held(usize),
    /// Nobody hears from this node, clients neither, until everything comes at once: what a paused process looks like.
    Paused(usize),
    /// Whatever this node says or hears takes up to so long.
    Far(usize, Duration),
}

/// What ails beside it, at times of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ailment {
    Nothing,
    /// Writes of this node are torn, and the bucket fails.
    Weather(usize),
    /// Fsyncs of this node take this long.
    SlowDisk(usize, Duration),
    /// The wall clock of this node is wrong.
    Clock(usize),
}

/// The driver of one run.
pub struct Trouble {
    dice: StdRng,
    now: Wrong,
    next_at: Duration,
    ails: Ailment,
    ails_until: Duration,
    /// Of those that are down: when they start again.
    back_at: [Option<Duration>; NODES.len()],
    /// Under `Promise::CacheLost`: the one loss that it allows is still to come.
    loss_due: bool,
    /// A disk was lost, and not everything was seen in sync since.
    disk_lost: bool,
}

/// What a message takes at most while nothing is wrong; turmoil's own default.
const NEAR: Duration = Duration::from_millis(100);

impl Trouble {
    /// Everything drawn from `seed`, the first trouble after `start`.
    pub fn new(seed: u64, start: Duration, promise: Promise) -> Self {
        Self {
            dice: StdRng::seed_from_u64(seed),
            now: Wrong::Nothing,
            next_at: start,
            ails: Ailment::Nothing,
            ails_until: start,
            back_at: [None; NODES.len()],
            loss_due: promise == Promise::CacheLost,
            disk_lost: false,
        }
    }

    /// Lets the next trouble begin or the present one end, when it is time.
    pub fn tick(&mut self, sim: &mut turmoil::Sim<'_>, cluster: &Cluster) {
        let now = sim.elapsed();
        self.start_who_is_due(sim, cluster, now);
        if now >= self.next_at {
            let lasts = if self.now == Wrong::Nothing {
                self.now = self.draw(cluster);
                cluster.journal.note("world", format_args!("trouble: {:?}", self.now));
                self.begin(sim, cluster);
                // A process may be back before anybody noticed that it was gone.
                let quick = matches!(self.now, Wrong::Down(..)) && self.dice.random_range(0..2) == 0;
                self.dice.random_range(if quick { 20..1_000 } else { 500..5_000 })
            } else {
                self.end(sim, cluster);
                self.dice.random_range(100..2_500)
            };
            self.next_at = now + Duration::from_millis(lasts);
        }
        if now >= self.ails_until {
            self.cure(cluster);
            self.ail(cluster);
            self.ails_until = now + Duration::from_millis(self.dice.random_range(1_000..8_000));
        }
    }

    /// Nothing is wrong from here on: links work, processes run, disks, clocks and bucket are sound.
    pub fn heal(&mut self, sim: &mut turmoil::Sim<'_>, cluster: &Cluster) {
        self.end(sim, cluster);
        self.start_who_is_due(sim, cluster, Duration::MAX);
        self.cure(cluster);
        for node in cluster.nodes.iter() {
            node.clock.jump_to(0);
        }
        cluster.journal.note("world", "healed");
    }

    /// Starts the process of every node whose disk killed it.
    pub fn restart_the_dead(&mut self, sim: &mut turmoil::Sim<'_>, cluster: &Cluster) {
        for (at, node) in cluster.nodes.iter().enumerate() {
            let waits = matches!(self.now, Wrong::Down(down, _) if down == at) || self.back_at[at].is_some();
            if node.disk.is_dead() && !waits {
                cluster.journal.note("world", format_args!("{} starts again", node.name));
                // What was in its memory when it died counts for nobody any more.
                cluster.end_process(node, End::Killed);
                start(sim, cluster, at);
            }
        }
    }

    fn start_who_is_due(&mut self, sim: &mut turmoil::Sim<'_>, cluster: &Cluster, now: Duration) {
        for at in 0..NODES.len() {
            if self.back_at[at].is_some_and(|due| due <= now) {
                self.back_at[at] = None;
                start(sim, cluster, at);
            }
        }
    }

    fn draw(&mut self, cluster: &Cluster) -> Wrong {
        let node = self.dice.random_range(0..NODES.len());
        let other = (node + self.dice.random_range(1..NODES.len())) % NODES.len();
        match self.dice.random_range(0..20) {
            0..=4 => Wrong::Down(node, self.draw_end(cluster)),
            5..=7 => Wrong::AllDown(self.draw_common_end(cluster)),
            8 => Wrong::Stopped(node),
            9 | 10 => Wrong::CutOff(node),
            11 | 12 => Wrong::Parted(node, other),
            13 | 14 => Wrong::OneWay(node, other),
            15 | 16 => Wrong::Held(node),
            17 | 18 => Wrong::Paused(node),
            _ => Wrong::Far(node, Duration::from_millis(self.dice.random_range(200..1_500))),
        }
    }

    /// How one process may end: a disk goes only while everybody else has everything.
    fn draw_end(&mut self, cluster: &Cluster) -> End {
        let (throw, whole) = (self.dice.random_range(0..6), cluster.is_whole());
        match (throw, cluster.promise) {
            (0 | 1, _) if whole => {
                self.disk_lost = true;
                End::Wiped
            }
            (2.., Promise::Disk) => End::PowerLost,
            (2 | 3, _) if whole => End::PowerLost,
            _ => End::Killed,
        }
    }

    /// How all processes end. What a lost disk held alone by then, because the others lost their power before anybody knew
    /// of it, an operator gives up with an unclean election, and nobody else: so that loss waits.
    fn draw_common_end(&mut self, cluster: &Cluster) -> End {
        self.disk_lost &= !cluster.is_whole();
        match cluster.promise {
            Promise::Disk if self.dice.random_range(0..4) > 0 => End::PowerLost,
            Promise::CacheLost if !self.disk_lost && std::mem::take(&mut self.loss_due) => End::PowerLost,
            _ => End::Killed,
        }
    }

    fn begin(&mut self, sim: &mut turmoil::Sim<'_>, cluster: &Cluster) {
        let (name, journal) = (|at: usize| NODES[at], &cluster.journal);
        match self.now {
            Wrong::Nothing => {}
            Wrong::Down(at, end) => {
                journal.fault(named(end), name(at));
                kill(sim, cluster, at, end);
            }
            Wrong::AllDown(end) => self.all_down(sim, cluster, end),
            Wrong::Stopped(at) => {
                journal.fault("node_stopped", name(at));
                cluster.nodes[at].ask_to_stop();
            }
            Wrong::CutOff(at) => {
                journal.fault("node_cut_off", name(at));
                others(at).for_each(|other| sim.partition(name(at), name(other)));
            }
            Wrong::Parted(one, other) => {
                journal.fault("link_cut", format_args!("{} {}", name(one), name(other)));
                sim.partition(name(one), name(other));
            }
            Wrong::OneWay(from, to) => {
                journal.fault("link_cut_one_way", format_args!("{} to {}", name(from), name(to)));
                sim.partition_oneway(name(from), name(to));
            }
            Wrong::Held(at) => {
                journal.fault("node_held", name(at));
                others(at).for_each(|other| sim.hold(name(at), name(other)));
            }
            Wrong::Paused(at) => {
                journal.fault("node_paused", name(at));
                others(at).for_each(|other| sim.hold(name(at), name(other)));
                sim.hold(name(at), CLIENTS);
            }
            Wrong::Far(at, most) => {
                journal.fault("node_far", format_args!("{} {most:?}", name(at)));
                others(at).for_each(|other| sim.set_link_max_message_latency(name(at), name(other), most));
            }
        }
    }

    /// Everybody goes in one moment; each comes back when dice say, so that elections meet who is there.
    fn all_down(&mut self, sim: &mut turmoil::Sim<'_>, cluster: &Cluster, end: End) {
        let kind = if end == End::PowerLost { "all_lost_power" } else { "all_killed" };
        cluster.journal.fault(kind, "");
        if end == End::PowerLost && cluster.promise == Promise::CacheLost {
            cluster.losses.set(cluster.losses.get() + 1);
        }
        for at in 0..NODES.len() {
            kill(sim, cluster, at, end);
            let back = sim.elapsed() + Duration::from_millis(self.dice.random_range(1..1_500));
            self.back_at[at] = Some(back);
        }
    }

    fn end(&mut self, sim: &mut turmoil::Sim<'_>, cluster: &Cluster) {
        let name = |at: usize| NODES[at];
        match self.now {
            Wrong::Nothing | Wrong::AllDown(_) => {}
            Wrong::Down(at, _) => start(sim, cluster, at),
            Wrong::Stopped(at) => {
                // Whether it has stopped by now or not.
                cluster.end_process(&cluster.nodes[at], End::Killed);
                start(sim, cluster, at);
            }
            Wrong::CutOff(at) => others(at).for_each(|other| sim.repair(name(at), name(other))),
            Wrong::Parted(one, other) => sim.repair(name(one), name(other)),
            Wrong::OneWay(from, to) => sim.repair_oneway(name(from), name(to)),
            Wrong::Held(at) => others(at).for_each(|other| sim.release(name(at), name(other))),
            Wrong::Paused(at) => {
                others(at).for_each(|other| sim.release(name(at), name(other)));
                sim.release(name(at), CLIENTS);
            }
            Wrong::Far(at, _) => {
                others(at).for_each(|other| sim.set_link_max_message_latency(name(at), name(other), NEAR));
            }
        }
        self.now = Wrong::Nothing;
    }

    fn ail(&mut self, cluster: &Cluster) {
        let at = self.dice.random_range(0..NODES.len());
        self.ails = match self.dice.random_range(0..6) {
            0 => Ailment::Weather(at),
            1 | 2 => {
                let most = if self.dice.random_range(0..3) == 0 { 3_000 } else { 300 };
                Ailment::SlowDisk(at, Duration::from_millis(self.dice.random_range(20..most)))
            }
            3 => Ailment::Clock(at),
            _ => Ailment::Nothing,
        };
        match self.ails {
            Ailment::Nothing => {}
            Ailment::Weather(at) => {
                let chances = disk::Chances { torn_write: 100, read_eio: 0, write_eio: 0 };
                cluster.nodes[at].disk.set_chances(chances);
                cluster.bucket.set_chances(bucket::Chances { refuse: 200, lose_answer: 100, flip_bit: 100 });
            }
            Ailment::SlowDisk(at, lag) => {
                cluster.journal.fault("slow_disk", format_args!("{} {lag:?}", NODES[at]));
                cluster.nodes[at].disk.set_lag(lag);
            }
            Ailment::Clock(at) => {
                let skew_ms = self.dice.random_range(-30_000..30_000);
                cluster.journal.fault("clock_jump", format_args!("{} {skew_ms}", NODES[at]));
                cluster.nodes[at].clock.jump_to(skew_ms);
            }
        }
    }

    fn cure(&mut self, cluster: &Cluster) {
        match std::mem::replace(&mut self.ails, Ailment::Nothing) {
            // A wrong clock stays wrong until it jumps again.
            Ailment::Nothing | Ailment::Clock(_) => {}
            Ailment::SlowDisk(at, _) => cluster.nodes[at].disk.set_lag(Duration::ZERO),
            Ailment::Weather(at) => {
                cluster.nodes[at].disk.set_chances(disk::Chances::NONE);
                cluster.bucket.set_chances(bucket::Chances::NONE);
            }
        }
    }
}

fn named(end: End) -> &'static str {
    match end {
        End::Killed => "process_killed",
        End::PowerLost => "node_lost_power",
        End::Wiped => "disk_wiped",
    }
}

fn kill(sim: &mut turmoil::Sim<'_>, cluster: &Cluster, at: usize, end: End) {
    cluster.end_process(&cluster.nodes[at], end);
    sim.crash(NODES[at]);
}

fn start(sim: &mut turmoil::Sim<'_>, cluster: &Cluster, at: usize) {
    sim.crash(NODES[at]);
    cluster.nodes[at].disk.revive();
    sim.bounce(NODES[at]);
}

fn others(at: usize) -> impl Iterator<Item = usize> {
    (0..NODES.len()).filter(move |other| *other != at)
}
