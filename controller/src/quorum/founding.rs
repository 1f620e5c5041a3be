//! Which voters a new quorum begins with: one value that a majority of the named voters agrees on before any log is
//! begun (Paxos, for this one value). Pure; who asks and who answers is `founder.rs`. Invariant: what a majority
//! accepted stays what can be begun: no two majorities begin different quorums.
//!
//! ```text
//!  ballot      | round u64 | member id u64 |
//!  founders    | count u32 x (member id u64, whereabouts text) |       whereabouts as in `identity.rs`
//!  "founding"  | "FRNQ" | version u16 = 1 | u8, ballot if 1: promised | u8, if 1: ballot, founders: accepted
//!              | settled u8 | crc32c u32 of all before |
//!  id of a voter that has not said who it is | 0, 32 bits | 1, 1 bit | node.id, 31 bits |
//! ```

use std::collections::BTreeMap;

use crate::id::BrokerId;
use crate::quorum::identity::node_of;
use crate::quorum::raft_codec::{seal, unseal};
use crate::quorum::type_config::VoterId;
use crate::record::bytes::{CodecError, Reader, Writer};

/// Marks the file.
const MARK: &[u8; 4] = b"FRNQ";
/// Set in an id that stands for a voter nobody has met; no member ever has it.
const UNMET: VoterId = 1 << 31;

/// The first voters and where they are.
pub type Founders = BTreeMap<VoterId, String>;

/// Stands in for a named voter that has not said who it is. It answers nothing and votes for nobody; the first
/// member of that node takes its place.
pub fn unmet(node: BrokerId) -> VoterId {
    UNMET | u64::from(node.0.unsigned_abs())
}

/// Whether an id stands for a voter that nobody has met.
pub fn is_unmet(id: VoterId) -> bool {
    id & UNMET != 0
}

/// A try to agree; the higher one counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Ballot {
    /// Higher than every round its maker has heard of.
    pub round: u64,
    /// Who tries.
    pub by: VoterId,
}

/// What one named voter has promised and accepted. On disk before anybody hears of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Founding {
    /// Nothing below is answered any more.
    pub promised: Option<Ballot>,
    /// The newest value this voter stands by.
    pub accepted: Option<(Ballot, Founders)>,
    /// The value was written when the directory was formatted, and is not open to agreement.
    pub settled: bool,
}

/// What a voter says about a ballot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// It goes along.
    pub granted: bool,
    /// What it has promised by now.
    pub promised: Option<Ballot>,
    /// What it stands by.
    pub accepted: Option<(Ballot, Founders)>,
}

impl Founding {
    /// What was agreed when the directory was formatted.
    pub fn settled(founders: Founders) -> Founding {
        Founding { promised: None, accepted: Some((Ballot::default(), founders)), settled: true }
    }

    /// The voters to begin with, where formatting said them.
    pub fn decided(&self) -> Option<&Founders> {
        self.accepted.as_ref().map(|(_, founders)| founders).filter(|_| self.settled)
    }

    /// Promises to answer nothing below `ballot`, unless more was promised already.
    pub fn pledge(&mut self, ballot: Ballot) -> Standing {
        let granted = !self.settled && self.promised.is_none_or(|promised| promised <= ballot);
        if granted {
            self.promised = Some(ballot);
        }
        self.standing(granted)
    }

    /// Stands by `founders`, unless a higher ballot was promised.
    pub fn accept(&mut self, ballot: Ballot, founders: Founders) -> Standing {
        let granted = !self.settled && self.promised.is_none_or(|promised| promised <= ballot);
        if granted {
            (self.promised, self.accepted) = (Some(ballot), Some((ballot, founders)));
        }
        self.standing(granted)
    }

    fn standing(&self, granted: bool) -> Standing {
        Standing { granted, promised: self.promised, accepted: self.accepted.clone() }
    }
}

