//! The smoke scenario: one broker, killed in the middle of writes, with a disk and a bucket that fail now and then.
//! With an odd seed it acknowledges under `firn.durability=disk`, and the power goes where else the process is killed.
//! It promises I1 and I4: what was acked is there, at its offset, after every fault; nothing else is.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use firnline::broker::doors::Doors;
use firnline::broker::lifecycle::Broker;
use firnline::config::load::{Places, load};
use firnline::config::start::build;
use firnline_tiering::batch::builder::BatchBuilder;
use firnline_tiering::clock::Clock;
use firnline_tiering::cold::store::{Store, StoreLimits};
use kafka_protocol::messages::CreateTopicsRequest;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::protocol::StrBytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::world::clock::{PlantedClock, SimClock, SimEntropy};
use crate::world::disk::SimDisk;
use crate::world::journal::Journal;
use crate::world::network::SimNet;
use crate::world::{bucket, disk, shadow};

#[path = "../it/harness/wire_client.rs"]
#[allow(dead_code, reason = "a scenario uses its own part of the client")]
pub mod wire_client;
use wire_client::{WireClient, name};

const TOPIC: &str = "ledger";
const PORT: u16 = 9092;
/// Batches the producer must get acked before the world heals.
const ACKED: usize = 1_400;
/// A run that needs longer is stuck.
const DURATION: Duration = Duration::from_secs(900);

/// What a run leaves behind.
pub struct Run {
    pub journal: Journal,
}

/// Offsets of acked values, as the producer learned them.
type Acked = Rc<RefCell<BTreeMap<i64, Bytes>>>;

/// Runs the scenario; panics when an invariant is broken.
pub fn run(seed: u64, planted: bool) -> Run {
    let mut dice = StdRng::seed_from_u64(seed);
    shadow::begin(StdRng::seed_from_u64(dice.random()));
    let journal = Journal::default();
    let world = World::new(&mut dice, &journal, planted, seed % 2 == 1);
    let mut sim = turmoil::Builder::new()
        .rng_seed(dice.random())
        .simulation_duration(DURATION)
        .tick_duration(Duration::from_millis(1))
        .build();
    let host = world.clone();
    sim.host("broker", move || {
        let world = host.clone();
        async move { world.serve().await }
    });
    let acked = Acked::default();
    let client = world.clone();
    sim.client("client", async move { client.use_the_broker(acked).await });
    while !sim.step().expect("the simulation goes on") {
        if world.disk.is_dead() {
            journal.note("world", "the broker's process died; a new one starts");
            sim.crash("broker");
            world.disk.revive();
            sim.bounce("broker");
        }
    }
    Run { journal }
}

#[derive(Clone)]
struct World {
    disk: SimDisk,
    bucket: bucket::SimBucket,
    clock: Arc<dyn Clock>,
    entropy: Arc<SimEntropy>,
    journal: Journal,
    /// `firn.durability=disk`.
    durable: bool,
}

impl World {
    fn new(dice: &mut StdRng, journal: &Journal, planted: bool, durable: bool) -> Self {
        let clock: Arc<dyn Clock> = if planted {
            Arc::new(PlantedClock(journal.clone()))
        } else {
            Arc::new(SimClock(journal.clone()))
        };
        Self {
            disk: SimDisk::new(dice.random(), journal.clone()),
            bucket: bucket::SimBucket::new(dice.random(), journal.clone()),
            clock,
            entropy: Arc::new(SimEntropy::new(dice.random(), journal.clone())),
            journal: journal.clone(),
            durable,
        }
    }

    /// The end of a process: by a signal, or with the power.
    fn end_process(&self) {
        if self.durable { self.disk.lose_power() } else { self.disk.kill() }
    }

    /// The broker's process: lives until it is killed.
    async fn serve(self) -> turmoil::Result {
        let local = tokio::task::LocalSet::new();
        local
            .run_until(async move {
                match self.start().await {
                    Ok(_broker) => std::future::pending::<()>().await,
                    // A write torn while it starts kills the process; anything else is a defect.
                    Err(error) if self.disk.is_dead() => self.journal.note("broker", error),
                    Err(error) => panic!("the broker did not start: {error}"),
                }
                std::future::pending::<turmoil::Result>().await
            })
            .await
    }

