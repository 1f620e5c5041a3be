//! Zero-copy from a file to a socket. One system call per go, never waiting for a disk on its own: the caller probes
//! residency first. It is not a copy path: without a kernel socket or a file descriptor it answers `None`.
//! Invariant: what is sent is exactly the file's bytes from `at`, and the count says how many.

use std::io;
use std::sync::Arc;
use std::task::Poll;

use firnline_tiering::hot::file::File;

use crate::transport::net::Stream;

/// Sends up to `len` bytes of `file` from `at`; answers how many went out (0 = the file ends before `at`), or `None`
/// when either side has no descriptor.
pub async fn send(stream: &Stream, file: &Arc<dyn File>, at: u64, len: usize) -> Option<io::Result<usize>> {
    std::future::poll_fn(|cx| {
        let Some(source) = file.as_fd() else { return Poll::Ready(None) };
        let call = |socket: &tokio::net::TcpStream| {
            let mut from = at;
            Ok(rustix::fs::sendfile(socket, source, Some(&mut from), len)?)
        };
        match stream.poll_syscall(cx, call) {
            None => Poll::Ready(None),
            Some(Poll::Pending) => Poll::Pending,
            Some(Poll::Ready(outcome)) => Poll::Ready(Some(outcome)),
        }
    })
    .await
}
