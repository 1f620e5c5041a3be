//! Text in columns, for people: left-aligned, two blanks between, no frames.
//! It knows nothing of what it prints.

/// Rows of cells under a head.
#[derive(Debug, Clone)]
pub struct Columns {
    rows: Vec<Vec<String>>,
}

impl Columns {
    /// With its head.
    pub fn new(head: &[&str]) -> Columns {
        Columns { rows: vec![head.iter().map(|cell| cell.to_string()).collect()] }
    }

    /// Adds a row of as many cells as the head has.
    pub fn row(&mut self, cells: Vec<String>) {
        assert_eq!(cells.len(), self.rows[0].len(), "a row has the head's columns: {cells:?}");
        self.rows.push(cells);
    }

    /// The table, a line per row, no blanks at line ends.
    pub fn print(&self) -> String {
        let width =
            |column: usize| self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..self.rows[0].len()).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            let line: String =
                row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}  ")).collect();
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// A number of bytes for people: `512 B`, `1.5 KiB`, `96.0 MiB`.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut unit = 0;
    let mut value = count as f64;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{count} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut columns = Columns::new(&["TOPIC", "N"]);
        columns.row(vec!["a-long-name".into(), "1".into()]);
        columns.row(vec!["ü".into(), "22".into()]);
        assert_eq!(columns.print(), "TOPIC        N\na-long-name  1\nü            22\n");
    }

    #[test]
    fn bytes_for_people() {
        let all: Vec<String> = [0, 1023, 1024, 1536, 100 << 20, 3 << 40].into_iter().map(bytes).collect();
        assert_eq!(all, ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "100.0 MiB", "3.0 TiB"]);
    }
}
