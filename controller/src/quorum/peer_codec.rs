//! What members say to each other beside raft, and the envelope around everything: bytes and back.
//! Not raft's own messages (`raft_messages.rs`) and not verbs (`rpc.rs`). Invariant: nothing read allocates more than
//! the bytes that are there.
//!
//! ```text
//!  request  | version u8 = 1 | cluster id text | from u64 | to u64, 0 = whoever it is | kind u8 | body |
//!  answer   | version u8 = 1 | 0 u8 | body |         or a refusal:
//!           | version u8 = 1 | reason u8 | text |    1 other cluster, 2 other member, 3 malformed, 4 busy, 5 stopped, 6 sender
//!  beat     | term u64 |                             answer | heard u8 | term u64 | log end u64 | feature level u16 |
//!  canvass  | u8, log id if 1 |                      answer | yes u8 | why text |
//!  hello    | voters |                               answer | member u64 | whereabouts text | started u8 | leader | voters |
//!  join     | whereabouts text | votes u8 |          answer | 0 member, 1 other leader, 2 later, 3 refused | rest |
//!  pledge   | ballot |                               answer | standing |
//!  accept   | ballot | founders |                    answer | standing |          both as in `founding.rs`
//!  standing | granted u8 | u8, ballot if 1: promised | u8, if 1: ballot, founders: accepted |
//!  voters   | count u32 x (node id u32, host:port text) |      leader | u8, if 1: member u64, host:port text |
//! ```

use crate::quorum::founding::{self, Ballot, Founders, Standing};
use crate::quorum::raft_codec;
use crate::quorum::type_config::{LogId, VoterId};
use crate::record::bytes::{CodecError, Reader, Writer};

const VERSION: u8 = 1;
/// Longer texts are cut: the format has 65,535 bytes for one.
const TEXT_MAX: usize = 4096;

/// What a request is. The number is the one on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A verb for the leader.
    Verb = 1,
    /// Raft: entries, or a heartbeat.
    Append = 2,
    /// Raft: a vote.
    Vote = 3,
    /// Raft: a piece of a snapshot.
    Snapshot = 4,
    /// "I lead."
    Beat = 5,
    /// "Would you vote for me?"
    Canvass = 6,
    /// "Who are you?"
    Hello = 7,
    /// "Let me be a member."
    Join = 8,
    /// "Would you agree with me on the first voters?"
    Pledge = 9,
    /// "Do you stand by these first voters?"
    Accept = 10,
}

const KINDS: [Kind; 10] = [
    Kind::Verb,
    Kind::Append,
    Kind::Vote,
    Kind::Snapshot,
    Kind::Beat,
    Kind::Canvass,
    Kind::Hello,
    Kind::Join,
    Kind::Pledge,
    Kind::Accept,
];

/// A request's envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// Of the sender.
    pub cluster: String,
    /// The sender.
    pub from: VoterId,
    /// Whom it is for; 0 for whoever takes calls at the address.
    pub to: VoterId,
    /// What it is.
    pub kind: Kind,
    /// The rest.
    pub body: &'a [u8],
}

/// Why a request was not looked at.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It came from another cluster.
    #[error("that node belongs to cluster {0}")]
    OtherCluster(String),
    /// Another member takes calls there now.
    #[error("another member takes calls there: {0}")]
    OtherMember(String),
    /// It cannot be read.
    #[error("it was not understood: {0}")]
    Malformed(String),
    /// Too many are waiting.
    #[error("too many calls wait there")]
    Busy,
    /// What was sent contradicts who sent it.
    #[error("the sender is not who it speaks for: {0}")]
    Sender(String),
    /// The member has stopped.
    #[error("the member there has stopped: {0}")]
    Stopped(String),
}

/// A voter by configuration: its node and where it takes calls.
pub type Named = (u32, String);

/// Answer to a beat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BeatAnswer {
    /// The member knows of no newer term: it counts for the leader's authority.
    pub heard: bool,
    /// The member's term.
    pub term: u64,
    /// Index after its last entry.
    pub log_end: u64,
    /// The newest feature level its binary reads.
    pub level: u16,
}

/// Answer to "who are you?".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HelloAnswer {
    /// Who.
    pub member: VoterId,
    /// Where it takes calls, as members write it.
    pub whereabouts: String,
    /// It knows the members of a quorum.
    pub started: bool,
    /// Whom it believes to lead, and where.
    pub leader: Option<(VoterId, String)>,
    /// The voters of its configuration.
    pub voters: Vec<Named>,
}

