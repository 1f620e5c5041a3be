//! DescribeLogDirs: each log directory, its room, and the bytes of each partition in it.
//! Not here: reading disks (housekeeping does). Invariant: a partition held here is listed in one directory.
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::api::context::{Answer, Context};
use crate::partition::replica::PartitionHandle;
use crate::wire::header::Header;
use crate::wire::message::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use crate::wire::message::{DescribeLogDirsRequest, DescribeLogDirsResponse, StrBytes, TopicName};
use crate::wire::response::encode;

/// Partitions asked for, by topic; `None` for all.
type Wanted = Option<BTreeMap<String, BTreeSet<i32>>>;

/// Handles one DescribeLogDirs request.
pub fn handle(ctx: &Context, header: &Header, request: &DescribeLogDirsRequest) -> Answer {
    let wanted = wanted(request);
    let held = ctx.shared.hosted.all();
    let results = ctx.shared.directories.iter().map(|directory| {
        let here = held.iter().filter(|partition| partition.log().dir().parent() == Some(directory.path()));
        let (total, usable) = directory.space();
        DescribeLogDirsResult::default()
            .with_log_dir(StrBytes::from_string(shown(directory.path())))
            .with_topics(topics(here, &wanted))
            .with_total_bytes(total)
            .with_usable_bytes(usable)
    });
    encode(header, &DescribeLogDirsResponse::default().with_results(results.collect())).into()
}

fn shown(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn wanted(request: &DescribeLogDirsRequest) -> Wanted {
    let topics = request.topics.as_ref()?;
    let mut wanted: BTreeMap<String, BTreeSet<i32>> = BTreeMap::new();
    for topic in topics {
        wanted.entry(topic.topic.to_string()).or_default().extend(&topic.partitions);
    }
    Some(wanted)
}

/// Partitions come ordered by topic, so that each topic is one run of them.
fn topics<'a>(held: impl Iterator<Item = &'a PartitionHandle>, wanted: &Wanted) -> Vec<DescribeLogDirsTopic> {
    let mut topics: Vec<DescribeLogDirsTopic> = Vec::new();
    for partition in held {
        let (name, index) = (&**partition.topic_name(), partition.id().index);
        let asked =
            wanted.as_ref().is_none_or(|topics| topics.get(name).is_some_and(|of| of.contains(&index)));
        if !asked {
            continue;
        }
        let row = DescribeLogDirsPartition::default()
            .with_partition_index(index)
            .with_partition_size(i64::try_from(partition.log().size_bytes()).unwrap_or(i64::MAX));
        match topics.last_mut() {
            Some(last) if last.name.as_str() == name => last.partitions.push(row),
            _ => {
                let name = TopicName(StrBytes::from_string(name.to_owned()));
                topics.push(DescribeLogDirsTopic::default().with_name(name).with_partitions(vec![row]));
            }
        }
    }
    topics
}
