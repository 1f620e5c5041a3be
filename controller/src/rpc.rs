//! Every verb as a value that can cross the wire: what is asked, what is answered. Not how it is decided (`decide/`)
//! and not how it travels (`transport.rs`). Invariant: an answer is of its request's kind.
//!
//! A new verb is an arm of [`Request`], one of [`Answer`], a method of `Controller` and an arm of `Server::decide`.

use std::ops::Range;
use std::sync::Arc;

use firnline_tiering::cold::tier::{TierChange, TierRow};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::decide::brokers::{BrokerRegistration, Heartbeat, HeartbeatAnswer};
use crate::decide::elect::Election;
use crate::decide::isr::IsrChange;
use crate::decide::partitions::NewPartitions;
use crate::decide::reassign::Reassignment;
use crate::decide::topics::{CreatedTopic, NewTopic};
use crate::error::{
    AllocateError, AlterConfigsError, AlterPartitionError, CreatePartitionsError, CreateTopicError,
    DeleteTopicError, ElectError, FeatureLevelError, FinishPurgeError, HeartbeatError, ReassignError,
    RegisterError, TierRefused, Unavailable, UnregisterError, VoterError,
};
use crate::id::{BrokerEpoch, BrokerId, TopicId};
use crate::quorum::status::QuorumStatus;
use crate::record::kinds::{Partition, Resource};

/// What the leader of the quorum decides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Request {
    /// A broker's incarnation. Asked again it keeps its epoch.
    Register(BrokerRegistration),
    /// New topics. The asker draws their ids, so that it knows its own topic when it has to ask again.
    CreateTopics {
        /// The topics.
        topics: Vec<NewTopic>,
        /// One for each.
        ids: Vec<TopicId>,
        /// Only say what would happen.
        validate_only: bool,
    },
    /// Topics to delete.
    DeleteTopics(Vec<TopicId>),
    /// More partitions.
    CreatePartitions {
        /// The topics.
        topics: Vec<NewPartitions>,
        /// Only say what would happen.
        validate_only: bool,
    },
    /// Dynamic configuration of one resource.
    AlterConfigs(Resource, Vec<(String, Option<String>)>),
    /// The next block.
    AllocateProducerIds,
    /// Steps of tier rows.
    ChangeTiers(Vec<TierStep>),
    /// A deleted topic's purge is done.
    FinishPurge(TopicId),
    /// A broker lives.
    Heartbeat(Heartbeat),
    /// A leader's partitions have other ISRs.
    AlterPartitions {
        /// The leader.
        from: BrokerId,
        /// Of its registration.
        epoch: BrokerEpoch,
        /// One per partition.
        changes: Vec<IsrChange>,
    },
    /// Leaders to elect.
    Elect(Election, Vec<(TopicId, i32)>),
    /// Moves to begin or cancel.
    Reassign(Vec<Reassignment>),
    /// A broker to forget.
    UnregisterBroker(BrokerId),
    /// A feature level to go to.
    UpdateFeatureLevel {
        /// The level.
        level: u16,
        /// Only say what would happen.
        validate_only: bool,
    },
    /// A learner shall vote: its node, and its metadata directory's id (nil: whichever).
    AddVoter(BrokerId, #[serde(with = "crate::serial::uuid")] Uuid),
    /// A voter shall be a learner.
    RemoveVoter(BrokerId, #[serde(with = "crate::serial::uuid")] Uuid),
    /// The quorum as its leader sees it.
    DescribeQuorum,
    /// A broker's replicas that it cannot use, all of them.
    ReplicasOffline {
        /// The broker.
        from: BrokerId,
        /// Of its registration.
        epoch: BrokerEpoch,
        /// Topics and indexes.
        offline: Vec<(TopicId, i32)>,
    },
}

impl Request {
    /// The broker that alone may ask this, if it is for one.
    pub fn speaks_for(&self) -> Option<BrokerId> {
        match self {
            Request::Register(broker) => Some(broker.id),
            Request::Heartbeat(beat) => Some(beat.id),
            Request::AlterPartitions { from, .. } => Some(*from),
            _ => None,
        }
    }
}

/// What the leader answers, arm by arm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "each arm answers the request of its name")]
pub enum Answer {
    Register(Result<BrokerEpoch, RegisterError>),
    CreateTopics(Vec<Result<CreatedTopic, CreateTopicError>>),
    DeleteTopics(Vec<Result<(), DeleteTopicError>>),
    CreatePartitions(Vec<Result<i32, CreatePartitionsError>>),
    AlterConfigs(Result<(), AlterConfigsError>),
    AllocateProducerIds(Result<Range<i64>, AllocateError>),
    ChangeTiers(Vec<Result<SentRow, TierRefused>>),
    FinishPurge(Result<(), FinishPurgeError>),
    Heartbeat(Result<HeartbeatAnswer, HeartbeatError>),
    AlterPartitions(Vec<Result<Partition, AlterPartitionError>>),
    Elect(Vec<Result<(), ElectError>>),
    Reassign(Vec<Result<(), ReassignError>>),
    UnregisterBroker(Result<(), UnregisterError>),
    UpdateFeatureLevel(Result<(), FeatureLevelError>),
    AddVoter(Result<(), VoterError>),
    RemoveVoter(Result<(), VoterError>),
    DescribeQuorum(QuorumStatus),
    ReplicasOffline(Result<(), HeartbeatError>),
}

/// A request under way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Asked {
    /// What is asked.
    pub request: Request,
    /// An earlier attempt may have been carried out unseen: a refusal that its success would explain is no refusal.
    pub again: bool,
}

