//! Names for what the quorum decides about: topics, brokers and the epochs that fence them.
//! Not partitions' offsets (those are the log's). Invariant: a [`TopicId`]'s text is 22 characters, never with `-` first.

use std::fmt;
use std::str::FromStr;

use firnline_tiering::config::LogId;
use firnline_tiering::entropy::Entropy;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Kafka's topic id: names one life of a topic; a topic recreated by the same name has another (KIP-516).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct TopicId(#[serde(with = "crate::serial::uuid")] pub Uuid);

/// A broker's `node.id`; also the id of the quorum's voter that runs in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct BrokerId(pub i32);

/// Names one registration of a broker: rises with every new incarnation, over all brokers of the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct BrokerEpoch(pub i64);

/// Counts the changes to one partition's row, from 0 (Kafka's partition epoch).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct PartitionEpoch(pub i32);

/// Kafka's base64url alphabet (RFC 4648 section 5), unpadded.
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
/// Characters of a topic id's text: 128 bits at 6 each, the last two bits of the last one zero.
const TEXT_LEN: usize = 22;

impl TopicId {
    /// Kafka's "no id"; no topic has it.
    pub const ZERO: TopicId = TopicId(Uuid::nil());

    /// A fresh id. Skips Kafka's reserved ones (0 and 1) and, as Kafka does, those whose text begins with `-`,
    /// which command lines take for an option.
    pub fn draw(entropy: &dyn Entropy) -> TopicId {
        // A version 4 uuid is never 0 or 1; one in 64 begins with '-', so this ends.
        loop {
            let id = TopicId(entropy.uuid());
            if !id.to_string().starts_with('-') {
                return id;
            }
        }
    }

    /// Neither of Kafka's reserved ones (0 and 1): [`TopicId::draw`] could have made it.
    pub fn is_drawn(self) -> bool {
        self.0.as_u128() > 1
    }

    /// The log of one partition, as the tiers know it: `<22 characters>/<partition>`.
    pub fn log_id(self, partition: i32) -> LogId {
        LogId::new(format!("{self}/{partition}"))
    }

    /// Reads [`TopicId::log_id`] back; `None` if the text is anything else.
    pub fn of_log(log: &LogId) -> Option<(TopicId, i32)> {
        let (id, partition) = log.as_str().split_once('/')?;
        let number: i32 = partition.parse().ok()?;
        let exact = number >= 0 && number.to_string() == partition;
        exact.then_some((id.parse().ok()?, number))
    }
}

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = self.0.as_u128();
        for at in 0..TEXT_LEN {
            // Six bits from the top; the last character holds the two that remain, shifted up.
            let six = if at < TEXT_LEN - 1 { bits >> (122 - 6 * at) } else { bits << 4 };
            let letter = ALPHABET[usize::from((six & 63) as u8)];
            fmt::Write::write_char(f, char::from(letter))?;
        }
        Ok(())
    }
}

impl fmt::Debug for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is not a topic id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a topic id has 22 base64url characters, not {0:?}")]
pub struct NotATopicId(pub String);

impl FromStr for TopicId {
    type Err = NotATopicId;

    fn from_str(text: &str) -> Result<Self, NotATopicId> {
        let refuse = || NotATopicId(text.chars().take(64).collect());
        if text.len() != TEXT_LEN {
            return Err(refuse());
        }
        let mut bits: u128 = 0;
        for (at, letter) in text.bytes().enumerate() {
            let six = ALPHABET.iter().position(|known| *known == letter).ok_or_else(refuse)? as u128;
            if at < TEXT_LEN - 1 {
                bits = (bits << 6) | six;
            } else if six & 0b1111 == 0 {
                bits = (bits << 2) | (six >> 4);
            } else {
                return Err(refuse());
            }
        }
        Ok(TopicId(Uuid::from_u128(bits)))
    }
}

impl fmt::Display for BrokerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for BrokerEpoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for PartitionEpoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn text_is_kafkas() {
        // From Kafka's Uuid: the metadata topic's id is 0,1 and reads so.
        assert_eq!(TopicId(Uuid::from_u128(1)).to_string(), "AAAAAAAAAAAAAAAAAAAAAQ");
        assert_eq!(TopicId::ZERO.to_string(), "AAAAAAAAAAAAAAAAAAAAAA");
        assert_eq!(TopicId(Uuid::from_u128(u128::MAX)).to_string(), "_____________________w");
    }

    #[test]
    fn odd_texts_are_refused() {
        for text in [
            "",
            "AAAAAAAAAAAAAAAAAAAAAB",
            "AAAAAAAAAAAAAAAAAAAA+A",
            "AAAAAAAAAAAAAAAAAAAAAAA",
            "äAAAAAAAAAAAAAAAAAAAA",
        ] {
            assert!(text.parse::<TopicId>().is_err(), "{text}");
        }
        for log in ["AAAAAAAAAAAAAAAAAAAAAQ", "AAAAAAAAAAAAAAAAAAAAAQ/-1", "AAAAAAAAAAAAAAAAAAAAAQ/01", "x/1"]
        {
            assert_eq!(TopicId::of_log(&LogId::new(log)), None, "{log}");
        }
    }

    proptest! {
        #[test]
        fn text_and_log_id_round_trip(bits: u128, partition in 0..i32::MAX) {
            let id = TopicId(Uuid::from_u128(bits));
            prop_assert_eq!(id.to_string().len(), TEXT_LEN);
            prop_assert_eq!(id.to_string().parse::<TopicId>().unwrap(), id);
            prop_assert_eq!(TopicId::of_log(&id.log_id(partition)), Some((id, partition)));
        }

        #[test]
        fn any_text_is_an_id_or_refused(text in ".{0,30}") {
            if let Ok(id) = text.parse::<TopicId>() {
                prop_assert_eq!(id.to_string(), text);
            }
        }
    }
}
