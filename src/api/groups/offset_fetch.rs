//! OffsetFetch: how far groups have read: named partitions or all there are, one group or (version 8) several.
//! Invariant: every asked partition has an answer; one without a commit answers offset -1 and no error.

use std::collections::BTreeMap;

use crate::api::context::{Answer, Context};
use crate::api::error_code::ErrorCode;
use crate::api::groups::names;
use crate::coordinator::group::error::GroupError;
use crate::coordinator::group::id::GroupId;
use crate::coordinator::group::offsets::Offsets;
use crate::coordinator::group::records::OffsetValue;
use crate::wire::header::Header;
use crate::wire::message::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use crate::wire::message::{OffsetFetchRequest, OffsetFetchResponse, StrBytes, TopicName};
use crate::wire::response::encode;

/// First version with an error for the whole group; before it, every partition carries it.
const GROUP_ERROR: i16 = 2;
/// First version with several groups (KIP-709).
const MANY_GROUPS: i16 = 8;
/// "Nothing committed".
const NO_OFFSET: i64 = -1;

/// One group's question: topics and their partitions, or `None` for all.
struct Ask {
    group: GroupId,
    topics: Option<Vec<(TopicName, Vec<i32>)>>,
}

/// A partition and its offset, if it has one.
type Committed = (i32, Option<OffsetValue>);

/// One group's answer: a code, and each asked partition's offset.
struct Told {
    group: GroupId,
    code: ErrorCode,
    topics: Topics,
}

/// Topics with their partitions and what is committed for each.
type Topics = Vec<(TopicName, Vec<Committed>)>;

/// Handles one OffsetFetch request. There are no open transactions yet, so every offset is stable.
pub fn handle(ctx: &Context, header: &Header, request: OffsetFetchRequest) -> Answer {
    let asks = asks(header.version, request);
    let (ctx, header) = (ctx.clone(), header.clone());
    Answer::Later(Box::pin(async move {
        let mut told = Vec::with_capacity(asks.len());
        for ask in asks {
            told.push(tell(&ctx, ask).await);
        }
        encode(&header, &response(header.version, told)).into()
    }))
}

fn asks(version: i16, request: OffsetFetchRequest) -> Vec<Ask> {
    if version < MANY_GROUPS {
        let topics =
            request.topics.map(|topics| topics.into_iter().map(|it| (it.name, it.partition_indexes)));
        return vec![Ask { group: names::group(&request.group_id), topics: topics.map(Iterator::collect) }];
    }
    let groups = request.groups.into_iter().map(|asked| {
        let topics = asked.topics.map(|topics| topics.into_iter().map(|it| (it.name, it.partition_indexes)));
        Ask { group: names::group(&asked.group_id), topics: topics.map(Iterator::collect) }
    });
    groups.collect()
}

async fn tell(ctx: &Context, ask: Ask) -> Told {
    let Ask { group, topics } = ask;
    let looked = ctx.shared.groups.offsets(&group, |offsets| match &topics {
        Some(topics) => named(offsets, topics),
        None => offsets.map(all).unwrap_or_default(),
    });
    match looked.await {
        Ok(topics) => Told { group, code: ErrorCode::None, topics },
        Err(error) => {
            // Clients before 3.9 do not expect "not available" here, and look for the coordinator on this one too.
            let code = match error {
                GroupError::NotAvailable => ErrorCode::NotCoordinator,
                error => ErrorCode::from(&error),
            };
            Told { group, code, topics: named(None, &topics.unwrap_or_default()) }
        }
    }
}

fn named(offsets: Option<&Offsets>, topics: &[(TopicName, Vec<i32>)]) -> Topics {
    let find = |topic: &TopicName, partition: i32| offsets?.get(topic.as_str(), partition).cloned();
    let tell = |(topic, partitions): &(TopicName, Vec<i32>)| {
        (topic.clone(), partitions.iter().map(|partition| (*partition, find(topic, *partition))).collect())
    };
    topics.iter().map(tell).collect()
}

fn all(offsets: &Offsets) -> Topics {
    let mut topics: BTreeMap<&str, Vec<(i32, Option<OffsetValue>)>> = BTreeMap::new();
    for (topic, partition, value) in offsets.iter() {
        topics.entry(topic).or_default().push((partition, Some(value.clone())));
    }
    topics.into_iter().map(|(topic, partitions)| (TopicName(names::text(topic)), partitions)).collect()
}

