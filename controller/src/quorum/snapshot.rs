//! Snapshots: an image as one file of records, and back. Not when they are taken (`quorum/node.rs`).
//! Invariant: a file under a snapshot's name is whole; reading it gives the image that was written, or an error.
//!
//! ```text
//!  <last index, 20 digits>-<term, 10 digits>.snapshot
//!  | "FRNS" | version u16 = 1 | min reader u16 = 1 | len u32 | last log id, membership (`len` bytes) |
//!  | record (record/codec.rs) ... | 0xffff u16 | 1 u8 | 12 u32 | records u64 | crc32c u32 of all before |
//! ```

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crc_fast::{CrcAlgorithm, Digest};
use firnline_tiering::hot::file::{File, Files, OpenMode};

use crate::error::StartError;
use crate::image::metadata::MetadataImage;
use crate::quorum::type_config::{LogId, StoredMembership};
use crate::quorum::{disk, raft_codec};
use crate::record::bytes::{CodecError, Reader, Writer};
use crate::record::codec;

const MARK: &[u8; 4] = b"FRNS";
const VERSION: u16 = 1;
/// Stands where a record's kind would; no record will ever have it.
const TRAILER: u16 = 0xffff;
const TRAILER_BODY: usize = 12;
const SUFFIX: &str = ".snapshot";
/// What a snapshot is written and read in, in bytes.
const PIECE_BYTES: usize = 1 << 20;
/// A snapshot under construction, or on its way from another node.
const BUILDING: &str = "snapshot.building";
const RECEIVING: &str = "snapshot.receiving";

/// What a snapshot says about its image.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Summary {
    /// The last entry in it.
    pub last: Option<LogId>,
    /// Members as of that entry.
    pub membership: StoredMembership,
}

impl Summary {
    /// The file's name without its suffix; also openraft's snapshot id.
    pub fn id(&self) -> String {
        let (index, term) = self.last.map_or((0, 0), |last| (last.index, last.leader_id.term));
        format!("{index:020}-{term:010}")
    }
}

/// Why a snapshot cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The disk.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The bytes.
    #[error(transparent)]
    Codec(#[from] CodecError),
}

/// The directory that holds them. At most one is complete, but for a moment.
#[derive(Debug, Clone)]
pub struct Snapshots {
    files: Arc<dyn Files>,
    dir: PathBuf,
}

impl Snapshots {
    /// Snapshots in `dir`, which must exist.
    pub fn new(files: Arc<dyn Files>, dir: &Path) -> Self {
        Self { files, dir: dir.to_owned() }
    }

    /// Reads the newest snapshot and removes what a crash left of others.
    pub fn load(&self) -> Result<Option<(Summary, MetadataImage)>, StartError> {
        let io_error =
            |source| StartError::Io { what: format!("cannot read {}", self.dir.display()), source };
        let names = self.files.list(&self.dir).map_err(io_error)?;
        for name in [BUILDING, RECEIVING].into_iter().filter(|name| names.iter().any(|known| known == name)) {
            self.files.remove(&self.dir.join(name)).map_err(io_error)?;
        }
        let Some(newest) = names.iter().rfind(|name| name.ends_with(SUFFIX)) else { return Ok(None) };
        let path = self.dir.join(newest);
        let file = self.files.open(&path, OpenMode::Read).map_err(io_error)?;
        let loaded = read(file.as_ref()).map_err(|error| match error {
            SnapshotError::Io(source) => {
                StartError::Io { what: format!("cannot read {}", path.display()), source }
            }
            SnapshotError::Codec(error) if error.is_unknown() => {
                StartError::Unknown { what: format!("{}: {error}", path.display()) }
            }
            SnapshotError::Codec(error) => {
                StartError::Corrupt { what: format!("{}: {error}", path.display()) }
            }
        })?;
        self.remove_others(newest).map_err(io_error)?;
        Ok(Some(loaded))
    }

