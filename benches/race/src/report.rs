//! A row's outcome for readers: a table, and the same as JSON with every run behind it.
//! Pure but for the facts of the machine. Invariant: a target is met or missed by the number that stands beside it.

use serde::Serialize;
use serde_json::{Value, json};

use crate::figures::{Bound, Figure, Target};
use crate::load::Contestant;
use crate::race::Outcome;
use crate::rows::Row;
use crate::statistics::{Ratio, median};

/// A larger share of the machine in other hands spoils what is measured.
const OTHERS_MAX: f64 = 0.1;

/// A figure of a case.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Cell {
    /// Case.
    pub case: &'static str,
    /// Label of the figure.
    pub figure: &'static str,
    /// Median of ours.
    pub ours: Option<f64>,
    /// Median of Kafka's.
    pub kafka: Option<f64>,
    /// Median of the floor's.
    pub floor: Option<f64>,
    /// Ours over Kafka's, pair by pair.
    pub to_kafka: Option<Ratio>,
    /// Ours over the floor's, pair by pair.
    pub to_floor: Option<Ratio>,
}

/// A target and what came of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verdict {
    /// The target in words.
    pub target: String,
    /// What is held against its bound; absent where it was not measured.
    pub value: Option<f64>,
    /// `met`, `missed` or `not measured`.
    pub verdict: &'static str,
}

/// Every figure of a row.
pub fn cells(row: &Row, outcomes: &[Outcome]) -> Vec<Cell> {
    let of = |outcome: &Outcome, figure: Figure| {
        let ours = outcome.values(Contestant::Ours, figure);
        let kafka = outcome.values(Contestant::Kafka, figure);
        let floor = outcome.floor_values(figure);
        Cell {
            case: outcome.name,
            figure: figure.label(),
            ours: figure.told(&ours),
            kafka: figure.told(&kafka),
            floor: figure.told(&floor),
            // The worst of many is no pair.
            to_kafka: Ratio::of_pairs(&ours, &kafka).filter(|_| !figure.is_worst()),
            to_floor: Ratio::of_pairs(&ours, &floor),
        }
    };
    let all = outcomes.iter().flat_map(|outcome| row.figures.iter().map(move |figure| of(outcome, *figure)));
    all.filter(|cell| cell.ours.is_some() || cell.kafka.is_some()).collect()
}

/// What came of every target.
pub fn verdicts(row: &Row, outcomes: &[Outcome]) -> Vec<Verdict> {
    let of = |target: &Target| {
        let value = held(target, outcomes);
        let verdict = match value {
            None => "not measured",
            Some(value) if target.met_by(value) => "met",
            Some(_) => "missed",
        };
        Verdict { target: target.text(), value, verdict }
    };
    row.targets.iter().map(of).collect()
}

/// The number that a target's bound is about.
fn held(target: &Target, outcomes: &[Outcome]) -> Option<f64> {
    let case = |name: &str| outcomes.iter().find(|outcome| outcome.name == name);
    let outcome = case(target.case)?;
    let ours = outcome.values(Contestant::Ours, target.figure);
    match target.bound {
        Bound::Value(_) => target.figure.told(&ours),
        Bound::Kafka(_) => Ratio::of_pairs(&ours, &outcome.values(Contestant::Kafka, target.figure))
            .map(|ratio| ratio.median),
        Bound::Floor(_) => {
            Ratio::of_pairs(&ours, &outcome.floor_values(target.figure)).map(|ratio| ratio.median)
        }
        Bound::Own(other, _) => {
            Some(median(&ours)? / median(&case(other)?.values(Contestant::Ours, target.figure))?)
        }
        Bound::OwnFigure(figure, _) => {
            Some(median(&ours)? / median(&outcome.values(Contestant::Ours, figure))?)
        }
    }
}

/// The table.
pub fn table(row: &Row, outcomes: &[Outcome]) -> String {
    let mut text = format!("row {}: {}\nacknowledged means: {}\n\n", row.number, row.title, row.durability);
    let head = ["case", "figure", "firn", "kafka", "firn/kafka [95 %]", "floor", "firn/floor"];
    let mut lines = vec![head.map(str::to_owned)];
    for cell in cells(row, outcomes) {
        let ratio = |ratio: Option<Ratio>| {
            ratio.map_or(String::new(), |Ratio { median, low, high }| {
                format!("{} [{} .. {}]", number(median), number(low), number(high))
            })
        };
        let plain = |value: Option<f64>| value.map_or(String::new(), number);
        lines.push([
            cell.case.to_owned(),
            cell.figure.to_owned(),
            plain(cell.ours),
            plain(cell.kafka),
            ratio(cell.to_kafka),
            plain(cell.floor),
            cell.to_floor.map_or(String::new(), |ratio| number(ratio.median)),
        ]);
    }
    text.push_str(&columns(&lines));
    for (outcome, (who, why)) in
        outcomes.iter().flat_map(|o| o.missing.iter().map(move |missing| (o, missing)))
    {
        text.push_str(&format!("\n{}: no figures of {}: {why}\n", outcome.name, who.name()));
    }
    if let Some(others) = others(outcomes).filter(|others| *others > OTHERS_MAX) {
        let percent = others * 100.0;
        text.push_str(&format!("\nnot a quiet machine: {percent:.0} % of it served others; measure again\n"));
    }
    text.push('\n');
    for Verdict { target, value, verdict } in verdicts(row, outcomes) {
        text.push_str(&format!("{verdict:<13}{target}: {}\n", value.map_or("-".into(), number)));
    }
    text
}

