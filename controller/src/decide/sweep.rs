//! One event, many partitions: which rows a broker's coming, going or a changed configuration touches, as records
//! of one group. Not one row's change (`decide/row.rs`). Invariant: whoever is elected or joins an ISR in a group
//! is named by a precondition of it, so a stale group changes nothing.

use std::collections::BTreeMap;

use crate::decide::policy::Policy;
use crate::decide::row::{Ground, Next};
use crate::id::{BrokerEpoch, BrokerId, TopicId};
use crate::image::metadata::MetadataImage;
use crate::record::entry::Precondition;
use crate::record::kinds::{Broker, Partition, Record};

/// Changed rows, and the brokers they rest on.
#[derive(Debug, Default)]
pub(crate) struct Swept {
    pub(crate) records: Vec<Record>,
    trusted: BTreeMap<BrokerId, BrokerEpoch>,
}

impl Swept {
    /// Adds a row that changed.
    pub(crate) fn add(
        &mut self,
        image: &MetadataImage,
        topic: TopicId,
        index: i32,
        (before, after): (&Partition, Partition),
    ) {
        let elected = after.leader.filter(|leader| before.leader != Some(*leader));
        let joined = after.isr.iter().copied().filter(|id| !before.isr.contains(id));
        for broker in elected.into_iter().chain(joined).filter_map(|id| image.brokers.get(id)) {
            self.trusted.insert(broker.id, broker.epoch);
        }
        self.records.push(Record::Partition { topic, index, row: after });
    }

    /// The facts that must still hold; `except` is being unfenced by the same group.
    pub(crate) fn facts(&self, image: &MetadataImage, except: Option<BrokerId>) -> Vec<Precondition> {
        let fact = |(id, epoch): (&BrokerId, &BrokerEpoch)| match image.feature_level {
            level if level >= 2 && except != Some(*id) => Precondition::BrokerActive(*id, *epoch),
            _ => Precondition::BrokerEpoch(*id, *epoch),
        };
        self.trusted.iter().map(fact).collect()
    }

    /// Looks at every row and keeps what `change` makes of it, at most `limit` rows.
    pub(crate) fn over<'i>(
        image: &'i MetadataImage,
        policy: &Policy,
        limit: usize,
        mut change: impl FnMut(&Partition, Ground<'i>) -> Option<Partition>,
    ) -> Swept {
        let mut swept = Swept::default();
        for topic in image.topics.iter() {
            let ground = Ground::of(image, policy, (topic.id, 0));
            for (row, index) in topic.partitions.iter().zip(0..) {
                if swept.records.len() >= limit {
                    return swept;
                }
                let ground = Ground { place: (topic.id, index), ..ground };
                if let Some(after) = change(row, ground) {
                    swept.add(image, topic.id, index, (row, after));
                }
            }
        }
        swept
    }
}

/// A broker is out: fenced, unregistered, or back without what it held. It leaves every ISR, leads nothing, and
/// whoever can lead instead does.
pub(crate) fn left(image: &MetadataImage, policy: &Policy, gone: &Gone) -> Swept {
    let id = gone.id;
    Swept::over(image, policy, usize::MAX, |row, ground| {
        let named = row.isr.contains(&id)
            || row.leader == Some(id)
            || (gone.distrusted && row.elr.contains(&id))
            || (gone.wiped && row.last_leader == Some(id));
        if !named {
            return None;
        }
        let mut next = Next::of(row).without(id);
        next.distrusted = gone.distrusted.then_some(id);
        next.wiped = gone.wiped.then_some(id);
        let ground = Ground { leaves: Some(id), ..ground };
        next.settle(&ground, ground.wanted())
    })
}

/// Who is out, and how much of what it held counts when it is back.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Gone {
    pub(crate) id: BrokerId,
    /// It may have lost acked records: it is not eligible any more.
    pub(crate) distrusted: bool,
    /// It has lost them: it is not even the last leader.
    pub(crate) wiped: bool,
}

