//! A raw client for tests: one connection, one request at a time, no retries, nothing hidden.
//! It runs over any byte stream, so that the simulation can use it too.

use std::io;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use kafka_protocol::messages::{
    BrokerId, FetchRequest, MetadataRequest, MetadataResponse, ProduceRequest, RequestHeader, ResponseHeader,
    TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Largest answer a test expects, in bytes.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// One connection to a broker.
pub struct WireClient<S> {
    stream: S,
    correlation_id: i32,
}

impl<S: AsyncRead + AsyncWrite + Unpin> WireClient<S> {
    pub fn new(stream: S) -> Self {
        Self { stream, correlation_id: 0 }
    }

    /// Sends bytes as they are, with no frame around them.
    pub async fn send_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// Sends one frame that holds `body`.
    pub async fn send_frame(&mut self, body: &[u8]) -> io::Result<()> {
        let size = i32::try_from(body.len()).expect("a frame of a test fits");
        self.stream.write_all(&size.to_be_bytes()).await?;
        self.stream.write_all(body).await
    }

    /// Reads one frame; an error if the broker closed the connection.
    pub async fn read_frame(&mut self) -> io::Result<Bytes> {
        let size = self.stream.read_i32().await?;
        let size = usize::try_from(size).map_err(io::Error::other)?;
        assert!(size <= ANSWER_BYTES_MAX, "an answer of {size} bytes");
        let mut frame = vec![0; size];
        self.stream.read_exact(&mut frame).await?;
        Ok(frame.into())
    }

    /// Sends a request and does not wait; answers its correlation id.
    pub async fn send<Q: Request>(&mut self, version: i16, request: &Q) -> io::Result<i32> {
        self.correlation_id += 1;
        let header = RequestHeader::default()
            .with_request_api_key(Q::KEY)
            .with_request_api_version(version)
            .with_correlation_id(self.correlation_id)
            .with_client_id(Some(StrBytes::from_static_str("test")));
        let mut body = BytesMut::new();
        header.encode(&mut body, Q::header_version(version)).map_err(io::Error::other)?;
        request.encode(&mut body, version).map_err(io::Error::other)?;
        self.send_frame(&body).await?;
        Ok(self.correlation_id)
    }

    /// Reads the answer to `correlation_id`, which must be the next one.
    pub async fn receive<Q: Request>(
        &mut self,
        version: i16,
        correlation_id: i32,
    ) -> io::Result<Q::Response> {
        let mut frame = self.read_frame().await?;
        let header_version = Q::Response::header_version(version);
        let header = ResponseHeader::decode(&mut frame, header_version).map_err(io::Error::other)?;
        assert_eq!(header.correlation_id, correlation_id, "answers come in the order of requests");
        let response = Q::Response::decode(&mut frame, version).map_err(io::Error::other)?;
        assert!(!frame.has_remaining(), "{} bytes after the answer", frame.remaining());
        Ok(response)
    }

    /// One request, one answer.
    pub async fn call<Q: Request>(&mut self, version: i16, request: &Q) -> io::Result<Q::Response> {
        let correlation_id = self.send(version, request).await?;
        self.receive::<Q>(version, correlation_id).await
    }

    /// Metadata of one topic; creates it if the broker does so.
    pub async fn metadata(&mut self, topic: &str) -> io::Result<MetadataResponse> {
        let topic = MetadataRequestTopic::default().with_name(Some(name(topic)));
        let request =
            MetadataRequest::default().with_topics(Some(vec![topic])).with_allow_auto_topic_creation(true);
        self.call(9, &request).await
    }

    /// Produces one batch with acks=all.
    pub async fn produce(
        &mut self,
        topic: &str,
        partition: i32,
        batch: Bytes,
    ) -> io::Result<PartitionProduceResponse> {
        let data = PartitionProduceData::default().with_index(partition).with_records(Some(batch));
        let topic = TopicProduceData::default().with_name(name(topic)).with_partition_data(vec![data]);
        let request =
            ProduceRequest::default().with_acks(-1).with_timeout_ms(10_000).with_topic_data(vec![topic]);
        let mut response = self.call(9, &request).await?;
        Ok(response.responses.remove(0).partition_responses.remove(0))
    }

    /// Fetches from one partition without a session.
    pub async fn fetch(
        &mut self,
        topic: &str,
        partition: i32,
        offset: i64,
        bytes_max: i32,
        wait_ms: i32,
    ) -> io::Result<PartitionData> {
        let part = FetchPartition::default()
            .with_partition(partition)
            .with_fetch_offset(offset)
            .with_partition_max_bytes(bytes_max);
        let topic = FetchTopic::default().with_topic(name(topic)).with_partitions(vec![part]);
        let request = FetchRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_max_wait_ms(wait_ms)
            .with_min_bytes(1)
            .with_max_bytes(bytes_max)
            .with_session_epoch(-1)
            .with_topics(vec![topic]);
        let mut response = self.call(11, &request).await?;
        assert_eq!(response.error_code, 0, "fetch as a whole");
        Ok(response.responses.remove(0).partitions.remove(0))
    }
}

/// A topic's name as the messages want it.
pub fn name(topic: &str) -> TopicName {
    TopicName(StrBytes::from_string(topic.to_owned()))
}

/// A frame's bytes, for requests that no codec would write.
pub fn frame(api_key: i16, version: i16, body: &[u8]) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_i16(api_key);
    bytes.put_i16(version);
    bytes.put_i32(7);
    bytes.put_i16(-1);
    bytes.put_slice(body);
    bytes.freeze()
}
