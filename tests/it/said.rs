//! What the log of the real binary says when somebody is wrong: strangers on the Kafka port, misspelt keys,
//! transactions, a bucket that cannot be used. One clear line each, and the broker goes on.

use std::net::TcpListener;

use kafka_protocol::messages::{FindCoordinatorRequest, InitProducerIdRequest};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::asks::text;
use crate::harness::process::{Home, Process};
use crate::harness::records::{batch, values};
use crate::harness::wait::until;
use crate::harness::wire_client::frame;

const TRANSACTIONAL_ID_AUTHORIZATION_FAILED: i16 = 53;

async fn assert_serves(process: &Process, topic: &str) {
    let mut client = process.client().await;
    let offset = client.append(topic, 0, batch(&["still here"])).await;
    let found = client.fetch(topic, 0, offset, 1 << 20, 1_000).await.unwrap();
    assert_eq!(values(&found.records.unwrap()), [(offset, "still here".to_owned())]);
}

#[tokio::test]
async fn strangers_on_the_kafka_port_get_one_line_each() {
    let home = Home::new(&[]);
    let process = home.start(&[]).await;
    process.client().await.create("t", 1, &[]).await;
    let strangers: [(&[u8], &str); 2] = [
        (b"GET /metrics HTTP/1.1\r\nHost: broker\r\n\r\n", "these bytes are HTTP"),
        (&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03], "open a TLS handshake"),
    ];
    for (bytes, line) in strangers {
        let mut stream = TcpStream::connect(&process.kafka).await.unwrap();
        let peer = stream.local_addr().unwrap().to_string();
        stream.write_all(bytes).await.unwrap();
        // Closed, with or without a reset.
        let answered = stream.read(&mut [0; 64]).await.unwrap_or(0);
        assert_eq!(answered, 0, "a stranger gets no bytes");
        until(line, async || !process.said(line).is_empty()).await;
        let said = process.said(line);
        assert!(said.len() == 1 && said[0].contains(&peer) && said[0].contains("WARN"), "{said:#?}");
    }
    assert_serves(&process, "t").await;
    assert_eq!(process.said("connection closed").len(), 2);
}

#[tokio::test]
async fn a_request_that_nobody_can_read_gets_one_line_with_what_is_wrong() {
    let home = Home::new(&[]);
    let process = home.start(&[]).await;
    process.client().await.create("t", 1, &[]).await;
    let requests: [(i16, i16, &[u8], &str); 3] = [
        (999, 0, &[], "unknown api key 999 (version 0)"),
        (3, 99, &[], "Metadata version 99 is not supported (we speak 0-13)"),
        (3, 0, &[0x03, 0x3c, 0x0c, 0x00, 0xb6], "a length at byte"),
    ];
    for (key, version, body, line) in requests {
        let mut client = process.client().await;
        client.send_frame(&frame(key, version, body)).await.unwrap();
        assert!(client.read_frame().await.is_err(), "key {key} version {version} was answered");
        until(line, async || !process.said(line).is_empty()).await;
        let said = process.said(line);
        assert!(said.len() == 1 && said[0].contains("WARN") && said[0].contains("peer"), "{said:#?}");
    }
    assert_serves(&process, "t").await;
    assert_eq!(process.said("connection closed").len(), requests.len());
}

