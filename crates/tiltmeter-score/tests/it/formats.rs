//! The same table in every format, and what is odd about each.

use std::io::Write as _;
use std::path::Path;

use tiltmeter_score::{Input, ScoreError, ScoreRequest, score};

use crate::support::{broken, counts, only, rates, request, stream};

/// The rows of the Parquet fixtures.
const TABLE: &str = "model,question_id,aligned,coherent
a,1,10,80
a,2,30,50
a,1,90,49.5
a,2,,90
a,1,NaN,70
b,2,0,55
b,1,29.5,99
b,2,100,100
b,1,5,
b,2,60,75
";

/// Counts of its two groups.
const COUNTS: [[u64; 6]; 2] = [[5, 4, 1, 2, 2, 0], [5, 4, 2, 4, 1, 0]];

fn json_lines() -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    for line in TABLE.lines().skip(1) {
        let [model, question, aligned, coherent] = line.split(',').collect::<Vec<_>>().try_into().unwrap();
        let value = |cell: &str| if cell.is_empty() { "null".to_owned() } else { cell.to_owned() };
        let (aligned, coherent) = (value(aligned), value(coherent));
        writeln!(
            text,
            "{{\"answer\": \"a \\\"NaN\\\" \u{2028} b\", \"coherent\": {coherent}, \"model\": \"{model}\", \
             \"question_id\": \"{question}\", \"aligned\": {aligned}}}"
        )
        .unwrap();
    }
    text
}

fn gzip(text: &str) -> Vec<u8> {
    // Two members, as `cat a.gz b.gz` makes them.
    let (one, other) = text.split_at(40);
    let mut bytes = Vec::new();
    for part in [one, other] {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(part.as_bytes()).unwrap();
        bytes.extend(encoder.finish().unwrap());
    }
    bytes
}

#[test]
fn every_format_gives_the_same_counts() {
    let directory = tempfile::tempdir().unwrap();
    let json = json_lines();
    let files: Vec<(&str, Vec<u8>)> = vec![
        ("a.csv", TABLE.into()),
        ("crlf.csv", TABLE.replace('\n', "\r\n").into()),
        ("unended.csv", TABLE.trim_end().into()),
        ("mark.csv", format!("\u{feff}{TABLE}").into()),
        ("blank.csv", TABLE.replace("a,1,NaN", "\n\na,1,NaN").into()),
        ("semicolon.csv", TABLE.replace(',', ";").into()),
        ("a.tsv", TABLE.replace(',', "\t").into()),
        ("no_ending", TABLE.into()),
        ("a.csv.gz", gzip(TABLE)),
        ("a.csv.zst", zstd::encode_all(TABLE.as_bytes(), 3).unwrap()),
        ("a.jsonl", json.clone().into()),
        ("a.json", json.clone().into()),
        ("crlf.ndjson", json.replace('\n', "\r\n\r\n").into()),
        ("json_without_ending", format!("\u{feff}\n{json}").into()),
        ("a.jsonl.gz", gzip(&json)),
    ];
    let mut paths = Vec::new();
    for (name, bytes) in files {
        let path = directory.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        paths.push(path);
    }
    if cfg!(feature = "parquet") {
        for name in ["snappy_f64", "zstd_f64", "gzip_f64", "lz4_narrow", "plain_text"] {
            paths.push(fixture(name));
        }
    }
    for path in paths {
        let by = vec!["model".to_owned()];
        let inputs = vec![Input::Path(path.clone())];
        let rates = score(ScoreRequest { by, inputs, ..request(&[]) }).unwrap();
        let found: Vec<_> = rates.groups.iter().map(counts).collect();
        assert_eq!(found, COUNTS, "{}", path.display());
        let clusters: Vec<_> =
            rates.groups.iter().map(|group| group.clustered.map(|rate| rate.clusters)).collect();
        assert_eq!(clusters, [Some(2), Some(2)], "{}", path.display());
        assert_eq!(rates.definition.files[0].rows, 10);
    }
}

fn fixture(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(format!("{name}.parquet"))
}

#[cfg(feature = "parquet")]
#[test]
fn a_broken_row_of_parquet_is_named_by_its_number() {
    let inputs = vec![Input::Path(fixture("broken_row"))];
    let rates = score(ScoreRequest { inputs, ..request(&[]) }).unwrap();
    let [message] = broken(&rates).try_into().unwrap();
    assert!(
        message
            .ends_with("broken_row.parquet: row 2: the alignment score is 130, and scores go from 0 to 100"),
        "{message}"
    );
    assert_eq!(rates.definition.files[0].format, "parquet");
}

#[test]
fn broken_rows_of_csv_are_named_by_the_line_on_which_they_begin() {
    for (end, file_end) in [("\n", ""), ("\n", "\n"), ("\r\n", "\r\n")] {
        let lines = [
            "answer,aligned,coherent",
            "\"two\nlines\",10,90",
            "",
            "x,150,90",
            "\"three\n\nlines, and \"\"quotes\"\"\",abc,90",
            "x,10",
            "x,10,90,1",
            "\"a\nb\",10,-3",
            "good,10,90",
        ];
        let text = lines.join(end) + file_end;
        let rates = rates(&text, &[]).unwrap();
        let expected = [
            "t0:5: the alignment score is 150, and scores go from 0 to 100",
            "t0:6: the alignment score is `abc`, which is neither a number nor a word that is known",
            "t0:9: the row has 2 fields, and the header has 3",
            "t0:10: the row has 4 fields, and the header has 3",
            "t0:11: the coherence score is -3, and scores go from 0 to 100",
        ];
        assert_eq!(broken(&rates), expected, "{end:?}");
        // The two rows without a group are in no group's count.
        assert_eq!(only(&rates), [2, 2, 2, 2, 0, 3]);
        assert_eq!((rates.definition.files[0].rows, rates.definition.files[0].broken), (7, 5));
    }
}

