//! A broker's life: registered, unfenced, on its way down, fenced, unregistered. Not who is heard and who is not
//! (`liveness.rs`). Invariant: a fenced broker is in no ISR and leads nothing, in the entry that fences it; a new
//! incarnation leads under new leader epochs, for it may have lost what the one before wrote last.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::decide::decision::Decision;
use crate::decide::policy::Policy;
use crate::decide::sweep::{self, Gone, Swept};
use crate::error::{HeartbeatError, RegisterError, UnregisterError};
use crate::id::{BrokerEpoch, BrokerId, TopicId};
use crate::image::metadata::MetadataImage;
use crate::record::entry::Precondition;
use crate::record::kinds::{Broker, Endpoint, FEATURE_RANGE, FeatureRange, Record};

/// What a broker says about itself when its process starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokerRegistration {
    /// `node.id`.
    pub id: BrokerId,
    /// Of `meta.properties`.
    pub cluster_id: String,
    /// Drawn once per process.
    #[serde(with = "crate::serial::uuid")]
    pub incarnation: Uuid,
    /// Advertised listeners, in the configuration's order.
    pub endpoints: Vec<Endpoint>,
    /// `broker.rack`.
    pub rack: Option<String>,
    /// The ids of its log directories, each of its own `meta.properties`.
    #[serde(with = "crate::serial::uuids")]
    pub directories: Vec<Uuid>,
    /// Names the boot of its machine, if the machine tells: what was written in it is in the page cache or on disk.
    #[serde(with = "crate::serial::optional_uuid")]
    pub boot: Option<Uuid>,
    /// The broker epoch under which every directory was left by a clean stop; none after an unclean one.
    pub stopped: Option<BrokerEpoch>,
    /// What its binary can run at.
    pub features: FeatureRange,
}

/// What says nothing beyond feature level 1: no directory, no boot, an unclean stop.
impl Default for BrokerRegistration {
    fn default() -> Self {
        BrokerRegistration {
            id: BrokerId(0),
            cluster_id: String::new(),
            incarnation: Uuid::nil(),
            endpoints: Vec::new(),
            rack: None,
            directories: Vec::new(),
            boot: None,
            stopped: None,
            features: FEATURE_RANGE,
        }
    }
}

/// A sign of life (KIP-631's BrokerHeartbeat).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// The broker.
    pub id: BrokerId,
    /// Of its registration.
    pub epoch: BrokerEpoch,
    /// Offset of the image it acts on.
    pub image_offset: u64,
    /// It does not want to lead (now).
    pub wants_fence: bool,
    /// It wants to stop, and its leaders moved before.
    pub wants_stop: bool,
}

/// What the controller makes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeartbeatAnswer {
    /// It leads nothing and is told to no client.
    pub fenced: bool,
    /// It may close its logs: it leads nothing that another could.
    pub may_stop: bool,
}

/// Who is heard, as far as a decision needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heard {
    /// The broker's image has reached what it must have seen before it is unfenced.
    pub caught_up: bool,
    /// Every live broker has seen that this one leads nothing.
    pub seen_by_all: bool,
}

/// Registers a broker: fenced, until its heartbeats say that it has seen so. The same incarnation keeps its epoch.
/// `live` says that the session of an earlier registration has not ended.
pub fn register(
    image: &MetadataImage,
    policy: &Policy,
    asked: &BrokerRegistration,
    live: bool,
) -> Result<Decision<BrokerEpoch>, RegisterError> {
    check(image, asked, live)?;
    let known = image.brokers.get(asked.id);
    let amended = known.filter(|known| known.incarnation == asked.incarnation);
    let epoch = amended.map_or(image.brokers.next_epoch(), |known| known.epoch);
    let alone = image.brokers.iter().all(|broker| broker.id == asked.id);
    let broker = broker(asked, epoch, amended, alone).at_level(image.feature_level);
    if known == Some(&broker) {
        return Ok(Decision::nothing_to_do(epoch));
    }
    if amended.is_some() {
        let fact = Precondition::BrokerEpoch(asked.id, epoch);
        return Ok(Decision::new(vec![fact], vec![Record::Broker(broker)], epoch));
    }
    let gone =
        known.map_or(Gone { id: asked.id, distrusted: true, wiped: false }, |known| gone(known, asked));
    let swept =
        if alone { sweep::alone_again(image, policy, &gone) } else { sweep::left(image, policy, &gone) };
    let mut facts = swept.facts(image, Some(asked.id));
    // The one of the earlier registration goes with it.
    facts.retain(|fact| !matches!(fact, Precondition::BrokerEpoch(id, _) if *id == asked.id));
    facts.push(Precondition::NextBrokerEpoch(epoch));
    let mut records = swept.records;
    records.push(Record::Broker(broker));
    Ok(Decision::new(facts, records, epoch))
}

