//! The two small HTTP servers: `/metrics`, and the admin port with health and tier status.
//! They serve text and JSON, change nothing, and run beside the serving cores. Invariant: an address that an operator
//! chose is taken or refused; our own default gives way to a free port, and the log says so.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use crate::config::broker::HttpListener;
use crate::telemetry::exposition::{CONTENT_TYPE, page};
use crate::telemetry::gather;
use crate::telemetry::metrics::Seen;
use crate::transport::net::{ListenOptions, Listener, Net, Stream};

/// Connections the kernel may hold: scrapers come one at a time.
const BACKLOG: u32 = 64;
/// Pause after a failed accept, so that a lack of file descriptors is no busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why an HTTP listener did not start.
#[derive(Debug, thiserror::Error)]
#[error("{key}={address} cannot be listened on: {source}")]
pub struct HttpError {
    key: &'static str,
    address: String,
    source: io::Error,
}

/// Where the servers listen; `None` for one that is switched off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bound {
    /// `/metrics`.
    pub metrics: Option<SocketAddr>,
    /// Health and tier status.
    pub admin: Option<SocketAddr>,
}

/// Starts both servers on the current runtime; they end with `stop`.
pub async fn start(net: &dyn Net, seen: Arc<Seen>, stop: &CancellationToken) -> Result<Bound, HttpError> {
    let telemetry = seen.shared.config.telemetry.clone();
    let mut bound = Bound::default();
    if let Some(listener) = &telemetry.metrics {
        let socket = listen(net, "firn.metrics.listener", listener).await?;
        bound.metrics = socket.0.local_addr().ok();
        serve(socket, metrics_router(seen.clone()), stop);
    }
    if let Some(listener) = &telemetry.admin {
        let socket = listen(net, "firn.admin.listener", listener).await?;
        bound.admin = socket.0.local_addr().ok();
        serve(socket, admin_router(seen), stop);
    }
    Ok(bound)
}

async fn listen(net: &dyn Net, key: &'static str, wanted: &HttpListener) -> Result<Socket, HttpError> {
    let failed = |source| HttpError { key, address: wanted.address.clone(), source };
    let (host, port) = wanted.address.rsplit_once(':').unwrap_or((&wanted.address, "0"));
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let port = port.parse().map_err(|error| failed(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
    let addresses = net.resolve(host, port).await.map_err(failed)?;
    let Some(mut address) = addresses.first().copied() else {
        return Err(failed(io::Error::new(io::ErrorKind::NotFound, "the name has no address")));
    };
    let options = ListenOptions { backlog: BACKLOG, send_buffer: None, receive_buffer: None };
    let listener = match net.listen(address, &options).await {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && !wanted.chosen => {
            address.set_port(0);
            let listener = net.listen(address, &options).await.map_err(failed)?;
            let free = listener.local_addr().map_err(failed)?;
            tracing::warn!(key, taken = %wanted.address, address = %free, "port is taken, listening on a free one");
            listener
        }
        outcome => outcome.map_err(failed)?,
    };
    tracing::info!(key, address = %listener.local_addr().map_err(failed)?, "http listener is open");
    Ok(Socket(listener))
}

fn serve(socket: Socket, router: Router, stop: &CancellationToken) {
    let stop = stop.clone();
    tokio::spawn(async move {
        let serving = axum::serve(socket, router).with_graceful_shutdown(stop.cancelled_owned());
        if let Err(error) = serving.await {
            tracing::warn!(%error, "an http listener ended");
        }
    });
}

/// The network door's listener as axum takes it.
struct Socket(Box<dyn Listener>);

impl axum::serve::Listener for Socket {
    type Io = Stream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Stream, SocketAddr) {
        loop {
            let accepted = self.0.accept().await.and_then(|accepted| Ok((accepted.peer, accepted.attach()?)));
            match accepted {
                Ok((peer, stream)) => return (stream, peer),
                Err(error) => {
                    tracing::debug!(%error, "an http connection was not accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

fn metrics_router(seen: Arc<Seen>) -> Router {
    Router::new().route("/metrics", get(scrape)).with_state(seen)
}

async fn scrape(State(seen): State<Arc<Seen>>) -> Response {
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], page(seen.families().await)).into_response()
}

fn admin_router(seen: Arc<Seen>) -> Router {
    Router::new()
        .route("/health/live", get(|| async { "alive\n" }))
        .route("/health/ready", get(ready))
        .route("/tier", get(tier))
        .with_state(seen)
}

async fn ready(State(seen): State<Arc<Seen>>) -> Response {
    let reasons = gather::reasons_not_ready(&seen);
    let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(serde_json::json!({ "ready": reasons.is_empty(), "reasons": reasons }))).into_response()
}

#[derive(Deserialize)]
struct Asked {
    topic: Option<String>,
}

async fn tier(State(seen): State<Arc<Seen>>, Query(asked): Query<Asked>) -> Response {
    match gather::tier_status(&seen, asked.topic.as_deref()).await {
        Some(status) => Json(status).into_response(),
        None => {
            let topic = asked.topic.unwrap_or_default();
            (StatusCode::NOT_FOUND, format!("this broker leads no partition of a topic named {topic}\n"))
                .into_response()
        }
    }
}
