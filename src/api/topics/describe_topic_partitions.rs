//! DescribeTopicPartitions (KIP-966): topics by name, page by page. Not here: who leads what.
//! Invariant: following `next_cursor` shows every partition of every topic asked for exactly once.
use std::collections::BTreeSet;

use firnline_controller::decide::names;
use firnline_controller::image::topics::Topic;

use crate::api::authorized;
use crate::api::context::{Answer, Context};
use crate::api::error_code::ErrorCode;
use crate::api::topics::partition_row::Reachable;
use crate::api::topics::topic_name;
use crate::metadata::view::MetadataView;
use crate::wire::header::Header;
use crate::wire::message::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use crate::wire::message::{
    DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse, StrBytes, TopicName,
};
use crate::wire::response::encode;

/// Partitions on one page, at most (Kafka's default of `max.request.partition.size.limit`).
const PAGE_MAX: i32 = 2000;

/// Handles one DescribeTopicPartitions request.
pub fn handle(ctx: &Context, header: &Header, request: &DescribeTopicPartitionsRequest) -> Answer {
    encode(header, &page(&ctx.metadata(), &ctx.peer.listener.name, request)).into()
}

fn page(
    view: &MetadataView,
    listener: &str,
    request: &DescribeTopicPartitionsRequest,
) -> DescribeTopicPartitionsResponse {
    let reachable = Reachable::by(view, listener);
    let (from, first) = match &request.cursor {
        Some(cursor) => (cursor.topic_name.as_str(), cursor.partition_index.max(0)),
        None => ("", 0),
    };
    let all: BTreeSet<&str> = match request.topics.as_slice() {
        [] => view.image().topics.iter().map(|topic| &*topic.name).collect(),
        topics => topics.iter().map(|topic| topic.name.as_str()).collect(),
    };
    let mut room = request.response_partition_limit.clamp(1, PAGE_MAX);
    let mut response = DescribeTopicPartitionsResponse::default();
    for name in all.range(from..) {
        let start = if *name == from { first } else { 0 };
        let Some(topic) = view.topic(name) else {
            response.topics.push(unknown(name));
            continue;
        };
        if room == 0 {
            response.next_cursor = Some(cursor(name, start));
            break;
        }
        let described = known(topic, &reachable, start, room);
        let (shown, total) = (described.partitions.len() as i32, topic.partition_count());
        response.topics.push(described);
        room -= shown;
        if start + shown < total {
            response.next_cursor = Some(cursor(name, start + shown));
            break;
        }
    }
    response
}

fn cursor(name: &str, index: i32) -> Cursor {
    Cursor::default().with_topic_name(named_as(name)).with_partition_index(index)
}

fn unknown(name: &str) -> DescribeTopicPartitionsResponseTopic {
    let code = match names::illegal(name) {
        Some(_) => ErrorCode::InvalidTopic,
        None => ErrorCode::UnknownTopicOrPartition,
    };
    DescribeTopicPartitionsResponseTopic::default()
        .with_error_code(code.code())
        .with_name(Some(named_as(name)))
        .with_is_internal(topic_name::internal(name))
}

fn known(
    topic: &Topic,
    reachable: &Reachable,
    start: i32,
    room: i32,
) -> DescribeTopicPartitionsResponseTopic {
    let rows = topic.partitions.iter().zip(0..).skip(start as usize).take(room as usize);
    let partitions = rows.map(|(partition, index)| {
        let row = reachable.row(topic.id, index, partition);
        DescribeTopicPartitionsResponsePartition::default()
            .with_error_code(row.error.code())
            .with_partition_index(index)
            .with_leader_id(row.leader)
            .with_leader_epoch(row.leader_epoch)
            .with_replica_nodes(row.replicas)
            .with_isr_nodes(row.in_sync)
            .with_eligible_leader_replicas(Some(row.eligible))
            .with_last_known_elr(Some(row.last_known))
            .with_offline_replicas(row.offline)
    });
    DescribeTopicPartitionsResponseTopic::default()
        .with_name(Some(named_as(&topic.name)))
        .with_topic_id(topic.id.0)
        .with_is_internal(topic_name::internal(&topic.name))
        .with_topic_authorized_operations(authorized::TOPIC)
        .with_partitions(partitions.collect())
}

