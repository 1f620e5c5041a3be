//! The manifest: an immutable object that lists the remote segments of one log. The root holds references to
//! sealed leaves, then entries, then the graveyard; a leaf holds entries only. Leaves are read, not yet written.
//! Not the pointer's home: which manifest counts is the quorum's row (`cold/tier.rs`).
//! Invariants: entries ascend, gapless and on one lineage from the log start on; nothing stands in entries and
//! graveyard at once; an object leaves the graveyard only after its DELETE was confirmed.
//!
//! ```text
//! root  "FRNM" | version u16 =1 | min reader u16 =1 | uuid | log start i64 | end i64
//!              | count u32 | leaf references | count u32 | entries | count u32 | graves | crc32c u32 |
//! leaf  "FRNL" | version u16 =1 | min reader u16 =1 | uuid | count u32 | entries | crc32c u32 |
//! leaf reference  uuid | base i64 | next i64 | max time i64 | first epoch i32 | last epoch i32
//!                 | segments u32 | log bytes u64 | object bytes u32 | crc32c u32 |
//! grave   since i64 ms | name length u16 | object name |
//! pointer uuid | on version u64 | object bytes u32 | crc32c u32 | base i64 | end i64 | segments u32
//!         | log bytes u64 | graves u32 |
//! ```
//!
//! Big-endian; entries as in `cold/entry.rs`. The CRC-32C covers all bytes before it.

use crate::cold::entry::{ENTRY_BYTES, Entry, entries_contradiction};
use crate::cold::format::{Decoder, Encoder, FormatError, unseal};
use crate::cold::layout::ObjectName;
use crate::epoch::LeaderEpoch;
use crate::offsets::Offset;
use uuid::Uuid;

/// The version of roots and leaves that is written, and the newest read.
pub const MANIFEST_VERSION: u16 = 1;
/// No manifest is longer: 100,000 entries and as many graves fit.
pub const MAX_MANIFEST_BYTES: u64 = 32 << 20;
const ROOT: &[u8; 4] = b"FRNM";
const LEAF: &[u8; 4] = b"FRNL";
const ROOT_WHAT: &str = "manifest";
const LEAF_WHAT: &str = "manifest leaf";
const LEAF_REF_BYTES: usize = 16 + 8 * 3 + 4 * 3 + 8 + 4 * 2;
const POINTER_WHAT: &str = "manifest pointer";

/// Where the quorum's row finds its manifest, and what lies in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ManifestPointer {
    /// Names the object.
    pub uuid: Uuid,
    /// The row's version ([`crate::cold::tier::TierVersion`]) it was made on; part of its name.
    pub on_version: u64,
    /// Length of the object.
    pub object_bytes: u32,
    /// CRC-32C of the whole object.
    pub crc: u32,
    /// First offset it covers; equal to `end` when it holds no segment.
    pub base: Offset,
    /// The offset after the last segment it ever folded.
    pub end: Offset,
    /// Segments it lists, those in leaves included.
    pub segments: u32,
    /// Bytes of log in them.
    pub log_bytes: u64,
    /// Objects in its graveyard.
    pub graves: u32,
}

impl ManifestPointer {
    /// The object's name.
    pub fn name(&self) -> ObjectName {
        ObjectName::Manifest { on_version: self.on_version, uuid: self.uuid }
    }

    pub(crate) fn write(&self, out: &mut Encoder) {
        out.uuid(self.uuid).u64(self.on_version).u32(self.object_bytes).u32(self.crc);
        out.i64(self.base.0).i64(self.end.0).u32(self.segments).u64(self.log_bytes).u32(self.graves);
    }

    pub(crate) fn read(from: &mut Decoder<'_>) -> Result<Self, FormatError> {
        let pointer = Self {
            uuid: from.uuid()?,
            on_version: from.u64()?,
            object_bytes: from.u32()?,
            crc: from.u32()?,
            base: Offset(from.i64()?),
            end: Offset(from.i64()?),
            segments: from.u32()?,
            log_bytes: from.u64()?,
            graves: from.u32()?,
        };
        if pointer.base > pointer.end || pointer.base.0 < 0 {
            let why = format!("it covers [{}, {})", pointer.base, pointer.end);
            return Err(FormatError::Invalid { what: POINTER_WHAT, why });
        }
        Ok(pointer)
    }
}

