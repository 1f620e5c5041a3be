//! DescribeLogDirs: each log directory, its room, and the bytes of each partition in it; last the bucket, as if it
//! were one more, so that every tool shows tier sizes.
//! Not here: reading disks (housekeeping does). Invariant: a partition held here is listed in one directory; the bucket
//! never answers a request that names partitions, whose tools expect one directory for each.
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use firnline_tiering::cold::url::BucketUrl;

use crate::api::context::{Answer, Context};
use crate::api::error_code::ErrorCode;
use crate::metadata::settings;
use crate::partition::directory::Directory;
use crate::partition::moving::Move;
use crate::partition::replica::{PartitionHandle, PartitionId};
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
        let result =
            DescribeLogDirsResult::default().with_log_dir(StrBytes::from_string(shown(directory.path())));
        if directory.failed().is_some() {
            return result
                .with_error_code(ErrorCode::KafkaStorage.code())
                .with_total_bytes(UNKNOWN_BYTES)
                .with_usable_bytes(UNKNOWN_BYTES);
        }
        result
            .with_topics(with_futures(
                topics(here, &wanted, |partition| partition.log().size_bytes()),
                futures(ctx, directory, &held, &wanted),
            ))
            .with_total_bytes(total)
            .with_usable_bytes(usable)
    });
    let results = results.chain(bucket(ctx, &held, &wanted)).collect();
    encode(header, &DescribeLogDirsResponse::default().with_results(results)).into()
}

/// The bucket with what the partitions led here hold in it, where there is one and it may be shown.
fn bucket(ctx: &Context, held: &[PartitionHandle], wanted: &Wanted) -> Option<DescribeLogDirsResult> {
    let config = &ctx.shared.config;
    let remote = config.remote.as_ref().filter(|_| wanted.is_none())?;
    let settings = settings::in_force(config, &ctx.metadata());
    settings.flag("firn.describe.log.dirs.remote").filter(|shown| *shown)?;
    let name = match &remote.url {
        BucketUrl::S3 { bucket, .. } => format!("remote://{bucket}"),
        BucketUrl::File { dir } => format!("remote://{}", dir.display()),
    };
    let tiered =
        |partition: &&PartitionHandle| partition.is_leader() && partition.log().config().remote_enabled;
    let size = |partition: &PartitionHandle| partition.log().tier().map_or(0, |row| row.log_bytes());
    let result = DescribeLogDirsResult::default()
        .with_log_dir(StrBytes::from_string(name))
        .with_topics(topics(held.iter().filter(tiered), wanted, size))
        .with_total_bytes(UNKNOWN_BYTES)
        .with_usable_bytes(UNKNOWN_BYTES);
    Some(result)
}

/// Copies on their way into a directory.
fn futures(
    ctx: &Context,
    directory: &Directory,
    held: &[PartitionHandle],
    wanted: &Wanted,
) -> Vec<DescribeLogDirsTopic> {
    let moves: BTreeMap<PartitionId, Move> =
        ctx.shared.moves.all().into_iter().filter(|(_, each)| each.to == directory.path()).collect();
    let here = held.iter().filter(|partition| moves.contains_key(&partition.id()));
    let mut topics = topics(here.clone(), wanted, |partition| moves[&partition.id()].copied);
    let lags = here.map(|partition| {
        let lag = partition.offsets().end.0 - moves[&partition.id()].upto.0;
        ((&**partition.topic_name(), partition.id().index), lag.max(0))
    });
    let lags: BTreeMap<(&str, i32), i64> = lags.collect();
    for topic in &mut topics {
        for partition in &mut topic.partitions {
            partition.is_future_key = true;
            let lag = lags.get(&(topic.name.as_str(), partition.partition_index));
            partition.offset_lag = lag.copied().unwrap_or(0);
        }
    }
    topics
}

/// Logs and copies in one list, each topic once.
fn with_futures(
    mut topics: Vec<DescribeLogDirsTopic>,
    futures: Vec<DescribeLogDirsTopic>,
) -> Vec<DescribeLogDirsTopic> {
    for future in futures {
        match topics.iter_mut().find(|topic| topic.name == future.name) {
            Some(topic) => topic.partitions.extend(future.partitions),
            None => topics.push(future),
        }
    }
    topics
}

/// Kafka's word for a volume whose size nobody knows.
const UNKNOWN_BYTES: i64 = -1;

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
fn topics<'a>(
    held: impl Iterator<Item = &'a PartitionHandle>,
    wanted: &Wanted,
    size: impl Fn(&PartitionHandle) -> u64,
) -> Vec<DescribeLogDirsTopic> {
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
            .with_partition_size(i64::try_from(size(partition)).unwrap_or(i64::MAX))
            .with_offset_lag((partition.high_watermark().0 - partition.offsets().end.0).max(0));
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