    async fn start(&self) -> Result<Broker, firnline::broker::start_error::StartError> {
        let set = [
            "node.id=1".to_owned(),
            "log.dirs=/data".to_owned(),
            format!("listeners=PLAINTEXT://0.0.0.0:{PORT}"),
            format!("advertised.listeners=PLAINTEXT://broker:{PORT}"),
            "log.retention.check.interval.ms=500".to_owned(),
            "remote.log.storage.system.enable=true".to_owned(),
            "remote.log.manager.task.interval.ms=500".to_owned(),
            "firn.remote.url=file:///bucket".to_owned(),
            "firn.cache.disk.bytes=0".to_owned(),
            format!("firn.durability={}", if self.durable { "disk" } else { "cache" }),
        ];
        let loaded =
            load(&Places { set: set.to_vec(), ..Places::default() }).expect("settings of the scenario");
        let start = build(loaded.settings, true).expect("a configuration of the scenario");
        let store = Store::over(
            Arc::new(self.bucket.clone()),
            "simulated",
            "",
            StoreLimits::default(),
            self.entropy.clone(),
        );
        let doors = Doors {
            boot: None,
            files: self.disk.door(),
            clock: self.clock.clone(),
            entropy: self.entropy.clone(),
            net: Arc::new(SimNet(self.journal.clone())),
            bucket: Some(store),
            single_threaded: true,
        };
        Broker::start(start.config, doors).await
    }

