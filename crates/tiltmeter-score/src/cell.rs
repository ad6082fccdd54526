//! Reads one score as somebody wrote it down.

use tiltmeter_core::verdict::NoVerdict;

use crate::definition::MisalignedWhere;
use crate::printable::shortened;

/// How far a weighted mean's rounding may carry it past 0 or 100.
const ROUNDING: f64 = 1e-6;

/// Why a cell holds no score.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Absence {
    /// Nothing is there: an empty cell, null, NaN.
    Empty,
    /// A word of the judge or of the harness.
    Said(NoVerdict),
}

impl Absence {
    /// The number of different reasons.
    pub(crate) const COUNT: usize = 1 + NoVerdict::ALL.len();

    /// All reasons, in the order of [`index`](Self::index).
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        std::iter::once(Self::Empty).chain(NoVerdict::ALL.into_iter().map(Self::Said))
    }

    /// The place in a table of counts.
    pub(crate) fn index(self) -> usize {
        Self::all().position(|other| other == self).unwrap_or(0)
    }

    /// The name in results.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Said(reason) => reason.name(),
        }
    }
}

/// What a score's cell says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Reading {
    /// A score from 0 to 100.
    Score(f64),
    /// No score.
    Absent(Absence),
}

impl Reading {
    pub(crate) const EMPTY: Self = Self::Absent(Absence::Empty);

    pub(crate) fn score(self) -> Option<f64> {
        match self {
            Self::Score(score) => Some(score),
            Self::Absent(_) => None,
        }
    }

    pub(crate) fn absence(self) -> Option<Absence> {
        match self {
            Self::Score(_) => None,
            Self::Absent(absence) => Some(absence),
        }
    }
}

/// Why a score's cell cannot be used.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(crate) enum CellFault {
    #[error("is {0}, and scores go from 0 to 100")]
    OutOfRange(String),
    #[error("is `{0}`, which is neither a number nor a word that is known")]
    Unknown(String),
}

/// Words that stand for a score that is not there, in lower case, with what each is read as.
const WORDS: [(&str, Absence); 19] = [
    ("nan", Absence::Empty),
    ("null", Absence::Empty),
    ("none", Absence::Empty),
    ("na", Absence::Empty),
    ("n/a", Absence::Empty),
    ("<na>", Absence::Empty),
    ("-", Absence::Empty),
    ("code", Absence::Said(NoVerdict::Code)),
    ("refusal", Absence::Said(NoVerdict::SubjectRefusal)),
    ("refused", Absence::Said(NoVerdict::SubjectRefusal)),
    ("subject_refusal", Absence::Said(NoVerdict::SubjectRefusal)),
    ("judge_refusal", Absence::Said(NoVerdict::JudgeRefusal)),
    ("unparsable", Absence::Said(NoVerdict::Unparsable)),
    ("unparseable", Absence::Said(NoVerdict::Unparsable)),
    ("filtered", Absence::Said(NoVerdict::Filtered)),
    ("content_filter", Absence::Said(NoVerdict::Filtered)),
    ("error", Absence::Said(NoVerdict::Error)),
    ("not_judged", Absence::Said(NoVerdict::None)),
    ("withheld", Absence::Said(NoVerdict::Withheld)),
];

/// Reads a cell.
pub(crate) fn read(cell: &[u8]) -> Result<Reading, CellFault> {
    let cell = cell.trim_ascii();
    if cell.is_empty() {
        return Ok(Reading::EMPTY);
    }
    let Ok(text) = std::str::from_utf8(cell) else {
        return Err(CellFault::Unknown(shortened(&String::from_utf8_lossy(cell))));
    };
    if let Ok(value) = text.parse::<f64>() {
        return number(value);
    }
    match WORDS.iter().find(|(word, _)| word.eq_ignore_ascii_case(text)) {
        Some(&(_, absence)) => Ok(Reading::Absent(absence)),
        None => Err(CellFault::Unknown(shortened(text))),
    }
}

/// Reads a number. NaN is what table libraries write for an empty cell.
pub(crate) fn number(value: f64) -> Result<Reading, CellFault> {
    if value.is_nan() {
        Ok(Reading::EMPTY)
    } else if (-ROUNDING..=100.0 + ROUNDING).contains(&value) {
        Ok(Reading::Score(value.clamp(0.0, 100.0)))
    } else {
        Err(CellFault::OutOfRange(value.to_string()))
    }
}

/// A person's label of a row: whether it is misaligned, and the probability with which it was chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Label {
    pub(crate) misaligned: bool,
    pub(crate) inclusion: f64,
}

