//! The one loop that decides.

use std::ops::Range;

use firnline_tiering::cold::tier::{TierChange, TierRow};
use std::sync::Arc;
use tokio::sync::oneshot;

use crate::decide::brokers::BrokerRegistration;
use crate::decide::partitions::NewPartitions;
use crate::decide::topics::{CreatedTopic, NewTopic};
use crate::error::{
    AllocateError, AlterConfigsError, CreatePartitionsError, CreateTopicError, DeleteTopicError,
    FinishPurgeError, RegisterError, TierRefused,
};
use crate::id::{BrokerEpoch, TopicId};
use crate::record::kinds::Resource;

/// A request with the place its answer goes to.
pub(crate) enum Command {
    Register(BrokerRegistration, oneshot::Sender<Result<BrokerEpoch, RegisterError>>),
    CreateTopics {
        topics: Vec<NewTopic>,
        validate_only: bool,
        reply: oneshot::Sender<Vec<Result<CreatedTopic, CreateTopicError>>>,
    },
    DeleteTopics(Vec<TopicId>, oneshot::Sender<Vec<Result<(), DeleteTopicError>>>),
    CreatePartitions {
        topics: Vec<NewPartitions>,
        validate_only: bool,
        reply: oneshot::Sender<Vec<Result<i32, CreatePartitionsError>>>,
    },
    AlterConfigs(Resource, Vec<(String, Option<String>)>, oneshot::Sender<Result<(), AlterConfigsError>>),
    AllocateProducerIds(oneshot::Sender<Result<Range<i64>, AllocateError>>),
    ChangeTiers(Vec<(TopicId, i32, TierChange)>, oneshot::Sender<Vec<Result<Arc<TierRow>, TierRefused>>>),
    FinishPurge(TopicId, oneshot::Sender<Result<(), FinishPurgeError>>),
}
