//! Makes `__consumer_offsets` when the first client looks for a coordinator.
//! It decides no placement (the controller does). Invariant: it is made once, whoever asks first, and compacted.

use std::time::Duration;

use firnline_controller::decide::topics::NewTopic;
use firnline_controller::error::CreateTopicError;

use crate::api::context::Context;
use crate::coordinator::group::coordinator::OFFSETS_TOPIC;

/// One generation of a group is one record: this is what a group of thousands of members needs.
const MESSAGE_BYTES_MAX: u64 = 16 << 20;
/// How long a client waits for the new topic before it is told to ask again.
const USABLE_WITHIN: Duration = Duration::from_secs(3);

/// Makes the topic and waits until its groups can be served here; false when the client should ask again.
pub async fn make(ctx: &Context) -> bool {
    let offsets = &ctx.shared.config.offsets;
    let configs = [
        ("cleanup.policy", "compact".to_owned()),
        ("compression.type", "producer".to_owned()),
        ("segment.bytes", offsets.segment_bytes.to_string()),
        ("max.message.bytes", MESSAGE_BYTES_MAX.to_string()),
    ];
    let topic = NewTopic {
        name: OFFSETS_TOPIC.to_owned(),
        partitions: offsets.partitions,
        // A broker that nobody can join would otherwise never have groups. In a cluster as in Kafka: the first broker
        // up must not leave every group with one replica for ever.
        replication_factor: if ctx.shared.config.quorum.is_none() { 1 } else { offsets.replication_factor },
        configs: configs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
        ..NewTopic::default()
    };
    match ctx.shared.controller.create_topics(vec![topic], false).await.pop() {
        Some(Ok(created)) => {
            tracing::info!(
                topic = OFFSETS_TOPIC,
                partitions = created.partitions,
                "created for the first group"
            );
        }
        // Another client was faster.
        Some(Err(CreateTopicError::Exists { .. })) => {}
        Some(Err(error)) => {
            tracing::warn!(topic = OFFSETS_TOPIC, %error, "could not be created");
            return false;
        }
        None => return false,
    }
    usable(ctx).await
}

/// Waits until what the metadata says now is served here, but not for ever.
pub async fn usable(ctx: &Context) -> bool {
    let offset = ctx.shared.controller.image().offset;
    let followed = ctx.shared.groups.followed(offset);
    tokio::time::timeout(USABLE_WITHIN, followed).await.unwrap_or(false)
}