/// Answer to "let me be a member".
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JoinAnswer {
    /// It is one, as it asked.
    Member,
    /// Ask another, if one is known.
    OtherLeader(Option<(VoterId, String)>),
    /// Ask again.
    Later(String),
    /// Asking again will not help.
    Refused(String),
}

/// A request in its envelope.
pub fn encode_request(cluster: &str, from: VoterId, to: VoterId, kind: Kind, body: &[u8]) -> Vec<u8> {
    let mut out = Writer::default();
    out.u8(VERSION).text(short(cluster)).u64(from).u64(to).u8(kind as u8).raw(body);
    out.finish()
}

/// Opens an envelope.
pub fn decode_request(bytes: &[u8]) -> Result<Envelope<'_>, CodecError> {
    let mut from = Reader::new(bytes);
    check_version(&mut from)?;
    let (cluster, sender, to, kind) = (from.text()?, from.u64()?, from.u64()?, from.u8()?);
    let unknown = || CodecError::Unknown { what: "request between nodes", kind: kind.into(), version: 1 };
    let kind = KINDS.into_iter().find(|known| *known as u8 == kind).ok_or_else(unknown)?;
    let body = from.take(from.left())?;
    Ok(Envelope { cluster, from: sender, to, kind, body })
}

/// An answer, or why there is none.
pub fn encode_answer(answer: &Result<Vec<u8>, Refusal>) -> Vec<u8> {
    let mut out = Writer::default();
    out.u8(VERSION);
    let (reason, text) = match answer {
        Ok(body) => {
            out.u8(0).raw(body);
            return out.finish();
        }
        Err(Refusal::OtherCluster(found)) => (1, found.as_str()),
        Err(Refusal::OtherMember(found)) => (2, found.as_str()),
        Err(Refusal::Malformed(why)) => (3, why.as_str()),
        Err(Refusal::Busy) => (4, ""),
        Err(Refusal::Stopped(why)) => (5, why.as_str()),
        Err(Refusal::Sender(why)) => (6, why.as_str()),
    };
    out.u8(reason).text(short(text));
    out.finish()
}

/// Opens an answer.
pub fn decode_answer(bytes: &[u8]) -> Result<Result<&[u8], Refusal>, CodecError> {
    let mut from = Reader::new(bytes);
    check_version(&mut from)?;
    let reason = from.u8()?;
    if reason == 0 {
        return Ok(Ok(from.take(from.left())?));
    }
    let text = from.text()?;
    Ok(Err(match reason {
        1 => Refusal::OtherCluster(text),
        2 => Refusal::OtherMember(text),
        4 => Refusal::Busy,
        5 => Refusal::Stopped(text),
        6 => Refusal::Sender(text),
        _ => Refusal::Malformed(text),
    }))
}

fn check_version(from: &mut Reader<'_>) -> Result<(), CodecError> {
    match from.u8()? {
        VERSION => Ok(()),
        other => Err(CodecError::Unknown { what: "call between nodes", kind: 0, version: other.into() }),
    }
}

/// A text the format has room for.
fn short(text: &str) -> &str {
    let end = (0..=text.len().min(TEXT_MAX)).rfind(|end| text.is_char_boundary(*end)).unwrap_or(0);
    &text[..end]
}

/// A beat's term.
pub fn encode_beat(term: u64) -> Vec<u8> {
    term.to_be_bytes().to_vec()
}

/// Reads a beat.
pub fn decode_beat(body: &[u8]) -> Result<u64, CodecError> {
    whole(body, |from| from.u64())
}

/// A beat's answer.
pub fn encode_beat_answer(answer: BeatAnswer) -> Vec<u8> {
    let mut out = Writer::default();
    out.flag(answer.heard).u64(answer.term).u64(answer.log_end).u16(answer.level);
    out.finish()
}

/// Reads a beat's answer.
pub fn decode_beat_answer(body: &[u8]) -> Result<BeatAnswer, CodecError> {
    whole(body, |from| {
        let (heard, term, log_end) = (from.flag()?, from.u64()?, from.u64()?);
        Ok(BeatAnswer { heard, term, log_end, level: from.u16()? })
    })
}

/// A candidate's last entry.
pub fn encode_canvass(last: Option<&LogId>) -> Vec<u8> {
    let mut out = Writer::default();
    raft_codec::write_optional_log_id(last, &mut out);
    out.finish()
}

/// Reads a candidate's last entry.
pub fn decode_canvass(body: &[u8]) -> Result<Option<LogId>, CodecError> {
    whole(body, raft_codec::read_optional_log_id)
}