    /// Writes a snapshot, makes it durable and removes older ones.
    pub async fn save(&self, summary: &Summary, image: &MetadataImage) -> io::Result<Arc<dyn File>> {
        let building = self.dir.join(BUILDING);
        let file = self.create(&building)?;
        write(file.as_ref(), summary, image).await?;
        disk::wait(|| file.sync())?;
        let name = format!("{}{SUFFIX}", summary.id());
        self.files.rename(&building, &self.dir.join(&name))?;
        self.files.sync_dir(&self.dir)?;
        self.remove_others(&name)?;
        Ok(file)
    }

    /// An empty file for a snapshot from another node.
    pub fn receive(&self) -> io::Result<Arc<dyn File>> {
        self.create(&self.dir.join(RECEIVING))
    }

    /// Makes a received snapshot the current one: reads it, writes what it says as our own, drops what came.
    pub async fn install(&self, file: &dyn File) -> Result<(Summary, MetadataImage), SnapshotError> {
        let (summary, image) = disk::wait(|| read(file))?;
        self.save(&summary, &image).await?;
        self.remove_if_there(&self.dir.join(RECEIVING))?;
        Ok((summary, image))
    }

    /// Opens the snapshot of this summary.
    pub fn open(&self, summary: &Summary) -> io::Result<Arc<dyn File>> {
        self.files.open(&self.dir.join(format!("{}{SUFFIX}", summary.id())), OpenMode::Read)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.remove_if_there(path)?;
        self.files.open(path, OpenMode::CreateNew)
    }

    fn remove_if_there(&self, path: &Path) -> io::Result<()> {
        match self.files.remove(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn remove_others(&self, keep: &str) -> io::Result<()> {
        for name in self.files.list(&self.dir)? {
            if name.ends_with(SUFFIX) && name != keep {
                self.files.remove(&self.dir.join(name))?;
            }
        }
        Ok(())
    }
}

/// Writes head, records and trailer; lets others run between pieces.
async fn write(file: &dyn File, summary: &Summary, image: &MetadataImage) -> io::Result<()> {
    let (mut at, mut crc) = (0, Digest::new(CrcAlgorithm::Crc32Iscsi));
    let mut flush = |bytes: &[u8], crc: &mut Digest| {
        crc.update(bytes);
        let written = file.write_at(bytes, at);
        at += bytes.len() as u64;
        written
    };
    let mut out = Writer::default();
    out.raw(MARK).u16(VERSION).u16(VERSION).sized(|out| {
        raft_codec::write_optional_log_id(summary.last.as_ref(), out);
        raft_codec::write_stored_membership(&summary.membership, out);
    });
    let mut records = 0_u64;
    for record in image.to_records() {
        codec::encode(&record, &mut out);
        records += 1;
        if out.len() >= PIECE_BYTES {
            flush(&out.finish(), &mut crc)?;
            tokio::task::yield_now().await;
        }
    }
    out.u16(TRAILER).u8(1).u32(TRAILER_BODY as u32).u64(records);
    flush(&out.finish(), &mut crc)?;
    // The algorithm is 32 bits wide; crc-fast answers in 64.
    let sum = crc.finalize() as u32;
    flush(&sum.to_be_bytes(), &mut Digest::new(CrcAlgorithm::Crc32Iscsi))
}

/// Reads a whole snapshot, record by record.
pub fn read(file: &dyn File) -> Result<(Summary, MetadataImage), SnapshotError> {
    let mut source = Source::new(file)?;
    let head = source.take(12)?;
    let mut from = Reader::new(&head);
    if from.take(4)? != MARK {
        return Err(CodecError::Invalid("this is no snapshot: its mark is missing".to_owned()).into());
    }
    let (_written_as, min_reader, len) = (from.u16()?, from.u16()?, from.u32()?);
    if min_reader != VERSION {
        return Err(CodecError::Unknown { what: "metadata snapshot", kind: 0, version: min_reader }.into());
    }
    let head = source.take(len as usize)?;
    let mut from = Reader::new(&head);
    let last = raft_codec::read_optional_log_id(&mut from)?;
    let summary = Summary { last, membership: raft_codec::read_stored_membership(&mut from)? };
    from.finish()?;
    let mut image = read_records(&mut source)?;
    (image.offset, image.term) = last.map_or((0, 0), |last| (last.index, last.leader_id.term));
    Ok((summary, image))
}

fn read_records(source: &mut Source<'_>) -> Result<MetadataImage, SnapshotError> {
    let (mut image, mut records) = (MetadataImage::default(), 0_u64);
    loop {
        let head = source.take(codec::HEAD_BYTES)?;
        if head[..2] == TRAILER.to_be_bytes() {
            break;
        }
        let (kind, version, len) = codec::decode_head(&mut Reader::new(&head))?;
        let body = source.take(len)?;
        let record = codec::decode_body(kind, version, &body)?;
        image.restore(&record).map_err(|no_op| CodecError::Invalid(format!("record {records}: {no_op}")))?;
        records += 1;
    }
    let announced = Reader::new(&source.take(8)?).u64()?;
    let computed = source.sum();
    let stored = Reader::new(&source.take(4)?).u32()?;
    if computed != stored || announced != records || source.left() != 0 {
        let left = source.left();
        return Err(CodecError::Invalid(format!(
            "damaged: crc {computed:#010x}, stored {stored:#010x}; {records} records of {announced}; {left} bytes left"
        ))
        .into());
    }
    Ok(image)
}

/// Reads a file in pieces, keeping its checksum.
struct Source<'f> {
    file: &'f dyn File,
    /// Bytes of the file not in `piece` yet begin here.
    at: u64,
    len: u64,
    piece: Vec<u8>,
    used: usize,
    crc: Digest,
}

impl<'f> Source<'f> {
    fn new(file: &'f dyn File) -> io::Result<Self> {
        let len = file.len()?;
        let crc = Digest::new(CrcAlgorithm::Crc32Iscsi);
        Ok(Self { file, at: 0, len, piece: Vec::new(), used: 0, crc })
    }

