//! One HTTP GET to a broker's admin port. HTTP/1.0, so that the body simply ends with the connection.
//! It is no HTTP client: no redirects, no TLS. Invariant: it takes at most 64 MiB and 30 seconds.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::client::error::ClientError;
use crate::transport::dial::dial;

const ANSWER_BYTES_MAX: u64 = 64 << 20;
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
const ANSWER_PATIENCE: Duration = Duration::from_secs(30);

/// A status and a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpAnswer {
    /// e.g. 200.
    pub status: u16,
    /// As text.
    pub body: String,
}

/// Asks `http://ADDRESS/PATH`; `path` begins with a slash and is already escaped.
pub async fn get(address: &str, path: &str) -> Result<HttpAnswer, ClientError> {
    let unreachable = |source| ClientError::Unreachable { address: address.to_owned(), source };
    let mut stream = dial(address, CONNECT_PATIENCE).await.map_err(unreachable)?;
    let broken = |source| ClientError::Broken { address: address.to_owned(), source };
    let exchange = async {
        let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\nAccept: application/json\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
        Ok(answer)
    };
    let answer = match timeout(ANSWER_PATIENCE, exchange).await {
        Ok(outcome) => outcome.map_err(broken)?,
        Err(_) => return Err(broken(io::Error::new(io::ErrorKind::TimedOut, "no answer within 30 s"))),
    };
    parse(&answer).ok_or_else(|| broken(io::Error::new(io::ErrorKind::InvalidData, "the answer is not HTTP")))
}

fn parse(answer: &[u8]) -> Option<HttpAnswer> {
    let text = std::str::from_utf8(answer).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut words = head.lines().next()?.split(' ');
    let status = words.next()?.starts_with("HTTP/1.").then(|| words.next())??.parse().ok()?;
    Some(HttpAnswer { status, body: body.to_owned() })
}

/// Escapes one part of a path or query: everything but letters, digits, `-`, `_`, `.` and `~`.
pub fn escape(part: &str) -> String {
    let mut escaped = String::with_capacity(part.len());
    for byte in part.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                escaped.push(char::from(byte))
            }
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_taken_apart() {
        let parsed = parse(b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\nno").unwrap();
        assert_eq!(parsed, HttpAnswer { status: 404, body: "no".into() });
        assert_eq!(parse(b"SSH-2.0-x\r\n\r\n"), None);
        assert_eq!(parse(b""), None);
        assert_eq!(escape("a b/ü"), "a%20b%2F%C3%BC");
    }
}
