//! The limit of nodes of a text, which bounds the memory that parsing takes.
//!
//! A node takes 2 bytes of text and up to 300 bytes of memory, so a limit of size alone does not
//! bound the memory.

use crate::line_column::LineColumn;

/// Maximum number of keys, values and items of a YAML or JSON text.
///
/// Ankaios takes requests of up to 1 MiB. Real manifests of that size have fewer nodes: of 1,000
/// workloads, each may have 40 nodes, and 1 KiB of text. Parsing so many takes up to 15 MB.
pub const MAX_NODES: usize = 40_000;

/// The error for a text with more nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "there are more than {MAX_NODES} keys, values and items, which would take too much memory; \
     use fewer of them"
)]
pub struct TooManyNodes {
    /// Where the first node begins that is too many.
    pub at: LineColumn,
}

/// Counts the nodes of a JSON text before it is parsed. Of text that is not JSON, the result may be
/// too high or too low.
///
/// # Errors
/// There are too many.
pub fn check_json(text: &str) -> Result<(), TooManyNodes> {
    let mut nodes = 0;
    // Whether the next character begins a node, unless it closes an empty list or map.
    let mut at_start = true;
    let (mut in_text, mut is_escaped) = (false, false);
    for (offset, byte) in text.bytes().enumerate() {
        if in_text {
            in_text = is_escaped || byte != b'"';
            is_escaped = byte == b'\\' && !is_escaped;
            continue;
        }
        if byte.is_ascii_whitespace() {
            continue;
        }
        if at_start && !matches!(byte, b']' | b'}') {
            nodes += 1;
            if nodes > MAX_NODES {
                return Err(TooManyNodes { at: LineColumn::at(text, offset) });
            }
        }
        at_start = matches!(byte, b'[' | b'{' | b',' | b':');
        in_text = byte == b'"';
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// A list with as many nodes as are allowed, and `more` items.
    fn list(item: &str, nodes: usize, more: usize) -> String {
        format!("[{}]", vec![item; (MAX_NODES - 1) / nodes + more].join(","))
    }

    #[test]
    fn keys_values_items_and_collections_count() {
        for (item, nodes) in [
            ("1", 1),
            ("[]", 1),
            ("{ }", 1),
            ("\"a,b:[{\\\",\"", 1),
            ("[1]", 2),
            ("{\"a\": \"\\\\\"}", 3),
            ("{\"a\" : [1, {}]}", 5),
        ] {
            check_json(&list(item, nodes, 0)).unwrap();
            assert!(check_json(&list(item, nodes, 1)).is_err(), "{item}");
        }
    }

    #[test]
    fn the_position_is_that_of_the_first_node_too_many() {
        let text = format!("[\n{}\n  2]", "1,".repeat(MAX_NODES - 1));
        let TooManyNodes { at } = check_json(&text).unwrap_err();
        assert_eq!(at, LineColumn { line: 3, column: 3 });
    }
}
