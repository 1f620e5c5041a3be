//! A row's figures as SVG: per figure a group of bars, firn, Kafka and floor, each group in its own scale, because a
//! reader compares within a group. Pure. Invariant: a bar's length is its value by the largest of its group.

use std::fmt::Write as _;

use crate::report::{Cell, number};

const WIDTH: f64 = 760.0;
const BAR: f64 = 16.0;
const LABEL_WIDTH: f64 = 250.0;
const BAR_WIDTH: f64 = 400.0;
const HEAD: f64 = 54.0;
const SIDES: [(&str, &str); 3] = [("firn", "#1f6f8b"), ("kafka", "#c8553d"), ("floor", "#9aa5a8")];

/// The picture.
pub fn svg(title: &str, cells: &[Cell]) -> String {
    let bars: usize = cells.iter().map(|cell| values(cell).count()).sum();
    let height = HEAD + bars as f64 * BAR + cells.len() as f64 * BAR * 0.6 + BAR;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height:.0}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"12\" y=\"22\" font-weight=\"bold\">{}</text>\n",
        escaped(title)
    );
    for (place, (name, colour)) in SIDES.iter().enumerate() {
        let x = 12.0 + place as f64 * 80.0;
        let _ = writeln!(
            text,
            "<rect x=\"{x}\" y=\"32\" width=\"10\" height=\"10\" fill=\"{colour}\"/><text x=\"{}\" y=\"41\">{name}</text>",
            x + 14.0
        );
    }
    let mut y = HEAD;
    for cell in cells {
        let most = values(cell).map(|(_, value)| value).fold(0.0, f64::max);
        let _ = writeln!(
            text,
            "<text x=\"12\" y=\"{:.1}\">{}: {}</text>",
            y + BAR * 0.75,
            escaped(cell.case),
            escaped(cell.figure.trim())
        );
        for (colour, value) in values(cell) {
            let width = if most > 0.0 { BAR_WIDTH * value / most } else { 0.0 };
            let _ = writeln!(
                text,
                "<rect x=\"{LABEL_WIDTH}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{}\" fill=\"{colour}\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                BAR - 3.0,
                LABEL_WIDTH + width + 6.0,
                y + BAR * 0.7,
                number(value)
            );
            y += BAR;
        }
        y += BAR * 0.6;
    }
    text + "</svg>\n"
}

fn values(cell: &Cell) -> impl Iterator<Item = (&'static str, f64)> + use<> {
    let colours = SIDES.map(|(_, colour)| colour);
    colours
        .into_iter()
        .zip([cell.ours, cell.kafka, cell.floor])
        .filter_map(|(colour, value)| Some((colour, value?)))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_bar_is_the_largest_value() {
        let cell = Cell {
            case: "a<b",
            figure: "MB/s",
            ours: Some(1.0),
            kafka: Some(4.0),
            floor: None,
            to_kafka: None,
            to_floor: None,
        };
        let picture = svg("row & more", &[cell]);
        assert!(picture.contains("row &amp; more") && picture.contains("a&lt;b: MB/s"), "{picture}");
        assert!(picture.contains("width=\"400.0\"") && picture.contains("width=\"100.0\""), "{picture}");
        assert_eq!(picture.matches("<rect x=\"250\"").count(), 2, "no bar for what is absent");
    }
}
