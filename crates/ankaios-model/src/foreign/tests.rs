//! The formats and their examples.

use super::{conversion, recognize};

/// One example of each format.
#[test]
fn formats_are_recognised() {
    let tar = [&b"state.yaml"[..], &[0; 247], b"ustar\x0000"].concat();
    let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>();
    let utf16_be = |text: &str| text.encode_utf16().flat_map(u16::to_be_bytes).collect::<Vec<_>>();
    let with_mark = [b"\xff\xfe", utf16("apiVersion: v1").as_slice()].concat();
    let with_mark_be = [b"\xfe\xff", utf16_be("apiVersion: v1").as_slice()].concat();
    for (payload, what) in [
        (&b"\xff\xfe\0\0a\0\0\0"[..], "UTF-32"),
        (&with_mark, "text in UTF-16"),
        (&with_mark_be, "text in UTF-16"),
        (&utf16("apiVersion: v1"), "text in UTF-16"),
        (&utf16_be("[\"a\"]"), "text in UTF-16"),
        (b"\x1f\x8b\x08", "gzip"),
        (b"PK\x03\x04 state.yaml", "a zip"),
        (b"PK\x05\x06", "a zip"),
        (b"PK\x03\x04 [Content_Types].xml", "office"),
        (&tar, "a tar"),
        (b"BZh9", "bzip2"),
        (b"\xfd7zXZ\0", "an xz"),
        (b"\x28\xb5\x2f\xfd", "zstd"),
        (b"\x04\x22\x4d\x18", "lz4"),
        (b"7z\xbc\xaf\x27\x1c", "7z"),
        (b"Rar!\x1a\x07", "rar"),
        (b"\x7fELF\x02", "ELF"),
        (b"MZ\x90\0", "Windows program"),
        (b"\0asm\x01", "WebAssembly"),
        (b"\x89PNG\r\n", "PNG"),
        (b"\xff\xd8\xff\xe0", "JPEG"),
        (b"GIF89a", "GIF"),
        (b"RIFF\0\0\0\0WEBP", "WebP"),
        (b"%PDF-1.7", "PDF"),
        (b"{\\rtf1", "RTF"),
        (b"\xd0\xcf\x11\xe0", "office"),
        (b"SQLite format 3\0", "SQLite"),
        (b"\x30\x82\x01", "DER"),
        (b"<!DOCTYPE html><title>x \xc2\xb7 GitHub</title> https://github.com", "about a file"),
        (b"\n<html><h1>404 Not Found</h1>", "page with an error"),
        (b"<html><head><title>Login to hotel wifi</title>", "a web page (HTML)"),
        (b"<?xml version=\"1.0\"?><Error><Code>NoSuchKey", "storage"),
        (b"<?xml version=\"1.0\"?><a/>", "XML"),
        (b"404: Not Found", "a web server"),
        (b"403 Forbidden\n", "a web server"),
        (b"Not Found", "a web server"),
        (b"curl: (6) Could not resolve host: x", "curl"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "Git LFS"),
        (b"-----BEGIN PRIVATE KEY-----\nx", "PEM"),
        (b"#!/bin/sh\nank apply x\n", "a script"),
        (b"```yaml\na: b\n```", "Markdown"),
        (b"# Title\n\n```yaml\na: b\n```\n", "Markdown"),
        (b"diff --git a/x b/x\n", "a patch"),
        (b"a: b\n<<<<<<< HEAD\nc\n=======\nd\n>>>>>>> x\n", "merge conflict"),
        (b"WORKLOAD NAME   AGENT   RUNTIME\nnginx agent_A podman\n", "a table for people"),
        (b"NAME      WORKLOADS   CPU USAGE   FREE MEMORY\nagent_A   2\n", "a table for people"),
        (b"[Unit]\nDescription=x\n[Container]\nImage=x\n", "Quadlet"),
        (b"# x\n[Service]\nExecStart=/bin/x \\\n  -v\n", "systemd"),
        (b"[workloads.app]\nruntime = \"podman\"\n", "TOML"),
        (b"apiVersion = \"v1\"\n", "TOML"),
        (b"VIN=1\nMQTT_BROKER_ADDR=x\n", "environment"),
        (b"FROM nginx:1\nRUN x\n", "Dockerfile"),
        (b"state.yaml", "the name of a file"),
        (b"@/tmp/state.yml\n", "the name of a file"),
        (b"$(cat state.yaml | x)", "a shell command"),
        (b"YXBpVmVyc2lvbjogdjEKd29ya2xvYWRzOiB7fQo=\n", "base64"),
        (b"name,agent\na,b\n", "CSV"),
        (b"YXBpVmVyc2lvbjogdjEKd29ya2xvYWRzOiB7fQo_", "base64"),
        (b"61706956657273696f6e3a2076310a776f726b6c6f6164733a", "hexadecimal"),
        (b"Bag Attributes\n    localKeyID: 01\n-----BEGIN CERTIFICATE-----\n", "PEM"),
        (b"     1\tapiVersion: v1\n     2\tworkloads:\n", "line numbers"),
        (b"1: apiVersion: v1\n2: workloads:\n", "line numbers"),
        (b"$ cat state.yaml\napiVersion: v1\n", "a terminal"),
        (b"https://example.org/state.yaml", "an address"),
        (b"# Title\n\n## Part\n\nText: with a colon\n", "Markdown"),
        (b"set -e\nank apply state.yaml\n", "a script"),
        (b"podman run -d nginx\n", "a shell command"),
        (b"import os\nprint(1)\n", "a program"),
        (b"resource \"x\" \"y\" {\n  a = 1\n}\n", "a program"),
        (b"\0\x01\x02\x03", "a binary file"),
        (b"\xff\x00\x01\x02\x03\x04", "a binary file"),
        (&[0; 100], "a binary file"),
    ] {
        let text = String::from_utf8_lossy(payload);
        let foreign = recognize(payload).unwrap_or_else(|| panic!("{text}: {what}"));
        assert!(foreign.what.contains(what), "{text}: {}", foreign.what);
        assert!(foreign.sentence("a manifest").starts_with("this is "));
    }
}

#[test]
fn other_texts_are_not() {
    for payload in [
        &b""[..],
        b"apiVersion: v1\nworkloads: {}\n",
        b"# comment\napiVersion: v1\n",
        b"{\"apiVersion\": \"v1\"}",
        b"[\"workloadStates\", \"a.b\"]",
        b"[a]",
        b"[workloadStates]",
        b"workloadStates",
        b"nginx",
        b"{bad",
        b"\xff",
        b"a\0",
        b"\0",
        b"apiVersion: v1\0\0\0\0\0\0",
        b"\x1b[31mapiVersion\x1b[0m: \x1b[32mv1\x1b[0m",
        b"application: x\n",
        b"importance: 1\n",
        b"1.5\n2.5\n3",
        b"caf\xe9: x",
        b"key: a=b\n",
        b"a: 404\n",
        b"12345",
    ] {
        assert_eq!(recognize(payload), None, "{}", String::from_utf8_lossy(payload));
    }
}

#[test]
fn texts_of_windows_are_converted_as_such() {
    assert_eq!(conversion(b"a \xfc", 2), "iconv -f ISO-8859-1 -t UTF-8 FILE > NEW");
    assert_eq!(conversion(b"a \x93b\x94", 2), "iconv -f WINDOWS-1252 -t UTF-8 FILE > NEW");
    assert_eq!(conversion(b"", 0), "iconv -f ISO-8859-1 -t UTF-8 FILE > NEW");
}
