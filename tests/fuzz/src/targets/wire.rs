//! What a socket brings: frames out of a stream in arbitrary pieces, and every request in every version.
//! Invariant: how a stream is cut into reads changes nothing.

use bytes::{BufMut, BytesMut};
use firnline::transport::frame::{FrameError, FrameReader};
use firnline::wire::api_key::{ApiKey, TABLE};
use firnline::wire::request::{Body, decode};
use firnline_tiering::batch::validate::{Origin, Rules, validate};
use firnline_tiering::config::LogConfig;

/// The largest frame the target's listener takes.
const CAP: usize = 4096;
/// Room a reader may make for a client that has shown no more than the target's input.
const HELD_MAX: usize = 256 << 10;

/// Byte 0: how the stream is cut into reads; then the stream.
pub fn frames(data: &[u8]) {
    let Some((&piece, stream)) = data.split_first() else { return };
    let whole = collect(stream, usize::MAX);
    assert_eq!(collect(stream, usize::from(piece) + 1), whole);
    let mut taken = 0;
    for frame in &whole.0 {
        let size = i32::from_be_bytes(stream[taken..taken + 4].try_into().expect("four bytes"));
        assert_eq!(frame[..], stream[taken + 4..taken + 4 + size as usize]);
        taken += 4 + frame.len();
    }
}

fn collect(stream: &[u8], piece: usize) -> (Vec<BytesMut>, Option<FrameError>) {
    let mut reader = FrameReader::new(CAP);
    let mut frames = Vec::new();
    for mut part in stream.chunks(piece.min(stream.len()).max(1)) {
        while !part.is_empty() {
            let mut space = reader.space();
            let room = space.remaining_mut();
            assert!(room > 0 && room < HELD_MAX, "room for {room} bytes");
            let (now, later) = part.split_at(room.min(part.len()));
            space.put_slice(now);
            part = later;
            loop {
                match reader.next_frame() {
                    Ok(Some(frame)) => frames.push(frame),
                    Ok(None) => break,
                    Err(error) => return (frames, Some(error)),
                }
            }
        }
        reader.release();
    }
    (frames, None)
}

/// Byte 0: the API; byte 1: the version; then the body. An API above 127: a raw frame follows at once.
pub fn request(data: &[u8]) {
    let Some((&api, rest)) = data.split_first() else { return };
    if api >= 128 {
        return decoded(BytesMut::from(rest));
    }
    let Some((&version, body)) = rest.split_first() else { return };
    let api = &TABLE[usize::from(api) % TABLE.len()];
    let version = api.min + i16::from(version) % (api.max - api.min + 1);
    decoded(frame(api.key, version, body));
}

fn frame(key: ApiKey, version: i16, body: &[u8]) -> BytesMut {
    let mut frame = BytesMut::new();
    frame.put_i16(key.code());
    frame.put_i16(version);
    frame.put_i32(7);
    frame.put_i16(-1);
    if key.flexible(version) {
        frame.put_u8(0);
    }
    frame.extend_from_slice(body);
    frame
}

/// Decodes, and goes over what came out as a handler would.
fn decoded(frame: BytesMut) {
    let Ok(request) = decode(frame) else { return };
    match request.body {
        Body::Produce(mut view) => {
            let rules = Rules::of(&LogConfig::default(), Origin::Client, 0, request.header.version);
            let mut bytes = 0;
            for slot in 0..view.slots() {
                let records = view.part(slot).records;
                bytes += records.as_ref().map_or(0, |records| records.len() as u64);
                let _ = records.map(|records| validate(records, &rules).map(|valid| valid.stamp(records)));
            }
            assert_eq!(bytes, view.record_bytes());
            let outline = view.into_outline();
            let slots: usize = outline.topics().map(|(_, slots)| slots.len()).sum();
            let _ = (0..slots).map(|slot| outline.index(slot)).max();
        }
        body => assert!(!format!("{body:?}").is_empty()),
    }
}
