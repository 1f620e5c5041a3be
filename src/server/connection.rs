//! One connection: read in order, answer in order, everything inline on its core.
//! It decodes nothing itself and knows no API. Invariant: responses leave in the order of their requests, and nothing a
//! client sends makes this wait for anything but that client.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use bytes::BufMut;
use futures::future::LocalBoxFuture;
use tokio::io::AsyncReadExt;

use crate::api::context::Answer;
use crate::api::counters::Counters;
use crate::partition::cold_lane::ColdLane;
use crate::server::pulse::{Knock, Pulse};
use crate::server::send::Sender;
use crate::transport::frame::{FrameError, FrameReader};
use crate::transport::net::Stream;
use crate::wire::api_key::ApiKey;
use crate::wire::request::{Request, WireError, decode};
use crate::wire::response::{Piece, Response};

/// Requests of one connection that are begun and not answered. Kafka's clients keep five in flight.
const IN_FLIGHT_MAX: usize = 32;

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// The client left.
    #[error("the client closed the connection")]
    Eof,
    /// The socket failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The bytes are not Kafka's.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A request nobody can read.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// A handler ended it.
    #[error("{0}")]
    Closed(String),
    /// Silent for longer than `connections.max.idle.ms`.
    #[error("the connection was idle")]
    Idle,
    /// The broker stops.
    #[error("the broker stops")]
    Stop,
}

impl Ended {
    /// True when the other side sent something that is no request of ours.
    pub fn is_broken(&self) -> bool {
        matches!(self, Ended::Frame(_) | Ended::Wire(_) | Ended::Closed(_))
    }
}

/// Who answers the requests of a connection.
pub trait Service {
    /// Begins to answer a request.
    fn serve(&self, request: Request) -> Answer;
    /// Every request that had arrived has been begun.
    fn end_turn(&self);
}

/// A connection and all that is under way on it.
pub struct Connection<S> {
    stream: Stream,
    service: S,
    frames: FrameReader,
    sender: Sender,
    counters: Arc<Counters>,
    /// Answers in request order.
    answers: VecDeque<Pending>,
    /// What is being sent; empty between turns.
    pieces: Vec<Piece>,
    /// What must finish before the next request starts.
    gate: Option<LocalBoxFuture<'static, Answer>>,
    /// A request that was read and may not start yet.
    held: Option<Request>,
    /// Reads no more: the reason is told once the answers are out.
    ending: Option<Ended>,
    awaiting: Awaiting,
}

/// What the kernel was told to wait for.
struct Awaiting {
    /// Bytes that make the socket readable.
    low_water: usize,
    /// The last read took all there was room for, so the socket may hold more.
    full: bool,
    /// Quiet in the middle of a frame: each byte is a sign of life again.
    trickles: bool,
}

enum Pending {
    Ready(Response),
    Later { produce: bool, future: LocalBoxFuture<'static, Answer> },
}

/// What a connection woke up for.
enum Event {
    Read(io::Result<Arrived>),
    Answered(Answer),
    Gate(Answer),
    Knock(Knock),
}

impl<S: Service> Connection<S> {
    /// A connection that holds no memory until bytes arrive. `request_max` is `socket.request.max.bytes`.
    pub fn new(
        stream: Stream,
        service: S,
        counters: Arc<Counters>,
        lane: Arc<ColdLane>,
        request_max: usize,
    ) -> Self {
        Self {
            stream,
            service,
            frames: FrameReader::new(request_max),
            sender: Sender::new(lane, counters.clone()),
            counters,
            answers: VecDeque::new(),
            pieces: Vec::new(),
            gate: None,
            held: None,
            ending: None,
            awaiting: Awaiting { low_water: 1, full: false, trickles: false },
        }
    }

