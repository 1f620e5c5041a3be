//! Cuts a byte stream into frames: a pure core, fed by whoever owns the socket. It does not read, wait or log.
//! Its one invariant: memory grows with bytes that arrived, never with a size that was only announced.
//!
//! ```text
//! size i32, 1..=cap | size bytes        and again
//! ```
use bytes::buf::Limit;
use bytes::{Buf, BufMut, BytesMut};

/// Room made ahead of a client that has shown nothing yet.
const AHEAD_BYTES: usize = 64 * 1024;
/// Most room made ahead for a frame whose size has not arrived.
const AHEAD_MAX: usize = 2 << 20;
/// Smallest room worth a read.
const LEAST_SPACE: usize = 4 * 1024;
/// Small frames read at once, when a client sends several ahead.
const FRAMES_AHEAD: usize = 4;
/// Fewer missing bytes than this are not waited for together: telling the kernel costs as much as reading twice.
const LOW_WATER_MIN: usize = 32 * 1024;
const SIZE_BYTES: usize = 4;

/// Why a stream is not Kafka's. Each closes the connection, with one log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Somebody speaks HTTP here.
    #[error(
        "these bytes are HTTP: this port speaks the Kafka protocol (metrics and admin have ports of their own)"
    )]
    Http,
    /// Somebody opens TLS here.
    #[error("these bytes open a TLS handshake: this listener is PLAINTEXT")]
    Tls,
    /// Size zero or below.
    #[error("a frame of {0} bytes is not a request")]
    NotPositive(i32),
    /// Size above the listener's cap.
    #[error("a frame of {size} bytes is larger than socket.request.max.bytes ({cap})")]
    TooLarge {
        /// Announced size.
        size: i32,
        /// The listener's cap.
        cap: usize,
    },
}

/// Collects bytes and yields frames, each a buffer of its own that nobody else can see.
#[derive(Debug)]
pub struct FrameReader {
    buffer: BytesMut,
    cap: usize,
    /// Size of the last whole frame: what this client has proven to send, and so may have room for at once.
    proven: usize,
    first: bool,
}

impl FrameReader {
    /// A reader that refuses frames above `cap` bytes. It holds no memory until bytes arrive.
    pub fn new(cap: usize) -> FrameReader {
        FrameReader { buffer: BytesMut::new(), cap, proven: 0, first: true }
    }

    /// Where to read into; it has spare room. A large frame is read up to its end and the size behind it, so that no
    /// part of its successor has to be moved; small ones are read as many as there are.
    pub fn space(&mut self) -> Limit<&mut BytesMut> {
        let ahead = self.ahead();
        if self.buffer.capacity() - self.buffer.len() < ahead {
            self.buffer.reserve(ahead);
        }
        let spare = self.buffer.capacity() - self.buffer.len();
        (&mut self.buffer).limit(if ahead > AHEAD_BYTES { ahead } else { spare })
    }

    /// Room to make: what the frame still needs and the next size, but at most as much again as has arrived, or as
    /// its predecessor was long, or [`AHEAD_BYTES`]. Before the size is known, the predecessor says what to expect.
    fn ahead(&self) -> usize {
        let held = self.buffer.len();
        match self.missing() {
            Some(missing) => {
                let shown = held.max(self.proven + 2 * SIZE_BYTES).max(AHEAD_BYTES);
                (missing + SIZE_BYTES).min(shown)
            }
            None => {
                let several = (FRAMES_AHEAD * self.proven).min(AHEAD_BYTES);
                several.max(self.proven + 2 * SIZE_BYTES).clamp(LEAST_SPACE, AHEAD_MAX)
            }
        }
    }

    /// Bytes that are worth waking up for: 1, or what is missing of a large frame and has room here.
    pub fn low_water(&self) -> usize {
        match self.missing() {
            Some(missing) if missing >= LOW_WATER_MIN => missing.min(self.ahead()),
            _ => 1,
        }
    }

    /// Bytes that the first frame still needs, once its size is known.
    fn missing(&self) -> Option<usize> {
        let size = usize::try_from(self.size()?).unwrap_or(0);
        Some((SIZE_BYTES + size).saturating_sub(self.buffer.len()))
    }

    fn size(&self) -> Option<i32> {
        self.buffer.first_chunk::<SIZE_BYTES>().map(|size| i32::from_be_bytes(*size))
    }