fn named_as(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::sample;
    use crate::wire::api_key::ApiKey;
    use crate::wire::message::describe_topic_partitions_request::{Cursor as Asked, TopicRequest};

    fn request(names: &[&'static str], limit: i32) -> DescribeTopicPartitionsRequest {
        let topics = names.iter().map(|name| TopicRequest::default().with_name(named_as(name)));
        let request = DescribeTopicPartitionsRequest::default().with_topics(topics.collect());
        request.with_response_partition_limit(limit).with_cursor(None)
    }

    /// Follows cursors to the end; topics as often as they were shown.
    fn followed(names: &[&'static str], limit: i32) -> Vec<(String, Vec<i32>)> {
        let (mut asked, mut seen) = (request(names, limit), Vec::new());
        for _ in 0..100 {
            let page = page(&sample::view(), "IN", &asked);
            let shown: usize = page.topics.iter().map(|topic| topic.partitions.len()).sum();
            assert!(shown <= limit.clamp(1, PAGE_MAX) as usize, "{shown} partitions on a page of {limit}");
            seen.extend(page.topics.iter().map(|topic| {
                let name = topic.name.as_ref().expect("a name").to_string();
                (name, topic.partitions.iter().map(|partition| partition.partition_index).collect())
            }));
            let Some(next) = page.next_cursor else { return seen };
            let cursor =
                Asked::default().with_topic_name(next.topic_name).with_partition_index(next.partition_index);
            asked = asked.with_cursor(Some(cursor));
        }
        panic!("the cursor never ends: {seen:?}")
    }

    #[test]
    fn following_the_cursor_shows_every_partition_once() {
        let of = |seen: Vec<(String, Vec<i32>)>| {
            seen.into_iter()
                .flat_map(|(name, of)| of.into_iter().map(move |index| (name.clone(), index)))
                .collect()
        };
        let whole: Vec<(String, i32)> = of(followed(&[], 2000));
        assert_eq!(whole.len(), 5);
        for limit in [-1, 0, 1, 2, 3, 4] {
            let paged: Vec<(String, i32)> = of(followed(&[], limit));
            assert_eq!(paged, whole, "pages of {limit}");
        }
    }

    #[test]
    fn topics_come_by_name_and_unknown_ones_with_a_code() {
        let page = page(&sample::view(), "IN", &request(&["quiet", "nobody", "orders", ".."], 10));
        let rows: Vec<_> =
            page.topics.iter().map(|topic| (topic.name.as_deref(), topic.error_code)).collect();
        let name = |name: &'static str| Some(named_as(name));
        let wanted = [(name(".."), 17), (name("nobody"), 3), (name("orders"), 0), (name("quiet"), 0)];
        assert_eq!(rows, wanted.each_ref().map(|(name, code)| (name.as_deref(), *code)));
        assert_eq!(page.next_cursor, None);
    }

    #[test]
    fn a_cursor_at_a_topic_that_is_gone_goes_on_behind_it() {
        let cursor = Asked::default().with_topic_name(named_as("ordered")).with_partition_index(7);
        let page = page(&sample::view(), "IN", &request(&[], 10).with_cursor(Some(cursor)));
        let shown: Vec<_> = page.topics.iter().map(|topic| topic.partitions.len()).collect();
        assert_eq!(shown, [3, 1], "orders and quiet, whole");
    }

    #[test]
    fn the_page_encodes() {
        let api_key = ApiKey::DescribeTopicPartitions;
        let header = Header { api_key, version: 0, correlation_id: 1, client_id: None };
        encode(&header, &page(&sample::view(), "IN", &request(&[], 2))).expect("encodes");
    }
}