    /// Serves until either side ends it.
    pub async fn run(mut self, pulse: &Pulse) -> Ended {
        loop {
            self.serve();
            self.service.end_turn();
            if let Err(error) = self.flush().await {
                return Ended::Io(error);
            }
            if self.answers.is_empty() && self.gate.is_none() {
                if let Some(ended) = self.ending.take() {
                    return ended;
                }
                if self.held.is_some() {
                    continue;
                }
            }
            pulse.set_busy(!self.answers.is_empty() || self.gate.is_some());
            if let Err(error) = self.tell_low_water() {
                return Ended::Io(error);
            }
            if let Some(ended) = self.wait(pulse).await {
                return ended;
            }
        }
    }

    /// Starts every request that may start now.
    fn serve(&mut self) {
        while self.gate.is_none() && self.ending.is_none() && self.answers.len() < IN_FLIGHT_MAX {
            let request = match self.next_request() {
                Ok(Some(request)) => request,
                Ok(None) => return,
                Err(ended) => {
                    self.ending = Some(ended);
                    return;
                }
            };
            if !self.may_start(&request) {
                self.held = Some(request);
                return;
            }
            let produce = request.header.api_key == ApiKey::Produce;
            self.counters.requests(request.header.api_key).add(1);
            let answer = self.service.serve(request);
            self.take(answer, produce);
        }
    }

    fn next_request(&mut self) -> Result<Option<Request>, Ended> {
        if let Some(held) = self.held.take() {
            return Ok(Some(held));
        }
        match self.frames.next_frame()? {
            Some(frame) => Ok(Some(decode(frame)?)),
            None => Ok(None),
        }
    }

    /// Behind an answer that is still to come only Produce may start, and only behind Produce: all other APIs see one
    /// request at a time, as with Kafka.
    fn may_start(&self, request: &Request) -> bool {
        let produce = request.header.api_key == ApiKey::Produce;
        self.answers.iter().all(|pending| match pending {
            Pending::Ready(_) => true,
            Pending::Later { produce: before, .. } => *before && produce,
        })
    }

    fn take(&mut self, answer: Answer, produce: bool) {
        match answer {
            Answer::Ready(response) => self.answers.push_back(Pending::Ready(response)),
            Answer::Later(future) => self.answers.push_back(Pending::Later { produce, future }),
            Answer::First(future) => self.gate = Some(future),
            Answer::Silent => {}
            Answer::Close(reason) => self.ending = Some(Ended::Closed(reason)),
        }
    }

    /// Writes the answers at the head of the queue that are complete, all in one go.
    async fn flush(&mut self) -> io::Result<()> {
        while let Some(Pending::Ready(_)) = self.answers.front() {
            if let Some(Pending::Ready(response)) = self.answers.pop_front() {
                self.pieces.extend(response.into_pieces());
            }
        }
        if self.pieces.is_empty() {
            return Ok(());
        }
        let sent = self.sender.send(&mut self.stream, &self.pieces).await;
        self.pieces.clear();
        sent
    }

    /// Has this core woken once for the rest of a large frame, and not for each packet of it. Costs nothing while
    /// frames are small.
    fn tell_low_water(&mut self) -> io::Result<()> {
        let awaiting = &mut self.awaiting;
        let low_water = if awaiting.trickles { 1 } else { self.frames.low_water() };
        if low_water == awaiting.low_water && (low_water == 1 || !awaiting.full) {
            return Ok(());
        }
        (awaiting.low_water, awaiting.full) = (low_water, false);
        self.stream.set_low_water(low_water)
    }