fn response(version: i16, told: Vec<Told>) -> OffsetFetchResponse {
    let response = OffsetFetchResponse::default();
    if version >= MANY_GROUPS {
        return response.with_groups(told.into_iter().map(group).collect());
    }
    // Below version 8 there is one group.
    let Some(told) = told.into_iter().next() else { return response };
    let failed = !told.code.is_none();
    if failed && version >= GROUP_ERROR {
        return response.with_error_code(told.code.code());
    }
    let topics = told.topics.into_iter().map(|(name, partitions)| {
        let partitions = partitions.into_iter().map(|(index, value)| {
            let (offset, epoch, metadata) = fields(value);
            OffsetFetchResponsePartition::default()
                .with_partition_index(index)
                .with_committed_offset(offset)
                .with_committed_leader_epoch(epoch)
                .with_metadata(Some(metadata))
                .with_error_code(told.code.code())
        });
        OffsetFetchResponseTopic::default().with_name(name).with_partitions(partitions.collect())
    });
    response.with_topics(topics.collect())
}

fn group(told: Told) -> OffsetFetchResponseGroup {
    let group = OffsetFetchResponseGroup::default()
        .with_group_id(names::group_out(&told.group))
        .with_error_code(told.code.code());
    if !told.code.is_none() {
        return group;
    }
    let topics = told.topics.into_iter().map(|(name, partitions)| {
        let partitions = partitions.into_iter().map(|(index, value)| {
            let (offset, epoch, metadata) = fields(value);
            OffsetFetchResponsePartitions::default()
                .with_partition_index(index)
                .with_committed_offset(offset)
                .with_committed_leader_epoch(epoch)
                .with_metadata(Some(metadata))
        });
        OffsetFetchResponseTopics::default().with_name(name).with_partitions(partitions.collect())
    });
    group.with_topics(topics.collect())
}

fn fields(value: Option<OffsetValue>) -> (i64, i32, StrBytes) {
    match value {
        None => (NO_OFFSET, -1, StrBytes::default()),
        Some(value) => (value.offset, value.leader_epoch, StrBytes::from_string(value.metadata)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BytesMut;

    use crate::wire::message::{Decodable, Encodable};

    fn told(code: ErrorCode) -> Told {
        let value =
            OffsetValue { offset: 5, leader_epoch: 2, metadata: "m".into(), commit_ms: 0, expire_ms: None };
        let partitions = vec![(0, Some(value).filter(|_| code.is_none())), (1, None)];
        Told { group: "g".into(), code, topics: vec![(TopicName(names::text("t")), partitions)] }
    }

    fn read(version: i16, code: ErrorCode) -> OffsetFetchResponse {
        let mut bytes = BytesMut::new();
        response(version, vec![told(code)]).encode(&mut bytes, version).expect("encodes");
        OffsetFetchResponse::decode(&mut bytes.freeze(), version).expect("decodes")
    }

    #[test]
    fn a_commit_and_none_are_told_in_every_version() {
        for version in 1..=9 {
            let read = read(version, ErrorCode::None);
            let offsets: Vec<_> = match version {
                8.. => {
                    let partitions = &read.groups[0].topics[0].partitions;
                    partitions
                        .iter()
                        .map(|it| (it.committed_offset, it.error_code, it.metadata.clone()))
                        .collect()
                }
                _ => {
                    let partitions = &read.topics[0].partitions;
                    partitions
                        .iter()
                        .map(|it| (it.committed_offset, it.error_code, it.metadata.clone()))
                        .collect()
                }
            };
            assert_eq!(offsets, [(5, 0, Some(names::text("m"))), (-1, 0, Some(names::text("")))]);
        }
    }

    #[test]
    fn a_groups_error_stands_where_the_version_has_it() {
        for version in 1..=9 {
            let read = read(version, ErrorCode::NotCoordinator);
            let codes = match version {
                1 => read.topics[0].partitions.iter().map(|it| it.error_code).collect(),
                2..8 => vec![read.error_code; 2],
                _ => vec![read.groups[0].error_code; 2],
            };
            assert_eq!(codes, [16, 16], "version {version}");
        }
    }
}
