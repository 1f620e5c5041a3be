//! Responses onto a socket: as few system calls as their pieces allow, and none that waits for a disk.
//! It knows no protocol: it sends pieces in order. Invariant: every byte of every piece goes out, or the connection
//! ends with an error, because a response cut short cannot be told from the next one.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use firnline_tiering::hot::file::File;
use tokio::io::AsyncWriteExt;

use crate::api::counters::Counters;
use crate::partition::cold_lane::{ColdLane, read_exact};
use crate::transport::net::{Stream, write_all_vectored};
use crate::transport::sendfile;
use crate::wire::response::Piece;

/// Residency is probed for slices of this size: the largest stretch a core sends in one go.
const SLICE: u64 = 1 << 20;

/// A piece up to this size is copied into the same write as its neighbours: cheaper than a system call of its own.
const COPY_MAX: u64 = 32 << 10;

/// Bytes gathered before they are written; also what the buffer is allowed to keep between turns.
const GATHER_MAX: usize = 256 << 10;

/// Cold bytes written in one go: a reader of history leaves the core to the tail this often.
const COLD_STEP: usize = 256 << 10;

/// A client that takes nothing for so long holds no cold bytes any longer.
const STALL: Duration = Duration::from_secs(1);

/// Sends pieces over one connection. Keeps its buffer between turns.
pub struct Sender {
    lane: Arc<ColdLane>,
    counters: Arc<Counters>,
    gathered: Vec<u8>,
}

impl Sender {
    /// A sender without memory of its own yet.
    pub fn new(lane: Arc<ColdLane>, counters: Arc<Counters>) -> Self {
        Self { lane, counters, gathered: Vec::new() }
    }

    /// Gives the buffer back: for connections that went quiet.
    pub fn release(&mut self) {
        self.gathered = Vec::new();
    }

    /// Sends `pieces` in order.
    pub async fn send(&mut self, stream: &mut Stream, pieces: &[Piece]) -> io::Result<()> {
        self.gathered.clear();
        // What stands before and behind a file's bytes goes out in their packets: each of its own would wake the client.
        let corked = pieces.len() > 1 && pieces.iter().any(is_sent_from_its_file);
        if corked {
            stream.cork(true)?;
        }
        self.send_each(stream, pieces).await?;
        if corked { stream.cork(false) } else { Ok(()) }
    }

    async fn send_each(&mut self, stream: &mut Stream, pieces: &[Piece]) -> io::Result<()> {
        for piece in pieces {
            match piece {
                // One alone is written from where it lies.
                Piece::Bytes(bytes) if pieces.len() > 1 && self.is_gathered(bytes.len()) => {
                    self.gathered.extend_from_slice(bytes);
                }
                Piece::Bytes(bytes) => self.write_with(stream, bytes).await?,
                Piece::File { file, at, len, steady } => {
                    self.send_file(stream, file, (*at, *len), *steady).await?;
                }
            }
        }
        self.write_with(stream, &[]).await
    }

    /// Whether so many bytes are cheaper copied behind what is gathered than given to the kernel apart.
    fn is_gathered(&self, len: usize) -> bool {
        len as u64 <= COPY_MAX && self.gathered.len() + len <= GATHER_MAX
    }

    async fn send_file(
        &mut self,
        stream: &mut Stream,
        file: &Arc<dyn File>,
        (mut at, mut left): (u64, u64),
        steady: u64,
    ) -> io::Result<()> {
        let zero_copy = matches!(stream, Stream::Kernel(_)) && file.as_fd().is_some();
        while left > 0 {
            let len = left.min(SLICE);
            if !file.resident(at, len) {
                self.send_cold(stream, file, at, len, steady).await?;
            } else if zero_copy && len > COPY_MAX {
                self.send_zero_copy(stream, file, at, len).await?;
            } else {
                self.copy(stream, file, at, len).await?;
            }
            at += len;
            left -= len;
        }
        Ok(())
    }

    /// Adds resident bytes to what is gathered, writing first when there is no room.
    async fn copy(&mut self, stream: &mut Stream, file: &Arc<dyn File>, at: u64, len: u64) -> io::Result<()> {
        if self.gathered.len() as u64 + len > GATHER_MAX as u64 {
            self.write_with(stream, &[]).await?;
        }
        let from = self.gathered.len();
        self.gathered.resize(from + len as usize, 0);
        read_exact(&**file, &mut self.gathered[from..], at)?;
        self.counters.fetch_copy_bytes.add(len);
        Ok(())
    }

    async fn send_zero_copy(
        &mut self,
        stream: &mut Stream,
        file: &Arc<dyn File>,
        mut at: u64,
        len: u64,
    ) -> io::Result<()> {
        self.write_with(stream, &[]).await?;
        let mut left = len;
        while left > 0 {
            match sendfile::send(stream, file, at, left as usize).await {
                Some(Ok(0)) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Some(Ok(sent)) => {
                    at += sent as u64;
                    left -= sent as u64;
                }
                Some(Err(error)) => return Err(error),
                // cannot happen: the caller saw both descriptors; copying is right all the same.
                None => return self.copy(stream, file, at, left).await,
            }
        }
        self.counters.fetch_sendfile_bytes.add(len);
        Ok(())
    }

    async fn send_cold(
        &mut self,
        stream: &mut Stream,
        file: &Arc<dyn File>,
        at: u64,
        len: u64,
        steady: u64,
    ) -> io::Result<()> {
        self.write_with(stream, &[]).await?;
        let mut sent = 0;
        while sent < len {
            let bytes = self.lane.read(file, at + sent, (len - sent) as usize, steady).await?;
            let wrote = write_while_it_goes(stream, &bytes).await?;
            drop(bytes);
            if wrote == 0 {
                // The client takes nothing: others may have the memory, and the disk is read again once it does.
                stream.writable().await?;
            }
            sent += wrote;
        }
        self.counters.fetch_cold_bytes.add(len);
        Ok(())
    }

    /// Writes what is gathered and then `bytes`, in one go.
    async fn write_with(&mut self, stream: &mut Stream, bytes: &[u8]) -> io::Result<()> {
        if !self.gathered.is_empty() || !bytes.is_empty() {
            write_all_vectored(stream, &mut [&self.gathered, bytes]).await?;
        }
        self.gathered.clear();
        Ok(())
    }
}

/// Whether a piece is more than one write can take with its neighbours.
fn is_sent_from_its_file(piece: &Piece) -> bool {
    matches!(piece, Piece::File { len, .. } if *len > COPY_MAX)
}

/// Writes `bytes` a step at a time, with a turn for others in between; answers how many went out before the client
/// stopped taking them.
async fn write_while_it_goes(stream: &mut Stream, bytes: &[u8]) -> io::Result<u64> {
    let mut sent = 0;
    while sent < bytes.len() {
        let step = &bytes[sent..bytes.len().min(sent + COLD_STEP)];
        match tokio::time::timeout(STALL, stream.write(step)).await {
            Ok(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(wrote) => sent += wrote?,
            Err(_) => break,
        }
        tokio::task::yield_now().await;
    }
    Ok(sent as u64)
}