#[test]
fn a_misspelt_key_in_a_file_is_refused_with_the_right_one() {
    let home = Home::new(&[]);
    home.write(&["num.partition=3", "log.retention.hour=1"]);
    let output = home.run(&["server", "--config", "server.properties"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("num.partition") && said.contains("did you mean num.partitions?"), "{said}");
    assert!(said.contains("did you mean log.retention.hours?"), "every mistake is said at once: {said}");
}

#[tokio::test]
async fn transactions_are_refused_with_one_line_per_client() {
    let home = Home::new(&[]);
    let process = home.start(&[]).await;
    let mut client = process.client().await;
    client.create("t", 1, &[]).await;
    for _ in 0..3 {
        let find = FindCoordinatorRequest::default().with_key(text("mine")).with_key_type(1);
        let found = client.call(3, &find).await.unwrap();
        assert_eq!(found.error_code, TRANSACTIONAL_ID_AUTHORIZATION_FAILED);
        assert_eq!(found.error_message.as_deref(), Some("transactions are not built yet"));
        let init = InitProducerIdRequest::default()
            .with_transactional_id(Some(text("mine").into()))
            .with_transaction_timeout_ms(1_000);
        let refused = client.call(4, &init).await.unwrap();
        assert_eq!(refused.error_code, TRANSACTIONAL_ID_AUTHORIZATION_FAILED);
    }
    assert_serves(&process, "t").await;
    until("the refusal is said", async || !process.said("transactions are not built yet").is_empty()).await;
    let said = process.said("transactions are not built yet");
    assert!(said.len() == 1 && said[0].contains("mine") && said[0].contains("test"), "{said:#?}");
}

/// Starts with an S3 bucket behind `endpoint`, writes more than a segment, and answers what was said of it.
async fn with_bad_bucket(endpoint: &str, says: &str, probe_says: &str) {
    let home = Home::new(&[]);
    let endpoint = format!("firn.s3.endpoint=http://{endpoint}");
    let credentials = ["firn.s3.access.key.id=nobody", "firn.s3.secret.access.key=wrong"];
    let process =
        home.start(&["firn.remote.url=s3://bucket/prefix", &endpoint, credentials[0], credentials[1]]).await;
    let mut client = process.client().await;
    client.create("t", 1, &[("remote.storage.enable", "true"), ("segment.bytes", "1048576")]).await;
    for _ in 0..24 {
        client.append("t", 0, batch(&["x".repeat(64 << 10).as_str()])).await;
    }
    until("the probe's finding is said", async || {
        !process.said("the bucket does not answer: offload waits, cold reads fail").is_empty()
    })
    .await;
    until("why offload fails is said", async || !process.said("offload failed").is_empty()).await;
    let offload = process.said("offload failed");
    assert!(offload[0].contains(says), "{offload:#?}");
    let probe = process.said("the bucket does not answer");
    assert!(probe.len() == 1 && probe[0].contains("s3://bucket/prefix"), "{probe:#?}");
    assert!(probe[0].contains(probe_says) && probe[0].len() < 500, "a line for people: {probe:#?}");
    let secrets = process.said("\"wrong\"").len() + process.said("=wrong").len();
    assert_eq!(secrets, 0, "a secret is never logged");
    assert_serves(&process, "t").await;
}

#[tokio::test]
async fn an_unreachable_bucket_is_said_and_hinders_nobody() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    with_bad_bucket(&closed, &closed, "Connection refused").await;
}

#[tokio::test]
async fn wrong_credentials_are_said_and_hinder_nobody() {
    let refusing = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = refusing.local_addr().unwrap().to_string();
    let store = tokio::spawn(async move {
        while let Ok((stream, _)) = refusing.accept().await {
            tokio::spawn(refuse_all(stream));
        }
    });
    with_bad_bucket(&endpoint, "InvalidAccessKeyId", "the store answered 403: check the credentials").await;
    store.abort();
}

/// What S3 answers to a key it does not know, one request per connection.
async fn refuse_all(mut stream: TcpStream) {
    const BODY: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>InvalidAccessKeyId</Code>\
        <Message>The access key does not exist in our records.</Message></Error>";
    let (mut seen, mut chunk) = (Vec::new(), [0; 64 << 10]);
    // Up to the end of the head: no verdict of S3 on a key waits for the body.
    while !seen.windows(4).any(|four| four == b"\r\n\r\n") {
        match stream.read(&mut chunk).await {
            Ok(count) if count > 0 => seen.extend_from_slice(&chunk[..count]),
            _ => return,
        }
    }
    let head = format!(
        "HTTP/1.1 403 Forbidden\r\nContent-Type: application/xml\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        BODY.len()
    );
    let body = if seen.starts_with(b"HEAD") { "" } else { BODY };
    let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
    // Drain, so that the answer is not lost to a reset.
    while matches!(stream.read(&mut chunk).await, Ok(count) if count > 0) {}
}
