//! Reads JSON Lines: one object to a line, lines split on `\n` alone.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::io::{BufRead, BufReader, Read};

use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use tiltmeter_inspect::without_bare_words;

use crate::cell;
use crate::columns::{Choice, FILE, Field, Layout, Wanted};
use crate::error::ScoreError;
use crate::key::KeyBuilder;
use crate::printable::shortened;
use crate::tally::{Cells, Place, Tally};

use super::{Job, Table, sniff};

const BUFFER: usize = 256 * 1024;

/// Keys that are remembered; a table with more has values for keys.
const MOST_KEYS: usize = 4096;

/// A string that is borrowed where it has no escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// The keys met so far. Those that could be used have an index.
struct Keys<'a> {
    wanted: &'a Wanted,
    known: HashMap<String, Option<usize>>,
    /// All keys in the order in which they were met, to be listed.
    all: Vec<String>,
    /// Those that could be used.
    relevant: Vec<String>,
}

impl Keys<'_> {
    fn index(&mut self, key: &str) -> Option<usize> {
        if let Some(&index) = self.known.get(key) {
            return index;
        }
        let index = self.wanted.is_relevant(key).then(|| {
            self.relevant.push(key.to_owned());
            self.relevant.len() - 1
        });
        if self.known.len() < MOST_KEYS || index.is_some() {
            self.known.insert(key.to_owned(), index);
            self.all.push(key.to_owned());
        }
        index
    }
}

/// Takes the values of relevant keys out of an object, by index.
struct ObjectSeed<'a, 'k> {
    keys: &'a mut Keys<'k>,
}

impl<'de> DeserializeSeed<'de> for ObjectSeed<'_, '_> {
    type Value = Vec<Option<&'de RawValue>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for ObjectSeed<'_, '_> {
    type Value = Vec<Option<&'de RawValue>>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Self::Value, A::Error> {
        let mut values = vec![None; self.keys.relevant.len()];
        while let Some(Text(key)) = object.next_key()? {
            let Some(index) = self.keys.index(&key) else {
                object.next_value::<IgnoredAny>()?;
                continue;
            };
            if index >= values.len() {
                values.resize(index + 1, None);
            }
            if let Some(value) = values.get_mut(index)
                && value.replace(object.next_value()?).is_some()
            {
                return Err(A::Error::custom(format!("the key `{}` is there twice", shortened(&key))));
            }
        }
        Ok(values)
    }
}