/// An answer and where it holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answered {
    /// Who has this entry of the log sees what was done.
    pub offset: u64,
    /// The answer.
    pub answer: Answer,
}

/// The leader's reply. The error means that nothing is known of any part of the request.
pub type Reply = Result<Answered, Unavailable>;

/// One step of one log's tier row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TierStep {
    /// A live topic.
    pub topic: TopicId,
    /// Its partition.
    pub index: i32,
    /// The step.
    #[serde(with = "tier_change")]
    pub change: TierChange,
}

/// The row a step made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SentRow(#[serde(with = "tier_row")] pub Arc<TierRow>);

/// A step in the log's own encoding.
mod tier_change {
    use firnline_tiering::cold::tier::TierChange;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::id::TopicId;
    use crate::record::kinds::Record;

    pub fn serialize<S: Serializer>(change: &TierChange, to: S) -> Result<S::Ok, S::Error> {
        let record = Record::TierChanged { topic: TopicId::ZERO, index: 0, change: change.clone() };
        super::record_bytes(&record, to)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<TierChange, D::Error> {
        match super::record_of(&Vec::deserialize(from)?) {
            Ok(Record::TierChanged { change, .. }) => Ok(change),
            Ok(_) => Err(D::Error::custom("not a step of a tier row")),
            Err(error) => Err(D::Error::custom(error)),
        }
    }
}

/// A row in the snapshot's own encoding.
mod tier_row {
    use std::sync::Arc;

    use firnline_tiering::cold::tier::TierRow;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::id::TopicId;
    use crate::record::kinds::Record;

