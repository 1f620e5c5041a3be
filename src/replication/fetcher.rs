//! One lane of the line to one leader: asks for all its partitions in one fetch, again and again, and hands on what
//! came (`receiver.rs`). It runs where nothing of housekeeping waits. Invariant: a fetch
//! tells the leader only what this broker has (with `firn.durability=disk`: has durably).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use futures::future::join_all;
use tokio::time::Instant;

use crate::partition::replica::{PartitionId, Throttle};
use crate::replication::line::{Lane, Line, Member, Turn};
use crate::replication::receiver::Receiver;
use crate::replication::session::{Asked, Session};
use crate::replication::world::World;
use crate::transport::peer::{Head, PeerConnection, PeerError, PeerLimits};
use crate::wire::api_key::ApiKey;
use crate::wire::error::WireError;
use crate::wire::fetch_ask::{FOLLOWER_VERSION, FetchAsk};
use crate::wire::fetch_reply::FetchReply;
use crate::wire::message::ResponseError;

/// Why a fetch came to nothing.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("the leader is not registered, or has no listener {0}")]
    Nowhere(String),
    #[error(transparent)]
    Peer(#[from] PeerError),
    #[error("the answer cannot be read: {0}")]
    Reply(#[from] WireError),
    #[error("the leader refused the fetch: {0}")]
    Refused(String),
}

/// How long a fetch of partitions that catch up waits at the leader: those that came meanwhile wait as long.
const CATCH_UP_WAIT_MS: i32 = 100;
/// Pause after a fetch that came to nothing.
const PAUSE: Duration = Duration::from_millis(50);
/// Pause before the limit of throttled partitions is looked at again.
const THROTTLED: Duration = Duration::from_millis(100);
/// How long connecting may take.
const DIAL: Duration = Duration::from_secs(2);

/// One lane.
pub struct Fetcher {
    line: Arc<Line>,
    lane: Lane,
    world: Arc<World>,
    receiver: Receiver,
    session: Session,
    connection: Option<((String, u16), PeerConnection)>,
    /// The last fetch came to nothing, which was said.
    failing: bool,
}

impl Fetcher {
    /// A lane that has not asked for anything.
    pub fn new(line: Arc<Line>, lane: Lane, world: Arc<World>) -> Fetcher {
        let receiver = Receiver { line: line.clone(), world: world.clone() };
        Fetcher { line, lane, world, receiver, session: Session::default(), connection: None, failing: false }
    }

    /// Fetches until the line ends.
    pub async fn run(self) {
        let ended = self.line.ended.clone();
        ended.run_until_cancelled(self.fetch()).await;
    }

    async fn fetch(mut self) {
        loop {
            let mut turn = self.line.turn(self.lane, Instant::now());
            self.hold_back(&mut turn);
            if turn.due.is_empty() {
                self.line.wait(self.lane, turn.next).await;
                continue;
            }
            let (line, world) = (self.line.clone(), self.world.clone());
            secure(&line, &world, &mut turn.due).await;
            if turn.due.is_empty() {
                continue;
            }
            match self.exchange(&turn.due).await {
                Ok((reply, bytes)) => {
                    self.failing = false;
                    self.receiver.take_all(&turn.due, reply, bytes).await;
                }
                Err(error) => {
                    self.session.reset();
                    if !std::mem::replace(&mut self.failing, true) {
                        let (leader, lane) = (self.line.leader.0, self.lane);
                        tracing::warn!(leader, ?lane, %error, partitions = turn.due.len(), "a fetch failed: tried again");
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// Leaves throttled partitions that catch up out of the fetch while the limit is used up (KIP-73).
    fn hold_back(&self, turn: &mut Turn) {
        let quota = &self.world.quotas.follower;
        let throttled = |member: &Member| member.partition.is_throttled(Throttle::Follower);
        if self.lane == Lane::InSync || !turn.due.values().any(throttled) || !quota.is_exceeded() {
            return;
        }
        turn.due.retain(|_, member| !throttled(member));
        quota.count_held_back();
        let again = Instant::now() + THROTTLED;
        turn.next = Some(turn.next.map_or(again, |next| next.min(again)));
    }

    /// Asks for everything that is due and reads the answer.
    async fn exchange(
        &mut self,
        due: &BTreeMap<PartitionId, Member>,
    ) -> Result<(FetchReply, BytesMut), FetchError> {
        let (world, settings) = (self.world.clone(), &self.world.settings);
        let wanted: Asked = due
            .values()
            .map(|member| (key(member.partition.id()), member.ask(settings.fetch_partition_bytes)))
            .collect();
        let image = world.controller.image();
        let me = image.brokers.get(world.node);
        let step = self.session.next(wanted);
        let request = FetchAsk {
            replica_id: world.node.0,
            replica_epoch: me.map_or(-1, |broker| broker.epoch.0),
            max_wait_ms: match self.lane {
                Lane::InSync => settings.fetch_wait_ms,
                Lane::CatchingUp => settings.fetch_wait_ms.min(CATCH_UP_WAIT_MS),
            },
            min_bytes: settings.fetch_bytes_min,
            max_bytes: settings.fetch_bytes,
            session_id: step.id,
            session_epoch: step.epoch,
            cluster_id: world.cluster_id.to_string(),
            topics: step.topics,
            forgotten: step.forgotten,
        };
        let patience = Duration::from_millis(settings.fetch_timeout_ms);
        let head = Head { key: ApiKey::Fetch as i16, version: FOLLOWER_VERSION, flexible: true };
        let answer = self.connection()?.call(head, &[&request.encode()], patience).await?;
        let reply = FetchReply::parse(&answer)?;
        if reply.error != 0 {
            let named = ResponseError::try_from_code(reply.error);
            return Err(FetchError::Refused(
                named.map_or(reply.error.to_string(), |error| format!("{error:?}")),
            ));
        }
        self.session.answered(reply.session_id);
        // The frame is nobody else's: this copies nothing.
        let bytes = answer.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
        Ok((reply, bytes))
    }

    /// The connection to where the leader listens now.
    fn connection(&mut self) -> Result<&mut PeerConnection, FetchError> {
        let world = &self.world;
        let image = world.controller.image();
        let endpoints = image.brokers.get(self.line.leader).map(|broker| &broker.endpoints[..]);
        let endpoint = endpoints.unwrap_or_default().iter().find(|it| it.listener == world.listener);
        let Some(endpoint) = endpoint else { return Err(FetchError::Nowhere(world.listener.clone())) };
        let at = (endpoint.host.clone(), endpoint.port);
        let stands = self.connection.take().filter(|(known, _)| *known == at);
        let (_, connection) = self.connection.insert(stands.unwrap_or_else(|| {
            let limits = PeerLimits { dial: DIAL, answer_bytes_max: i32::MAX as usize };
            let client_id = format!("broker-{}-fetcher", world.node.0);
            let connection = PeerConnection::new(world.net.clone(), &at.0, at.1, &client_id, limits);
            (at, connection)
        }));
        Ok(connection)
    }
}

/// Makes durable, where that is promised, what the next fetch shows: what a killed process left lies in the page
/// cache only. What cannot be made durable is not shown.
async fn secure(line: &Line, world: &World, due: &mut BTreeMap<PartitionId, Member>) {
    let open = |member: &Member| member.partition.is_durable() && member.partition.log().unflushed() > 0;
    let flushes = due.values().filter(|member| open(member)).map(|member| {
        let partition = member.partition.clone();
        world.lane.run(move || partition.log().flush())
    });
    // What failed is said by the log; its end does not count as durable then.
    join_all(flushes).await;
    let most = Duration::from_millis(world.settings.fetch_backoff_ms);
    due.retain(|id, member| {
        let shown = !open(member);
        if !shown {
            line.failed(*id, member.following, Instant::now(), most);
        }
        shown
    });
}

fn key(id: PartitionId) -> (uuid::Uuid, i32) {
    (id.topic.0, id.index)
}
