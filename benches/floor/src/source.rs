//! What a fetch from the page cache cannot do without: read a request, send a header, sendfile. One thread.
//! The load asks for the next chunk once it has the last, as a consumer does. Invariant: the file is in the page cache,
//! because it was just written.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use crate::arguments::Arguments;
use crate::meter::{Figures, Meter};
use crate::sink::{end_load, start_load};

/// Bytes of a request: about a Fetch request's.
const REQUEST_BYTES: usize = 100;
/// Bytes before the records: about a Fetch response's.
const HEADER_BYTES: usize = 80;
/// The file is read again from its start after so many bytes.
const FILE_BYTES: u64 = 1 << 30;

/// The serving side.
pub fn serve(asked: &Arguments) -> io::Result<Figures> {
    let path = asked.dir.join("source");
    let mut file = File::create(&path)?;
    let chunk = vec![7; asked.chunk];
    let chunks = asked.chunks().min(FILE_BYTES / asked.chunk as u64).max(1);
    for _ in 0..chunks {
        file.write_all(&chunk)?;
    }
    let file = File::open(&path)?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let load = start_load(asked, "pull", &listener.local_addr()?.to_string())?;
    let (mut stream, _) = listener.accept()?;
    stream.set_nodelay(true)?;
    let meter = Meter::start()?;
    let served = answer(&mut stream, &file, asked.chunk, chunks)?;
    let figures = meter.end(served, served * asked.chunk as u64)?;
    end_load(load)?;
    std::fs::remove_file(&path)?;
    Ok(figures)
}

fn answer(stream: &mut TcpStream, file: &File, chunk: usize, chunks: u64) -> io::Result<u64> {
    let (mut request, mut served) = ([0; REQUEST_BYTES], 0);
    loop {
        match stream.read_exact(&mut request) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(served),
            outcome => outcome?,
        }
        rustix::net::send(&*stream, &[0; HEADER_BYTES], rustix::net::SendFlags::MORE)?;
        let mut at = served % chunks * chunk as u64;
        let end = at + chunk as u64;
        while at < end {
            let left = (end - at) as usize;
            rustix::fs::sendfile(&*stream, file, Some(&mut at), left)?;
        }
        served += 1;
    }
}

/// The load.
pub fn pull(asked: &Arguments) -> io::Result<()> {
    let mut stream = TcpStream::connect(&asked.address)?;
    stream.set_nodelay(true)?;
    let mut answer = vec![0; HEADER_BYTES + asked.chunk];
    for _ in 0..asked.chunks() {
        stream.write_all(&[0; REQUEST_BYTES])?;
        stream.read_exact(&mut answer)?;
    }
    Ok(())
}
