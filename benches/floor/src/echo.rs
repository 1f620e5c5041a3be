//! What a small request cannot do without: its share of an epoll turn, a receive, an answer. Many connections, one
//! thread, one unanswered request each. Nothing is written. Invariant: every request has one answer.

use std::io;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::arguments::Arguments;
use crate::meter::{Figures, Meter};
use crate::sink::{ANSWER_BYTES, end_load, start_load};

fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

/// The serving side.
pub fn serve(asked: &Arguments) -> io::Result<Figures> {
    let chunk = asked.chunk;
    runtime()?.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let load = start_load(asked, "call", &listener.local_addr()?.to_string())?;
        let mut serving = JoinSet::new();
        let mut streams = Vec::new();
        while streams.len() < asked.connections {
            streams.push(listener.accept().await?.0);
        }
        let meter = Meter::start()?;
        for stream in streams {
            serving.spawn(answer(stream, chunk));
        }
        let mut requests = 0;
        for served in serving.join_all().await {
            requests += served?;
        }
        let figures = meter.end(requests, requests * chunk as u64)?;
        end_load(load)?;
        Ok(figures)
    })
}

async fn answer(mut stream: TcpStream, chunk: usize) -> io::Result<u64> {
    stream.set_nodelay(true)?;
    let (mut request, mut served) = (vec![0; chunk], 0);
    loop {
        match stream.read_exact(&mut request).await {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(served),
            outcome => outcome?,
        };
        stream.write_all(&[0; ANSWER_BYTES]).await?;
        served += 1;
    }
}

/// The load.
pub fn call(asked: &Arguments) -> io::Result<()> {
    runtime()?.block_on(async {
        let mut calling = JoinSet::new();
        for _ in 0..asked.connections {
            let stream = TcpStream::connect(&asked.address).await?;
            calling.spawn(ask(stream, asked.chunk, asked.operations / asked.connections as u64));
        }
        calling.join_all().await.into_iter().collect()
    })
}

async fn ask(mut stream: TcpStream, chunk: usize, times: u64) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (request, mut answer) = (vec![7; chunk], [0; ANSWER_BYTES]);
    for _ in 0..times {
        stream.write_all(&request).await?;
        stream.read_exact(&mut answer).await?;
    }
    Ok(())
}
