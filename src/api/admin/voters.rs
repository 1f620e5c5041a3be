//! AddRaftVoter and RemoveRaftVoter (KIP-853): lets a controller vote that follows already, and takes a vote away.
//! Not here: when that is safe (the quorum's). Invariant: a request for another cluster changes nothing.
use firnline_controller::id::BrokerId;

use crate::api::context::{Answer, Context};
use crate::api::error_code::{ErrorCode, Failure};
use crate::wire::header::Header;
use crate::wire::message::{
    AddRaftVoterRequest, AddRaftVoterResponse, RemoveRaftVoterRequest, RemoveRaftVoterResponse, StrBytes,
};
use crate::wire::response::encode;

/// Handles one AddRaftVoter request.
pub fn add(ctx: &Context, header: &Header, request: AddRaftVoterRequest) -> Answer {
    let (ctx, header) = (ctx.clone(), header.clone());
    Answer::Later(Box::pin(async move {
        let response = AddRaftVoterResponse::default().with_error_message(None);
        let response = match try_add(&ctx, &request).await {
            Ok(()) => response,
            Err(failure) => response
                .with_error_code(failure.code.code())
                .with_error_message(failure.message.map(StrBytes::from_string)),
        };
        encode(&header, &response).into()
    }))
}

async fn try_add(ctx: &Context, request: &AddRaftVoterRequest) -> Result<(), Failure> {
    of_this_cluster(&ctx.shared.cluster_id, request.cluster_id.as_deref())?;
    // Where it is reached the member has said itself when it joined as an observer; who asks must know it all the same.
    if request.listeners.iter().all(|listener| listener.port == 0) {
        let why = "a voter needs a listener that others can reach it by";
        return Err(Failure::new(ErrorCode::InvalidRequest, why));
    }
    let (node, directory) = (BrokerId(request.voter_id), request.voter_directory_id);
    let added = ctx.shared.controller.add_voter(node, directory).await;
    added.map_err(|error| Failure::of(&error))
}

/// Handles one RemoveRaftVoter request.
pub fn remove(ctx: &Context, header: &Header, request: RemoveRaftVoterRequest) -> Answer {
    let (ctx, header) = (ctx.clone(), header.clone());
    Answer::Later(Box::pin(async move {
        let response = RemoveRaftVoterResponse::default().with_error_message(None);
        let outcome = match of_this_cluster(&ctx.shared.cluster_id, request.cluster_id.as_deref()) {
            Ok(()) => {
                let (node, directory) = (BrokerId(request.voter_id), request.voter_directory_id);
                let removed = ctx.shared.controller.remove_voter(node, directory).await;
                removed.map_err(|error| Failure::of(&error))
            }
            Err(failure) => Err(failure),
        };
        let response = match outcome {
            Ok(()) => response,
            Err(failure) => response
                .with_error_code(failure.code.code())
                .with_error_message(failure.message.map(StrBytes::from_string)),
        };
        encode(&header, &response).into()
    }))
}

fn of_this_cluster(ours: &str, named: Option<&str>) -> Result<(), Failure> {
    match named.filter(|named| *named != ours) {
        None => Ok(()),
        Some(other) => {
            let why = format!("this is cluster {ours}, not {other}");
            Err(Failure::new(ErrorCode::InconsistentClusterId, why))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_clusters_request_is_refused() {
        assert!(of_this_cluster("a", None).is_ok() && of_this_cluster("a", Some("a")).is_ok());
        let refused = of_this_cluster("a", Some("b")).unwrap_err();
        assert_eq!(refused.code, ErrorCode::InconsistentClusterId);
    }
}