    fn left(&self) -> u64 {
        self.len - self.at + (self.piece.len() - self.used) as u64
    }

    /// The next bytes. A length the file cannot hold is refused before anything is allocated.
    fn take(&mut self, len: usize) -> Result<Vec<u8>, SnapshotError> {
        if len as u64 > self.left() {
            return Err(CodecError::Truncated { wanted: len, left: self.left() as usize }.into());
        }
        while self.piece.len() - self.used < len {
            self.refill(len)?;
        }
        let taken = self.piece[self.used..self.used + len].to_vec();
        self.used += len;
        self.crc.update(&taken);
        Ok(taken)
    }

    fn refill(&mut self, wanted: usize) -> io::Result<()> {
        self.piece.drain(..self.used);
        self.used = 0;
        let more = (wanted.max(PIECE_BYTES) as u64).min(self.len - self.at) as usize;
        let start = self.piece.len();
        self.piece.resize(start + more, 0);
        self.file.read_exact_at(&mut self.piece[start..], self.at)?;
        self.at += more as u64;
        Ok(())
    }

    fn sum(&self) -> u32 {
        // The algorithm is 32 bits wide; crc-fast answers in 64.
        self.crc.finalize() as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Disk;
    use crate::golden::golden;
    use crate::quorum::raft_codec::tests::{log_id, membership};
    use crate::record::codec::tests::{samples, samples_of_level_2};
    use crate::record::kinds::{Broker, Record};

    fn dir() -> &'static Path {
        Path::new("/quorum")
    }

    fn summary() -> Summary {
        Summary {
            last: Some(log_id(3, 99)),
            membership: StoredMembership::new(Some(log_id(1, 0)), membership()),
        }
    }

    /// One of everything an image can hold.
    fn image() -> MetadataImage {
        let mut image = MetadataImage::default();
        let pick = |name: &str| samples().into_iter().find(|(known, _)| *known == name).expect("a sample").1;
        for name in
            ["feature-level", "cluster", "producer-ids", "broker", "topic", "config-topic", "config-broker"]
        {
            image.restore(&pick(name)).expect(name);
        }
        if let Record::Partition { topic, row, .. } = pick("partition") {
            for index in 0..5 {
                image
                    .restore(&Record::Partition { topic, index, row: row.clone() })
                    .expect("the next partition");
            }
        }
        image.restore(&pick("tier-row")).expect("a row");
        let gone = crate::id::TopicId(uuid::Uuid::from_u128(9));
        image
            .restore(&Record::TopicDeleted { id: gone, name: "gone".into(), partitions: 2 })
            .expect("a tombstone");
        (image.offset, image.term) = (99, 3);
        image
    }