/// The registration as a record. One that is alone has nobody to catch up with, and need not wait for a heartbeat.
fn broker(asked: &BrokerRegistration, epoch: BrokerEpoch, amended: Option<&Broker>, alone: bool) -> Broker {
    let mut directories = asked.directories.clone();
    directories.sort();
    Broker {
        id: asked.id,
        epoch,
        incarnation: asked.incarnation,
        endpoints: asked.endpoints.clone(),
        rack: asked.rack.clone(),
        fenced: amended.map_or(!alone, |known| known.fenced),
        stopping: amended.is_some_and(|known| known.stopping),
        directories,
        boot: asked.boot,
        features: asked.features,
        offline: amended.map(|known| known.offline.clone()).unwrap_or_default(),
    }
}

/// How far what the earlier incarnation held can be trusted: after its clean stop, or in the same boot, whose page
/// cache outlives a process. Never with a directory missing, or left by an incarnation before it: that is an older
/// copy of the disk.
fn gone(known: &Broker, asked: &BrokerRegistration) -> Gone {
    let missing = known.directories.iter().any(|directory| !asked.directories.contains(directory));
    let wiped = missing || asked.stopped.is_some_and(|epoch| epoch != known.epoch);
    let same_boot = known.boot.is_some() && known.boot == asked.boot;
    Gone { id: asked.id, distrusted: wiped || !(asked.stopped.is_some() || same_boot), wiped }
}

fn check(image: &MetadataImage, asked: &BrokerRegistration, live: bool) -> Result<(), RegisterError> {
    if asked.cluster_id != image.cluster_id {
        let (found, wanted) = (asked.cluster_id.clone(), image.cluster_id.clone());
        return Err(RegisterError::OtherCluster { id: asked.id, found, wanted });
    }
    let refuse = |why: String| Err(RegisterError::InvalidRequest(why));
    if asked.id.0 < 0 {
        return refuse(format!("broker id {} is negative", asked.id));
    }
    if asked.endpoints.is_empty() {
        return refuse("a broker must advertise a listener".to_owned());
    }
    let mut names = BTreeSet::new();
    if let Some(twice) = asked.endpoints.iter().find(|endpoint| !names.insert(endpoint.listener.as_str())) {
        return refuse(format!("listener {} is advertised twice", twice.listener));
    }
    let level = image.feature_level;
    if !asked.features.holds(level) {
        let (min, max) = (asked.features.min, asked.features.max);
        return Err(RegisterError::UnsupportedLevel { id: asked.id, level, min, max });
    }
    check_directories(image, asked, live)
}

fn check_directories(
    image: &MetadataImage,
    asked: &BrokerRegistration,
    live: bool,
) -> Result<(), RegisterError> {
    let refuse = |why: String| Err(RegisterError::InvalidRequest(why));
    let mut seen = BTreeSet::new();
    if let Some(twice) = asked.directories.iter().find(|directory| !seen.insert(**directory)) {
        return refuse(format!("log directory {twice} is named twice"));
    }
    let others = || image.brokers.iter().filter(|broker| broker.id != asked.id);
    if image.feature_level < 2 && others().next().is_some() {
        return Err(RegisterError::LevelTooLow { id: asked.id, level: image.feature_level });
    }
    if let Some(other) = others().find(|other| other.directories.iter().any(|id| seen.contains(id))) {
        return refuse(format!(
            "a log directory of broker {} is registered by broker {}",
            asked.id, other.id
        ));
    }
    match image.brokers.get(asked.id) {
        Some(known)
            if live
                && known.incarnation != asked.incarnation
                // With a directory in common it is the same broker, started again: the directory was locked.
                && !known.directories.is_empty()
                && !known.directories.iter().any(|id| seen.contains(id)) =>
        {
            Err(RegisterError::Duplicate { id: asked.id })
        }
        _ => Ok(()),
    }
}

/// Hears one heartbeat: unfences who has caught up, fences who wants it, moves the leaders of who wants to stop.
pub fn heartbeat(
    image: &MetadataImage,
    policy: &Policy,
    beat: &Heartbeat,
    heard: Heard,
) -> Result<Decision<HeartbeatAnswer>, HeartbeatError> {
    let known = current(image, beat)?;
    let answer = |fenced, may_stop| HeartbeatAnswer { fenced, may_stop };
    if known.fenced {
        if beat.wants_stop || beat.wants_fence || !heard.caught_up {
            return Ok(Decision::nothing_to_do(answer(true, beat.wants_stop)));
        }
        return Ok(unfence(image, policy, known).answering(answer(false, false)));
    }
    if beat.wants_fence {
        return Ok(fence(image, policy, known).answering(answer(true, beat.wants_stop)));
    }
    if !beat.wants_stop {
        return Ok(Decision::nothing_to_do(answer(false, false)));
    }
    if image.brokers.iter().all(|broker| broker.id == known.id) {
        // Nobody else could lead, and nobody is to be told.
        return Ok(Decision::nothing_to_do(answer(false, true)));
    }
    let swept = sweep::retired(image, policy, known.id);
    // One that had nothing to hand over has nothing to wait for.
    if swept.records.is_empty() && (heard.seen_by_all || !known.stopping) {
        return Ok(fence(image, policy, known).answering(answer(true, true)));
    }
    Ok(retire(image, known, swept).answering(answer(false, false)))
}

