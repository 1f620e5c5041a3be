//! Names of groups, members and instances: shared text, cheap to clone, never mixed up with each other.
//! They are opaque: nothing here says what a legal name is. Invariant: a group's partition depends on its name only.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

macro_rules! name {
    ($(#[$about:meta])* $name:ident) => {
        $(#[$about])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The text, as the client or the coordinator wrote it.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// Whether the text is empty, which clients send for "none yet".
            pub fn is_empty(&self) -> bool {
                self.0.is_empty()
            }
        }

        impl<T: Into<Arc<str>>> From<T> for $name {
            fn from(text: T) -> Self {
                Self(text.into())
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }
    };
}

name! {
    /// A consumer group's name (`group.id`).
    GroupId
}
name! {
    /// One incarnation of a member: `<client id or instance id>-<uuid>`, drawn by the coordinator.
    MemberId
}
name! {
    /// A static member's lasting name (`group.instance.id`, KIP-345).
    InstanceId
}

impl GroupId {
    /// The partition of `__consumer_offsets` that holds this group, out of `count` > 0: Java's `String.hashCode` over
    /// UTF-16 units, as every client and tool computes it.
    pub fn partition(&self, count: i32) -> i32 {
        assert!(count > 0, "{count} partitions hold no group");
        let hash = self
            .0
            .encode_utf16()
            .fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
        // Kafka's Utils.abs: the one number without a positive counterpart becomes 0.
        hash.checked_abs().unwrap_or(0) % count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_groups_partition_is_javas() {
        // Known values of Java's "…".hashCode().
        let partition = |name: &str, count| GroupId::from(name).partition(count);
        assert_eq!(partition("", 50), 0);
        assert_eq!(partition("hello", i32::MAX), 99_162_322);
        // "polygenelubricants" is the classic text whose hash is Integer.MIN_VALUE.
        assert_eq!(partition("polygenelubricants", 50), 0);
        // A character outside the basic plane counts as two units: "😀" is d83d de00.
        assert_eq!(partition("😀", i32::MAX), 0xd83d * 31 + 0xde00);
    }
}