/// A sealed leaf, as its root knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeafRef {
    /// Names the object.
    pub uuid: Uuid,
    /// First offset it covers.
    pub base: Offset,
    /// The offset after the last it covers.
    pub next: Offset,
    /// Largest timestamp in it, milliseconds.
    pub max_timestamp: i64,
    /// Epoch of its first batch.
    pub first_epoch: LeaderEpoch,
    /// Epoch of its last batch.
    pub last_epoch: LeaderEpoch,
    /// Entries in it.
    pub segments: u32,
    /// Bytes of log in them.
    pub log_bytes: u64,
    /// Length of the object.
    pub object_bytes: u32,
    /// CRC-32C of the whole object.
    pub crc: u32,
}

impl LeafRef {
    /// The object's name.
    pub fn name(&self) -> ObjectName {
        ObjectName::Leaf { base: self.base, uuid: self.uuid }
    }
}

/// An object that no live manifest needs any more and that a DELETE has not been confirmed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grave {
    /// What to delete.
    pub name: ObjectName,
    /// When it left, milliseconds; deleted only past the grace period, for readers still at it.
    pub since_ms: i64,
}

/// A manifest root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Its own.
    pub uuid: Uuid,
    /// The row's log start when it was made.
    pub log_start: Offset,
    /// The offset after the last segment it ever folded.
    pub end: Offset,
    /// Sealed leaves, oldest first; all below `entries`.
    pub leaves: Vec<LeafRef>,
    /// Segments held here.
    pub entries: Vec<Entry>,
    /// What waits for its deletion, oldest first.
    pub graveyard: Vec<Grave>,
}

impl Manifest {
    /// Which invariant it breaks, if one.
    pub fn contradiction(&self) -> Option<String> {
        if let Some(why) = entries_contradiction(&self.entries, self.log_start) {
            return Some(why);
        }
        if let Some(pair) = self.leaves.windows(2).find(|pair| pair[0].next != pair[1].base) {
            return Some(format!("leaves leave [{}, {}) uncovered or twice", pair[0].next, pair[1].base));
        }
        if let (Some(leaf), Some(entry)) = (self.leaves.last(), self.entries.first())
            && leaf.next != entry.base
        {
            return Some(format!("leaves end at {}, entries begin at {}", leaf.next, entry.base));
        }
        let last = self.entries.last().map(|entry| entry.next).or(self.leaves.last().map(|leaf| leaf.next));
        if last.is_some_and(|next| next != self.end) {
            return Some(format!("its segments end at {last:?}, it at {}", self.end));
        }
        let dead = |uuid: Uuid| self.graveyard.iter().any(|grave| grave.name.uuid() == uuid);
        let both =
            self.entries.iter().map(|entry| entry.uuid).chain(self.leaves.iter().map(|leaf| leaf.uuid));
        both.chain([self.uuid])
            .find(|uuid| dead(*uuid))
            .map(|uuid| format!("{uuid} lives and lies in the graveyard"))
    }

    /// The entry held here (not in a leaf) that covers `offset`.
    pub fn entry(&self, offset: Offset) -> Option<&Entry> {
        let at = self.entries.partition_point(|entry| entry.next <= offset);
        self.entries.get(at).filter(|entry| entry.covers(offset))
    }

    /// The leaf that covers `offset`.
    pub fn leaf(&self, offset: Offset) -> Option<&LeafRef> {
        let at = self.leaves.partition_point(|leaf| leaf.next <= offset);
        self.leaves.get(at).filter(|leaf| leaf.base <= offset)
    }

    /// The manifest's bytes and the pointer that goes into the row.
    pub fn encode(&self, on_version: u64) -> (Vec<u8>, ManifestPointer) {
        debug_assert_eq!(self.contradiction(), None);
        let mut out = Encoder::marked(ROOT, MANIFEST_VERSION, MANIFEST_VERSION);
        out.uuid(self.uuid).i64(self.log_start.0).i64(self.end.0);
        out.count(self.leaves.len());
        for leaf in &self.leaves {
            write_leaf_ref(leaf, &mut out);
        }
        write_entries(&self.entries, &mut out);
        out.count(self.graveyard.len());
        for grave in &self.graveyard {
            out.i64(grave.since_ms).text(&grave.name.to_string());
        }
        let bytes = out.sealed();
        let pointer = self.pointer(on_version, &bytes);
        (bytes, pointer)
    }