/// What to ask acceptance for: what some majority may have accepted already, else what was wished for.
pub fn value<'a>(standings: impl IntoIterator<Item = &'a Standing>, wished: &Founders) -> Founders {
    let accepted = standings.into_iter().filter_map(|standing| standing.accepted.as_ref());
    accepted
        .max_by_key(|(ballot, _)| *ballot)
        .map_or_else(|| wished.clone(), |(_, founders)| founders.clone())
}

/// Whether `founders` are the named voters, each once, and `me` under this identity or under none.
pub fn fits(founders: &Founders, named: &[(u32, String)], me: VoterId) -> bool {
    let mut nodes: Vec<u32> = founders.keys().map(|id| node_of(*id).0.unsigned_abs()).collect();
    nodes.sort_unstable();
    let node = node_of(me);
    let own = |id: &VoterId| node_of(*id) != node || *id == me || *id == unmet(node);
    nodes.iter().eq(named.iter().map(|(node, _)| node)) && founders.keys().all(own)
}

/// The file.
pub fn encode_founding(founding: &Founding) -> Vec<u8> {
    seal(MARK, |out| {
        out.flag(founding.promised.is_some());
        if let Some(promised) = founding.promised {
            write_ballot(promised, out);
        }
        write_accepted(founding.accepted.as_ref(), out);
        out.flag(founding.settled);
    })
}

/// Reads [`encode_founding`]'s bytes.
pub fn decode_founding(bytes: &[u8]) -> Result<Founding, CodecError> {
    unseal(bytes, MARK, "founding", |from| {
        let promised = if from.flag()? { Some(read_ballot(from)?) } else { None };
        Ok(Founding { promised, accepted: read_accepted(from)?, settled: from.flag()? })
    })
}

/// Appends what a voter says about a ballot.
pub fn write_standing(standing: &Standing, out: &mut Writer) {
    out.flag(standing.granted).flag(standing.promised.is_some());
    if let Some(promised) = standing.promised {
        write_ballot(promised, out);
    }
    write_accepted(standing.accepted.as_ref(), out);
}

/// Reads [`write_standing`]'s bytes.
pub fn read_standing(from: &mut Reader<'_>) -> Result<Standing, CodecError> {
    let granted = from.flag()?;
    let promised = if from.flag()? { Some(read_ballot(from)?) } else { None };
    Ok(Standing { granted, promised, accepted: read_accepted(from)? })
}

/// Appends a ballot.
pub fn write_ballot(ballot: Ballot, out: &mut Writer) {
    out.u64(ballot.round).u64(ballot.by);
}

/// Reads [`write_ballot`]'s bytes.
pub fn read_ballot(from: &mut Reader<'_>) -> Result<Ballot, CodecError> {
    Ok(Ballot { round: from.u64()?, by: from.u64()? })
}

/// Appends founders.
pub fn write_founders(founders: &Founders, out: &mut Writer) {
    out.count(founders.len());
    for (id, whereabouts) in founders {
        out.u64(*id).text(whereabouts);
    }
}

/// Reads [`write_founders`]'s bytes.
pub fn read_founders(from: &mut Reader<'_>) -> Result<Founders, CodecError> {
    let count = from.count(10)?;
    (0..count).map(|_| Ok((from.u64()?, from.text()?))).collect()
}

fn write_accepted(accepted: Option<&(Ballot, Founders)>, out: &mut Writer) {
    out.flag(accepted.is_some());
    if let Some((ballot, founders)) = accepted {
        write_ballot(*ballot, out);
        write_founders(founders, out);
    }
}