    /// Waits until something happens; answers why the connection ends, if it does.
    async fn wait(&mut self, pulse: &Pulse) -> Option<Ended> {
        match self.next_event(pulse).await {
            Event::Read(Ok(Arrived { bytes: 0, .. })) => return Some(Ended::Eof),
            Event::Read(Ok(arrived)) => {
                (self.awaiting.full, self.awaiting.trickles) = (arrived.full, false);
                pulse.beat();
            }
            Event::Read(Err(error)) => return Some(Ended::Io(error)),
            Event::Answered(answer) => self.settle_first(answer),
            Event::Gate(answer) => {
                self.gate = None;
                // Only a produce request closes the gate behind it.
                self.take(answer, true);
            }
            Event::Knock(Knock::Quiet) => {
                self.frames.release();
                self.sender.release();
                self.pieces = Vec::new();
                self.awaiting.trickles = true;
            }
            // Bytes below the mark were not seen: they show now, or the next knock is the last.
            Event::Knock(Knock::Idle) if self.awaiting.low_water > 1 => self.awaiting.trickles = true,
            Event::Knock(Knock::Idle) => return Some(Ended::Idle),
            Event::Knock(Knock::Stop) => {
                self.ending.get_or_insert(Ended::Stop);
                self.held = None;
                // What was appended is still acknowledged; who waits for news asks another broker.
                self.answers.retain(|pending| match pending {
                    Pending::Ready(_) => true,
                    Pending::Later { produce, .. } => *produce,
                });
            }
        }
        None
    }

    /// The first of the queue has come to its answer.
    fn settle_first(&mut self, answer: Answer) {
        let produce = matches!(self.answers.pop_front(), Some(Pending::Later { produce: true, .. }));
        match answer {
            Answer::Ready(response) => self.answers.push_front(Pending::Ready(response)),
            Answer::Later(future) | Answer::First(future) => {
                self.answers.push_front(Pending::Later { produce, future });
            }
            Answer::Silent => {}
            Answer::Close(reason) => {
                // Nothing behind it may go out: the client counts responses.
                self.answers.clear();
                self.held = None;
                self.ending = Some(Ended::Closed(reason));
            }
        }
    }

