//! Tables as kubectl prints them: columns as wide as their content, three spaces between them, no
//! lines.

/// A table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    header: Vec<&'static str>,
    rows: Vec<Vec<String>>,
    /// Whether the lines follow those of another table.
    is_continued: bool,
}

/// What stands in an empty cell.
const NOTHING: &str = "<none>";

/// The space between columns.
const GAP: usize = 3;

impl Table {
    /// A table without rows.
    #[must_use]
    pub fn new(header: &[&'static str]) -> Self {
        Self { header: header.to_vec(), rows: Vec::new(), is_continued: false }
    }

    /// Leaves the header out, because the lines follow those of another table.
    #[must_use]
    pub fn continued(mut self) -> Self {
        self.is_continued = true;
        self
    }

    /// Adds a row. Line ends and control characters become spaces.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let clean = |cell: String| -> String {
            let cell: String =
                cell.chars().map(|one| if one.is_control() { ' ' } else { one }).collect();
            if cell.trim().is_empty() { NOTHING.to_owned() } else { cell }
        };
        self.rows.push(cells.into_iter().map(clean).collect());
    }

    /// Whether there are no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The lines of the table.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let header: Vec<String> = self.header.iter().map(|&name| name.to_owned()).collect();
        let all = || std::iter::once(&header).chain(&self.rows);
        let width = |column: usize| {
            let cells = all().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
        };
        let widths: Vec<usize> = (0..self.header.len()).map(width).collect();
        let line = |row: &Vec<String>| {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                line.push_str(cell);
                line.extend(std::iter::repeat_n(' ', width + GAP - cell.chars().count()));
            }
            line.truncate(line.trim_end().len());
            line
        };
        all().skip(usize::from(self.is_continued)).map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_content() {
        let mut table = Table::new(&["VIN", "STATUS", "RELEASE"]);
        table.row(["WDB0412", "online", ""].map(str::to_owned));
        table.row(["1", "off\nline", "ä"].map(str::to_owned));
        assert_eq!(
            table.lines(),
            [
                "VIN       STATUS     RELEASE",
                "WDB0412   online     <none>",
                "1         off line   ä",
            ]
        );
        assert_eq!(table.continued().lines().len(), 2);
    }
}