/// A broker is unfenced: it leads what nobody leads and it may.
pub(crate) fn joined(image: &MetadataImage, policy: &Policy, id: BrokerId) -> Swept {
    Swept::over(image, policy, usize::MAX, |row, ground| {
        let (topic, index) = ground.place;
        let offline = image.brokers.get(id).is_some_and(|broker| broker.is_offline(topic, index));
        if row.leader.is_some() || !row.replicas.contains(&id) || offline {
            return None;
        }
        let ground = Ground { joins: Some(id), ..ground };
        Next::of(row).settle(&ground, ground.wanted())
    })
}

/// A live broker lost the disks under some of its replicas, or has some back: what was lost leaves the ISR and leads
/// no more, and what nobody leads may be led by what is back.
pub(crate) fn replicas_offline(
    image: &MetadataImage,
    policy: &Policy,
    broker: &Broker,
    offline: &[(TopicId, i32)],
) -> Swept {
    let mut swept = Swept::default();
    let back = broker.offline.iter().filter(|place| offline.binary_search(place).is_err());
    let changed = offline.iter().map(|place| (place, true)).chain(back.map(|place| (place, false)));
    for (place, lost) in changed {
        let Some(row) = image.topics.partition(place.0, place.1) else { continue };
        let ground = Ground::of(image, policy, *place);
        let after = match lost {
            true if row.isr.contains(&broker.id) || row.leader == Some(broker.id) => {
                let ground = Ground { leaves: Some(broker.id), ..ground };
                Next::of(row).without(broker.id).settle(&ground, ground.wanted())
            }
            false if row.leader.is_none() && row.replicas.contains(&broker.id) && !broker.fenced => {
                let ground = Ground { joins: Some(broker.id), ..ground };
                Next::of(row).settle(&ground, ground.wanted())
            }
            _ => None,
        };
        if let Some(after) = after {
            swept.add(image, place.0, place.1, (row, after));
        }
    }
    swept
}

/// A broker goes down in order: it leaves each ISR in which somebody else can lead, and leads there no more.
pub(crate) fn retired(image: &MetadataImage, policy: &Policy, id: BrokerId) -> Swept {
    Swept::over(image, policy, usize::MAX, |row, ground| {
        let ground = Ground { retires: Some(id), ..ground };
        let another = row.isr.iter().any(|member| *member != id && ground.accepts(*member));
        if !row.isr.contains(&id) || !another {
            return None;
        }
        let next = Next::of(row).without(id);
        next.settle(&ground, ground.wanted())
    })
}

/// The only broker there is starts again: it leads what it led under new leader epochs, for it may have lost what
/// it wrote last, and what nobody leads.
pub(crate) fn alone_again(image: &MetadataImage, policy: &Policy, gone: &Gone) -> Swept {
    let id = gone.id;
    Swept::over(image, policy, usize::MAX, |row, ground| {
        if !row.replicas.contains(&id) || row.leader.is_some_and(|leader| leader != id) {
            return None;
        }
        let mut next = Next::of(row);
        if ground.keeps_eligible() {
            next = next.without(id);
            next.distrusted = gone.distrusted.then_some(id);
            next.wiped = gone.wiped.then_some(id);
        }
        next.anew = true;
        let ground = Ground { joins: Some(id), ..ground };
        next.settle(&ground, ground.wanted())
    })
}

/// What a topic's, or every topic's, changed configuration makes of its rows: an ISR that is complete now has no
/// ELR beside it, and where nobody leads somebody may be allowed to.
pub(crate) fn reconfigured(image: &MetadataImage, policy: &Policy, only: Option<TopicId>) -> Swept {
    let mut swept = Swept::default();
    for topic in image.topics.iter().filter(|topic| only.is_none_or(|only| only == topic.id)) {
        let ground = Ground::of(image, policy, (topic.id, 0));
        for (row, index) in topic.partitions.iter().zip(0..) {
            let ground = Ground { place: (topic.id, index), ..ground };
            if row.elr.is_empty() && (row.leader.is_some() || !ground.unclean) {
                continue;
            }
            if let Some(after) = Next::of(row).settle(&ground, ground.wanted()) {
                swept.add(image, topic.id, index, (row, after));
            }
        }
    }
    swept
}