    /// The next whole frame without its size, `None` until more bytes arrive.
    ///
    /// # Errors
    /// The stream is not Kafka's from here on: no further call makes sense.
    pub fn next_frame(&mut self) -> Result<Option<BytesMut>, FrameError> {
        let Some(size) = self.size() else { return Ok(None) };
        let length = self.checked(size)?;
        self.first = false;
        if self.buffer.len() < SIZE_BYTES + length {
            return Ok(None);
        }
        let mut frame = self.buffer.split_to(SIZE_BYTES + length);
        self.proven = length;
        frame.advance(SIZE_BYTES);
        Ok(Some(frame))
    }

    fn checked(&self, size: i32) -> Result<usize, FrameError> {
        let too_large = usize::try_from(size).is_ok_and(|size| size > self.cap);
        if self.first || too_large {
            match &self.buffer[..SIZE_BYTES] {
                b"GET " | b"POST" | b"PUT " | b"HEAD" | b"DELE" | b"OPTI" | b"PATC" | b"CONN" | b"TRAC"
                | b"PRI " => return Err(FrameError::Http),
                [0x16, 0x03, ..] => return Err(FrameError::Tls),
                _ => {}
            }
        }
        match usize::try_from(size) {
            Ok(length) if too_large => {
                debug_assert!(length > self.cap, "{length} is not above {}", self.cap);
                Err(FrameError::TooLarge { size, cap: self.cap })
            }
            Ok(length) if length > 0 => Ok(length),
            _ => Err(FrameError::NotPositive(size)),
        }
    }

