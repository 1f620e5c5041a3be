//! Raft's messages between members in our own bytes. Not their envelope (`peer_codec.rs`).
//! Invariant: nothing read allocates more than the bytes that are there.
//!
//! ```text
//!  vote      | term u64 | candidate u64 | committed u8 |            log ids as in raft_codec.rs
//!  append    | vote | log id before, optional | log id committed, optional | count u32 x frame (frame.rs) |
//!    answer  | 0 taken, 1 in part: log id, optional, 2 conflict, 3 higher: vote |
//!  election  | vote | last log id, optional |     answer | vote | granted u8 | last log id, optional |
//!  snapshot  | vote | last log id, optional | membership (raft_codec.rs) | id text | at u64 | last u8 | bytes |
//!    answer  | 0 vote, 1 another snapshot is under way |
//! ```

use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, VoteRequest, VoteResponse,
};
use openraft::{LeaderId, SnapshotMeta};

use crate::quorum::frame::{self, NoFrame};
use crate::quorum::peer_codec::whole;
use crate::quorum::raft_codec;
use crate::quorum::type_config::{TypeConfig, Vote, VoterId};
use crate::record::bytes::{CodecError, Reader, Writer};

fn write_vote(vote: &Vote, out: &mut Writer) {
    out.u64(vote.leader_id.term).u64(vote.leader_id.node_id).flag(vote.committed);
}

fn read_vote(from: &mut Reader<'_>) -> Result<Vote, CodecError> {
    let leader_id = LeaderId::new(from.u64()?, from.u64()?);
    Ok(Vote { leader_id, committed: from.flag()? })
}

/// Entries, or a heartbeat without any.
pub fn encode_append(request: &AppendEntriesRequest<TypeConfig>) -> Vec<u8> {
    let mut out = Writer::default();
    write_vote(&request.vote, &mut out);
    raft_codec::write_optional_log_id(request.prev_log_id.as_ref(), &mut out);
    raft_codec::write_optional_log_id(request.leader_commit.as_ref(), &mut out);
    out.count(request.entries.len());
    let mut out = out.finish();
    request.entries.iter().for_each(|entry| frame::encode(entry, false, &mut out));
    out
}

/// Reads [`encode_append`]'s bytes.
pub fn decode_append(body: &[u8]) -> Result<AppendEntriesRequest<TypeConfig>, CodecError> {
    whole(body, |from| {
        let (vote, prev_log_id) = (read_vote(from)?, raft_codec::read_optional_log_id(from)?);
        let leader_commit = raft_codec::read_optional_log_id(from)?;
        let count = from.count(frame::HEAD_BYTES)?;
        let mut rest = from.take(from.left())?;
        let mut entries = Vec::with_capacity(count);
        for _ in 0..count {
            let frame = frame::decode(rest).map_err(|error| match error {
                NoFrame::Broken(why) => CodecError::Invalid(why),
                NoFrame::Unreadable(error) => error,
            })?;
            rest = &rest[frame.len..];
            entries.push(frame.entry);
        }
        match rest.len() {
            0 => Ok(AppendEntriesRequest { vote, prev_log_id, entries, leader_commit }),
            left => Err(CodecError::Invalid(format!("{left} bytes too many"))),
        }
    })
}

/// What became of the entries.
pub fn encode_append_answer(answer: &AppendEntriesResponse<VoterId>) -> Vec<u8> {
    let mut out = Writer::default();
    match answer {
        AppendEntriesResponse::Success => _ = out.u8(0),
        AppendEntriesResponse::PartialSuccess(upto) => {
            raft_codec::write_optional_log_id(upto.as_ref(), out.u8(1));
        }
        AppendEntriesResponse::Conflict => _ = out.u8(2),
        AppendEntriesResponse::HigherVote(vote) => write_vote(vote, out.u8(3)),
    }
    out.finish()
}

/// Reads [`encode_append_answer`]'s bytes.
pub fn decode_append_answer(body: &[u8]) -> Result<AppendEntriesResponse<VoterId>, CodecError> {
    whole(body, |from| {
        Ok(match from.u8()? {
            0 => AppendEntriesResponse::Success,
            1 => AppendEntriesResponse::PartialSuccess(raft_codec::read_optional_log_id(from)?),
            2 => AppendEntriesResponse::Conflict,
            3 => AppendEntriesResponse::HigherVote(read_vote(from)?),
            other => return Err(CodecError::Invalid(format!("an append's answer is {other}"))),
        })
    })
}

/// A candidate's request.
pub fn encode_election(request: &VoteRequest<VoterId>) -> Vec<u8> {
    let mut out = Writer::default();
    write_vote(&request.vote, &mut out);
    raft_codec::write_optional_log_id(request.last_log_id.as_ref(), &mut out);
    out.finish()
}

/// Reads [`encode_election`]'s bytes.
pub fn decode_election(body: &[u8]) -> Result<VoteRequest<VoterId>, CodecError> {
    whole(body, |from| Ok(VoteRequest::new(read_vote(from)?, raft_codec::read_optional_log_id(from)?)))
}

