//! One connection: read in order, answer in order, everything inline on its core.
//! It decodes nothing itself and knows no API. Invariant: responses leave in the order of their requests, and nothing a
//! client sends makes this wait for anything but that client.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use futures::future::LocalBoxFuture;
use tokio::io::AsyncReadExt;

use crate::api::context::{Answer, Context};
use crate::api::counters::Counters;
use crate::api::dispatch::dispatch;
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

/// A connection and all that is under way on it.
pub struct Connection {
    stream: Stream,
    context: Context,
    frames: FrameReader,
    sender: Sender,
    counters: Arc<Counters>,
    /// Answers in request order.
    answers: VecDeque<Pending>,
    /// What must finish before the next request starts.
    gate: Option<LocalBoxFuture<'static, Answer>>,
    /// A request that was read and may not start yet.
    held: Option<Request>,
    /// Reads no more: the reason is told once the answers are out.
    ending: Option<Ended>,
}

enum Pending {
    Ready(Response),
    Later { produce: bool, future: LocalBoxFuture<'static, Answer> },
}

/// What a connection woke up for.
enum Event {
    Read(io::Result<usize>),
    Answered(Answer),
    Gate(Answer),
    Knock(Knock),
}

impl Connection {
    /// A connection that holds no memory until bytes arrive. `request_max` is `socket.request.max.bytes`.
    pub fn new(stream: Stream, context: Context, lane: Arc<ColdLane>, request_max: usize) -> Self {
        let counters = context.shared.counters.clone();
        Self {
            stream,
            context,
            frames: FrameReader::new(request_max),
            sender: Sender::new(lane, counters.clone()),
            counters,
            answers: VecDeque::new(),
            gate: None,
            held: None,
            ending: None,
        }
    }

    /// Serves until either side ends it.
    pub async fn run(mut self, pulse: &Pulse) -> Ended {
        loop {
            self.serve();
            self.context.core.purgatory.end_turn();
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
            let answer = dispatch(&self.context, request);
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
        let mut pieces: Vec<Piece> = Vec::new();
        while let Some(Pending::Ready(_)) = self.answers.front() {
            if let Some(Pending::Ready(response)) = self.answers.pop_front() {
                pieces.extend(response.into_pieces());
            }
        }
        if pieces.is_empty() {
            return Ok(());
        }
        self.sender.send(&mut self.stream, &pieces).await
    }

    /// Waits until something happens; answers why the connection ends, if it does.
    async fn wait(&mut self, pulse: &Pulse) -> Option<Ended> {
        match self.next_event(pulse).await {
            Event::Read(Ok(0)) => return Some(Ended::Eof),
            Event::Read(Ok(_)) => pulse.beat(),
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
            }
            Event::Knock(Knock::Idle) => return Some(Ended::Idle),
            Event::Knock(Knock::Stop) => {
                self.ending.get_or_insert(Ended::Stop);
                self.held = None;
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

/// Reads what has arrived. Room is made only once there is something to read, so an idle connection holds none.
async fn read(stream: &mut Stream, frames: &mut FrameReader) -> io::Result<usize> {
    stream.readable().await?;
    stream.read_buf(frames.space()).await
}