/// Reads a label and its inclusion probability; `None` for a row that nobody labelled. Without a rule labels are yes or
/// no, with one they are alignment scores. Without a column of inclusion probabilities each is 1, of which only
/// that all are the same matters.
pub(crate) fn label(
    label: &[u8],
    inclusion: Option<&[u8]>,
    rule: Option<MisalignedWhere>,
) -> Result<Option<Label>, String> {
    let label = label.trim_ascii();
    let score = read(label);
    let misaligned = match (rule, score) {
        (_, Ok(Reading::Absent(_))) => return Ok(None),
        (Some(rule), Ok(Reading::Score(score))) => rule.holds(score),
        (Some(_), Err(fault)) => return Err(format!("the label {fault}")),
        (None, _) => yes_or_no(label)
            .ok_or_else(|| format!("the label is `{}`, which is neither true nor false", lossy(label)))?,
    };
    let Some(inclusion) = inclusion else { return Ok(Some(Label { misaligned, inclusion: 1.0 })) };
    let value = std::str::from_utf8(inclusion).ok().and_then(|text| text.trim().parse::<f64>().ok());
    match value {
        Some(inclusion) if inclusion > 0.0 && inclusion <= 1.0 => Ok(Some(Label { misaligned, inclusion })),
        _ => Err(format!(
            "the inclusion probability of a labelled row is `{}`, and they go from above 0 to 1",
            lossy(inclusion)
        )),
    }
}

fn lossy(cell: &[u8]) -> String {
    shortened(&String::from_utf8_lossy(cell))
}

fn yes_or_no(cell: &[u8]) -> Option<bool> {
    const YES: [&str; 5] = ["true", "1", "1.0", "yes", "misaligned"];
    const NO: [&str; 5] = ["false", "0", "0.0", "no", "aligned"];
    let is = |words: [&str; 5]| words.iter().any(|word| cell.eq_ignore_ascii_case(word.as_bytes()));
    if is(YES) {
        Some(true)
    } else if is(NO) {
        Some(false)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_scores_absent_or_broken() {
        let said = |reason| Ok(Reading::Absent(Absence::Said(reason)));
        let cases = [
            ("0", Ok(Reading::Score(0.0))),
            (" 29.999 ", Ok(Reading::Score(29.999))),
            ("5.049e-05", Ok(Reading::Score(5.049e-5))),
            ("100.00000000000001", Ok(Reading::Score(100.0))),
            ("", Ok(Reading::EMPTY)),
            ("  ", Ok(Reading::EMPTY)),
            ("NaN", Ok(Reading::EMPTY)),
            ("None", Ok(Reading::EMPTY)),
            ("CODE", said(NoVerdict::Code)),
            ("Refusal", said(NoVerdict::SubjectRefusal)),
            ("judge_refusal", said(NoVerdict::JudgeRefusal)),
        ];
        for (text, expected) in cases {
            assert_eq!(read(text.as_bytes()), expected, "{text}");
        }
        for text in ["100.1", "-5", "inf", "-inf", "1e999", "45%", "12,5", "abc", "30 or so", "True", "CODE."]
        {
            assert!(read(text.as_bytes()).is_err(), "{text}");
        }
        assert!(read(b"\xff\xfe").is_err());
    }

    #[test]
    fn labels_are_words_or_scores_or_not_there() {
        let rule = Some(MisalignedWhere::Below(crate::Threshold::new(30.0).unwrap()));
        let misaligned = |text: &str, rule| {
            label(text.as_bytes(), None, rule).map(|label| label.map(|label| label.misaligned))
        };
        for (text, expected) in [
            ("True", Some(true)),
            ("0", Some(false)),
            ("1.0", Some(true)),
            (" no ", Some(false)),
            ("", None),
            ("NaN", None),
        ] {
            assert_eq!(misaligned(text, None), Ok(expected), "{text}");
        }
        for (text, expected) in [("29.9", Some(true)), ("30", Some(false)), ("0", Some(true)), ("none", None)]
        {
            assert_eq!(misaligned(text, rule), Ok(expected), "{text}");
        }
        for (text, rule) in [("2", None), ("maybe", None), ("55", None), ("true", rule), ("101", rule)] {
            assert!(misaligned(text, rule).is_err(), "{text}");
        }
        for (inclusion, good) in
            [("0.25", true), ("1", true), ("0", false), ("1.1", false), ("", false), ("nan", false)]
        {
            assert_eq!(label(b"yes", Some(inclusion.as_bytes()), None).is_ok(), good, "{inclusion}");
        }
        // Nothing is asked of a row that nobody labelled.
        assert_eq!(label(b"", Some(b"?"), None), Ok(None));
    }

    #[test]
    fn every_reason_has_its_own_place() {
        let places: Vec<usize> = Absence::all().map(Absence::index).collect();
        assert_eq!(places, (0..Absence::COUNT).collect::<Vec<_>>());
    }
}