    async fn next_event(&mut self, pulse: &Pulse) -> Event {
        let Self { stream, frames, answers, gate, held, ending, .. } = self;
        // Reading goes on while an answer is awaited: that is how we learn that the client left. It ends where memory
        // would grow without bound: a full queue, or a request that may not start yet.
        let may_read = gate.is_none() && held.is_none() && ending.is_none() && answers.len() < IN_FLIGHT_MAX;
        let first = match answers.front_mut() {
            Some(Pending::Later { future, .. }) => Some(future),
            _ => None,
        };
        tokio::select! {
            biased;
            knock = pulse.knocked() => Event::Knock(knock),
            answer = optional(gate.as_mut()) => Event::Gate(answer),
            response = optional(first) => Event::Answered(response),
            read = read(stream, frames), if may_read => Event::Read(read),
        }
    }
}

/// The future's outcome, or never.
async fn optional<T>(future: Option<&mut LocalBoxFuture<'static, T>>) -> T {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

/// What a read brought.
struct Arrived {
    bytes: usize,
    /// It took all there was room for.
    full: bool,
}

/// Reads what has arrived. Room is made only once there is something to read, so an idle connection holds none.
async fn read(stream: &mut Stream, frames: &mut FrameReader) -> io::Result<Arrived> {
    stream.readable().await?;
    let mut space = frames.space();
    let bytes = stream.read_buf(&mut space).await?;
    Ok(Arrived { bytes, full: !space.has_remaining_mut() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::rc::Rc;
    use std::time::Duration;

    use tokio::io::{AsyncWriteExt, DuplexStream};
    use tokio::sync::oneshot;
    use tokio::task::LocalSet;

    use crate::server::pulse::Pulses;
    use crate::transport::dial::dial;
    use crate::transport::net::{ListenOptions, Net, OsNet};
    use crate::wire::header::Header;

    /// Answers by a script: what each correlation id gets.
    #[derive(Clone, Default)]
    struct Script {
        begun: Rc<RefCell<Vec<i32>>>,
        answers: Rc<RefCell<Vec<(i32, Answer)>>>,
    }

    impl Service for Script {
        fn serve(&self, request: Request) -> Answer {
            let id = request.header.correlation_id;
            self.begun.borrow_mut().push(id);
            let mut answers = self.answers.borrow_mut();
            match answers.iter().position(|(of, _)| *of == id) {
                Some(place) => answers.remove(place).1,
                None => Answer::Ready(response(id)),
            }
        }

        fn end_turn(&self) {}
    }

    fn response(id: i32) -> Response {
        let header = Header { api_key: ApiKey::ApiVersions, version: 0, correlation_id: id, client_id: None };
        Response::finish(Response::begin(&header, 0).out, Vec::new()).unwrap()
    }

    fn later(released: oneshot::Receiver<Answer>) -> LocalBoxFuture<'static, Answer> {
        Box::pin(async move { released.await.unwrap() })
    }

    fn frame(key: i16, version: i16, id: i32, body: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        frame.extend(i32::try_from(10 + body.len()).unwrap().to_be_bytes());
        frame.extend(key.to_be_bytes());
        frame.extend(version.to_be_bytes());
        frame.extend(id.to_be_bytes());
        frame.extend((-1i16).to_be_bytes());
        frame.extend(body);
        frame
    }

    /// Produce v3 of nothing: null id, acks=-1, timeout, no topics.
    fn produce(id: i32) -> Vec<u8> {
        frame(0, 3, id, &[255, 255, 255, 255, 0, 0, 0, 1, 0, 0, 0, 0])
    }

    fn api_versions(id: i32) -> Vec<u8> {
        frame(18, 0, id, &[])
    }

    struct Setting {
        script: Script,
        client: DuplexStream,
        pulse: Rc<Pulse>,
        ended: tokio::task::JoinHandle<Ended>,
    }

    /// Starts a connection inside a `LocalSet`.
    fn start(answers: Vec<(i32, Answer)>) -> Setting {
        let (client, server) = tokio::io::duplex(1 << 16);
        let script = Script { answers: Rc::new(RefCell::new(answers)), ..Script::default() };
        let pulse = Rc::new(Pulse::default());
        let ended = serve(Stream::Simulated(Box::new(server)), script.clone(), pulse.clone());
        Setting { script, client, pulse, ended }
    }

    fn serve(stream: Stream, script: Script, pulse: Rc<Pulse>) -> tokio::task::JoinHandle<Ended> {
        let connection = Connection::new(stream, script, Arc::default(), ColdLane::new(None, 0), 1 << 20);
        tokio::task::spawn_local(async move { connection.run(&pulse).await })
    }

    impl Setting {
        async fn send(&mut self, frames: &[Vec<u8>]) {
            self.client.write_all(&frames.concat()).await.unwrap();
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
        }

        /// Correlation ids of the next `count` responses.
        async fn receive(&mut self, count: usize) -> Vec<i32> {
            let mut ids = Vec::new();
            for _ in 0..count {
                assert_eq!(self.client.read_i32().await.unwrap(), 4);
                ids.push(self.client.read_i32().await.unwrap());
            }
            ids
        }

        fn begun(&self) -> Vec<i32> {
            self.script.begun.borrow().clone()
        }
    }

    #[tokio::test]
    async fn produce_overtakes_nothing_but_starts_behind_produce() {
        let local = LocalSet::new();
        local
            .run_until(async {
                let (release, released) = oneshot::channel();
                let mut it = start(vec![(1, Answer::Later(later(released)))]);
                it.send(&[produce(1), produce(2), api_versions(3), produce(4)]).await;
                assert_eq!(it.begun(), [1, 2], "only Produce starts behind a waiting Produce");
                release.send(Answer::Ready(response(1))).ok();
                assert_eq!(it.receive(4).await, [1, 2, 3, 4]);
                assert_eq!(it.begun(), [1, 2, 3, 4]);
            })
            .await;
    }

    #[tokio::test]
    async fn a_closed_gate_holds_back_everything() {
        let local = LocalSet::new();
        local
            .run_until(async {
                let (release, released) = oneshot::channel();
                let mut it = start(vec![(1, Answer::First(later(released)))]);
                it.send(&[produce(1), produce(2)]).await;
                assert_eq!(it.begun(), [1]);
                release.send(Answer::Ready(response(1))).ok();
                assert_eq!(it.receive(2).await, [1, 2]);
            })
            .await;
    }

    #[tokio::test]
    async fn a_silent_answer_leaves_no_gap_and_a_close_ends_after_what_came_before() {
        let local = LocalSet::new();
        local
            .run_until(async {
                let close = Answer::Close("enough".to_owned());
                let mut it = start(vec![(2, Answer::Silent), (4, close)]);
                it.send(&[produce(1), produce(2), produce(3), produce(4), produce(5)]).await;
                assert_eq!(it.receive(2).await, [1, 3]);
                assert!(it.client.read_i32().await.is_err());
                assert_eq!(it.begun(), [1, 2, 3, 4]);
                assert!(matches!(it.ended.await.unwrap(), Ended::Closed(why) if why == "enough"));
            })
            .await;
    }

    #[tokio::test]
    async fn a_client_that_leaves_takes_its_waiting_request_along() {
        let local = LocalSet::new();
        local
            .run_until(async {
                let (release, released) = oneshot::channel();
                let mut it = start(vec![(1, Answer::Later(later(released)))]);
                it.send(&[api_versions(1)]).await;
                drop(it.client);
                assert!(matches!(it.ended.await.unwrap(), Ended::Eof | Ended::Io(_)));
                assert!(release.is_closed(), "the request still waits");
            })
            .await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_behind_a_waiting_request_is_not_read() {
        let local = LocalSet::new();
        local
            .run_until(async {
                let (_release, released) = oneshot::channel();
                let mut it = start(vec![(0, Answer::Later(later(released)))]);
                let flood: Vec<u8> = (0..20_000).flat_map(api_versions).collect();
                let write = tokio::time::timeout(Duration::from_millis(200), it.client.write_all(&flood));
                assert!(write.await.is_err(), "280 KB went into a connection that answers nothing");
                assert_eq!(it.begun(), [0]);
            })
            .await;
    }

    async fn turns(count: usize) {
        for _ in 0..count {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn half_a_large_frame_is_timed_out_and_a_trickle_of_it_is_not() {
        let local = LocalSet::new();
        local
            .run_until(async {
                let options = ListenOptions { backlog: 1, send_buffer: None, receive_buffer: None };
                let mut listener = OsNet.listen(([127, 0, 0, 1], 0).into(), &options).await.unwrap();
                let address = listener.local_addr().unwrap().to_string();
                let mut client = dial(&address, Duration::from_secs(5)).await.unwrap();
                let stream = listener.accept().await.unwrap().attach().unwrap();
                let pulses = Rc::new(Pulses::default());
                let entry = pulses.enter();
                let ended = serve(stream, Script::default(), entry.pulse.clone());
                client.write_all(&200_000i32.to_be_bytes()).await.unwrap();
                turns(50).await;
                for _ in 0..3 {
                    // Each byte lies far below what the kernel was told to wait for.
                    client.write_all(b"x").await.unwrap();
                    for _ in 0..2 {
                        pulses.sweep_once(Some(1));
                        turns(50).await;
                    }
                    assert!(!ended.is_finished(), "bytes came in");
                }
                for _ in 0..3 {
                    pulses.sweep_once(Some(1));
                    turns(50).await;
                }
                assert!(matches!(ended.await.unwrap(), Ended::Idle));
            })
            .await;
    }

    #[tokio::test]
    async fn bytes_that_are_no_request_end_it() {
        let local = LocalSet::new();
        local
            .run_until(async {
                let mut it = start(Vec::new());
                it.send(&[api_versions(1), b"GET / HTTP/1.1\r\n".to_vec()]).await;
                assert_eq!(it.receive(1).await, [1]);
                assert!(it.ended.await.unwrap().is_broken());
                let mut it = start(Vec::new());
                it.send(&[]).await;
                it.pulse.set_busy(false);
                it.client.write_all(&frame(77, 0, 1, &[])).await.unwrap();
                assert!(matches!(it.ended.await.unwrap(), Ended::Wire(_)));
            })
            .await;
    }
}
