//! The door to the codecs: gzip, snappy, lz4 and zstd, in the framings Kafka's clients use.
//! It decides nothing about batches. Invariant: output never passes the limit, whatever the input claims.

use crate::batch::header::Codec;
use crate::codec::CompressionLevels;
use bytes::Bytes;
use std::io::{self, Read, Write};

/// Opening a batch may take this much at least, however small the topic's batches are.
const LIMIT_FLOOR: usize = 64 << 20;
/// Compression this strong is taken for a bomb.
const LIMIT_RATIO: usize = 64;
/// Uncompressed bytes per block of the Java client's snappy framing.
const XERIAL_BLOCK: usize = 32 << 10;
/// The Java client's snappy stream: magic, version 1, compatible with 1.
const XERIAL_HEADER: [u8; 16] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1];
/// The part of it that tells it from a raw block.
const XERIAL_MAGIC: usize = 8;
/// How an LZ4 frame begins.
const LZ4_MAGIC: [u8; 4] = [0x04, 0x22, 0x4d, 0x18];
/// Largest zstd window accepted: what level 22 uses. Untouched pages of it cost nothing.
const ZSTD_WINDOW_LOG: u32 = 27;

/// Why compressed bytes could not be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecompressError {
    /// They open to more than the limit: damage, or a bomb.
    #[error("opens to more than {limit} bytes")]
    TooLarge {
        /// In bytes.
        limit: usize,
    },
    /// Not what the codec writes.
    #[error("not {codec}: {what}", codec = codec.name())]
    Malformed {
        /// The codec that was tried.
        codec: Codec,
        /// Its complaint.
        what: String,
    },
}

/// How much a batch may open to where batches have at most `max_message_bytes`.
pub fn decompress_limit(max_message_bytes: u32) -> usize {
    (max_message_bytes as usize).saturating_mul(LIMIT_RATIO).max(LIMIT_FLOOR)
}

/// Opens `bytes`. Errors if they are not `codec`'s, or open to more than `limit` bytes.
pub fn decompress(codec: Codec, bytes: &[u8], limit: usize) -> Result<Bytes, DecompressError> {
    let result = match codec {
        Codec::None if bytes.len() > limit => return Err(DecompressError::TooLarge { limit }),
        Codec::None => return Ok(Bytes::copy_from_slice(bytes)),
        Codec::Gzip => read_bounded(flate2::bufread::MultiGzDecoder::new(bytes), limit),
        Codec::Snappy => return open_snappy(bytes, limit),
        Codec::Lz4 => open_lz4(bytes, limit),
        Codec::Zstd => open_zstd(bytes, limit),
    };
    match result {
        Ok(Some(opened)) => Ok(Bytes::from(opened)),
        Ok(None) => Err(DecompressError::TooLarge { limit }),
        Err(error) => Err(DecompressError::Malformed { codec, what: error.to_string() }),
    }
}

/// Compresses `bytes` as Kafka's Java client would read them, at the codecs' usual levels.
pub fn compress(codec: Codec, bytes: &[u8]) -> io::Result<Vec<u8>> {
    compress_at(codec, bytes, CompressionLevels::default())
}

/// Compresses `bytes` as Kafka's Java client would read them.
pub fn compress_at(codec: Codec, bytes: &[u8], levels: CompressionLevels) -> io::Result<Vec<u8>> {
    match codec {
        Codec::None => Ok(bytes.to_vec()),
        Codec::Gzip => {
            let level =
                u32::try_from(levels.gzip).map_or_else(|_| Default::default(), flate2::Compression::new);
            let mut out = flate2::write::GzEncoder::new(Vec::new(), level);
            out.write_all(bytes)?;
            out.finish()
        }
        Codec::Snappy => close_xerial(bytes),
        Codec::Lz4 => {
            let mut out = lz4_flex::frame::FrameEncoder::new(Vec::new());
            out.write_all(bytes)?;
            out.finish().map_err(io::Error::other)
        }
        Codec::Zstd => zstd::bulk::compress(bytes, levels.zstd),
    }
}

/// `None` if there is more than `limit`. The buffer grows as bytes come, never by a length in the input.
fn read_bounded(source: impl Read, limit: usize) -> io::Result<Option<Vec<u8>>> {
    let mut out = Vec::new();
    source.take(limit as u64 + 1).read_to_end(&mut out)?;
    Ok((out.len() <= limit).then_some(out))
}

/// Exactly one frame: the decoder takes a frame without its end mark for whole, and has a weakness for several
/// frames of different block sizes, so the frame's outline is walked first.
fn open_lz4(bytes: &[u8], limit: usize) -> io::Result<Option<Vec<u8>>> {
    match lz4_frame_len(bytes) {
        Some(len) if len == bytes.len() => read_bounded(lz4_flex::frame::FrameDecoder::new(bytes), limit),
        Some(len) => Err(io::Error::other(format!("{} bytes follow the frame", bytes.len() - len))),
        None => Err(io::Error::other("not one whole frame")),
    }
}

