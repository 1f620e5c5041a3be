//! The way to whoever leads a partition now: one connection per broker, opened again after a pause when it breaks, and
//! the topic's leaders, asked of every broker while somebody misses an answer. It decides no retry.
//! Invariant: what was sent on a connection that broke is answered as broken, never forgotten.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::client::connection::Connection;
use crate::client::error::ClientError;
use crate::client::leaders::{self, Leaders};
use crate::client::pipeline::split;
use crate::client::records::{PRODUCE_VERSION, acked, production};
use crate::wire::message::{ProduceRequest, StrBytes};

/// What a connection, or an answer about leaders, may take.
const PATIENCE: Duration = Duration::from_millis(300);
/// Between two attempts to connect to a broker, and between two questions to it.
const PAUSE: Duration = Duration::from_millis(20);
/// The longest that pause becomes.
const PAUSE_MAX: Duration = Duration::from_millis(160);

/// A batch on its way to a leader.
struct Order {
    partition: i32,
    batch: Bytes,
    answer: oneshot::Sender<Result<(), ClientError>>,
}

#[derive(Clone)]
struct Link {
    orders: mpsc::UnboundedSender<Order>,
    opened: Instant,
    pause: Duration,
}

/// Finds leaders.
pub struct Router {
    topic: String,
    client_id: &'static str,
    known: Mutex<Leaders>,
    news: watch::Sender<u64>,
    wanted: Notify,
    links: Mutex<BTreeMap<i32, Link>>,
}

impl Router {
    /// Knows what `leaders` says.
    pub fn new(topic: &str, client_id: &'static str, leaders: Leaders) -> Arc<Router> {
        Arc::new(Router {
            topic: topic.to_owned(),
            client_id,
            known: Mutex::new(leaders),
            news: watch::channel(0).0,
            wanted: Notify::new(),
            links: Mutex::default(),
        })
    }

    /// Who leads a partition, as far as is known.
    pub fn leader(&self, partition: i32) -> Option<i32> {
        self.known.lock().of(partition)
    }

    /// Where a broker listens.
    pub fn address(&self, broker: i32) -> Option<String> {
        self.known.lock().brokers.get(&broker).cloned()
    }

    /// Asks every broker who leads, again and again while somebody wants to know, until the handles are aborted.
    pub fn ask_all(self: &Arc<Self>) -> Vec<JoinHandle<()>> {
        let brokers: Vec<i32> = self.known.lock().brokers.keys().copied().collect();
        brokers.into_iter().map(|broker| tokio::spawn(self.clone().ask(broker))).collect()
    }

    async fn ask(self: Arc<Self>, broker: i32) {
        let mut open: Option<Connection> = None;
        loop {
            self.wanted.notified().await;
            let Some(address) = self.address(broker) else { return };
            let asked = async {
                let mut connection = match open.take() {
                    Some(connection) => connection,
                    None => Connection::open(&address, self.client_id).await?,
                };
                let told = leaders::ask(&mut connection, &self.topic).await?;
                Ok::<_, ClientError>((connection, told))
            };
            if let Ok(Ok((connection, told))) = timeout(PATIENCE, asked).await {
                open = Some(connection);
                self.known.lock().learn(told);
                self.news.send_modify(|times| *times += 1);
            }
            sleep(PAUSE).await;
        }
    }

    /// Somebody misses an answer.
    pub fn want(&self) {
        self.wanted.notify_waiters();
    }

    /// Wants to know, and waits for the next word of any broker, but not for ever.
    pub async fn news(&self) {
        let mut news = self.news.subscribe();
        let word = async {
            loop {
                self.want();
                if timeout(PAUSE, news.changed()).await.is_ok() {
                    return;
                }
            }
        };
        // Without a word the leader known is tried again.
        _ = timeout(PATIENCE, word).await;
    }

    /// Sends a batch to `broker`. The receiver fails when the connection breaks; `None`: there is none now.
    pub fn send(
        &self,
        broker: i32,
        partition: i32,
        batch: Bytes,
    ) -> Option<oneshot::Receiver<Result<(), ClientError>>> {
        let link = self.link(broker)?;
        let (answer, answered) = oneshot::channel();
        link.orders.send(Order { partition, batch, answer }).ok()?;
        Some(answered)
    }

    fn link(&self, broker: i32) -> Option<Link> {
        let address = self.address(broker)?;
        let (mut links, now) = (self.links.lock(), Instant::now());
        let known = links.get(&broker);
        if let Some(stands) = known.filter(|link| !link.orders.is_closed()) {
            return Some(stands.clone());
        }
        let pause = match known {
            Some(broken) if now < broken.opened + broken.pause => return None,
            Some(broken) if now < broken.opened + broken.pause * 4 => (broken.pause * 2).min(PAUSE_MAX),
            _ => PAUSE,
        };
        // Bounded by those who wait for an answer: each sends one batch at a time.
        let (orders, taken) = mpsc::unbounded_channel();
        let (topic, client_id) = (self.topic.clone(), self.client_id);
        tokio::spawn(async move {
            // Whoever waits for an answer sees that it will not come, and says so.
            _ = serve(&address, client_id, &topic, taken).await;
        });
        let link = Link { orders, opened: now, pause };
        links.insert(broker, link.clone());
        Some(link)
    }
}

/// Sends what is ordered and hands out the answers, which come in the same order.
async fn serve(
    address: &str,
    client_id: &str,
    topic: &str,
    mut orders: mpsc::UnboundedReceiver<Order>,
) -> Result<(), ClientError> {
    let Ok(opened) = timeout(PATIENCE, Connection::open(address, client_id)).await else { return Ok(()) };
    let connection = opened?;
    let version = connection.version::<ProduceRequest>(PRODUCE_VERSION)?;
    let (mut sender, mut receiver) = split(connection);
    let (tell, mut awaited) = mpsc::unbounded_channel();
    let client_id = StrBytes::from_string(client_id.to_owned());
    let sending = async move {
        let mut id = 0_i32;
        while let Some(Order { partition, batch, answer }) = orders.recv().await {
            if tell.send((id, answer)).is_err() {
                break;
            }
            sender.send(version, id, &client_id, &production(topic, partition, batch)).await?;
            id = id.wrapping_add(1);
        }
        Ok::<_, ClientError>(())
    };
    let receiving = async {
        while let Some((id, answer)) = awaited.recv().await {
            let said = receiver.receive::<ProduceRequest>(version, id).await?;
            // Nobody waits any more where the leader moved meanwhile.
            _ = answer.send(acked(&said).map(drop));
        }
        Ok(())
    };
    tokio::try_join!(sending, receiving).map(drop)
}
