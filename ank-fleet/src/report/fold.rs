//! Folds lists of VINs: `WDB0[412,533,601-606,871]`.

use crate::vin::Vin;

/// Writes VINs in short: those that differ only in the number at their end become one, with the
/// number in brackets, and consecutive numbers become a range. The VINs are sorted first.
///
/// Shells with brace expansion do not read this; it is for people.
#[must_use]
pub fn fold_vins(vins: &[Vin]) -> String {
    let mut names: Vec<&str> = vins.iter().map(Vin::as_str).collect();
    names.sort_unstable();
    names.dedup();
    let mut groups: Vec<((&str, usize), Vec<&str>)> = Vec::new();
    for name in names {
        let digits = name.bytes().rev().take_while(u8::is_ascii_digit).count().min(MAX_DIGITS);
        let (prefix, number) = name.split_at(name.len() - digits);
        match groups.last_mut() {
            Some((key, numbers)) if *key == (prefix, digits) => numbers.push(number),
            _ => groups.push(((prefix, digits), vec![number])),
        }
    }
    let groups: Vec<String> =
        groups.into_iter().map(|((prefix, _), numbers)| fold(prefix, &numbers)).collect();
    groups.join(" ")
}

/// Maximum number of digits that are read as a number.
const MAX_DIGITS: usize = 18;

/// Folds names with the same prefix and sorted numbers of the same length.
fn fold(prefix: &str, numbers: &[&str]) -> String {
    let [first, .., last] = numbers else {
        return format!("{prefix}{}", numbers.concat());
    };
    // What all numbers begin with belongs to the prefix.
    let common = first.bytes().zip(last.bytes()).take_while(|(a, b)| a == b).count();
    let (shared, _) = first.split_at(common);
    let mut parts: Vec<String> = Vec::new();
    let mut range: Option<(&str, &str, u64)> = None;
    let write = |(start, end, _): (&str, &str, u64)| {
        if start == end { start.to_owned() } else { format!("{start}-{end}") }
    };
    for number in numbers {
        let (_, rest) = number.split_at(common);
        let value: u64 = number.parse().unwrap_or_default();
        range = match range {
            Some((start, _, before)) if before + 1 == value => Some((start, rest, value)),
            former => {
                parts.extend(former.map(write));
                Some((rest, rest, value))
            }
        };
    }
    parts.extend(range.map(write));
    format!("{prefix}{shared}[{}]", parts.join(","))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn folded(names: &[&str]) -> String {
        fold_vins(&names.iter().map(|name| name.parse().unwrap()).collect::<Vec<_>>())
    }

    #[test]
    fn vins_with_the_same_beginning_are_folded() {
        let mut names = vec!["WDB0412", "WDB0533", "WDB0871"];
        let range: Vec<String> = (601..=606).map(|number| format!("WDB0{number}")).collect();
        names.extend(range.iter().map(String::as_str));
        assert_eq!(folded(&names), "WDB0[412,533,601-606,871]");
        assert_eq!(folded(&["WDB0872"]), "WDB0872");
        assert_eq!(folded(&["WDB0872", "WDB0872"]), "WDB0872");
        assert_eq!(folded(&["A9", "A10", "A11"]), "A1[0-1] A9");
        assert_eq!(folded(&["car-a", "car-b", "x"]), "car-a car-b x");
        assert_eq!(folded(&["7", "8"]), "[7-8]");
        assert_eq!(folded(&[]), "");
    }

    #[test]
    fn numbers_of_any_length_are_folded() {
        let long = "9".repeat(63);
        assert_eq!(folded(&[&long]), long);
    }
}