/// Yes, or why not.
pub fn encode_canvass_answer(answer: Result<(), &str>) -> Vec<u8> {
    let mut out = Writer::default();
    out.flag(answer.is_ok()).text(answer.err().unwrap_or_default());
    out.finish()
}

/// Reads a canvass' answer.
pub fn decode_canvass_answer(body: &[u8]) -> Result<Result<(), String>, CodecError> {
    whole(body, |from| {
        let (yes, why) = (from.flag()?, from.text()?);
        Ok(if yes { Ok(()) } else { Err(why) })
    })
}

/// Appends voters by configuration.
pub fn write_voters(voters: &[Named], out: &mut Writer) {
    out.count(voters.len());
    for (node, address) in voters {
        out.u32(*node).text(short(address));
    }
}

/// Reads voters by configuration.
pub fn read_voters(from: &mut Reader<'_>) -> Result<Vec<Named>, CodecError> {
    let count = from.count(6)?;
    (0..count).map(|_| Ok((from.u32()?, from.text()?))).collect()
}

/// The sender's voters by configuration.
pub fn encode_hello(voters: &[Named]) -> Vec<u8> {
    let mut out = Writer::default();
    write_voters(voters, &mut out);
    out.finish()
}

/// Reads a hello.
pub fn decode_hello(body: &[u8]) -> Result<Vec<Named>, CodecError> {
    whole(body, read_voters)
}

/// A hello's answer.
pub fn encode_hello_answer(answer: &HelloAnswer) -> Vec<u8> {
    let mut out = Writer::default();
    out.u64(answer.member).text(short(&answer.whereabouts)).flag(answer.started);
    write_leader(answer.leader.as_ref(), &mut out);
    write_voters(&answer.voters, &mut out);
    out.finish()
}

/// Reads a hello's answer.
pub fn decode_hello_answer(body: &[u8]) -> Result<HelloAnswer, CodecError> {
    whole(body, |from| {
        let (member, whereabouts, started) = (from.u64()?, from.text()?, from.flag()?);
        let (leader, voters) = (read_leader(from)?, read_voters(from)?);
        Ok(HelloAnswer { member, whereabouts, started, leader, voters })
    })
}

/// Where the sender takes calls, and whether its configuration names it as a voter.
pub fn encode_join(whereabouts: &str, votes: bool) -> Vec<u8> {
    let mut out = Writer::default();
    out.text(short(whereabouts)).flag(votes);
    out.finish()
}

/// Reads a join.
pub fn decode_join(body: &[u8]) -> Result<(String, bool), CodecError> {
    whole(body, |from| Ok((from.text()?, from.flag()?)))
}

/// A join's answer.
pub fn encode_join_answer(answer: &JoinAnswer) -> Vec<u8> {
    let mut out = Writer::default();
    match answer {
        JoinAnswer::Member => _ = out.u8(0),
        JoinAnswer::OtherLeader(leader) => write_leader(leader.as_ref(), out.u8(1)),
        JoinAnswer::Later(why) => _ = out.u8(2).text(short(why)),
        JoinAnswer::Refused(why) => _ = out.u8(3).text(short(why)),
    }
    out.finish()
}

/// Reads a join's answer.
pub fn decode_join_answer(body: &[u8]) -> Result<JoinAnswer, CodecError> {
    whole(body, |from| {
        Ok(match from.u8()? {
            0 => JoinAnswer::Member,
            1 => JoinAnswer::OtherLeader(read_leader(from)?),
            2 => JoinAnswer::Later(from.text()?),
            3 => JoinAnswer::Refused(from.text()?),
            other => return Err(CodecError::Invalid(format!("a join's answer is {other}"))),
        })
    })
}

/// A ballot on the first voters.
pub fn encode_pledge(ballot: Ballot) -> Vec<u8> {
    let mut out = Writer::default();
    founding::write_ballot(ballot, &mut out);
    out.finish()
}

/// Reads a ballot.
pub fn decode_pledge(body: &[u8]) -> Result<Ballot, CodecError> {
    whole(body, founding::read_ballot)
}

/// A ballot and what it asks for.
pub fn encode_accept(ballot: Ballot, founders: &Founders) -> Vec<u8> {
    let mut out = Writer::default();
    founding::write_ballot(ballot, &mut out);
    founding::write_founders(founders, &mut out);
    out.finish()
}

/// Reads a ballot and what it asks for.
pub fn decode_accept(body: &[u8]) -> Result<(Ballot, Founders), CodecError> {
    whole(body, |from| Ok((founding::read_ballot(from)?, founding::read_founders(from)?)))
}