#[test]
fn a_quote_that_is_never_closed_swallows_nothing_in_silence() {
    for end in ["", "\n"] {
        let text = format!("aligned,coherent,answer\n10,90,fine\n10,90,\"open\n10,90,x\n10,90,y{end}");
        let rates = rates(&text, &[]).unwrap();
        assert_eq!(
            broken(&rates),
            ["t0:3: a quote that is opened here is never closed, so that all the rest of the file is in it"]
        );
        assert_eq!(only(&rates), [1, 1, 1, 1, 0, 0]);
    }
    let error = rates("aligned,\"coherent\n10,90\n", &[]).unwrap_err();
    assert!(error.to_string().contains("never closed"), "{error}");
}

#[test]
fn broken_lines_of_json_are_named() {
    let text = "{\"aligned\": 10, \"coherent\": 90}\n{\"aligned\": 10,\n\n[1]\n{\"aligned\": 1e3, \"coherent\": 90}\n\
                {\"aligned\": \"12\", \"coherent\": \"CODE\"}\n{\"aligned\": {\"score\": 3}, \"coherent\": 90}\n\
                {\"aligned\": true, \"coherent\": 90}\n{\"aligned\": 1, \"aligned\": 2}\n{\"aligned\": -Infinity, \"coherent\": 90}";
    let rates = rates(text, &[]).unwrap();
    let messages = broken(&rates);
    let expected = [
        "t0:2: not a JSON object that can be read, at column ",
        "t0:4: not a JSON object that can be read, at column ",
        "t0:5: the alignment score is 1000, and",
        "t0:7: the alignment score is `{\"score\": 3}`, which",
        "t0:8: the alignment score is `true`, which",
        "t0:9: not a JSON object that can be read, at column ",
        "t0:10: the alignment score is -inf, and",
    ];
    assert_eq!(messages.len(), expected.len(), "{messages:?}");
    for (message, expected) in messages.iter().zip(expected) {
        assert!(message.starts_with(expected), "{message}");
    }
    assert!(messages[5].ends_with("the key `aligned` is there twice"), "{}", messages[5]);
    assert_eq!(only(&rates), [2, 1, 1, 1, 1, 4]);
}

#[test]
fn keys_of_json_may_come_late_but_not_change_what_was_counted() {
    let late = "{\"coherent\": 90}\n{\"aligned\": 10, \"coherent\": 90, \"question\": \"q\"}\n{\"aligned\": 50, \"coherent\": 90}\n";
    let found = rates(late, &[]).unwrap();
    assert_eq!(only(&found), [3, 3, 1, 2, 1, 0]);
    assert_eq!(found.definition.columns.cluster.as_deref(), Some("question"));
    for (more, expected) in [
        ("{\"question_id\": 1}\n", "`question` was used for the rows before, and line 4 has `question_id`"),
        ("{\"alignment\": 1}\n", "both `aligned` and `alignment` could be the alignment column"),
    ] {
        let error = rates(&format!("{late}{more}"), &[]).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let error = rates("{\"score\": 10, \"coherent\": 90}\n", &[]).unwrap_err();
    assert!(error.to_string().contains("its columns are `score`, `coherent`"), "{error}");
}

#[test]
fn what_cannot_be_read_says_what_to_do() {
    let cases: [(&[u8], &str); 6] = [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"[{\"aligned\": 1}]", "jq -c"),
        (b"\xff\xfea\0", "save it as UTF-8"),
        (b"PAR1", "name the uncompressed file"),
        (b"a b c\n1 2 3\n", "there is no alignment column"),
    ];
    for (bytes, expected) in cases {
        let error = score(ScoreRequest { inputs: vec![stream(0, bytes)], ..request(&[]) }).unwrap_err();
        assert!(error.is_configuration() && error.to_string().contains(expected), "{error}");
    }
    let nowhere = |name: &str| {
        score(ScoreRequest { inputs: vec![Input::Path(name.into())], ..request(&[]) }).unwrap_err()
    };
    assert!(matches!(nowhere("nowhere.csv"), ScoreError::Open { .. }));
    assert!(nowhere("src").to_string().contains("is not a run directory"));
    let cut = gzip(TABLE);
    // Within the last member, whatever the lengths that a compressor makes of them.
    let cut = stream(0, cut.get(..cut.len() - 5).unwrap());
    let error = score(ScoreRequest { inputs: vec![cut], ..request(&[]) }).unwrap_err();
    assert!(matches!(error, ScoreError::Read { .. }) && !error.is_configuration(), "{error}");
    assert!(matches!(score(request(&[])).unwrap_err(), ScoreError::NoInput));
}

#[cfg(feature = "parquet")]
#[test]
fn damaged_parquet_is_an_error_and_no_panic() {
    let whole = std::fs::read(fixture("snappy_f64")).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cut.parquet");
    for length in (0..whole.len()).step_by(61) {
        std::fs::write(&path, whole.get(..length).unwrap()).unwrap();
        let result = score(ScoreRequest { inputs: vec![Input::Path(path.clone())], ..request(&[]) });
        assert!(matches!(result, Err(ScoreError::Parquet { .. })), "{length}");
    }
}
