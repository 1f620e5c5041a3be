//! Values to bytes and back for calls between nodes: serde over postcard, and the types serde has no way for.
//! Never a format on disk (`record/` and `quorum/` have their own). Invariant: hostile bytes give an error, and no
//! length in them allocates more than a bounded start: what is read must be there.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Bytes that are not the value they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("malformed: {0}")]
pub struct Malformed(pub String);

/// A value's bytes.
pub fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, Malformed> {
    postcard::to_extend(value, Vec::new()).map_err(|error| Malformed(error.to_string()))
}

/// Reads [`encode`]'s bytes; nothing may be left over.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Malformed> {
    let (value, rest) = postcard::take_from_bytes(bytes).map_err(|error| Malformed(error.to_string()))?;
    match rest.len() {
        0 => Ok(value),
        left => Err(Malformed(format!("{left} bytes too many"))),
    }
}

/// A uuid as its sixteen bytes: `#[serde(with = "crate::serial::uuid")]`.
pub mod uuid {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use uuid::Uuid;

    /// Its bytes.
    pub fn serialize<S: Serializer>(id: &Uuid, to: S) -> Result<S::Ok, S::Error> {
        id.as_bytes().serialize(to)
    }

    /// From its bytes.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Uuid, D::Error> {
        <[u8; 16]>::deserialize(from).map(Uuid::from_bytes)
    }
}

/// An optional uuid: `#[serde(with = "crate::serial::optional_uuid")]`.
pub mod optional_uuid {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use uuid::Uuid;

    /// Its bytes, if it is there.
    pub fn serialize<S: Serializer>(id: &Option<Uuid>, to: S) -> Result<S::Ok, S::Error> {
        id.map(Uuid::into_bytes).serialize(to)
    }

    /// From its bytes, if they are there.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Uuid>, D::Error> {
        Ok(<Option<[u8; 16]>>::deserialize(from)?.map(Uuid::from_bytes))
    }
}

/// Uuids: `#[serde(with = "crate::serial::uuids")]`.
pub mod uuids {
    use serde::{Deserialize, Deserializer, Serializer};
    use uuid::Uuid;

    /// Their bytes.
    pub fn serialize<S: Serializer>(ids: &[Uuid], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(ids.iter().map(Uuid::as_bytes))
    }

    /// From their bytes.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Uuid>, D::Error> {
        let bytes = <Vec<[u8; 16]>>::deserialize(from)?;
        Ok(bytes.into_iter().map(Uuid::from_bytes).collect())
    }
}

/// A shared slice: `#[serde(with = "crate::serial::shared")]`.
pub mod shared {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    /// Its elements.
    pub fn serialize<T: Serialize, S: Serializer>(slice: &Arc<[T]>, to: S) -> Result<S::Ok, S::Error> {
        slice.as_ref().serialize(to)
    }

    /// From its elements.
    pub fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Arc<[T]>, D::Error> {
        Ok(Vec::deserialize(from)?.into())
    }
}
