//! Flagged examples: how often each was seen, and why. The texts only where the audit log holds them too.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

use jiff::Timestamp;
use serde::Serialize;

use crate::config::Redaction;
use crate::inspection::{ExampleId, FlaggedExample, Inspection, Place, RequestView, Text};

/// Examples that are kept. Beyond it, that which was not seen for longest makes room.
const MOST: usize = 200;
/// Of one request: the others are counted.
const MOST_OF_REQUEST: usize = 32;
/// Names that are kept with an example.
const MOST_NAMES: usize = 8;
/// Characters of a text that are shown.
const SHOWN: usize = 600;
/// Bytes of a text in a body from which on none of it is shown: it would be decoded as a whole while requests wait.
const LONGEST: usize = 1 << 20;
/// Rows that the page has.
const ROWS: usize = 50;

#[derive(Clone, Debug)]
struct Flagged {
    count: u64,
    first: Timestamp,
    last: Timestamp,
    /// Detectors, with the codes of their reasons.
    reasons: BTreeSet<(String, String)>,
    routes: BTreeSet<String>,
    text: Option<String>,
}

#[derive(Debug, Default)]
pub(super) struct Examples {
    known: HashMap<ExampleId, Flagged>,
    left_out: u64,
}

/// A flagged example as the page shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct FlaggedRow {
    /// The address of its content, as the audit log has it.
    pub(crate) id: String,
    /// Requests that it was flagged in.
    pub(crate) count: u64,
    pub(crate) first: Timestamp,
    pub(crate) last: Timestamp,
    /// Detectors and the codes of their reasons, of the requests that it was flagged in.
    pub(crate) reasons: Vec<(String, String)>,
    pub(crate) routes: Vec<String>,
    /// Its beginning, where the audit log holds content.
    pub(crate) text: Option<String>,
}

impl Examples {
    pub(super) fn see(
        &mut self,
        route: &str,
        inspection: &Inspection,
        content: Option<(&RequestView, &Redaction)>,
        now: Timestamp,
    ) {
        self.left_out += inspection.flagged.len().saturating_sub(MOST_OF_REQUEST) as u64;
        let mut seen = BTreeSet::new();
        for example in inspection.flagged.iter().take(MOST_OF_REQUEST) {
            // Twice in one request counts once.
            if !seen.insert(example.id) {
                continue;
            }
            if self.known.len() >= MOST && !self.known.contains_key(&example.id) {
                self.make_room();
            }
            let flagged = self.known.entry(example.id).or_insert_with(|| Flagged {
                count: 0,
                first: now,
                last: now,
                reasons: BTreeSet::new(),
                routes: BTreeSet::new(),
                text: None,
            });
            flagged.count += 1;
            flagged.last = now;
            for reason in &inspection.reasons {
                if flagged.reasons.len() < MOST_NAMES {
                    flagged.reasons.insert((reason.detector.to_string(), reason.code.to_string()));
                }
            }
            if flagged.routes.len() < MOST_NAMES {
                flagged.routes.insert(route.to_owned());
            }
            if let (None, Some((view, redaction))) = (&flagged.text, content) {
                flagged.text = Some(text(view, example, redaction));
            }
        }
    }

    fn make_room(&mut self) {
        let oldest = self.known.iter().min_by_key(|(_, flagged)| flagged.last).map(|(id, _)| *id);
        if let Some(gone) = oldest.and_then(|id| self.known.remove(&id)) {
            self.left_out += gone.count;
        }
    }

    /// Those seen most first.
    pub(super) fn rows(&self) -> Vec<FlaggedRow> {
        let mut known: Vec<_> = self.known.iter().collect();
        known.sort_by_key(|(id, flagged)| (std::cmp::Reverse((flagged.count, flagged.last)), **id));
        known.truncate(ROWS);
        let row = |(id, flagged): (&ExampleId, &Flagged)| FlaggedRow {
            id: id.0.to_string(),
            count: flagged.count,
            first: flagged.first,
            last: flagged.last,
            reasons: flagged.reasons.iter().cloned().collect(),
            routes: flagged.routes.iter().cloned().collect(),
            text: flagged.text.clone(),
        };
        known.into_iter().map(row).collect()
    }

