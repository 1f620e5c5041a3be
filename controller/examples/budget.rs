//! What decisions cost, printed: creating a topic beside 100 and beside 10,000 others, fencing a broker of 5,000
//! partitions. Deciding and folding alone: no quorum, no disk. Run with `--release`.

use std::time::Duration;

use firnline_controller::decide::brokers::{self, BrokerRegistration, Heard, Heartbeat};
use firnline_controller::decide::decision::Draft;
use firnline_controller::decide::format::format;
use firnline_controller::decide::policy::Policy;
use firnline_controller::decide::topics::{self, NewTopic};
use firnline_controller::id::{BrokerId, TopicId};
use firnline_controller::record::bytes::Writer;
use firnline_controller::record::entry::Entry;
use firnline_controller::record::entry_codec;
use firnline_controller::record::kinds::Endpoint;
use tokio::time::Instant;
use uuid::Uuid;

const CLUSTER: &str = "4L6g3nShT-eMCtK--X86sw";
/// Topics made for one figure; the median counts.
const SAMPLES: usize = 201;

fn main() {
    let mut draft = cluster(3);
    for others in [100, 10_000] {
        while draft.image.topics.len() < others {
            create(&mut draft, 6, 3);
        }
        let mut tries: Vec<Duration> = (0..SAMPLES).map(|_| create(&mut draft.rehearsal(), 6, 3)).collect();
        tries.sort();
        println!("topic {:>6} (6 partitions, 3 replicas): {:?}", others + 1, tries[SAMPLES / 2]);
    }
    let mut draft = cluster(3);
    create(&mut draft, 5_000, 3);
    let begun = Instant::now();
    let decision = brokers::expire(&draft.image, &Policy::default(), BrokerId(2));
    let decided = begun.elapsed();
    let (records, begun) = (decision.group.records.len(), Instant::now());
    draft.take(decision);
    let folded = begun.elapsed();
    let groups = draft.groups.pop().into_iter().collect();
    let mut out = Writer::default();
    entry_codec::encode(&Entry { groups }, &mut out);
    println!(
        "fencing one broker of 5,000 partitions: {records} records, {} bytes, decided in {decided:?}, folded in {folded:?}",
        out.len()
    );
}

/// Brokers 1 to `brokers`, all unfenced.
fn cluster(brokers: i32) -> Draft {
    let mut draft = Draft::default();
    if let Ok(decision) = format(&draft.image, CLUSTER) {
        draft.take(decision);
    }
    for id in 1..=brokers {
        let endpoint =
            Endpoint { listener: "PLAINTEXT".into(), host: "127.0.0.1".into(), port: 9092, protocol: 0 };
        let asked = BrokerRegistration {
            id: BrokerId(id),
            cluster_id: CLUSTER.to_owned(),
            incarnation: Uuid::from_u128(1),
            endpoints: vec![endpoint],
            ..BrokerRegistration::default()
        };
        let Ok(decision) = brokers::register(&draft.image, &Policy::default(), &asked, false) else {
            continue;
        };
        let (_, epoch) = draft.take(decision);
        let beat =
            Heartbeat { id: BrokerId(id), epoch, image_offset: 0, wants_fence: false, wants_stop: false };
        let heard = Heard { caught_up: true, seen_by_all: true };
        if let Ok(decision) = brokers::heartbeat(&draft.image, &Policy::default(), &beat, heard) {
            draft.take(decision);
        }
    }
    draft
}

/// Creates the next topic; how long deciding and folding it took.
fn create(draft: &mut Draft, partitions: i32, replication_factor: i16) -> Duration {
    let nth = draft.image.topics.len() as u128 + 1;
    let new =
        NewTopic { name: format!("topic-{nth}"), partitions, replication_factor, ..NewTopic::default() };
    let begun = Instant::now();
    match topics::create(&draft.image, &new, TopicId(Uuid::from_u128(nth + 1)), 0) {
        Ok(decision) => _ = draft.take(decision),
        Err(refused) => println!("{refused}"),
    }
    begun.elapsed()
}
