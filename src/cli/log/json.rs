//! `firn log … --json`: the shape in docs/log.md, held by a test.
//! Invariant: keys are only ever added.

use std::path::Path;

use firnline_tiering::batch::header::{BatchHeader, TimestampType};
use firnline_tiering::batch::record::Record;
use firnline_tiering::inspect::dump::Item;
use firnline_tiering::inspect::finding::Finding;
use firnline_tiering::inspect::partition::PartitionReport;
use firnline_tiering::inspect::path::Report;
use firnline_tiering::inspect::segment::{Island, SegmentReport};
use firnline_tiering::offsets::Offset;
use firnline_tiering::producer::state::ProducerState;
use serde_json::{Value, json};

/// A verification: one object, ending in a line feed.
pub fn report(path: &Path, report: &Report) -> String {
    let findings: Vec<Value> = report.findings().into_iter().map(finding).collect();
    let segments: Vec<Value> = match report {
        Report::Segment(one) => vec![segment(one)],
        _ => Vec::new(),
    };
    let partitions: Vec<Value> = report.partitions().iter().map(partition).collect();
    let value = json!({
        "path": path.to_string_lossy(),
        "whole": findings.is_empty(),
        "findings": findings,
        "partitions": partitions,
        "segments": segments,
    });
    format!("{value:#}\n")
}

fn finding(finding: &Finding) -> Value {
    json!({
        "file": finding.file.to_string_lossy(),
        "at": finding.at,
        "damage": finding.damage.name(),
        "rebuilt": finding.damage.is_rebuilt(),
        "why": finding.why,
    })
}

fn partition(partition: &PartitionReport) -> Value {
    json!({
        "dir": partition.dir.to_string_lossy(),
        "start": partition.start.0,
        "good_next": partition.good_next.0,
        "next": partition.next.0,
        "left_over": partition.left_over,
        "segments": partition.segments.iter().map(segment).collect::<Vec<_>>(),
    })
}

fn segment(segment: &SegmentReport) -> Value {
    json!({
        "file": segment.file.to_string_lossy(),
        "base": segment.base.0,
        "bytes": segment.bytes,
        "batches": segment.batches,
        "records": segment.records,
        "good_bytes": segment.good_bytes,
        "next": segment.next.0,
        "islands": segment.islands.iter().map(island).collect::<Vec<_>>(),
    })
}

fn island(island: &Island) -> Value {
    json!({ "at": island.at, "bytes": island.bytes, "first": island.first.0, "next": island.next.0 })
}

/// An item of a dump: one object on one line.
pub fn item(item: &Item<'_>) -> String {
    let value = match item {
        Item::File(path) => json!({ "file": path.to_string_lossy() }),
        Item::Batch { position, header } => json!({ "batch": batch(*position, header) }),
        Item::Record { offset, timestamp, record } => {
            json!({ "record": of_record(*offset, *timestamp, record) })
        }
        Item::Offset { offset, position } => {
            json!({ "offset": { "offset": offset.0, "position": position } })
        }
        Item::Time { timestamp, offset } => json!({ "time": { "timestamp": timestamp, "offset": offset.0 } }),
        Item::Aborted(one) => json!({ "aborted": {
            "producer_id": one.producer_id, "first": one.first.0, "last": one.last.0,
            "last_stable": one.last_stable.0,
        } }),
        Item::Producer(state) => json!({ "producer": producer(state) }),
        Item::Line(line) => json!({ "line": line }),
        Item::Damage(found) => json!({ "damage": finding(found) }),
    };
    format!("{value}\n")
}

fn batch(position: u64, header: &BatchHeader) -> Value {
    json!({
        "position": position,
        "size": header.size(),
        "base_offset": header.base_offset.0,
        "last_offset": header.last_offset().0,
        "leader_epoch": header.leader_epoch.0,
        "crc": header.crc,
        "codec": header.codec().ok().map(|codec| codec.name()),
        "timestamp_type": match header.timestamp_type() {
            TimestampType::CreateTime => "CreateTime",
            TimestampType::LogAppendTime => "LogAppendTime",
        },
        "base_timestamp": header.base_timestamp,
        "max_timestamp": header.max_timestamp,
        "producer_id": header.producer_id,
        "producer_epoch": header.producer_epoch,
        "base_sequence": header.base_sequence,
        "records": header.record_count,
        "transactional": header.is_transactional(),
        "control": header.is_control(),
        "delete_horizon": header.delete_horizon_ms(),
    })
}

fn of_record(offset: Offset, timestamp: i64, record: &Record<'_>) -> Value {
    let headers: Vec<Value> =
        record.headers.map(|(key, value)| json!([text(key), value.map(text)])).collect();
    json!({
        "offset": offset.0,
        "timestamp": timestamp,
        "key": record.key.map(text),
        "value": record.value.map(text),
        "headers": headers,
    })
}

/// A byte is the character of its number, so that any bytes come back from JSON.
fn text(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

fn producer(state: &ProducerState) -> Value {
    let batches: Vec<Value> = state
        .batches()
        .iter()
        .map(|batch| json!({ "last_sequence": batch.last_sequence, "last_offset": batch.last_offset.0 }))
        .collect();
    json!({
        "producer_id": state.producer_id,
        "epoch": state.epoch,
        "coordinator_epoch": state.coordinator_epoch,
        "transaction_start": state.transaction_start.map(|start| start.0),
        "batches": batches,
    })
}
