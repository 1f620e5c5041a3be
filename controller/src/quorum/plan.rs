//! How a node finds its quorum: what its configuration says. Not who the members are: once a log exists, it says so.
//! Invariant: a plan that contradicts itself is refused before anything is opened.

use std::collections::BTreeSet;

use crate::error::StartError;
use crate::id::BrokerId;
use crate::transport::Address;

/// What the configuration says about the quorum.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Plan {
    /// An empty log begins a quorum with this node as its only voter. A log with more members keeps them.
    #[default]
    Alone,
    /// `controller.quorum.voters`, the same on every node: on empty logs a majority of them begins the quorum. A node
    /// that is not among them is a learner.
    Voters(Vec<(BrokerId, Address)>),
    /// `controller.quorum.bootstrap.servers`: a learner of the quorum found there.
    Join(Vec<Address>),
}

impl Plan {
    /// Refuses what cannot work.
    pub fn check(&self, me: BrokerId, address: Option<&Address>) -> Result<(), StartError> {
        let refuse = |why: String| Err(StartError::Quorum(why));
        match self {
            Plan::Alone => Ok(()),
            _ if address.is_none() => refuse("a node of a quorum of several needs an address".to_owned()),
            Plan::Join(servers) if servers.is_empty() => refuse("no node is named to join at".to_owned()),
            Plan::Join(_) => Ok(()),
            Plan::Voters(voters) => {
                let (mut ids, mut addresses) = (BTreeSet::new(), BTreeSet::new());
                if voters.is_empty() {
                    return refuse("no voter is named".to_owned());
                }
                for (id, at) in voters {
                    if id.0 < 0 || !ids.insert(id) || !addresses.insert(at) {
                        return refuse(format!("voter {id}@{at} is named twice, or has a negative id"));
                    }
                }
                let own = voters.iter().find(|(id, _)| *id == me);
                match own.filter(|(_, named)| Some(named) != address) {
                    Some((_, named)) => refuse(format!(
                        "the voters name this node at {named}, it takes calls at {}",
                        address.map(Address::to_string).unwrap_or_default()
                    )),
                    None => Ok(()),
                }
            }
        }
    }

    /// Whether the configuration names `node` as a voter.
    pub fn names(&self, node: BrokerId) -> bool {
        matches!(self, Plan::Voters(voters) if voters.iter().any(|(id, _)| *id == node))
    }

    /// The named voters, as members compare them.
    pub fn voters(&self) -> Vec<(u32, String)> {
        let Plan::Voters(voters) = self else { return Vec::new() };
        let mut named: Vec<_> = voters.iter().map(|(id, at)| (id.0.unsigned_abs(), at.to_string())).collect();
        named.sort_unstable();
        named
    }

    /// Where others may be, without this node itself.
    pub fn contacts(&self, me: BrokerId, address: Option<&Address>) -> Vec<Address> {
        match self {
            Plan::Alone => Vec::new(),
            Plan::Voters(voters) => {
                voters.iter().filter(|(id, _)| *id != me).map(|(_, at)| at.clone()).collect()
            }
            Plan::Join(servers) => servers.iter().filter(|at| Some(*at) != address).cloned().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contradictions_are_refused() {
        let at = |port: u16| Address { host: "h".into(), port };
        let voters = |named: &[(i32, u16)]| {
            Plan::Voters(named.iter().map(|(id, port)| (BrokerId(*id), at(*port))).collect())
        };
        let check = |plan: Plan| plan.check(BrokerId(1), Some(&at(1)));
        assert!(check(voters(&[(1, 1), (2, 2)])).is_ok());
        assert!(check(voters(&[(2, 2)])).is_ok(), "a learner");
        for bad in [voters(&[]), voters(&[(1, 1), (1, 2)]), voters(&[(1, 1), (2, 1)]), voters(&[(-1, 3)])] {
            assert!(check(bad.clone()).is_err(), "{bad:?}");
        }
        let elsewhere = check(voters(&[(1, 9), (2, 2)])).expect_err("named elsewhere");
        assert!(elsewhere.to_string().contains("h:9"), "{elsewhere}");
        assert!(check(Plan::Join(Vec::new())).is_err());
        assert!(Plan::Join(vec![at(2)]).check(BrokerId(1), None).is_err());
        assert_eq!(voters(&[(2, 2), (1, 1)]).contacts(BrokerId(1), Some(&at(1))), [at(2)]);
    }
}
