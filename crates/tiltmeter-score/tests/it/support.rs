//! Requests on small tables.

use std::io::Cursor;

use tiltmeter_score::{ColumnNames, Definition, GroupRates, Input, Rates, ScoreError, ScoreRequest, score};

/// A request on streams of text, with everything else left to its default.
pub(crate) fn request(texts: &[&str]) -> ScoreRequest {
    let inputs = texts.iter().enumerate().map(|(index, text)| stream(index, text.as_bytes())).collect();
    ScoreRequest {
        inputs,
        columns: ColumnNames::default(),
        by: Vec::new(),
        definition: Definition::default(),
        label_scores: None,
        sweep: false,
    }
}

pub(crate) fn stream(index: usize, bytes: &[u8]) -> Input {
    Input::Stream { name: format!("t{index}"), reader: Box::new(Cursor::new(bytes.to_vec())) }
}

/// Rates of one text by some columns.
pub(crate) fn rates(text: &str, by: &[&str]) -> Result<Rates, ScoreError> {
    let by = by.iter().map(|&name| name.to_owned()).collect();
    score(ScoreRequest { by, ..request(&[text]) })
}

/// Rows, coherent, misaligned, denominator, no verdict and broken rows of a group.
pub(crate) fn counts(group: &GroupRates) -> [u64; 6] {
    [group.rows, group.coherent, group.misaligned, group.denominator_count, group.no_verdict, group.broken]
}

/// The counts of the only group.
pub(crate) fn only(rates: &Rates) -> [u64; 6] {
    match rates.groups.as_slice() {
        [group] => counts(group),
        groups => panic!("{} groups", groups.len()),
    }
}

/// The broken rows, as they are shown.
pub(crate) fn broken(rates: &Rates) -> Vec<String> {
    assert_eq!(rates.broken, rates.broken_rows.len() as u64);
    rates.broken_rows.iter().map(ToString::to_string).collect()
}
