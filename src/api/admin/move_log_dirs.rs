//! AlterReplicaLogDirs: moving replicas between this broker's log directories is not built; what is already where it
//! should be is answered as Kafka does, anything else is refused, and said in the log.
//! Invariant: no answer claims a move that does not happen.
use std::path::Path;

use crate::api::context::{Answer, Context};
use crate::api::error_code::ErrorCode;
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
        let known = ctx.shared.directories.iter().any(|directory| directory.path() == path);
        for topic in &dir.topics {
            let held = ctx.shared.hosted.topic(&topic.name);
            let partitions = topic.partitions.iter().map(|index| {
                let replica = held
                    .as_ref()
                    .and_then(|topic| topic.partitions().find(|each| each.id().index == *index).cloned());
                let here = replica.map(|replica| replica.log().dir().parent() == Some(path));
                let code = answer(known, here);
                if code == ErrorCode::InvalidRequest {
                    tracing::warn!(topic = %topic.name.as_str(), partition = index, dir = %path.display(),
                        "a move between log directories was refused: it is not built yet");
                }
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

/// `here`: whether the replica lies in that directory; `None` when this broker does not hold it.
fn answer(known: bool, here: Option<bool>) -> ErrorCode {
    match (known, here) {
        (false, _) => ErrorCode::LogDirNotFound,
        (true, None) => ErrorCode::ReplicaNotAvailable,
        (true, Some(true)) => ErrorCode::None,
        (true, Some(false)) => ErrorCode::InvalidRequest,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_there_already_succeeds() {
        let codes = [(false, Some(true)), (true, None), (true, Some(true)), (true, Some(false))]
            .map(|(known, here)| answer(known, here).code());
        assert_eq!(codes, [57, 9, 0, 42]);
    }
}
