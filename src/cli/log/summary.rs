//! A verification for people: a line per segment, the findings, and what can be saved.
//! Text only; scripts read the JSON.

use firnline_tiering::inspect::finding::Finding;
use firnline_tiering::inspect::partition::PartitionReport;
use firnline_tiering::inspect::path::Report;
use firnline_tiering::inspect::segment::SegmentReport;

use crate::cli::columns::{Columns, bytes};

/// The whole report.
pub fn report(report: &Report) -> String {
    let mut text = String::new();
    if let Report::Segment(segment) = report {
        text.push_str(&segments(&[segment]));
        text.push_str(&saved_of(segment));
    }
    for partition in report.partitions() {
        text.push_str(&of_partition(partition));
    }
    let findings = report.findings();
    for finding in &findings {
        text.push_str(&line(finding));
    }
    let (batches, records) =
        report.segments().iter().fold((0, 0), |(b, r), segment| (b + segment.batches, r + segment.records));
    let verdict = if findings.is_empty() { "whole" } else { "damaged" };
    text.push_str(&format!("{verdict}: {batches} batches, {records} records\n"));
    text
}

fn of_partition(partition: &PartitionReport) -> String {
    let mut text = format!("{}\n", partition.dir.display());
    text.push_str(&segments(&partition.segments.iter().collect::<Vec<_>>()));
    if !partition.left_over.is_empty() {
        text.push_str(&format!("left over, not looked into: {}\n", partition.left_over.join(", ")));
    }
    let (start, good, next) = (partition.start, partition.good_next, partition.next);
    if good < next {
        text.push_str(&format!("unbroken from offset {start} to {good}; whole batches go on up to {next}\n"));
    }
    text.push_str(&partition.segments.iter().map(saved_of).collect::<String>());
    text.push('\n');
    text
}

fn segments(segments: &[&SegmentReport]) -> String {
    let mut columns = Columns::new(&["SEGMENT", "OFFSETS", "SIZE", "BATCHES", "RECORDS", "STATE"]);
    for segment in segments {
        let name =
            segment.file.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let state = match (segment.is_whole(), segment.findings.is_empty()) {
            (false, _) => "broken",
            (true, false) => "findings",
            (true, true) => "whole",
        };
        columns.row(vec![
            name,
            format!("{}..{}", segment.base, segment.next),
            bytes(segment.bytes),
            segment.batches.to_string(),
            segment.records.to_string(),
            state.to_owned(),
        ]);
    }
    columns.print()
}

/// What of a broken segment can be saved.
fn saved_of(segment: &SegmentReport) -> String {
    if segment.is_whole() {
        return String::new();
    }
    let mut text = format!(
        "{}: the first {} of {} bytes are good, up to offset {}\n",
        segment.file.display(),
        segment.good_bytes,
        segment.bytes,
        segment.next
    );
    for island in &segment.islands {
        text.push_str(&format!(
            "  bytes {} to {} are whole batches again, offsets {} to {}\n",
            island.at,
            island.at + island.bytes,
            island.first,
            island.next
        ));
    }
    text
}

/// One finding.
pub fn line(finding: &Finding) -> String {
    let at = finding.at.map_or_else(String::new, |at| format!(" byte {at}"));
    let place = finding.file.display();
    format!("{} {place}{at}: {}\n", finding.damage.name(), finding.why)
}
