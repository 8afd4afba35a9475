//! Inventories in CSV (RFC 4180). Own code, because errors name the column.

use fleet_contract::{Labels, check_label_key};

use super::listed::{Inventory, InventoryError};

/// A field, and where it begins.
#[derive(Debug)]
struct Field {
    text: String,
    line: usize,
    column: usize,
}

impl Field {
    fn error(&self, reason: impl Into<String>) -> InventoryError {
        InventoryError { line: self.line, column: self.column, reason: reason.into() }
    }
}

pub(super) fn parse(text: &str) -> Result<Inventory, InventoryError> {
    let start = Field { text: String::new(), line: 1, column: 1 };
    let mut records = Records { rest: text, line: 1, column: 1 };
    let missing = "the first line must name the columns: vin, and a label for each other column";
    let header = records.next()?.ok_or_else(|| start.error(missing))?;
    let vin = header.iter().position(|field| field.text == "vin");
    let vin = vin.ok_or_else(|| header.first().unwrap_or(&start).error(missing))?;
    for (index, field) in header.iter().enumerate() {
        if index != vin {
            check_label_key(&field.text).map_err(|reason| field.error(reason))?;
        }
        if header.iter().take(index).any(|other| other.text == field.text) {
            return Err(field.error(format!("the column {:?} is there twice", field.text)));
        }
    }
    let mut inventory = Inventory::default();
    while let Some(record) = records.next()? {
        if let Some(field) = record.get(header.len()) {
            return Err(field.error(format!("there are only {} columns", header.len())));
        }
        let first = record.first().unwrap_or(&start);
        let name = record.get(vin).ok_or_else(|| first.error("the line has no VIN"))?;
        let mut labels = Labels::default();
        for (index, (key, value)) in header.iter().zip(&record).enumerate() {
            if index != vin && !value.text.is_empty() {
                labels.insert(&key.text, &value.text).map_err(|reason| value.error(reason))?;
            }
        }
        inventory.add(&name.text, labels).map_err(|reason| name.error(reason))?;
    }
    Ok(inventory)
}

/// Reads records. Empty lines and lines that begin with `#` are skipped.
struct Records<'a> {
    rest: &'a str,
    line: usize,
    column: usize,
}

impl Records<'_> {
    fn next(&mut self) -> Result<Option<Vec<Field>>, InventoryError> {
        self.skip_lines();
        if self.rest.is_empty() {
            return Ok(None);
        }
        let mut fields = Vec::new();
        loop {
            fields.push(self.field()?);
            match self.take() {
                Some(',') => {}
                Some('\r') if self.rest.starts_with('\n') => {
                    self.take();
                    return Ok(Some(fields));
                }
                Some('\n') | None => return Ok(Some(fields)),
                Some(other) => {
                    return Err(self.error(format!(
                        "expected a comma or the end of the line after the quoted field, found \
                         {other:?}"
                    )));
                }
            }
        }
    }

    fn skip_lines(&mut self) {
        loop {
            let line = self.rest.split_inclusive('\n').next().unwrap_or_default();
            let is_skipped = line.trim().is_empty() || line.starts_with('#');
            if line.is_empty() || !is_skipped {
                return;
            }
            self.rest = self.rest.get(line.len()..).unwrap_or_default();
            self.line += 1;
        }
    }

    fn field(&mut self) -> Result<Field, InventoryError> {
        while self.rest.starts_with([' ', '\t']) {
            self.take();
        }
        let mut field = Field { text: String::new(), line: self.line, column: self.column };
        if !self.rest.starts_with('"') {
            while !self.rest.is_empty() && !self.rest.starts_with([',', '\n', '\r']) {
                field.text.extend(self.take());
            }
            field.text.truncate(field.text.trim_end().len());
            return Ok(field);
        }
        self.take();
        loop {
            match self.take() {
                None => return Err(field.error("the quoted field does not end")),
                Some('"') if self.rest.starts_with('"') => field.text.extend(self.take()),
                Some('"') => break,
                Some(other) => field.text.push(other),
            }
        }
        while self.rest.starts_with([' ', '\t']) {
            self.take();
        }
        Ok(field)
    }

    fn take(&mut self) -> Option<char> {
        let next = self.rest.chars().next()?;
        self.rest = self.rest.get(next.len_utf8()..).unwrap_or_default();
        if next == '\n' {
            (self.line, self.column) = (self.line + 1, 1);
        } else {
            self.column += 1;
        }
        Some(next)
    }

    fn error(&self, reason: String) -> InventoryError {
        let column = self.column.saturating_sub(1).max(1);
        InventoryError { line: self.line, column, reason }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_labels() {
        let text = "region,vin,model\r\neu,A1,\"x\"\r\n\r\n# spare\n, A2 ,y\nus,A3\n";
        let inventory = parse(text).unwrap();
        let vehicles: Vec<_> = inventory.vehicles().collect();
        let expected = [("A1", "region=eu,model=x"), ("A2", "model=y"), ("A3", "region=us")];
        for ((vin, labels), (name, expected)) in vehicles.iter().zip(expected) {
            assert_eq!((vin.as_str(), *labels), (name, &expected.parse().unwrap()));
        }
        assert_eq!(vehicles.len(), 3);
    }

    #[test]
    fn errors_have_line_and_column() {
        for (text, line, column, reason) in [
            ("", 1, 1, "the first line must name the columns"),
            ("region,model\n", 1, 1, "the first line must name the columns"),
            ("vin,a b\n", 1, 5, "is not a valid label key"),
            ("vin,a,a\n", 1, 7, "the column \"a\" is there twice"),
            ("vin,a\nA1,-x\n", 2, 4, "is not a valid label value"),
            ("vin,a\nA1,x,y\n", 2, 6, "there are only 2 columns"),
            ("a,vin\nx\n", 2, 1, "the line has no VIN"),
            ("vin\nA1\nA/2\n", 3, 1, "is not a valid VIN"),
            ("vin\nA1\nA1\n", 3, 1, "listed twice"),
            ("vin,a\nA1,\"x\n", 2, 4, "the quoted field does not end"),
            ("vin,a\nA1,\"x\"y\n", 2, 7, "expected a comma or the end of the line"),
        ] {
            let error = parse(text).unwrap_err();
            assert_eq!((error.line, error.column), (line, column), "{text}: {error}");
            assert!(error.reason.contains(reason), "{text}: {error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "(vin,a\n)?[a-z\"\n\r, #ü]{0,40}") {
            let _ = parse(&text);
        }
    }
}
