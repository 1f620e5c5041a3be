//! AlterReplicaLogDirs (KIP-113): asks for replicas to lie in other log directories of this broker. Not here: the move
//! (`broker/log_mover.rs`), which goes on after the answer; DescribeLogDirs shows how far it is.
//! Invariant: what is answered without an error lies there already, or is on its way.
use std::path::Path;

use crate::api::context::{Answer, Context};
use crate::api::error_code::ErrorCode;
use crate::partition::directory::Directory;
use crate::wire::header::Header;
use crate::wire::message::alter_replica_log_dirs_response::{
    AlterReplicaLogDirPartitionResult, AlterReplicaLogDirTopicResult,
};
use crate::wire::message::{AlterReplicaLogDirsRequest, AlterReplicaLogDirsResponse};
use crate::wire::response::encode;

/// Handles one AlterReplicaLogDirs request.
pub fn handle(ctx: &Context, header: &Header, request: &AlterReplicaLogDirsRequest) -> Answer {
    let mut results = Vec::new();
    for dir in &request.dirs {
        let path = Path::new(dir.path.as_str());
        let directory = ctx.shared.directories.iter().find(|directory| directory.path() == path);
        for topic in &dir.topics {
            let partitions = topic.partitions.iter().map(|index| {
                let code = match directory {
                    Some(directory) => ask(ctx, directory, &topic.name, *index),
                    None => ErrorCode::LogDirNotFound,
                };
                AlterReplicaLogDirPartitionResult::default()
                    .with_partition_index(*index)
                    .with_error_code(code.code())
            });
            results.push(
                AlterReplicaLogDirTopicResult::default()
                    .with_topic_name(topic.name.clone())
                    .with_partitions(partitions.collect()),
            );
        }
    }
    encode(header, &AlterReplicaLogDirsResponse::default().with_results(results)).into()
}

/// Asks for one replica to lie in this directory.
fn ask(ctx: &Context, directory: &Directory, topic: &str, index: i32) -> ErrorCode {
    let moves = &ctx.shared.moves;
    if directory.failed().is_some() || ctx.shared.hosted.is_failed(topic, index) {
        return ErrorCode::KafkaStorage;
    }
    let Some(replica) = ctx.shared.hosted.find(topic, index) else {
        // It is made there when it comes to this broker.
        moves.prefer(topic, index, directory.path());
        return ErrorCode::ReplicaNotAvailable;
    };
    if replica.log().offline().is_some() {
        return ErrorCode::KafkaStorage;
    }
    match replica.log().dir().parent() == Some(directory.path()) {
        true => moves.cancel(replica.id()),
        false => moves.ask(replica.id(), directory.path()),
    }
    ErrorCode::None
}