/// Fences a broker whose session has ended, or who is about to stop: one entry, whatever it held.
pub fn expire(image: &MetadataImage, policy: &Policy, id: BrokerId) -> Decision<()> {
    match image.brokers.get(id).filter(|known| !known.fenced) {
        Some(known) => fence(image, policy, known),
        None => Decision::nothing_to_do(()),
    }
}

/// A live broker says which of its replicas it cannot use, because their disks failed (KIP-112, KIP-858): all of them,
/// those it said before included. Below feature level 3 the metadata cannot hold the list, and only what follows from it
/// is written.
pub fn offline(
    image: &MetadataImage,
    policy: &Policy,
    (id, epoch): (BrokerId, BrokerEpoch),
    named: &[(TopicId, i32)],
) -> Result<Decision<()>, HeartbeatError> {
    let known = image.brokers.get(id).ok_or(HeartbeatError::UnknownBroker(id))?;
    if known.epoch != epoch {
        return Err(HeartbeatError::StaleEpoch { id, found: epoch, current: known.epoch });
    }
    let holds = |place: &&(TopicId, i32)| {
        image.topics.partition(place.0, place.1).is_some_and(|row| row.replicas.contains(&id))
    };
    let offline: BTreeSet<(TopicId, i32)> = named.iter().filter(holds).copied().collect();
    let offline: Vec<(TopicId, i32)> = offline.into_iter().collect();
    let swept = sweep::replicas_offline(image, policy, known, &offline);
    let broker = Broker { offline: offline.into(), ..known.clone() }.at_level(image.feature_level);
    if swept.records.is_empty() && broker == *known {
        return Ok(Decision::nothing_to_do(()));
    }
    let mut facts = swept.facts(image, Some(id));
    facts.push(Precondition::BrokerEpoch(id, epoch));
    // The broker first: whoever is elected is elected knowing what is offline.
    let mut records = vec![Record::Broker(broker)];
    records.extend(swept.records);
    Ok(Decision::new(facts, records, ()))
}

/// Forgets a broker. Its replicas stay assigned to it until they are moved.
pub fn unregister(
    image: &MetadataImage,
    policy: &Policy,
    id: BrokerId,
) -> Result<Decision<()>, UnregisterError> {
    let known = image.brokers.get(id).ok_or(UnregisterError::UnknownBroker(id))?;
    if image.feature_level < 2 {
        return Err(UnregisterError::LevelTooLow { level: image.feature_level });
    }
    let swept = sweep::left(image, policy, &Gone { id, distrusted: true, wiped: false });
    let mut facts = swept.facts(image, None);
    facts.push(Precondition::BrokerEpoch(id, known.epoch));
    let mut records = swept.records;
    records.push(Record::BrokerGone { id });
    Ok(Decision::new(facts, records, ()))
}

fn current<'i>(image: &'i MetadataImage, beat: &Heartbeat) -> Result<&'i Broker, HeartbeatError> {
    let known = image.brokers.get(beat.id).ok_or(HeartbeatError::UnknownBroker(beat.id))?;
    if known.epoch != beat.epoch {
        let (id, found, current) = (beat.id, beat.epoch, known.epoch);
        return Err(HeartbeatError::StaleEpoch { id, found, current });
    }
    Ok(known)
}

fn fence(image: &MetadataImage, policy: &Policy, known: &Broker) -> Decision<()> {
    let swept = sweep::left(image, policy, &Gone { id: known.id, distrusted: false, wiped: false });
    changed(image, swept, Broker { fenced: true, stopping: false, ..known.clone() })
}

fn unfence(image: &MetadataImage, policy: &Policy, known: &Broker) -> Decision<()> {
    let swept = sweep::joined(image, policy, known.id);
    changed(image, swept, Broker { fenced: false, stopping: false, ..known.clone() })
}

/// Level 1 has no word for "on its way down"; there is one broker, and this is not called.
fn retire(image: &MetadataImage, known: &Broker, swept: Swept) -> Decision<()> {
    let stopping = Broker { stopping: true, ..known.clone() }.at_level(image.feature_level);
    if swept.records.is_empty() && stopping == *known {
        return Decision::nothing_to_do(());
    }
    changed(image, swept, stopping)
}

/// Rows that change with a broker: the broker first where it may lead from then on, last where it may not.
fn changed(image: &MetadataImage, swept: Swept, broker: Broker) -> Decision<()> {
    let mut facts = swept.facts(image, Some(broker.id));
    let fact = Precondition::BrokerEpoch(broker.id, broker.epoch);
    if !facts.contains(&fact) {
        facts.push(fact);
    }
    let mut records = swept.records;
    let at = if broker.fenced { records.len() } else { 0 };
    records.insert(at, Record::Broker(broker));
    Decision::new(facts, records, ())
}
