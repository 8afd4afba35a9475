//! Formats that their first bytes identify.

use super::format::Foreign;

/// How a format is recognised.
enum Magic {
    /// The payload has these bytes at this offset.
    At(usize, &'static [u8]),
    /// A condition on the payload.
    If(fn(&[u8]) -> bool),
}

use Magic::{At, If};

const UNPACK: &str = "unpack it, and send the text file that it contains";
const IMAGE: &str = "send the text file; container images go to a registry";
const OFFICE: &str = "save it as plain text (UTF-8), and send that file";
const UTF_16: &str = "convert it: iconv -f UTF-16 -t UTF-8 FILE > NEW (PowerShell writes UTF-16 \
                      with >, use Out-File -Encoding utf8)";

/// The formats; the first that matches counts.
const FORMATS: &[(Magic, &str, &str)] = &[
    (
        If(|payload| payload.starts_with(b"\xff\xfe\0\0") || payload.starts_with(b"\0\0\xfe\xff")),
        "text in UTF-32",
        "convert it: iconv -f UTF-32 -t UTF-8 FILE > NEW",
    ),
    (
        If(|payload| payload.starts_with(b"\xff\xfe") || payload.starts_with(b"\xfe\xff")),
        "text in UTF-16",
        UTF_16,
    ),
    (At(0, b"\x1f\x8b"), "a gzip file", "unpack it: gunzip -c FILE.gz"),
    (If(is_office), "a document of an office program", OFFICE),
    (At(0, b"PK\x03\x04"), "a zip file", UNPACK),
    (At(0, b"PK\x05\x06"), "a zip file", UNPACK),
    (At(257, b"ustar"), "a tar file", UNPACK),
    (At(0, b"BZh"), "a bzip2 file", "unpack it: bunzip2 -c FILE.bz2"),
    (At(0, b"\xfd7zXZ\0"), "an xz file", "unpack it: xz -dc FILE.xz"),
    (At(0, b"\x28\xb5\x2f\xfd"), "a zstd file", "unpack it: zstd -dc FILE.zst"),
    (At(0, b"\x04\x22\x4d\x18"), "an lz4 file", "unpack it: lz4 -dc FILE.lz4"),
    (At(0, b"7z\xbc\xaf\x27\x1c"), "a 7z file", UNPACK),
    (At(0, b"Rar!\x1a\x07"), "a rar file", UNPACK),
    (
        At(0, b"\x7fELF"),
        "a program (ELF)",
        "send the text file that describes the workload; programs go into a container image",
    ),
    (
        At(0, b"MZ\x90"),
        "a Windows program",
        "send the text file that describes the workload; programs go into a container image",
    ),
    (
        At(0, b"\0asm"),
        "a WebAssembly module",
        "send the text file that describes the workload; programs go into a container image",
    ),
    (At(0, b"\x89PNG"), "an image (PNG)", IMAGE),
    (At(0, b"\xff\xd8\xff"), "an image (JPEG)", IMAGE),
    (At(0, b"GIF8"), "an image (GIF)", IMAGE),
    (At(8, b"WEBP"), "an image (WebP)", IMAGE),
    (At(0, b"BM\0"), "an image (BMP)", IMAGE),
    (At(0, b"%PDF"), "a PDF", "copy its text into a plain text file, and send that file"),
    (At(0, b"{\\rtf"), "an RTF document", OFFICE),
    (At(0, b"\xd0\xcf\x11\xe0"), "a document of an office program", OFFICE),
    (At(0, b"SQLite format 3\0"), "an SQLite database", "send the text file"),
    (At(0, b"\x30\x82"), "a certificate or key (DER)", "it belongs into a file of the connector"),
    (If(is_utf16), "text in UTF-16", UTF_16),
    (If(is_binary), "a binary file", "send the text file"),
];

/// Recognises the format of a payload.
pub(super) fn recognize(payload: &[u8]) -> Option<Foreign> {
    let is = |magic: &Magic| match magic {
        At(offset, bytes) => payload.get(*offset..).is_some_and(|rest| rest.starts_with(bytes)),
        If(condition) => condition(payload),
    };
    let (_, what, advice) = FORMATS.iter().find(|(magic, ..)| is(magic))?;
    Some(Foreign { what, advice })
}

/// Whether a zip file is a document: docx, xlsx, pptx, odt.
fn is_office(payload: &[u8]) -> bool {
    let beginning = payload.get(..1024).unwrap_or(payload);
    let has = |part: &[u8]| beginning.windows(part.len()).any(|window| window == part);
    payload.starts_with(b"PK\x03\x04")
        && (has(b"[Content_Types].xml") || has(b"vnd.oasis") || has(b"word/"))
}

/// Whether the beginning has several control characters that texts do not have, or the payload
/// is nothing but zeros. Zeros at the end do not count: they are the rest of a buffer.
fn is_binary(payload: &[u8]) -> bool {
    const MIN: usize = 4;
    let end = payload.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let beginning = payload.get(..end.min(1024)).unwrap_or_default();
    let is_control = |byte: &&u8| matches!(byte, 0..=8 | 14..=26 | 28..=31);
    match end {
        0 => payload.len() >= MIN,
        _ => beginning.iter().filter(is_control).count() >= MIN,
    }
}

/// Whether every second byte of the beginning is zero, which in UTF-16 is so for ASCII.
fn is_utf16(payload: &[u8]) -> bool {
    let beginning = payload.get(..64).unwrap_or(payload);
    let zeros = |first: usize| {
        let bytes = beginning.iter().skip(first).step_by(2);
        bytes.clone().count() >= 2 && bytes.filter(|byte| **byte != 0).count() == 0
    };
    let zero_count = beginning.iter().filter(|byte| **byte == 0).count();
    zero_count <= beginning.len().div_ceil(2) && (zeros(0) || zeros(1))
}
