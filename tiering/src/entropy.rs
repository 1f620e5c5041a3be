//! The door to randomness: object names, uuids and jitter come through [`Entropy`], so that a seed can replay them.
//! It decides nothing about secrets: who needs a key asks for bytes and says how many.

use std::fmt::Debug;
use uuid::Uuid;

/// A source of random bytes.
pub trait Entropy: Send + Sync + Debug {
    /// Fills `out` whole with unpredictable bytes.
    fn fill(&self, out: &mut [u8]);

    /// A random (version 4) uuid.
    fn uuid(&self) -> Uuid {
        let mut bytes = [0; 16];
        self.fill(&mut bytes);
        uuid::Builder::from_random_bytes(bytes).into_uuid()
    }

    /// A uniform 64-bit number.
    fn u64(&self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }
}

/// The operating system's random number generator.
#[derive(Debug, Clone, Copy, Default)]
pub struct OsEntropy;

impl Entropy for OsEntropy {
    #[allow(clippy::disallowed_methods, reason = "this is the door to randomness")]
    fn fill(&self, out: &mut [u8]) {
        if let Err(error) = getrandom::fill(out) {
            // A broker that cannot draw a never-reused object name must not go on: a repeated one loses data.
            panic!("the operating system has no randomness to give: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_are_version_4_and_differ() {
        let (a, b) = (OsEntropy.uuid(), OsEntropy.uuid());
        assert_eq!(a.get_version_num(), 4);
        assert_eq!(a.get_variant(), uuid::Variant::RFC4122);
        assert_ne!(a, b);
    }
}