/// The share of the machine that neither broker nor load used, in the middle of all runs.
fn others(outcomes: &[Outcome]) -> Option<f64> {
    let runs = outcomes.iter().flat_map(|outcome| outcome.runs.values().flatten());
    median(&runs.filter_map(|run| run.others).collect::<Vec<_>>())
}

/// Everything, for programs.
pub fn json(row: &Row, outcomes: &[Outcome], facts: &Value) -> Value {
    let runs: Vec<Value> = outcomes
        .iter()
        .map(|outcome| {
            let runs: serde_json::Map<String, Value> =
                outcome.runs.iter().map(|(who, runs)| (who.name().to_owned(), json!(runs))).collect();
            let missing: serde_json::Map<String, Value> =
                outcome.missing.iter().map(|(who, why)| (who.name().to_owned(), json!(why))).collect();
            json!({ "case": outcome.name, "runs": runs, "floor": outcome.floors, "missing": missing })
        })
        .collect();
    json!({
        "row": row.number,
        "title": row.title,
        "durability": row.durability,
        "measured_on": facts,
        "figures": cells(row, outcomes),
        "targets": verdicts(row, outcomes),
        "cases": runs,
    })
}

/// Three significant digits.
pub fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        0.0 => "0".into(),
        size if size >= 0.01 => format!("{value:.3}"),
        _ => format!("{value:.2e}"),
    }
}

fn columns<const COUNT: usize>(lines: &[[String; COUNT]]) -> String {
    let width =
        |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..COUNT).map(width).collect();
    let mut text = String::new();
    for line in lines {
        let cells = line.iter().zip(&widths).enumerate().map(|(column, (cell, width))| match column {
            0 | 1 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        let joined = cells.collect::<Vec<_>>().join("  ");
        text.push_str(joined.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::figures::Run;
    use crate::rows::ROWS;

    fn outcome(ours: &[f64], kafka: &[f64], floor: &[f64]) -> Outcome {
        let run =
            |cpu: &f64| Run { seconds: 1.0, system: *cpu, bytes: 1e9, others: Some(0.2), ..Run::default() };
        Outcome {
            name: "1 KiB",
            runs: BTreeMap::from([
                (Contestant::Ours, ours.iter().map(run).collect()),
                (Contestant::Kafka, kafka.iter().map(run).collect()),
            ]),
            floors: floor.iter().map(run).collect(),
            ..Outcome::default()
        }
    }

    #[test]
    fn a_verdict_stands_on_the_ratio_of_pairs() {
        let row = &ROWS[0];
        let outcomes = [outcome(&[0.4, 0.5, 0.4], &[10.0, 10.0, 8.0], &[0.2, 0.2, 0.2])];
        let found = verdicts(row, &outcomes);
        assert_eq!((found[0].value, found[0].verdict), (Some(0.05), "met"));
        assert_eq!((found[1].value, found[1].verdict), (Some(2.0), "missed"));
        let text = table(row, &outcomes);
        assert!(text.contains("met          1 KiB: broker CPU-s/GB ≤ 0.08 × Kafka: 0.050"), "{text}");
        assert!(text.contains("missed       1 KiB: broker CPU-s/GB ≤ 1.6 × floor: 2.00"), "{text}");
        assert!(text.contains("not a quiet machine: 20 % of it"), "{text}");
        assert_eq!(json(row, &outcomes, &Value::Null)["targets"][0]["verdict"], "met");
    }

    #[test]
    fn what_was_not_measured_is_said_so() {
        let mut alone = outcome(&[0.4], &[], &[]);
        alone.missing.insert(Contestant::Kafka, "it is not here".into());
        let text = table(&ROWS[0], &[alone]);
        assert!(text.contains("not measured 1 KiB"), "{text}");
        assert!(text.contains("no figures of kafka: it is not here"), "{text}");
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(
            [1234.5, 12.34, 1.234, 0.1234, 0.001_234, 0.0].map(number).join(" "),
            "1234 12.3 1.23 0.123 1.23e-3 0"
        );
    }
}
