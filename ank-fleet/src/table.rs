//! Tables as kubectl prints them: columns as wide as their content, three spaces between them, no
//! lines.

use crate::text::one_line;

/// A table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    header: Vec<&'static str>,
    rows: Vec<Cells>,
    /// Whether the lines follow those of another table.
    is_continued: bool,
}

/// The cells of a row, in one text: tables of whole fleets have hundreds of thousands of rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cells(Box<str>);

/// Between the cells of a row. It is a control character, which cells have not.
const SEPARATOR: char = '\u{1f}';

impl Cells {
    /// Line ends and other characters that control a terminal become spaces.
    pub fn new(cells: impl IntoIterator<Item = String>) -> Self {
        let mut text = String::new();
        for (index, cell) in cells.into_iter().enumerate() {
            if index > 0 {
                text.push(SEPARATOR);
            }
            if cell.trim().is_empty() {
                text.push_str(NOTHING);
            } else {
                text.push_str(&one_line(&cell).replace('\t', " "));
            }
        }
        Self(text.into())
    }

    fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.split(SEPARATOR)
    }
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

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.push(Cells::new(cells));
    }

    /// Adds a row.
    pub fn push(&mut self, cells: Cells) {
        self.rows.push(cells);
    }

    /// Whether there are no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The lines of the table.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        let mut widths: Vec<usize> = self.header.iter().map(|name| name.chars().count()).collect();
        for row in &self.rows {
            for (cell, width) in row.iter().zip(&mut widths) {
                *width = cell.chars().count().max(*width);
            }
        }
        let header = Cells::new(self.header.iter().map(|&name| name.to_owned()));
        let header = Some(header).filter(|_| !self.is_continued).map(|row| line(&row, &widths));
        header.into_iter().chain(self.rows.iter().map(move |row| line(row, &widths)))
    }
}

fn line(row: &Cells, widths: &[usize]) -> String {
    let mut line = String::new();
    for (cell, width) in row.iter().zip(widths) {
        line.push_str(cell);
        line.extend(std::iter::repeat_n(' ', width + GAP - cell.chars().count()));
    }
    line.truncate(line.trim_end().len());
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_content() {
        let mut table = Table::new(&["VIN", "STATUS", "RELEASE"]);
        table.row(["WDB0412", "online", ""].map(str::to_owned));
        table.row(["1", "off\tl\u{2028}ine", "ä"].map(str::to_owned));
        assert_eq!(
            table.lines().collect::<Vec<_>>(),
            [
                "VIN       STATUS      RELEASE",
                "WDB0412   online      <none>",
                "1         off l ine   ä",
            ]
        );
        assert_eq!(table.continued().lines().count(), 2);
    }
}