/// Reads lines. `place` is what a line is called in messages.
pub(super) fn read(job: &mut Job<'_>, text: impl Read, place: fn(u64) -> Place) -> Result<Table, ScoreError> {
    let mut reader = BufReader::with_capacity(BUFFER, text);
    let wanted = job.wanted;
    let mut keys = Keys { wanted, known: HashMap::new(), all: Vec::new(), relevant: Vec::new() };
    let mut choice = wanted.choose(job.file, &[])?;
    let mut chosen_of = 0;
    let mut key = KeyBuilder::default();
    let mut bytes = Vec::new();
    let (mut line, mut rows, mut used) = (0, 0, 0_u64);
    loop {
        bytes.clear();
        if reader.read_until(b'\n', &mut bytes).map_err(|source| job.read_error(source))? == 0 {
            break;
        }
        line += 1;
        let content = if line == 1 { sniff::without_mark(&bytes) } else { &bytes }.trim_ascii();
        if content.is_empty() {
            continue;
        }
        rows += 1;
        let mended;
        let mut parsed = parse(content, &mut keys);
        if parsed.is_err()
            && let Some(text) = without_bare_words(content)
        {
            mended = text;
            parsed = parse(&mended, &mut keys);
        }
        let values = match parsed {
            Ok(values) => values,
            Err(error) => {
                job.tally.break_row(job.file, place(line), None, said(&error));
                continue;
            }
        };
        if keys.relevant.len() > chosen_of {
            let now = wanted.choose(job.file, &keys.relevant)?;
            if used > 0
                && let Some((before, late)) = overtaken(&choice, &now)
            {
                let name = |index: usize| keys.relevant.get(index).map_or("", String::as_str);
                let before = match before {
                    Field::Column(index) => name(index),
                    Field::File => FILE,
                };
                return Err(ScoreError::late_column(job.file, line, before, name(late)));
            }
            choice = now;
            chosen_of = keys.relevant.len();
        }
        used += 1;
        let cell =
            |index: Option<usize>| text_of(index.and_then(|index| values.get(index).copied().flatten()));
        let field = |field: Option<Field>| match field {
            Some(Field::File) => Cow::Borrowed(job.file),
            Some(Field::Column(index)) => cell(Some(index)),
            None => Cow::Borrowed(""),
        };
        key.clear();
        for by in &choice.by {
            key.push(field(*by).as_bytes());
        }
        let cluster = choice.cluster.map(|cluster| field(Some(cluster)));
        let (label, inclusion) = (cell(choice.label), cell(choice.inclusion));
        // Rows before the first labelled one may lack the keys of either.
        let inclusion = wanted.names.inclusion.as_ref().map(|_| inclusion.as_bytes());
        let (against, against_coherence) = (cell(choice.against), cell(choice.against_coherence));
        let against = wanted.names.against.as_ref().map(|_| against.as_bytes());
        let against_coherence = wanted.names.against_coherence.as_ref().map(|_| against_coherence.as_bytes());
        let cells = Cells {
            alignment: cell::read(cell(choice.alignment).as_bytes()),
            coherence: cell::read(cell(choice.coherence).as_bytes()),
            label: job.tally.label(Some(label.as_bytes()), inclusion),
            against: Tally::against(against, against_coherence),
        };
        let cluster = cluster.as_ref().map(|cluster| cluster.as_bytes());
        job.tally.read(job.file, place(line), (key.bytes(), cluster), cells);
    }
    if rows == 0 {
        return Err(job.empty());
    }
    let layout = complete(job, choice, &keys)?;
    Ok(Table { rows, columns: layout.used(&keys.relevant) })
}

/// Indices are those of relevant keys, but a message lists all.
fn complete(job: &Job<'_>, choice: Choice, keys: &Keys<'_>) -> Result<Layout, ScoreError> {
    job.wanted.complete(job.file, choice, &keys.all)
}

/// Where a value came from before, if it now comes from another column, and that column.
fn overtaken(before: &Choice, now: &Choice) -> Option<(Field, usize)> {
    let roles = [
        (before.alignment.map(Field::Column), now.alignment.map(Field::Column)),
        (before.coherence.map(Field::Column), now.coherence.map(Field::Column)),
        (before.cluster, now.cluster),
    ];
    let by = before.by.iter().copied().zip(now.by.iter().copied());
    roles.into_iter().chain(by).find_map(|pair| match pair {
        (Some(before), Some(now @ Field::Column(index))) if before != now => Some((before, index)),
        _ => None,
    })
}

fn parse<'de>(line: &'de [u8], keys: &mut Keys<'_>) -> Result<Vec<Option<&'de RawValue>>, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(line);
    let values = ObjectSeed { keys }.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(values)
}

/// What the parser says, without its position: it counts lines from this one.
fn said(error: &serde_json::Error) -> String {
    let message = error.to_string();
    let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(message, _)| message);
    format!("not a JSON object that can be read, at column {}: {}", error.column(), shortened(message))
}

/// A value as text: strings without their quotes, null as nothing, all else as written.
fn text_of(value: Option<&RawValue>) -> Cow<'_, str> {
    let Some(value) = value.map(RawValue::get) else { return Cow::Borrowed("") };
    if value == "null" {
        return Cow::Borrowed("");
    }
    if value.starts_with('"')
        && let Ok(Text(text)) = serde_json::from_str(value)
    {
        return text;
    }
    Cow::Borrowed(value)
}
