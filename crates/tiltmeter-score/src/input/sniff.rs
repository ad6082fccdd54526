//! What a file is, by its name and its first bytes.

use std::path::Path;

/// So many bytes are looked at.
pub(super) const HEAD: usize = 64 * 1024;

const UTF8_MARK: &[u8] = b"\xef\xbb\xbf";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Csv,
    /// Tabs between the fields.
    Tsv,
    JsonLines,
    Parquet,
    Sqlite,
    /// A log of Inspect.
    Inspect,
}

impl Format {
    /// The name in results.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Csv | Self::Tsv => "csv",
            Self::JsonLines => "jsonl",
            Self::Parquet => "parquet",
            Self::Sqlite => "sqlite",
            Self::Inspect => "inspect",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    Gzip,
    Zstd,
}

/// By the ending, without one that says how it is compressed. `.json` says too little: it is looked into.
pub(super) fn format_by_name(path: &Path) -> Option<Format> {
    let ending = |path: &Path| path.extension().map(|ending| ending.to_string_lossy().to_lowercase());
    let mut name = path.to_owned();
    if ending(&name).is_some_and(|ending| ["gz", "zst"].contains(&ending.as_str())) {
        name.set_extension("");
    }
    match ending(&name)?.as_str() {
        "csv" => Some(Format::Csv),
        "tsv" => Some(Format::Tsv),
        "jsonl" | "ndjson" => Some(Format::JsonLines),
        "parquet" | "pq" => Some(Format::Parquet),
        "sqlite" | "db" => Some(Format::Sqlite),
        "eval" => Some(Format::Inspect),
        _ => None,
    }
}

/// Formats that are not rows of text.
pub(super) fn binary(head: &[u8]) -> Option<Format> {
    if head.starts_with(b"PAR1") {
        Some(Format::Parquet)
    } else if head.starts_with(b"SQLite format 3\0") {
        Some(Format::Sqlite)
    } else if tiltmeter_inspect::is_json_log(head) {
        Some(Format::Inspect)
    } else {
        None
    }
}

pub(super) fn compression(head: &[u8]) -> Option<Compression> {
    if head.starts_with(b"\x1f\x8b") {
        Some(Compression::Gzip)
    } else if head.starts_with(b"\x28\xb5\x2f\xfd") {
        Some(Compression::Zstd)
    } else {
        None
    }
}

/// What is not read, with what to do.
pub(super) fn refused(head: &[u8]) -> Option<(&'static str, &'static str)> {
    match binary(head) {
        Some(Format::Parquet) => {
            return Some(("is Parquet, which cannot be read from a stream", "name the uncompressed file"));
        }
        Some(Format::Inspect) => {
            return Some(("is a log of Inspect, which cannot be read from a stream", "name the file"));
        }
        Some(_) => return Some(("is an SQLite file", "for a run of Tiltmeter, name its directory")),
        None => {}
    }
    if head.starts_with(b"\xff\xfe") || head.starts_with(b"\xfe\xff") {
        return Some(("is UTF-16", "save it as UTF-8"));
    }
    if head.starts_with(b"PK\x03\x04") {
        return Some(("is a zip archive or a spreadsheet", "save the table as CSV"));
    }
    match first_byte(head) {
        Some(b'[') if json_follows(head) => {
            Some(("is one JSON list, not JSON Lines", "write one object to a line, as by `jq -c '.[]'`"))
        }
        _ => None,
    }
}

/// Whether the text that begins with a bracket is JSON: a CSV header may begin with one too.
fn json_follows(head: &[u8]) -> bool {
    let text = without_mark(head).trim_ascii_start();
    let inner = text.strip_prefix(b"[").unwrap_or(text).trim_ascii_start();
    inner.starts_with(b"{") || inner.starts_with(b"]")
}

/// CSV or JSON Lines.
pub(super) fn text_format(head: &[u8]) -> Format {
    if first_byte(head) == Some(b'{') { Format::JsonLines } else { Format::Csv }
}

/// What stands between the fields: in most tables a comma, else what the header line has most of.
pub(super) fn delimiter(format: Format, head: &[u8]) -> u8 {
    if format == Format::Tsv {
        return b'\t';
    }
    let mut quoted = false;
    let mut counts = [(b',', 0_usize), (b';', 0), (b'\t', 0)];
    for &byte in without_mark(head).trim_ascii_start() {
        match byte {
            b'"' => quoted = !quoted,
            b'\n' if !quoted => break,
            _ if quoted => {}
            _ => {
                for (delimiter, count) in &mut counts {
                    *count += usize::from(*delimiter == byte);
                }
            }
        }
    }
    // The first of equals is the comma.
    counts.iter().rev().max_by_key(|(_, count)| *count).map_or(b',', |(delimiter, _)| *delimiter)
}

/// The text without the mark that some programs put first.
pub(super) fn without_mark(head: &[u8]) -> &[u8] {
    head.strip_prefix(UTF8_MARK).unwrap_or(head)
}

fn first_byte(head: &[u8]) -> Option<u8> {
    without_mark(head).trim_ascii_start().first().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_a_file_is() {
        let cases = [
            ("a.csv", Some(Format::Csv)),
            ("a.CSV.gz", Some(Format::Csv)),
            ("a.tsv", Some(Format::Tsv)),
            ("a.jsonl.zst", Some(Format::JsonLines)),
            ("a.json", None),
            ("a.pq", Some(Format::Parquet)),
            ("a", None),
            (".gz", None),
        ];
        for (name, expected) in cases {
            assert_eq!(format_by_name(Path::new(name)), expected, "{name}");
        }
    }

    #[test]
    fn delimiters_are_those_of_the_header() {
        let cases: [(&str, u8); 6] = [
            ("a,b,c\n1;2;3;4;5", b','),
            ("a;b;c\n", b';'),
            ("a\tb\n", b'\t'),
            ("\"a;b;c\",d\n", b','),
            ("a", b','),
            ("\u{feff}a;b", b';'),
        ];
        for (head, expected) in cases {
            assert_eq!(delimiter(Format::Csv, head.as_bytes()), expected, "{head}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        for head in [&b"\xff\xfea\0"[..], b"PK\x03\x04", b" [ {\"a\": 1}]", b"[]", b"PAR1"] {
            assert!(refused(head).is_some());
        }
        for head in [&b"[a],b\n"[..], b"{\"a\": 1}", b"a,b", b""] {
            assert!(refused(head).is_none());
        }
    }
}
