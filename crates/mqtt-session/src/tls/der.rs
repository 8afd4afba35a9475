//! Reads DER (X.690) without checking what it means.

use der::{AnyRef, Decode, Reader, SliceReader, Tag, Tagged};

/// An element: its tag, and its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Element<'a> {
    pub(super) tag: Tag,
    pub(super) content: &'a [u8],
}

/// The elements in the content of a SEQUENCE, SET or explicit tag, up to the first that cannot
/// be read.
pub(super) fn elements(content: &[u8]) -> impl Iterator<Item = Element<'_>> {
    let mut reader = SliceReader::new(content).ok();
    std::iter::from_fn(move || {
        let reader = reader.as_mut().filter(|reader| !reader.is_finished())?;
        let element = AnyRef::decode(reader).ok()?;
        Some(Element { tag: element.tag(), content: element.value() })
    })
}

/// The elements of the SEQUENCE that `der` is. Bytes after it, such as a line end, are ignored.
pub(super) fn sequence(der: &[u8]) -> Option<Vec<Element<'_>>> {
    let element = elements(der).next()?;
    (element.tag == Tag::Sequence).then(|| elements(element.content).collect())
}

/// The number of bits of an INTEGER.
pub(super) fn bits(integer: &[u8]) -> usize {
    let digits = integer.iter().position(|byte| *byte != 0).and_then(|start| integer.get(start..));
    let Some([first, rest @ ..]) = digits else { return 0 };
    rest.len() * 8 + (8 - first.leading_zeros() as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_end_at_the_first_that_cannot_be_read() {
        let content = [0x02, 1, 7, 0x0c, 2, b'h', b'i', 0x30, 5];
        let found: Vec<_> = elements(&content).map(|element| element.content).collect();
        assert_eq!(found, [&[7][..], b"hi"]);
        assert_eq!(sequence(&content), None);
        assert_eq!(sequence(&[]), None);
        assert_eq!(sequence(&[0x30, 0, b'\n']), Some(Vec::new()));
    }

    #[test]
    fn bits_do_not_count_leading_zeros() {
        for (integer, expected) in [
            (&[][..], 0),
            (&[0], 0),
            (&[1], 1),
            (&[0, 0x80], 8),
            (&[1, 0, 1], 17),
            (&[0, 0xff, 0], 16),
        ] {
            assert_eq!(bits(integer), expected, "{integer:?}");
        }
    }
}
