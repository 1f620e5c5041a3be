//! A dump for people: a line an item.
//! Bytes that are no text are escaped as Rust would; scripts read the JSON.

use firnline_tiering::batch::header::{BatchHeader, TimestampType};
use firnline_tiering::batch::record::Record;
use firnline_tiering::inspect::dump::Item;
use firnline_tiering::offsets::Offset;
use firnline_tiering::producer::state::ProducerState;

use crate::cli::log::summary;

/// The item's line.
pub fn item(item: &Item<'_>) -> String {
    match item {
        Item::File(path) => format!("{}\n", path.display()),
        Item::Batch { position, header } => batch(*position, header),
        Item::Record { offset, timestamp, record } => of_record(*offset, *timestamp, record),
        Item::Offset { offset, position } => format!("offset {offset} at byte {position}\n"),
        Item::Time { timestamp, offset } => format!("time {timestamp} up to offset {offset}\n"),
        Item::Aborted(one) => format!(
            "producer {} aborted offsets {} to {}, last stable offset {}\n",
            one.producer_id, one.first, one.last, one.last_stable
        ),
        Item::Producer(state) => producer(state),
        Item::Line(line) => format!("{line}\n"),
        Item::Damage(finding) => summary::line(finding),
    }
}

fn batch(position: u64, header: &BatchHeader) -> String {
    let mut line = format!(
        "batch at byte {position}: offsets {}..{}, {} records, {} bytes, epoch {}, {}",
        header.base_offset,
        header.next_offset(),
        header.record_count,
        header.size(),
        header.leader_epoch,
        header.codec().map_or_else(|fault| fault.to_string(), |codec| codec.name().to_owned()),
    );
    let clock = match header.timestamp_type() {
        TimestampType::CreateTime => "created up to",
        TimestampType::LogAppendTime => "appended",
    };
    line.push_str(&format!(", {clock} {}", header.max_timestamp));
    if header.has_producer() {
        let (id, epoch) = (header.producer_id, header.producer_epoch);
        line.push_str(&format!(", producer {id} epoch {epoch} sequence {}", header.base_sequence));
    }
    for (set, word) in [(header.is_transactional(), "transactional"), (header.is_control(), "control")] {
        if set {
            line.push_str(&format!(", {word}"));
        }
    }
    if let Some(horizon) = header.delete_horizon_ms() {
        line.push_str(&format!(", tombstones go at {horizon}"));
    }
    line.push('\n');
    line
}

fn of_record(offset: Offset, timestamp: i64, record: &Record<'_>) -> String {
    let mut line =
        format!("  {offset} time {timestamp} key {} value {}", text(record.key), text(record.value));
    for (key, value) in record.headers {
        line.push_str(&format!(" header {} {}", text(Some(key)), text(value)));
    }
    line.push('\n');
    line
}

fn text(bytes: Option<&[u8]>) -> String {
    bytes.map_or_else(|| "null".to_owned(), |bytes| format!("\"{}\"", bytes.escape_ascii()))
}

fn producer(state: &ProducerState) -> String {
    let mut line = format!("producer {} epoch {}", state.producer_id, state.epoch);
    for batch in state.batches() {
        line.push_str(&format!(", sequence {} at offset {}", batch.last_sequence, batch.last_offset));
    }
    if let Some(start) = state.transaction_start {
        line.push_str(&format!(", open transaction from offset {start}"));
    }
    line.push('\n');
    line
}