    /// And what feature level 2 added: a broker is gone, and was the last to register.
    fn image_of_level_2() -> MetadataImage {
        let mut image = image();
        for (name, record) in samples_of_level_2() {
            let record = match record {
                Record::Partition { topic, index, mut row } => {
                    row.epoch.0 += 1;
                    Record::Partition { topic, index, row }
                }
                Record::BrokerGone { id } => {
                    let last = Broker { id, epoch: image.brokers.next_epoch(), ..Broker::default() };
                    image.restore(&Record::Broker(last)).expect(name);
                    Record::BrokerGone { id }
                }
                // The snapshot has to write it by itself.
                Record::BrokerEpochs { .. } => continue,
                other => other,
            };
            image.restore(&record).expect(name);
        }
        image
    }

    async fn saved(disk: &Disk, summary: &Summary, image: &MetadataImage) -> Vec<u8> {
        Snapshots::new(Arc::new(disk.clone()), dir()).save(summary, image).await.expect("saved");
        let path = dir().join(format!("{}{SUFFIX}", summary.id()));
        disk.contents().remove(&path).expect("under its name")
    }

    fn same(left: &MetadataImage, right: &MetadataImage) -> bool {
        (left.offset, left.term) == (right.offset, right.term) && left.to_records().eq(right.to_records())
    }

    #[tokio::test]
    async fn golden_files() {
        for (name, summary, image) in [
            ("everything", summary(), image()),
            ("everything-level-2", summary(), image_of_level_2()),
            ("empty", Summary::default(), MetadataImage::default()),
        ] {
            let disk = Disk::default();
            let written = saved(&disk, &summary, &image).await;
            let stored = golden(&format!("snapshot/v1/{name}"), &written);
            disk.tamper(&dir().join(format!("{}{SUFFIX}", summary.id())), |bytes| *bytes = stored);
            let loaded = Snapshots::new(Arc::new(disk), dir()).load().expect("whole").expect("there");
            assert_eq!(loaded.0, summary);
            assert!(same(&loaded.1, &image), "{name}: {:?}", loaded.1);
            assert_eq!(loaded.1.brokers.next_epoch(), image.brokers.next_epoch(), "{name}");
        }
    }

    #[tokio::test]
    async fn damage_is_never_an_image() {
        let disk = Disk::default();
        let whole = saved(&disk, &summary(), &image()).await;
        let path = dir().join(format!("{}{SUFFIX}", summary().id()));
        let snapshots = Snapshots::new(Arc::new(disk.clone()), dir());
        for at in 0..whole.len() {
            disk.tamper(&path, |bytes| *bytes = whole[..at].to_vec());
            assert!(snapshots.load().is_err(), "cut at {at}");
            // Bytes 4 and 5 say which version wrote it; a reader minds only the minimum it asks for.
            for bit in (0..8).filter(|_| !(4..6).contains(&at)) {
                disk.tamper(&path, |bytes| {
                    *bytes = whole.clone();
                    bytes[at] ^= 1 << bit;
                });
                assert!(snapshots.load().is_err(), "bit {bit} of byte {at}");
            }
        }
        disk.tamper(&path, |bytes| {
            *bytes = whole.clone();
            bytes[7] = 2;
        });
        let newer = snapshots.load().expect_err("a newer snapshot");
        assert!(matches!(&newer, StartError::Unknown { what } if what.contains("version 2")), "{newer}");
    }

    #[tokio::test]
    async fn the_newest_stays_and_leftovers_go() {
        let disk = Disk::default();
        saved(&disk, &summary(), &image()).await;
        let newer = Summary { last: Some(log_id(4, 100)), ..summary() };
        saved(&disk, &newer, &image()).await;
        let snapshots = Snapshots::new(Arc::new(disk.clone()), dir());
        snapshots.receive().expect("a file").write_at(b"half a snapshot", 0).expect("written");
        let (loaded, _) = snapshots.load().expect("whole").expect("there");
        assert_eq!(loaded, newer);
        assert_eq!(disk.contents().len(), 1, "{:?}", disk.contents().keys());
    }
}