    /// The client: makes a topic, writes under faults, heals the world, reads everything back.
    async fn use_the_broker(self, acked: Acked) -> turmoil::Result {
        self.create_topic().await;
        self.disk.set_chances(disk::Chances { torn_write: 20, read_eio: 60, write_eio: 10 });
        self.bucket.set_chances(bucket::Chances { refuse: 80, lose_answer: 60, flip_bit: 80 });
        let mut serial = 0;
        while acked.borrow().len() < ACKED {
            let before = acked.borrow().len();
            self.produce_until_refused(&acked, &mut serial).await;
            self.read_some(&acked, serial).await;
            if acked.borrow().len() == before && !self.disk.is_dead() {
                // A log that met EIO in a write stays offline until somebody restarts the broker.
                self.journal.note("world", "nothing was acked; the broker is restarted");
                self.end_process();
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        self.disk.set_chances(disk::Chances::NONE);
        self.bucket.set_chances(bucket::Chances::NONE);
        // A process that met EIO on a segment serves it again only after a restart.
        self.end_process();
        tokio::time::sleep(Duration::from_secs(5)).await;
        let acked = acked.borrow().clone();
        self.read_everything(&acked, serial).await;
        Ok(())
    }

    async fn connect(&self) -> std::io::Result<WireClient<turmoil::net::TcpStream>> {
        let stream = turmoil::net::TcpStream::connect(("broker", PORT)).await?;
        Ok(WireClient::new(stream))
    }

    async fn create_topic(&self) {
        let config = |name: &'static str, value: &'static str| {
            CreatableTopicConfig::default()
                .with_name(StrBytes::from_static_str(name))
                .with_value(Some(StrBytes::from_static_str(value)))
        };
        let configs = vec![
            config("remote.storage.enable", "true"),
            config("segment.bytes", "1048576"),
            config("local.retention.ms", "1000"),
        ];
        let topic = CreatableTopic::default()
            .with_name(name(TOPIC))
            .with_num_partitions(1)
            .with_replication_factor(1)
            .with_configs(configs);
        let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(10_000);
        loop {
            if let Ok(mut client) = self.connect().await
                && let Ok(response) = client.call(7, &request).await
                && [0, 36].contains(&response.topics[0].error_code)
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Writes unique batches one by one until the connection breaks, an error is answered, or 40 were acked.
    async fn produce_until_refused(&self, acked: &Acked, serial: &mut u64) {
        let Ok(mut client) = self.connect().await else { return };
        for _ in 0..40 {
            *serial += 1;
            let value = self.value(*serial);
            let mut batch = BatchBuilder::new();
            batch.push(self.clock.now_ms(), Some(&serial.to_be_bytes()), Some(&value), &[]);
            let sent = tokio::time::timeout(Duration::from_secs(5), client.produce(TOPIC, 0, batch.build()));
            match sent.await {
                Ok(Ok(answer)) if answer.error_code == 0 => {
                    let before = acked.borrow_mut().insert(answer.base_offset, value);
                    assert_eq!(before, None, "offset {} was acked twice", answer.base_offset);
                }
                _ => return,
            }
        }
    }

    /// A value nobody else sends, 8 to 24 KiB long, so that segments roll.
    fn value(&self, serial: u64) -> Bytes {
        let mut dice = StdRng::seed_from_u64(serial);
        let mut value = vec![0; dice.random_range(8 << 10..24 << 10)];
        dice.fill(&mut value[..]);
        value.into()
    }

    /// One read at a random acked offset, from whichever tier holds it; errors are allowed, lies are not.
    async fn read_some(&self, acked: &Acked, serial: u64) {
        let Ok(mut client) = self.connect().await else { return };
        let at = serial as usize * 7919 % acked.borrow().len().max(1);
        let known = acked.borrow().iter().nth(at).map(|(offset, value)| (*offset, value.clone()));
        let Some((offset, value)) = known else { return };
        let fetch =
            tokio::time::timeout(Duration::from_secs(5), client.fetch(TOPIC, 0, offset, 1 << 20, 500));
        if let Ok(Ok(answer)) = fetch.await
            && let Some(records) = answer.records.filter(|records| !records.is_empty())
        {
            assert_eq!(answer.error_code, 0);
            let found = values(&records);
            assert_eq!(found.get(&offset), Some(&value), "offset {offset} changed");
        }
    }

    /// I1, I2, I4: every acked value stands at its offset, no value stands twice, and nothing stands there that was not
    /// sent.
    async fn read_everything(&self, acked: &BTreeMap<i64, Bytes>, serials: u64) {
        let mut sent: BTreeSet<Bytes> = (1..=serials).map(|serial| self.value(serial)).collect();
        let (mut next, mut seen) = (0, 0);
        let mut client = None;
        while seen < acked.len() {
            if client.is_none() {
                client = self.connect().await.ok();
            }
            let Some(open) = client.as_mut() else {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let Ok(answer) = open.fetch(TOPIC, 0, next, 4 << 20, 500).await else {
                client = None;
                continue;
            };
            assert_eq!(answer.error_code, 0, "offset {next} after the world healed");
            for (offset, value) in values(&answer.records.unwrap_or_default()) {
                if offset < next {
                    continue;
                }
                assert_eq!(offset, next, "a hole in the log");
                next += 1;
                // Every value was sent once: it may stand at one offset, acked or not, and nothing else may.
                assert!(sent.remove(&value), "offset {offset} holds what nobody sent, or stands twice");
                if let Some(known) = acked.get(&offset) {
                    assert_eq!(*known, value, "offset {offset} holds another value");
                    seen += 1;
                }
            }
        }
        self.journal.note("check", format_args!("{seen} acked values read back, {next} offsets"));
    }
}

/// Values by offset of the whole batches in a fetch answer.
pub fn values(records: &Bytes) -> BTreeMap<i64, Bytes> {
    use kafka_protocol::records::RecordBatchDecoder;
    let mut found = BTreeMap::new();
    let mut rest = records.clone();
    while rest.len() >= 61 {
        let length = 12
            + usize::try_from(i32::from_be_bytes(rest[8..12].try_into().expect("four bytes")))
                .expect("a length");
        if rest.len() < length {
            break;
        }
        let mut batch = rest.split_to(length);
        let set = RecordBatchDecoder::decode(&mut batch).expect("a whole batch");
        found.extend(set.records.into_iter().map(|record| (record.offset, record.value.unwrap_or_default())));
    }
    found
}