    fn pointer(&self, on_version: u64, bytes: &[u8]) -> ManifestPointer {
        let leaves = self.leaves.iter().map(|leaf| (u64::from(leaf.segments), leaf.log_bytes));
        let entries = self.entries.iter().map(|entry| (1, entry.log_bytes));
        let (segments, log_bytes) =
            leaves.chain(entries).fold((0_u64, 0_u64), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        let first =
            self.leaves.first().map(|leaf| leaf.base).or(self.entries.first().map(|entry| entry.base));
        ManifestPointer {
            uuid: self.uuid,
            on_version,
            object_bytes: u32::try_from(bytes.len()).unwrap_or(u32::MAX),
            crc: crate::batch::header::crc32c(bytes),
            base: first.unwrap_or(self.end),
            end: self.end,
            segments: u32::try_from(segments).unwrap_or(u32::MAX),
            log_bytes,
            graves: u32::try_from(self.graveyard.len()).unwrap_or(u32::MAX),
        }
    }

    /// Reads a manifest back; one that breaks its invariants is refused.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        Decoder::new(bytes, ROOT_WHAT).open(ROOT, MANIFEST_VERSION)?;
        let mut from = Decoder::new(unseal(bytes, ROOT_WHAT)?, ROOT_WHAT);
        from.open(ROOT, MANIFEST_VERSION)?;
        let (uuid, log_start, end) = (from.uuid()?, Offset(from.i64()?), Offset(from.i64()?));
        let mut leaves = Vec::new();
        for _ in 0..from.count(LEAF_REF_BYTES)? {
            leaves.push(read_leaf_ref(&mut from)?);
        }
        let entries = read_entries(&mut from)?;
        let mut graveyard = Vec::new();
        for _ in 0..from.count(10)? {
            let since_ms = from.i64()?;
            let name = from.text()?;
            let name = ObjectName::parse(name)
                .ok_or_else(|| from.invalid(format!("{name:?} is no object of ours")))?;
            graveyard.push(Grave { name, since_ms });
        }
        let manifest = Self { uuid, log_start, end, leaves, entries, graveyard };
        if let Some(why) = manifest.contradiction() {
            return Err(from.invalid(why));
        }
        from.finish()?;
        Ok(manifest)
    }
}

/// A sealed leaf: entries a root refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// Its own.
    pub uuid: Uuid,
    /// Its entries, gapless.
    pub entries: Vec<Entry>,
}

impl Leaf {
    /// The leaf's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::marked(LEAF, MANIFEST_VERSION, MANIFEST_VERSION);
        write_entries(&self.entries, out.uuid(self.uuid));
        out.sealed()
    }

    /// Reads a leaf back.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        Decoder::new(bytes, LEAF_WHAT).open(LEAF, MANIFEST_VERSION)?;
        let mut from = Decoder::new(unseal(bytes, LEAF_WHAT)?, LEAF_WHAT);
        from.open(LEAF, MANIFEST_VERSION)?;
        let leaf = Self { uuid: from.uuid()?, entries: read_entries(&mut from)? };
        if let Some(why) = entries_contradiction(&leaf.entries, Offset::ZERO) {
            return Err(from.invalid(why));
        }
        from.finish()?;
        Ok(leaf)
    }

    /// The entry that covers `offset`.
    pub fn entry(&self, offset: Offset) -> Option<&Entry> {
        let at = self.entries.partition_point(|entry| entry.next <= offset);
        self.entries.get(at).filter(|entry| entry.covers(offset))
    }
}

fn write_entries(entries: &[Entry], out: &mut Encoder) {
    out.count(entries.len());
    for entry in entries {
        out.raw(&entry.encode());
    }
}

fn read_entries(from: &mut Decoder<'_>) -> Result<Vec<Entry>, FormatError> {
    let mut entries = Vec::new();
    for _ in 0..from.count(ENTRY_BYTES)? {
        entries.push(Entry::read(from)?);
    }
    Ok(entries)
}

fn write_leaf_ref(leaf: &LeafRef, out: &mut Encoder) {
    out.uuid(leaf.uuid).i64(leaf.base.0).i64(leaf.next.0).i64(leaf.max_timestamp);
    out.i32(leaf.first_epoch.0).i32(leaf.last_epoch.0);
    out.u32(leaf.segments).u64(leaf.log_bytes).u32(leaf.object_bytes).u32(leaf.crc);
}

fn read_leaf_ref(from: &mut Decoder<'_>) -> Result<LeafRef, FormatError> {
    let leaf = LeafRef {
        uuid: from.uuid()?,
        base: Offset(from.i64()?),
        next: Offset(from.i64()?),
        max_timestamp: from.i64()?,
        first_epoch: LeaderEpoch(from.i32()?),
        last_epoch: LeaderEpoch(from.i32()?),
        segments: from.u32()?,
        log_bytes: from.u64()?,
        object_bytes: from.u32()?,
        crc: from.u32()?,
    };
    if leaf.base < Offset::ZERO || leaf.next <= leaf.base {
        return Err(from.invalid(format!("leaf covers [{}, {})", leaf.base, leaf.next)));
    }
    Ok(leaf)
}
