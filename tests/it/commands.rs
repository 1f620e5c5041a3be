//! The real binary, as an operator types it: a dev broker from nothing, topics, tier status, metrics, a clean stop, and
//! every refusal with its words and exit code. What a command computes is tested beside its code.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use firnline::client::http;
use firnline::telemetry::tier_status::TierStatus;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::{FindCoordinatorRequest, GroupId, OffsetCommitRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use tokio::net::TcpStream;

use crate::harness::records::bulk;
use crate::harness::wait::{eventually, until};
use crate::harness::wire_client::WireClient;

/// The binary with nothing of this process's environment but where programs are found.
fn firn(dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_firn"));
    command.current_dir(dir).env_clear().args(arguments);
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command
}

fn run(dir: &Path, arguments: &[&str]) -> Output {
    firn(dir, arguments).output().expect("the binary runs")
}

fn ok(dir: &Path, arguments: &[&str]) -> String {
    let output = run(dir, arguments);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    text
}

fn refused(dir: &Path, arguments: &[&str], exit: i32) -> String {
    let output = run(dir, arguments);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(exit), "{arguments:?}: {text}");
    text
}

/// A running `firn server --dev`.
struct Dev {
    child: Child,
    kafka: String,
    admin: String,
    metrics: String,
}

impl Dev {
    fn start(dir: &Path, more: &[&str]) -> Self {
        let mut arguments = vec!["server", "--dev", "--set", "listeners=PLAINTEXT://127.0.0.1:0"];
        arguments.extend(more);
        let mut child = firn(dir, &arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("the binary runs");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let greeting: Vec<String> =
            lines.map_while(Result::ok).take_while(|line| !line.contains("firn tier status")).collect();
        let said = |label: &str| {
            let line = greeting.iter().find_map(|line| line.trim().strip_prefix(label)).expect("greeted");
            line.trim().trim_start_matches("http://").split('/').next().unwrap_or_default().to_owned()
        };
        Self { kafka: said("kafka "), admin: said("admin "), metrics: said("metrics "), child }
    }

    async fn get(&self, address: &str, path: &str) -> String {
        let answer = http::get(address, path).await.expect("an answer");
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        answer.body
    }

    async fn status(&self, topic: &str) -> TierStatus {
        let body = self.get(&self.admin, &format!("/tier?topic={topic}")).await;
        serde_json::from_str(&body).expect("a status")
    }

    /// SIGTERM, and the exit code.
    fn stop(mut self) -> Option<i32> {
        let killed = Command::new("kill").arg("-TERM").arg(self.child.id().to_string()).status();
        assert!(killed.expect("kill runs").success());
        self.child.wait().expect("it ends").code()
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const FREE: &[&str] = &[
    "--set",
    "firn.metrics.listener=127.0.0.1:0",
    "--set",
    "firn.admin.listener=127.0.0.1:0",
    "--set",
    "log.local.retention.ms=1",
];

#[tokio::test]
async fn a_dev_broker_moves_what_is_written_to_its_bucket() {
    let dir = tempfile::tempdir().unwrap();
    let dev = Dev::start(dir.path(), FREE);
    let on = |arguments: &[&str]| ok(dir.path(), &[arguments, &["-b", &dev.kafka]].concat());
    assert_eq!(
        on(&["topic", "create", "hello", "-p", "1", "-c", "retention.ms=-1"]),
        "created topic hello with 1 partition\n"
    );
    assert_eq!(on(&["topic", "list"]), "hello\n");
    let described = on(&["topic", "describe", "hello"]);
    let id = described.lines().find_map(|line| line.trim().strip_prefix("id ")).expect("an id").trim();
    assert_eq!(id.len(), 22, "a topic id as Kafka's tools write it: {id}");
    assert!(
        described.contains("configs  retention.ms=-1") && described.contains("0          1"),
        "{described}"
    );

    let mut client = WireClient::new(TcpStream::connect(&dev.kafka).await.unwrap());
    for serial in 0..12 {
        let answer = client.produce("hello", 0, bulk(serial, 400 << 10)).await.unwrap();
        assert_eq!(answer.error_code, 0);
    }
    let status = eventually("most of it lies in the bucket only", async || {
        let status = dev.status("hello").await;
        let (local, bucket, _, _) = status.totals();
        (bucket > 4 * local).then_some(status)
    });
    let status = status.await;
    let partition = &status.topics[0].partitions[0];
    assert_eq!((partition.log_start, partition.end, partition.cached_memory_bytes), (0, 12, 0));
    assert!(partition.segments >= 4 && partition.local_start > 0, "{partition:?}");
    assert_eq!(status.bucket.unwrap().owner, "ours");
    let shown = ok(dir.path(), &["tier", "status", "hello", "--admin", &dev.admin]);
    assert!(shown.starts_with("hello\nPARTITION") && shown.contains("░░░░"), "{shown}");
    let health = ok(dir.path(), &["tier", "status", "--admin", &dev.admin]);
    assert!(health.contains("reachable   yes") && health.contains("owner       ours"), "{health}");

    seen_from_outside(&dev, &mut client).await;
    let on = |arguments: &[&str]| ok(dir.path(), &[arguments, &["-b", &dev.kafka]].concat());
    assert_eq!(on(&["topic", "delete", "hello"]), "deleted topic hello\n");
    assert_eq!(on(&["topic", "list"]), "");
    assert_eq!(dev.stop(), Some(0));
    // The same directory again, and then as nobody's dev cluster.
    assert_eq!(Dev::start(dir.path(), FREE).stop(), Some(0));
}

/// Commits offset 5 for a group without members, once its coordinator is there.
async fn commit(client: &mut WireClient<TcpStream>) {
    let key = StrBytes::from_static_str("readers");
    let partition = OffsetCommitRequestPartition::default().with_committed_offset(5);
    let topic = OffsetCommitRequestTopic::default()
        .with_name(TopicName(StrBytes::from_static_str("hello")))
        .with_partitions(vec![partition]);
    let commit = OffsetCommitRequest::default()
        .with_group_id(GroupId(key.clone()))
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![topic]);
    until("the coordinator takes a commit", async || {
        let find = FindCoordinatorRequest::default().with_key(key.clone());
        client.call(3, &find).await.expect("FindCoordinator");
        let answer = client.call(8, &commit).await.expect("OffsetCommit");
        answer.topics[0].partitions[0].error_code == 0
    })
    .await;
}

/// Health and metrics, by the names that dashboards ask for.
async fn seen_from_outside(dev: &Dev, client: &mut WireClient<TcpStream>) {
    assert_eq!(dev.get(&dev.admin, "/health/live").await, "alive\n");
    assert_eq!(dev.get(&dev.admin, "/health/ready").await, r#"{"ready":true,"reasons":[]}"#);
    assert_eq!(http::get(&dev.admin, "/tier?topic=none").await.unwrap().status, 404);
    until("a fetch from the bucket is answered", async || {
        client
            .fetch("hello", 0, 0, 1 << 20, 500)
            .await
            .unwrap()
            .records
            .is_some_and(|bytes| !bytes.is_empty())
    })
    .await;
    commit(client).await;
    let page = dev.get(&dev.metrics, "/metrics").await;
    let value = |series: &str| {
        let line =
            page.lines().find(|line| line.strip_prefix(series).is_some_and(|rest| rest.starts_with(' ')));
        let line = line.unwrap_or_else(|| panic!("{series} is not in\n{page}"));
        line.rsplit(' ').next().and_then(|number| number.parse::<f64>().ok()).expect("a number")
    };
    assert_eq!(value("kafka_server_brokertopicmetrics_messagesin_total{topic=\"hello\"}"), 12.0);
    assert!(value("kafka_server_brokertopicmetrics_bytesin_total{topic=\"hello\"}") > 12.0 * 400.0 * 1024.0);
    assert!(value("kafka_server_brokertopicmetrics_bytesout_total{topic=\"hello\"}") > 0.0);
    // One of ours and the four of __consumer_offsets.
    assert_eq!(value("kafka_server_replicamanager_leadercount"), 5.0);
    assert_eq!(value("kafka_controller_kafkacontroller_activecontrollercount"), 1.0);
    assert_eq!(value("kafka_topic_partition_current_offset{topic=\"hello\",partition=\"0\"}"), 12.0);
    assert!(value("kafka_server_brokertopicmetrics_remotecopybytes_total") > 4.0 * 400.0 * 1024.0);
    assert!(value("firn_fetch_bytes_total{path=\"cold\"}") > 0.0);
    assert!(value("firn_bucket_requests_total{op=\"put\"}") >= 4.0);
    assert_eq!(
        value(
            "kafka_consumergroup_current_offset{consumergroup=\"readers\",topic=\"hello\",partition=\"0\"}"
        ),
        5.0
    );
    assert_eq!(value("kafka_consumergroup_lag_sum{consumergroup=\"readers\",topic=\"hello\"}"), 7.0);
    value("firn_cross_core_wakes_total");
    value("firn_cache_misses_total");
    value("process_open_fds");
    assert!(page.ends_with("# EOF\n"));
}

#[tokio::test]
async fn a_default_port_gives_way_and_a_chosen_one_does_not() {
    let dir = tempfile::tempdir().unwrap();
    // Taken by us, or by whoever else is on this machine.
    let _held = [TcpListener::bind("127.0.0.1:9404"), TcpListener::bind("127.0.0.1:9644")];
    let dev = Dev::start(dir.path(), &[]);
    assert!(
        dev.metrics != "127.0.0.1:9404" && dev.admin != "127.0.0.1:9644",
        "{} {}",
        dev.metrics,
        dev.admin
    );
    assert_eq!(dev.get(&dev.admin, "/health/live").await, "alive\n");
    assert_eq!(dev.stop(), Some(0));
    let chosen = ["server", "--dev", "--set", "listeners=PLAINTEXT://127.0.0.1:0"];
    let taken =
        refused(dir.path(), &[&chosen[..], &["--set", "firn.metrics.listener=127.0.0.1:9404"]].concat(), 1);
    assert!(taken.contains("firn.metrics.listener=127.0.0.1:9404 cannot be listened on"), "{taken}");

    let kafka = TcpListener::bind("127.0.0.1:0").unwrap();
    let listener = format!("listeners=PLAINTEXT://{}", kafka.local_addr().unwrap());
    let taken = refused(dir.path(), &["server", "--dev", "--set", &listener], 1);
    assert!(
        taken.contains("the broker did not start") && taken.contains("another process uses this port"),
        "{taken}"
    );
}

#[test]
fn a_directory_is_formatted_before_it_is_served() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("firn-data").join("log");
    let file = dir.path().join("server.properties");
    let text = format!("node.id=1\nlog.dirs={}\nlisteners=PLAINTEXT://127.0.0.1:0\n", data.display());
    std::fs::write(&file, text).unwrap();
    let unformatted = refused(dir.path(), &["server", "--config", "server.properties"], 3);
    assert!(
        unformatted.contains("is not formatted") && unformatted.contains("firn storage format --config"),
        "{unformatted}"
    );

    let id = "MkU3OEVBNTcwNTJENDM2Qk";
    let formatted =
        ok(dir.path(), &["storage", "format", "--config", "server.properties", "--cluster-id", id]);
    assert_eq!(formatted, format!("formatted {} for cluster {id}\n", data.display()));
    let info = ok(dir.path(), &["storage", "info", "--config", "server.properties"]);
    assert!(info.contains(&format!("cluster.id    {id}\n  node.id       1\n  directory.id  ")), "{info}");
    let other = "4L6g3nShT-eMCtK--X86sw";
    let again = refused(
        dir.path(),
        &["storage", "format", "--config", "server.properties", "--cluster-id", other],
        1,
    );
    assert!(again.contains(&format!("of cluster {id}, not {other}")), "{again}");
    // `--dev` in a folder whose ./firn-data holds somebody's cluster.
    let dev = refused(dir.path(), &["server", "--dev", "--set", "listeners=PLAINTEXT://127.0.0.1:0"], 1);
    assert!(dev.contains(&format!("of cluster {id}, which --dev did not make")), "{dev}");
}

#[test]
fn mistakes_are_said_before_anything_starts() {
    let dir = tempfile::tempdir().unwrap();
    let nothing = refused(dir.path(), &["server"], 3);
    assert!(nothing.contains("try `firn server --dev`"), "{nothing}");
    let set = ["server", "--dev", "--set", "num.partition=3", "--set", "authorizer.class.name=X"];
    let unknown = refused(dir.path(), &set, 3);
    assert!(
        unknown.contains("did you mean num.partitions?")
            && unknown.contains("authorizer.class.name is refused")
    );
    assert!(
        !dir.path().join("firn-data").exists(),
        "nothing may be made for a configuration that is refused"
    );
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let unreachable = refused(dir.path(), &["topic", "list", "-b", &closed], 4);
    assert!(unreachable.contains("cannot reach a broker") && unreachable.contains("next: start a broker"));
    refused(dir.path(), &["tier", "status", "--admin", &closed], 4);
    assert!(ok(dir.path(), &["config", "explain", "local.retention.ms"]).contains("a topic config"));
    refused(dir.path(), &["config", "explain", "local.retention"], 3);
    refused(dir.path(), &["topic", "create"], 2);
}