/// A voter's answer.
pub fn encode_election_answer(answer: &VoteResponse<VoterId>) -> Vec<u8> {
    let mut out = Writer::default();
    write_vote(&answer.vote, &mut out);
    out.flag(answer.vote_granted);
    raft_codec::write_optional_log_id(answer.last_log_id.as_ref(), &mut out);
    out.finish()
}

/// Reads [`encode_election_answer`]'s bytes.
pub fn decode_election_answer(body: &[u8]) -> Result<VoteResponse<VoterId>, CodecError> {
    whole(body, |from| {
        let (vote, granted) = (read_vote(from)?, from.flag()?);
        Ok(VoteResponse::new(vote, raft_codec::read_optional_log_id(from)?, granted))
    })
}

/// A piece of a snapshot.
pub fn encode_snapshot(request: &InstallSnapshotRequest<TypeConfig>) -> Vec<u8> {
    let mut out = Writer::default();
    write_vote(&request.vote, &mut out);
    raft_codec::write_optional_log_id(request.meta.last_log_id.as_ref(), &mut out);
    raft_codec::write_stored_membership(&request.meta.last_membership, &mut out);
    out.text(&request.meta.snapshot_id).u64(request.offset).flag(request.done).raw(&request.data);
    out.finish()
}

/// Reads [`encode_snapshot`]'s bytes.
pub fn decode_snapshot(body: &[u8]) -> Result<InstallSnapshotRequest<TypeConfig>, CodecError> {
    whole(body, |from| {
        let (vote, last_log_id) = (read_vote(from)?, raft_codec::read_optional_log_id(from)?);
        let last_membership = raft_codec::read_stored_membership(from)?;
        let meta = SnapshotMeta { last_log_id, last_membership, snapshot_id: from.text()? };
        let (offset, done) = (from.u64()?, from.flag()?);
        let data = from.take(from.left())?.to_vec();
        Ok(InstallSnapshotRequest { vote, meta, offset, data, done })
    })
}

/// The receiver's vote; `None` if it is in the middle of another snapshot and wants this one from its first byte.
pub fn encode_snapshot_answer(vote: Option<&Vote>) -> Vec<u8> {
    let mut out = Writer::default();
    match vote {
        Some(vote) => write_vote(vote, out.u8(0)),
        None => _ = out.u8(1),
    }
    out.finish()
}

/// Reads [`encode_snapshot_answer`]'s bytes.
pub fn decode_snapshot_answer(body: &[u8]) -> Result<Option<Vote>, CodecError> {
    whole(body, |from| match from.u8()? {
        0 => read_vote(from).map(Some),
        1 => Ok(None),
        other => Err(CodecError::Invalid(format!("a snapshot's answer is {other}"))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quorum::raft_codec::tests::{log_id, membership};
    use crate::quorum::type_config::{LogEntry, StoredMembership};
    use crate::record::entry_codec::tests::sample;
    use openraft::EntryPayload;
    use proptest::prelude::*;

    #[test]
    fn messages_read_as_they_are_written() {
        let vote = Vote { leader_id: LeaderId::new(7, 1 << 40), committed: true };
        let payloads =
            [EntryPayload::Blank, EntryPayload::Normal(sample()), EntryPayload::Membership(membership())];
        let entries = payloads
            .into_iter()
            .zip(4..)
            .map(|(payload, index)| LogEntry { log_id: log_id(3, index), payload });
        let append = AppendEntriesRequest::<TypeConfig> {
            vote,
            prev_log_id: Some(log_id(2, 3)),
            entries: entries.collect(),
            leader_commit: None,
        };
        let read = decode_append(&encode_append(&append)).expect("an append");
        assert_eq!(format!("{read:?}"), format!("{append:?}"));
        for answer in [
            AppendEntriesResponse::Success,
            AppendEntriesResponse::PartialSuccess(Some(log_id(1, 2))),
            AppendEntriesResponse::Conflict,
            AppendEntriesResponse::HigherVote(vote),
        ] {
            assert_eq!(decode_append_answer(&encode_append_answer(&answer)), Ok(answer));
        }
        let election = VoteRequest::new(vote, Some(log_id(1, 2)));
        assert_eq!(decode_election(&encode_election(&election)), Ok(election));
        let answer = VoteResponse::new(vote, None, true);
        assert_eq!(decode_election_answer(&encode_election_answer(&answer)), Ok(answer));
        let meta = SnapshotMeta {
            last_log_id: Some(log_id(2, 9)),
            last_membership: StoredMembership::new(Some(log_id(1, 1)), membership()),
            snapshot_id: "9-2".into(),
        };
        let snapshot =
            InstallSnapshotRequest::<TypeConfig> { vote, meta, offset: 5, data: vec![1, 2], done: true };
        assert_eq!(decode_snapshot(&encode_snapshot(&snapshot)), Ok(snapshot));
        assert_eq!(decode_snapshot_answer(&encode_snapshot_answer(Some(&vote))), Ok(Some(vote)));
        assert_eq!(decode_snapshot_answer(&encode_snapshot_answer(None)), Ok(None));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_message_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = (decode_append(&bytes), decode_append_answer(&bytes), decode_election(&bytes));
            let _ = (decode_election_answer(&bytes), decode_snapshot(&bytes), decode_snapshot_answer(&bytes));
        }
    }
}
