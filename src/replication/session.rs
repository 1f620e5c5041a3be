//! A follower's side of an incremental fetch session (KIP-227): which partitions its next fetch has to name.
//! Pure; `api/data/fetch_session.rs` is the other side. Invariant: what both sides believe to be asked is the same, or
//! the next fetch names everything.

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::wire::fetch::FetchPartition;

/// Partitions by topic id and index, with what is asked of each.
pub type Asked = BTreeMap<(Uuid, i32), FetchPartition>;

/// One session with one leader.
#[derive(Debug, Default)]
pub struct Session {
    id: i32,
    epoch: i32,
    /// As the leader knows it.
    told: Asked,
}

/// What the next fetch says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Step {
    /// The session, 0 for none yet.
    pub id: i32,
    /// 0 names everything.
    pub epoch: i32,
    /// New or changed, those of one topic together.
    pub topics: Vec<(Uuid, Vec<FetchPartition>)>,
    /// Not asked any more.
    pub forgotten: Vec<(Uuid, Vec<i32>)>,
}

impl Session {
    /// The step that makes the leader know `wanted`. It counts as told.
    pub fn next(&mut self, wanted: Asked) -> Step {
        let mut step = Step { id: self.id, epoch: self.epoch, ..Step::default() };
        for ((topic, index), ask) in &wanted {
            if self.epoch == 0 || self.told.get(&(*topic, *index)) != Some(ask) {
                push(&mut step.topics, *topic, *ask);
            }
        }
        if self.epoch != 0 {
            for (topic, index) in self.told.keys().filter(|key| !wanted.contains_key(*key)) {
                push(&mut step.forgotten, *topic, *index);
            }
        }
        self.told = wanted;
        step
    }

    /// The leader answered the last step, under this session id; 0 = it keeps none.
    pub fn answered(&mut self, id: i32) {
        self.epoch = match (id, self.epoch) {
            (0, _) => 0,
            (_, i32::MAX) => 1,
            (_, epoch) => epoch + 1,
        };
        self.id = id;
    }

    /// The leader may not know what was told: the next step names everything, and ends the old session.
    pub fn reset(&mut self) {
        self.epoch = 0;
    }
}

fn push<T>(topics: &mut Vec<(Uuid, Vec<T>)>, topic: Uuid, one: T) {
    match topics.last_mut() {
        Some((last, list)) if *last == topic => list.push(one),
        _ => topics.push((topic, vec![one])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn asked(list: &[(u128, i32, i64)]) -> Asked {
        let ask = |index, fetch_offset| FetchPartition {
            index,
            current_leader_epoch: 1,
            fetch_offset,
            last_fetched_epoch: 1,
            log_start_offset: 0,
            max_bytes: 100,
        };
        list.iter().map(|(topic, index, at)| ((Uuid::from_u128(*topic), *index), ask(*index, *at))).collect()
    }

    #[test]
    fn only_what_changed_is_named() {
        let mut session = Session::default();
        let first = session.next(asked(&[(1, 0, 5), (1, 1, 5), (2, 0, 5)]));
        assert_eq!((first.id, first.epoch, first.topics.len()), (0, 0, 2));
        session.answered(77);
        let second = session.next(asked(&[(1, 0, 6), (1, 1, 5), (3, 0, 0)]));
        assert_eq!((second.id, second.epoch), (77, 1));
        let named: Vec<_> = second.topics.iter().map(|(topic, list)| (topic.as_u128(), list.len())).collect();
        assert_eq!(named, [(1, 1), (3, 1)]);
        assert_eq!(second.forgotten, [(Uuid::from_u128(2), vec![0])]);
        session.answered(77);
        assert_eq!(session.next(asked(&[(1, 0, 6), (1, 1, 5), (3, 0, 0)])).topics, []);
        session.reset();
        let again = session.next(asked(&[(1, 0, 6)]));
        assert_eq!((again.id, again.epoch, again.topics.len(), again.forgotten.len()), (77, 0, 1, 0));
        session.answered(0);
        assert_eq!(session.next(asked(&[(1, 0, 6)])).epoch, 0, "no session: everything is named every time");
    }

    proptest! {
        #[test]
        fn the_leader_always_knows_what_is_wanted(
            turns in proptest::collection::vec(
                (proptest::collection::btree_map((0..3_u128, 0..3), 0..4_i64, 0..6), any::<bool>()), 1..20),
        ) {
            let mut session = Session::default();
            let mut known = Asked::new();
            for (wanted, lost) in turns {
                let list: Vec<_> = wanted.iter().map(|((topic, index), at)| (*topic, *index, *at)).collect();
                let step = session.next(asked(&list));
                if lost {
                    session.reset();
                    continue;
                }
                if step.epoch == 0 {
                    known.clear();
                }
                for (topic, list) in &step.topics {
                    known.extend(list.iter().map(|ask| ((*topic, ask.index), *ask)));
                }
                for (topic, indexes) in &step.forgotten {
                    indexes.iter().for_each(|index| _ = known.remove(&(*topic, *index)));
                }
                prop_assert_eq!(&known, &asked(&list));
                session.answered(5);
            }
        }
    }
}