/// The answer to both.
pub fn encode_standing(standing: &Standing) -> Vec<u8> {
    let mut out = Writer::default();
    founding::write_standing(standing, &mut out);
    out.finish()
}

/// Reads the answer to both.
pub fn decode_standing(body: &[u8]) -> Result<Standing, CodecError> {
    whole(body, founding::read_standing)
}

fn write_leader(leader: Option<&(VoterId, String)>, out: &mut Writer) {
    out.flag(leader.is_some());
    if let Some((id, address)) = leader {
        out.u64(*id).text(short(address));
    }
}

fn read_leader(from: &mut Reader<'_>) -> Result<Option<(VoterId, String)>, CodecError> {
    Ok(if from.flag()? { Some((from.u64()?, from.text()?)) } else { None })
}

/// Reads a body to its end.
pub fn whole<T>(
    body: &[u8],
    read: impl FnOnce(&mut Reader<'_>) -> Result<T, CodecError>,
) -> Result<T, CodecError> {
    let mut from = Reader::new(body);
    let value = read(&mut from)?;
    from.finish()?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quorum::raft_codec::tests::log_id;
    use proptest::prelude::*;

    #[test]
    fn messages_read_as_they_are_written() {
        let bytes = encode_request("cluster", 3, 0, Kind::Join, b"body");
        let envelope =
            Envelope { cluster: "cluster".into(), from: 3, to: 0, kind: Kind::Join, body: b"body" };
        assert_eq!(decode_request(&bytes), Ok(envelope));
        for refusal in [
            Refusal::OtherCluster("c".into()),
            Refusal::Sender("s".into()),
            Refusal::Busy,
            Refusal::Stopped("s".into()),
        ] {
            assert_eq!(decode_answer(&encode_answer(&Err(refusal.clone()))), Ok(Err(refusal)));
        }
        assert_eq!(decode_answer(&encode_answer(&Ok(vec![7]))), Ok(Ok(&[7][..])));
        assert_eq!(decode_beat(&encode_beat(9)), Ok(9));
        let beat = BeatAnswer { heard: true, term: 4, log_end: 9, level: 2 };
        assert_eq!(decode_beat_answer(&encode_beat_answer(beat)), Ok(beat));
        let last = Some(log_id(2, 3));
        assert_eq!(decode_canvass(&encode_canvass(last.as_ref())), Ok(last));
        assert_eq!(decode_canvass_answer(&encode_canvass_answer(Err("no"))), Ok(Err("no".to_owned())));
        let voters = vec![(1, "a:1".to_owned()), (2, "b:2".to_owned())];
        assert_eq!(decode_hello(&encode_hello(&voters)), Ok(voters.clone()));
        let whereabouts = "a:1".to_owned();
        let leader = Some((2, "b:2".to_owned()));
        let hello = HelloAnswer { member: 1 << 40, whereabouts, started: true, leader, voters };
        assert_eq!(decode_hello_answer(&encode_hello_answer(&hello)), Ok(hello));
        assert_eq!(decode_join(&encode_join("a:1/x", true)), Ok(("a:1/x".to_owned(), true)));
        for answer in [JoinAnswer::Member, JoinAnswer::OtherLeader(None), JoinAnswer::Refused("r".into())] {
            assert_eq!(decode_join_answer(&encode_join_answer(&answer)), Ok(answer));
        }
        let ballot = Ballot { round: 3, by: 7 };
        assert_eq!(decode_pledge(&encode_pledge(ballot)), Ok(ballot));
        let founders = Founders::from([(7, "a:1".to_owned())]);
        assert_eq!(decode_accept(&encode_accept(ballot, &founders)), Ok((ballot, founders.clone())));
        let standing = Standing { granted: true, promised: Some(ballot), accepted: Some((ballot, founders)) };
        assert_eq!(decode_standing(&encode_standing(&standing)), Ok(standing));
        let long = "é".repeat(5000);
        assert_eq!(decode_join(&encode_join(&long, false)).map(|(text, _)| text.len()), Ok(TEXT_MAX));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_message_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
            let _ = (decode_request(&bytes), decode_answer(&bytes), decode_beat_answer(&bytes));
            let _ = (decode_canvass(&bytes), decode_canvass_answer(&bytes), decode_hello(&bytes));
            let _ = (decode_hello_answer(&bytes), decode_join(&bytes), decode_join_answer(&bytes));
            let _ = (decode_pledge(&bytes), decode_accept(&bytes), decode_standing(&bytes));
        }
    }
}