    pub(super) fn left_out(&self) -> u64 {
        let beyond: u64 = {
            let mut counts: Vec<u64> = self.known.values().map(|flagged| flagged.count).collect();
            counts.sort_unstable_by_key(|count| std::cmp::Reverse(*count));
            counts.iter().skip(ROWS).sum()
        };
        self.left_out + beyond
    }
}

/// The beginning of an example's text.
fn text(view: &RequestView, example: &FlaggedExample, redaction: &Redaction) -> String {
    let mut text = String::new();
    let mut add = |found: &Text, range: Option<&Range<usize>>| {
        if found.span.len() > LONGEST || text.len() > 8 * SHOWN {
            return;
        }
        let whole = view.text(found);
        let part = range.map_or(Some(&*whole), |range| whole.get(range.clone()));
        // More than is shown, so that what the redaction matches is not cut in two where it would be seen.
        text.extend(part.unwrap_or("").chars().take(8 * SHOWN).chain(['\n']));
    };
    for place in &example.places {
        match place {
            Place::Messages(range) => {
                let messages = view.messages.get(range.clone()).unwrap_or_default();
                messages.iter().flat_map(|message| &message.texts).for_each(|found| add(found, None));
            }
            Place::Text { message, text: index, range } => {
                let found = view.messages.get(*message).and_then(|message| message.texts.get(*index));
                if let Some(found) = found {
                    add(found, Some(range));
                }
            }
        }
    }
    let redacted = redaction.apply(text.trim_end().as_bytes());
    let redacted = String::from_utf8_lossy(&redacted);
    let mut shown: String = redacted.chars().take(SHOWN).collect();
    if shown.len() < redacted.len() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tiltmeter_core::id::Canonical;

    use super::*;
    use crate::inspection::{Protocol, Reason};

    fn inspection(names: &[String]) -> Inspection {
        let flagged = |name: &String| FlaggedExample {
            id: ExampleId(Canonical::new("test").text(name).finish()),
            places: vec![Place::Messages(0..1)],
        };
        Inspection {
            flagged: names.iter().map(flagged).collect(),
            reasons: vec![Reason { detector: "d".into(), code: "c".into(), score: 1.0 }],
            ..Inspection::default()
        }
    }

    #[test]
    fn examples_are_counted_and_the_most_seen_come_first() {
        let mut examples = Examples::default();
        let body = r#"{"messages":[{"role":"user","content":"my number is 12345\n"}]}"#;
        let view = RequestView::read(Protocol::ChatCompletions, Bytes::from(body)).unwrap();
        let redaction = Redaction::new(&["[0-9]+".to_owned()]).unwrap();
        let now = Timestamp::now();
        examples.see("r", &inspection(&["a".into(), "b".into(), "b".into()]), None, now);
        examples.see("s", &inspection(&["b".into()]), Some((&view, &redaction)), now);
        let rows = examples.rows();
        assert_eq!((rows[0].count, rows[1].count, rows.len()), (2, 1, 2));
        assert_eq!(rows[0].routes, ["r", "s"]);
        assert_eq!(rows[0].reasons, [("d".to_owned(), "c".to_owned())]);
        // Kept from the first request on that content is kept of.
        assert_eq!(rows[0].text.as_deref(), Some("my number is [redacted]"));
        assert_eq!(rows[1].text, None);
    }

    #[test]
    fn however_many_are_flagged_some_are_kept_and_all_are_counted() {
        let mut examples = Examples::default();
        let names: Vec<String> = (0..100).map(|index| index.to_string()).collect();
        examples.see("r", &inspection(&names), None, Timestamp::now());
        for name in 0..1000 {
            examples.see("r", &inspection(&[format!("x{name}")]), None, Timestamp::now());
        }
        assert_eq!(examples.known.len(), MOST);
        assert_eq!(examples.rows().len(), ROWS);
        let shown: u64 = examples.rows().iter().map(|row| row.count).sum();
        assert_eq!(shown + examples.left_out(), 1100);
    }
}