fn read_accepted(from: &mut Reader<'_>) -> Result<Option<(Ballot, Founders)>, CodecError> {
    Ok(if from.flag()? { Some((read_ballot(from)?, read_founders(from)?)) } else { None })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::golden;
    use proptest::prelude::*;

    const A: VoterId = 7 << 32 | 1;
    const B: VoterId = 8 << 32 | 2;

    fn founders(ids: &[VoterId]) -> Founders {
        ids.iter().map(|id| (*id, format!("h:{}", id & 0xff))).collect()
    }

    #[test]
    fn golden_files() {
        let accepted = Some((Ballot { round: 2, by: A }, founders(&[A, B, unmet(BrokerId(3))])));
        let founding = Founding { promised: Some(Ballot { round: 3, by: B }), accepted, settled: false };
        let bytes = golden("founding/v1/accepted", &encode_founding(&founding));
        assert_eq!(decode_founding(&bytes), Ok(founding));
        let formatted = Founding::settled(founders(&[A, B]));
        let bytes = golden("founding/v1/settled", &encode_founding(&formatted));
        assert_eq!(decode_founding(&bytes), Ok(formatted));
    }

    #[test]
    fn an_unmet_voter_is_of_its_node_and_no_member() {
        let id = unmet(BrokerId(i32::MAX));
        assert!(is_unmet(id) && node_of(id) == BrokerId(i32::MAX));
        assert!(!is_unmet(A) && !is_unmet(u64::from(i32::MAX.unsigned_abs())));
    }

    #[test]
    fn founders_are_the_named_voters_and_nobody_twice() {
        let named = [(1, "h:1".to_owned()), (2, "h:2".to_owned()), (3, "h:3".to_owned())];
        let third = unmet(BrokerId(3));
        assert!(fits(&founders(&[A, B, third]), &named, A));
        assert!(fits(&founders(&[unmet(BrokerId(1)), B, third]), &named, A), "others did not meet this one");
        assert!(!fits(&founders(&[9 << 32 | 1, B, third]), &named, A), "another disk of this node");
        assert!(!fits(&founders(&[A, B]), &named, A));
        assert!(!fits(&founders(&[A, unmet(BrokerId(1)), B]), &named, B), "node 1 would count twice");
        assert!(!fits(&founders(&[A, B, 4 << 32 | 4]), &named, A));
    }

    #[test]
    fn what_formatting_settled_is_open_to_nobody() {
        let mut founding = Founding::settled(founders(&[A, B]));
        assert!(!founding.pledge(Ballot { round: 9, by: B }).granted);
        assert!(!founding.accept(Ballot { round: 9, by: B }, founders(&[B])).granted);
        assert_eq!(founding.decided(), Some(&founders(&[A, B])));
    }

    /// Its ballot, who pledged, the value it asks for once a majority has, who accepted.
    type Try = (Ballot, BTreeMap<usize, Standing>, Option<Founders>, Vec<usize>);

    proptest! {
        /// Three voters, tries that interleave in any order and lose any message: all that a majority ever accepted
        /// in one ballot is one value.
        #[test]
        fn a_majority_never_accepts_two_values(steps in prop::collection::vec((0_u64..4, 0_usize..3, any::<bool>()), 0..60)) {
            let mut voters = [Founding::default(), Founding::default(), Founding::default()];
            let mut tries: Vec<Try> = (0..4)
                .map(|by| (Ballot { round: 1 + by % 2, by }, BTreeMap::new(), None, Vec::new()))
                .collect();
            for (by, at, again) in steps {
                let (ballot, pledged, asked, accepted) = &mut tries[by as usize];
                if again && asked.is_none() && accepted.is_empty() {
                    *ballot = Ballot { round: ballot.round + 2, by };
                    pledged.clear();
                }
                match asked {
                    None => {
                        let standing = voters[at].pledge(*ballot);
                        if standing.granted {
                            pledged.insert(at, standing);
                        }
                        if pledged.len() > 1 {
                            *asked = Some(value(pledged.values(), &founders(&[by])));
                        }
                    }
                    Some(founders) => {
                        if voters[at].accept(*ballot, founders.clone()).granted && !accepted.contains(&at) {
                            accepted.push(at);
                        }
                    }
                }
            }
            let chosen: Vec<&Founders> =
                tries.iter().filter(|(.., accepted)| accepted.len() > 1).filter_map(|(_, _, asked, _)| asked.as_ref()).collect();
            prop_assert!(chosen.windows(2).all(|pair| pair[0] == pair[1]), "{:?}", chosen);
        }

        #[test]
        fn any_bytes_are_a_founding_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = (decode_founding(&bytes), read_standing(&mut Reader::new(&bytes)));
        }
    }
}