    pub fn serialize<S: Serializer>(row: &Arc<TierRow>, to: S) -> Result<S::Ok, S::Error> {
        super::record_bytes(&Record::TierRow { topic: TopicId::ZERO, index: 0, row: row.clone() }, to)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Arc<TierRow>, D::Error> {
        match super::record_of(&Vec::deserialize(from)?) {
            Ok(Record::TierRow { row, .. }) => Ok(row),
            Ok(_) => Err(D::Error::custom("not a tier row")),
            Err(error) => Err(D::Error::custom(error)),
        }
    }
}

fn record_bytes<S: serde::Serializer>(
    record: &crate::record::kinds::Record,
    to: S,
) -> Result<S::Ok, S::Error> {
    let mut out = crate::record::bytes::Writer::default();
    crate::record::codec::encode(record, &mut out);
    out.finish().serialize(to)
}

fn record_of(bytes: &[u8]) -> Result<crate::record::kinds::Record, crate::record::bytes::CodecError> {
    let mut from = crate::record::bytes::Reader::new(bytes);
    let record = crate::record::codec::decode(&mut from)?;
    from.finish()?;
    Ok(record)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::PartitionEpoch;
    use crate::record::codec::tests::{samples, samples_of_level_2};
    use crate::record::kinds::Record;
    use crate::serial;
    use firnline_tiering::epoch::LeaderEpoch;
    use proptest::prelude::*;

    fn of_the_cluster() -> Vec<Request> {
        let (id, epoch) = (BrokerId(3), BrokerEpoch(7));
        let topic = TopicId(uuid::Uuid::from_u128(7));
        let change = IsrChange {
            topic,
            index: 2,
            leader_epoch: LeaderEpoch(4),
            partition_epoch: PartitionEpoch(9),
            isr: vec![(id, epoch), (BrokerId(1), BrokerEpoch(-1))],
        };
        let cancel = Reassignment { topic, index: 2, replicas: None, may_resize: true };
        let registration = BrokerRegistration {
            id,
            directories: vec![uuid::Uuid::from_u128(1), uuid::Uuid::from_u128(2)],
            boot: Some(uuid::Uuid::from_u128(3)),
            stopped: Some(BrokerEpoch(6)),
            ..BrokerRegistration::default()
        };
        let beat = Heartbeat { id, epoch, image_offset: 5, wants_fence: true, wants_stop: false };
        vec![
            Request::Register(registration),
            Request::Heartbeat(beat),
            Request::AlterPartitions { from: id, epoch, changes: vec![change] },
            Request::Elect(Election::Unclean, vec![(topic, 2)]),
            Request::Reassign(vec![cancel]),
            Request::UnregisterBroker(id),
            Request::UpdateFeatureLevel { level: 2, validate_only: true },
            Request::ReplicasOffline { from: id, epoch, offline: vec![(topic, 2), (topic, 0)] },
        ]
    }

    fn to_the_cluster() -> Vec<Answer> {
        let row = samples_of_level_2().into_iter().find_map(|(_, record)| match record {
            Record::Partition { row, .. } => Some(row),
            _ => None,
        });
        let row = row.expect("a sample");
        let (id, epoch) = (BrokerId(3), BrokerEpoch(7));
        let refused = AlterPartitionError::IneligibleReplica { id, why: "is fenced".into() };
        vec![
            Answer::Heartbeat(Ok(HeartbeatAnswer { fenced: true, may_stop: false })),
            Answer::Heartbeat(Err(HeartbeatError::StaleEpoch { id, found: epoch, current: BrokerEpoch(8) })),
            Answer::AlterPartitions(vec![Ok(row), Err(refused), Err(Unavailable::Interrupted.into())]),
            Answer::Elect(vec![Ok(()), Err(ElectError::NotNeeded)]),
            Answer::Reassign(vec![Err(ReassignError::InvalidReplicationFactor { now: 2, asked: 1 })]),
            Answer::UnregisterBroker(Err(UnregisterError::UnknownBroker(id))),
            Answer::UpdateFeatureLevel(Err(FeatureLevelError::Downgrade { current: 2, asked: 1 })),
            Answer::ReplicasOffline(Err(HeartbeatError::UnknownBroker(id))),
        ]
    }

    #[test]
    fn requests_and_answers_cross_the_wire() {
        let topic = NewTopic {
            name: "a".into(),
            partitions: -1,
            assignments: vec![(0, vec![crate::id::BrokerId(3)])],
            ..NewTopic::default()
        };
        let ids = vec![TopicId(uuid::Uuid::from_u128(7))];
        let mut requests = vec![
            Request::CreateTopics { topics: vec![topic], ids, validate_only: true },
            Request::AlterConfigs(Resource::BrokerDefault, vec![("k".into(), None)]),
            Request::AllocateProducerIds,
        ];
        let mut answers = vec![Answer::AllocateProducerIds(Ok(5..9))];
        requests.extend(of_the_cluster());
        answers.extend(to_the_cluster());
        for (_, record) in samples() {
            match record {
                Record::TierChanged { topic, index, change } => {
                    requests.push(Request::ChangeTiers(vec![TierStep { topic, index, change }]));
                }
                Record::TierRow { row, .. } => answers.push(Answer::ChangeTiers(vec![Ok(SentRow(row))])),
                _ => {}
            }
        }
        assert!(requests.len() > 3 && answers.len() > 1, "the samples hold tier records");
        for request in requests {
            let asked = Asked { request, again: true };
            assert_eq!(serial::decode(&serial::encode(&asked).expect("bytes")), Ok(asked));
        }
        for answer in answers {
            let reply: Reply = Ok(Answered { offset: 3, answer });
            assert_eq!(serial::decode(&serial::encode(&reply).expect("bytes")), Ok(reply));
        }
        let none: Reply = Err(Unavailable::NotLeader { leader: None });
        assert_eq!(serial::decode(&serial::encode(&none).expect("bytes")), Ok(none));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_request_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = (serial::decode::<Asked>(&bytes), serial::decode::<Reply>(&bytes));
        }
    }
}