    /// Whether it holds part of a frame.
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// Gives the memory back when nothing is held: for connections that went quiet.
    pub fn release(&mut self) {
        if self.buffer.is_empty() {
            self.buffer = BytesMut::new();
            self.proven = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn framed(bodies: &[Vec<u8>]) -> Vec<u8> {
        let mut stream = Vec::new();
        for body in bodies {
            stream.extend_from_slice(&(body.len() as i32).to_be_bytes());
            stream.extend_from_slice(body);
        }
        stream
    }

    fn drain(reader: &mut FrameReader) -> Result<Vec<Vec<u8>>, FrameError> {
        let mut frames = Vec::new();
        while let Some(frame) = reader.next_frame()? {
            frames.push(frame.to_vec());
        }
        Ok(frames)
    }

    fn first_error(bytes: &[u8]) -> FrameError {
        let mut reader = FrameReader::new(100 << 20);
        fill(&mut reader, bytes);
        drain(&mut reader).expect_err("not a frame")
    }

    /// Reads `bytes` as a socket would: as much at a time as there is room.
    fn fill(reader: &mut FrameReader, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let mut space = reader.space();
            let room = space.remaining_mut().min(bytes.len());
            space.put_slice(&bytes[..room]);
            bytes = &bytes[room..];
        }
    }

    proptest! {
        #[test]
        fn frames_survive_any_cut_of_the_stream(
            bodies in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..300), 0..20),
            cuts in proptest::collection::vec(1usize..200, 1..50),
        ) {
            let stream = framed(&bodies);
            let mut reader = FrameReader::new(100 << 20);
            let (mut rest, mut frames, mut cuts) = (&stream[..], Vec::new(), cuts.into_iter().cycle());
            // The first body must not look like HTTP or TLS: its size is far below either.
            while !rest.is_empty() {
                let (now, later) = rest.split_at(cuts.next().unwrap_or(1).min(rest.len()));
                fill(&mut reader, now);
                frames.extend(drain(&mut reader).expect("well-formed"));
                rest = later;
            }
            prop_assert_eq!(frames, bodies);
            prop_assert!(reader.is_empty());
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            let mut reader = FrameReader::new(1000);
            fill(&mut reader, &bytes);
            let _ = drain(&mut reader);
        }
    }

    #[test]
    fn sizes_that_no_request_has_are_named() {
        assert_eq!(first_error(&0i32.to_be_bytes()), FrameError::NotPositive(0));
        assert_eq!(first_error(&(-1i32).to_be_bytes()), FrameError::NotPositive(-1));
        let cap = 100 << 20;
        assert_eq!(first_error(&i32::MAX.to_be_bytes()), FrameError::TooLarge { size: i32::MAX, cap });
    }

    #[test]
    fn http_and_tls_are_named() {
        assert_eq!(first_error(b"GET / HTTP/1.1\r\n"), FrameError::Http);
        assert_eq!(first_error(b"POST /topics HTTP/1.1\r\n"), FrameError::Http);
        assert_eq!(first_error(b"PRI * HTTP/2.0\r\n"), FrameError::Http);
        assert_eq!(first_error(&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01]), FrameError::Tls);
    }

    #[test]
    fn an_announced_size_buys_no_memory() {
        let mut reader = FrameReader::new(100 << 20);
        fill(&mut reader, &(90i32 << 20).to_be_bytes());
        assert_eq!(reader.next_frame(), Ok(None));
        assert!(reader.space().remaining_mut() <= 2 * AHEAD_BYTES, "{} bytes held", reader.buffer.capacity());
        let chunk = vec![7; AHEAD_BYTES];
        for sent in (AHEAD_BYTES..).step_by(AHEAD_BYTES).take(64) {
            fill(&mut reader, &chunk);
            assert_eq!(reader.next_frame(), Ok(None));
            assert!(reader.buffer.capacity() <= 4 * sent + 2 * AHEAD_BYTES, "{sent} bytes arrived");
        }
    }

    #[test]
    fn a_client_that_sent_a_megabyte_gets_room_for_the_next_at_once() {
        let mut reader = FrameReader::new(100 << 20);
        let stream = framed(&[vec![1; 1 << 20]]);
        fill(&mut reader, &stream);
        assert_eq!(drain(&mut reader).expect("a frame").len(), 1);
        fill(&mut reader, &stream[..SIZE_BYTES]);
        let room = reader.space().remaining_mut();
        assert_eq!(room, (1 << 20) + SIZE_BYTES, "the whole frame and the next size, and nothing behind it");
        assert_eq!(reader.low_water(), 1 << 20);
    }

    #[test]
    fn steady_frames_reuse_one_buffer_and_move_no_part_of_a_frame() {
        let mut reader = FrameReader::new(100 << 20);
        let stream = framed(&[vec![1; 1 << 20], vec![2; 1 << 20], vec![3; 1 << 20], vec![4; 1 << 20]]);
        let (mut rest, mut places) = (&stream[..], Vec::new());
        while !rest.is_empty() {
            let held = reader.buffer.len();
            let mut space = reader.space();
            let room = space.remaining_mut().min(rest.len());
            space.put_slice(&rest[..room]);
            rest = &rest[room..];
            while let Some(frame) = reader.next_frame().expect("well-formed") {
                places.push(frame.as_ptr());
                assert!(reader.buffer.len() <= SIZE_BYTES, "{} bytes of the next frame", reader.buffer.len());
            }
            assert!(held < 2 << 20);
        }
        assert_eq!(places.len(), 4);
        assert_eq!(places[2], places[3], "the buffer of a served frame takes the next one");
    }

    #[test]
    fn only_the_rest_of_a_large_frame_is_waited_for_and_only_as_far_as_there_is_room() {
        let mut reader = FrameReader::new(100 << 20);
        assert_eq!(reader.low_water(), 1);
        fill(&mut reader, &(90i32 << 20).to_be_bytes());
        assert_eq!(reader.low_water(), AHEAD_BYTES, "a size that nobody has proven yet");
        fill(&mut reader, &vec![0; 1 << 20]);
        assert_eq!(reader.low_water(), (1 << 20) + SIZE_BYTES, "as much again as has arrived");
        let mut reader = FrameReader::new(100 << 20);
        fill(&mut reader, &framed(&[vec![0; 40_000]])[..20_000]);
        assert_eq!(reader.low_water(), 1, "20 KB are not worth a system call");
    }

    #[test]
    fn an_idle_reader_gives_its_memory_back() {
        let mut reader = FrameReader::new(1 << 20);
        fill(&mut reader, &framed(&[vec![1; 1000]]));
        assert!(reader.next_frame().expect("a frame").is_some());
        reader.release();
        assert_eq!(reader.buffer.capacity(), 0);
    }

    #[test]
    fn a_frame_is_its_own_buffer() {
        let mut reader = FrameReader::new(1 << 20);
        fill(&mut reader, &framed(&[vec![1; 10], vec![2; 10]]));
        let mut first = reader.next_frame().expect("a frame").expect("whole");
        first.fill(9);
        assert_eq!(&reader.next_frame().expect("a frame").expect("whole")[..], &[2; 10]);
    }
}