/// Length of the LZ4 frame at the start of `bytes`; `None` if it is not one or does not end.
fn lz4_frame_len(bytes: &[u8]) -> Option<usize> {
    let rest = bytes.strip_prefix(&LZ4_MAGIC)?;
    let flags = *rest.first()?;
    let given = |bit: u8, len: usize| if flags & bit != 0 { len } else { 0 };
    // Flags, block descriptor, content size, dictionary id, header checksum.
    let mut rest = rest.get(2 + given(1 << 3, 8) + given(1, 4) + 1..)?;
    loop {
        let (size, after) = rest.split_first_chunk::<4>()?;
        // The top bit says that the block is not compressed.
        let size = u32::from_le_bytes(*size) & 0x7fff_ffff;
        if size == 0 {
            let end = after.get(given(1 << 2, 4)..)?;
            return Some(bytes.len() - end.len());
        }
        rest = after.get(size as usize..)?.get(given(1 << 4, 4)..)?;
    }
}

fn open_zstd(bytes: &[u8], limit: usize) -> io::Result<Option<Vec<u8>>> {
    let mut decoder = zstd::stream::read::Decoder::with_buffer(bytes)?;
    decoder.window_log_max(ZSTD_WINDOW_LOG)?;
    read_bounded(decoder, limit)
}

fn open_snappy(bytes: &[u8], limit: usize) -> Result<Bytes, DecompressError> {
    let mut out = Vec::new();
    if !bytes.starts_with(&XERIAL_HEADER[..XERIAL_MAGIC]) {
        open_snappy_block(bytes, limit, &mut out)?;
        return Ok(Bytes::from(out));
    }
    let mut rest = bytes.get(XERIAL_HEADER.len()..).ok_or_else(|| snappy("stream header is cut short"))?;
    while !rest.is_empty() {
        let (len, body) = rest.split_first_chunk::<4>().ok_or_else(|| snappy("block length is cut short"))?;
        let len =
            usize::try_from(i32::from_be_bytes(*len)).map_err(|_| snappy("block length is negative"))?;
        let (block, after) = body.split_at_checked(len).ok_or_else(|| snappy("block is cut short"))?;
        open_snappy_block(block, limit, &mut out)?;
        rest = after;
    }
    Ok(Bytes::from(out))
}

fn open_snappy_block(block: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), DecompressError> {
    let said = snap::raw::decompress_len(block).map_err(|error| snappy(&error.to_string()))?;
    // Three bytes of input copy at most 64: a larger claim cannot be true, so it never sizes a buffer.
    if said > block.len().saturating_mul(22) {
        return Err(snappy("block claims more than it can hold"));
    }
    let start = out.len();
    if said > limit - start {
        return Err(DecompressError::TooLarge { limit });
    }
    out.resize(start + said, 0);
    let wrote = snap::raw::Decoder::new().decompress(block, &mut out[start..]);
    let wrote = wrote.map_err(|error| snappy(&error.to_string()))?;
    out.truncate(start + wrote);
    Ok(())
}

fn close_xerial(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut out = XERIAL_HEADER.to_vec();
    for block in bytes.chunks(XERIAL_BLOCK) {
        let closed = snap::raw::Encoder::new().compress_vec(block).map_err(io::Error::other)?;
        // cannot truncate: 32 KiB compress to less than 40.
        out.extend_from_slice(&(closed.len() as i32).to_be_bytes());
        out.extend_from_slice(&closed);
    }
    Ok(out)
}

fn snappy(what: &str) -> DecompressError {
    DecompressError::Malformed { codec: Codec::Snappy, what: what.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALL: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

    fn text() -> Vec<u8> {
        (0..9000_u32).flat_map(|n| format!("event {n} of many; ").into_bytes()).collect()
    }

    #[test]
    fn every_codec_round_trips_up_to_the_limit_and_not_past_it() {
        let text = text();
        for codec in ALL {
            let closed = compress(codec, &text).unwrap();
            assert_eq!(decompress(codec, &closed, text.len()).unwrap(), text, "{}", codec.name());
            let limit = text.len() - 1;
            let too_large = Err(DecompressError::TooLarge { limit });
            assert_eq!(decompress(codec, &closed, limit), too_large, "{}", codec.name());
        }
    }

    #[test]
    fn levels_reach_their_codecs() {
        let text = text();
        let size = |codec, gzip, zstd| {
            let closed = compress_at(codec, &text, CompressionLevels { gzip, zstd }).unwrap();
            assert_eq!(decompress(codec, &closed, text.len()).unwrap(), text);
            closed.len()
        };
        assert!(size(Codec::Gzip, 9, 3) < size(Codec::Gzip, 1, 3));
        assert_eq!(size(Codec::Gzip, -1, 3), size(Codec::Gzip, 6, 3));
        assert!(size(Codec::Zstd, -1, 19) < size(Codec::Zstd, -1, -100));
    }

    #[test]
    fn nothing_round_trips_to_nothing() {
        for codec in ALL {
            let closed = compress(codec, b"").unwrap();
            assert_eq!(decompress(codec, &closed, 0).unwrap(), "", "{}", codec.name());
        }
    }

    #[test]
    fn a_bomb_is_stopped_at_the_limit() {
        let zeroes = vec![0; 32 << 20];
        for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
            let bomb = compress(codec, &zeroes).unwrap();
            assert!(bomb.len() < 2 << 20, "{} of {} bytes", bomb.len(), codec.name());
            let result = decompress(codec, &bomb, 1 << 20);
            assert_eq!(result, Err(DecompressError::TooLarge { limit: 1 << 20 }), "{}", codec.name());
        }
    }

    #[test]
    fn a_raw_snappy_block_is_read_as_well_as_the_java_framing() {
        let text = text();
        let raw = snap::raw::Encoder::new().compress_vec(&text).unwrap();
        assert_eq!(decompress(Codec::Snappy, &raw, text.len()).unwrap(), text);
        let framed = compress(Codec::Snappy, &text).unwrap();
        assert_eq!(framed[..16], XERIAL_HEADER);
        assert!(text.len() > XERIAL_BLOCK, "more than one block");
    }

    #[test]
    fn a_snappy_block_cannot_claim_more_than_it_can_hold() {
        let four_gigabytes = [0xff, 0xff, 0xff, 0xff, 0x0f, 0x00];
        let result = decompress(Codec::Snappy, &four_gigabytes, usize::MAX);
        assert!(matches!(result, Err(DecompressError::Malformed { .. })), "{result:?}");
    }

    #[test]
    fn gzip_of_several_members_and_zstd_of_several_frames_are_read_whole() {
        for codec in [Codec::Gzip, Codec::Zstd] {
            let mut two = compress(codec, b"first ").unwrap();
            two.extend(compress(codec, b"second").unwrap());
            assert_eq!(decompress(codec, &two, 100).unwrap(), "first second", "{}", codec.name());
        }
    }

    #[test]
    fn every_cut_is_refused() {
        for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
            let closed = compress(codec, b"some bytes that are not worth compressing").unwrap();
            // Snappy's framing is a list of blocks: a cut between two is not seen, so cut inside the only one.
            let shortest = if codec == Codec::Snappy { XERIAL_HEADER.len() + 1 } else { 1 };
            for len in shortest..closed.len() {
                let result = decompress(codec, &closed[..len], 1000);
                assert!(result.is_err(), "{} cut to {len} gave {result:?}", codec.name());
            }
        }
    }

    #[test]
    fn one_lz4_frame_is_all_there_may_be() {
        let frame = compress(Codec::Lz4, b"firn").unwrap();
        assert_eq!(lz4_frame_len(&frame), Some(frame.len()));
        let two = [frame.clone(), frame.clone()].concat();
        assert!(matches!(decompress(Codec::Lz4, &two, 100), Err(DecompressError::Malformed { .. })));
        let legacy = [&[0x02, 0x21, 0x4c, 0x18][..], &frame[4..]].concat();
        assert!(matches!(decompress(Codec::Lz4, &legacy, 100), Err(DecompressError::Malformed { .. })));
    }

    #[test]
    fn lz4_frames_with_every_option_are_read() {
        use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
        let text = text();
        for (mode, size, checksums) in [
            (BlockMode::Independent, BlockSize::Max64KB, true),
            (BlockMode::Linked, BlockSize::Max64KB, false),
            (BlockMode::Linked, BlockSize::Max4MB, true),
        ] {
            let info = FrameInfo::new()
                .block_mode(mode)
                .block_size(size)
                .block_checksums(checksums)
                .content_checksum(checksums)
                .content_size(checksums.then_some(text.len() as u64));
            let mut out = FrameEncoder::with_frame_info(info, Vec::new());
            out.write_all(&text).unwrap();
            let frame = out.finish().unwrap();
            assert_eq!(decompress(Codec::Lz4, &frame, text.len()).unwrap(), text);
        }
    }

    proptest! {
        #[test]
        fn arbitrary_lz4_blocks_open_or_fail(blocks in proptest::collection::vec(any::<u8>(), 0..300), at in 0..60_usize) {
            let mut frame = compress(Codec::Lz4, &text()[..2000]).unwrap();
            let len = frame.len();
            frame.splice(at.min(len)..(at + blocks.len()).min(len), blocks);
            if let Ok(opened) = decompress(Codec::Lz4, &frame, 1 << 20) {
                prop_assert!(opened.len() <= 1 << 20);
            }
        }

        #[test]
        fn arbitrary_bytes_open_or_fail_within_the_limit(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            for codec in ALL {
                if let Ok(opened) = decompress(codec, &bytes, 1000) {
                    prop_assert!(opened.len() <= 1000);
                }
            }
        }

        #[test]
        fn any_bytes_round_trip(bytes in proptest::collection::vec(any::<u8>(), 0..3000)) {
            for codec in ALL {
                let closed = compress(codec, &bytes).unwrap();
                prop_assert_eq!(&decompress(codec, &closed, bytes.len()).unwrap()[..], &bytes[..]);
            }
        }
    }
}
