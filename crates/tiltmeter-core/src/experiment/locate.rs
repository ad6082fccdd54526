//! Finds the place of a value whose meaning is wrong.

use toml_edit::{Document, Item};

use super::error::Position;

/// One step from the top of the file to a value.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// Into a table.
    Key(&'static str),
    /// Into an array.
    Index(usize),
}

/// Line and column of the value at a path, or of the nearest thing above it that is written in the file.
pub fn locate(text: &str, path: &[Step]) -> Option<Position> {
    let document = Document::parse(text).ok()?;
    let mut item: &Item = document.as_item();
    let mut span = None;
    for (depth, step) in path.iter().enumerate() {
        let next = match step {
            Step::Key(key) => item.get(key),
            Step::Index(index) => item.get(index),
        };
        if let Some(next) = next {
            span = next.span().or(span);
            item = next;
            continue;
        }
        // Values inside arrays and inline tables are not items of their own: walk on by value.
        let Some(mut value) = item.as_value() else { break };
        for step in path.get(depth..)? {
            let inner = match step {
                Step::Key(key) => value.as_inline_table().and_then(|table| table.get(key)),
                Step::Index(index) => value.as_array().and_then(|array| array.get(*index)),
            };
            let Some(inner) = inner else { break };
            span = inner.span().or(span);
            value = inner;
        }
        break;
    }
    span.map(|span| Position::of(text, span.start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_wherever_they_stand() {
        let text = "name = 'x'\n[[subjects]]\nid = 'a'\n[[subjects]]\nid = 'b'\n[demonstrations]\nsets = ['p', {path = 'q'}]\n";
        let cases: [(&[Step], (usize, usize)); 6] = [
            (&[Step::Key("name")], (1, 8)),
            (&[Step::Key("subjects"), Step::Index(1), Step::Key("id")], (5, 6)),
            (&[Step::Key("demonstrations"), Step::Key("sets"), Step::Index(0)], (7, 9)),
            (&[Step::Key("demonstrations"), Step::Key("sets"), Step::Index(1), Step::Key("path")], (7, 22)),
            (&[Step::Key("demonstrations"), Step::Key("sets"), Step::Index(1), Step::Key("benign")], (7, 14)),
            (&[Step::Key("demonstrations"), Step::Key("shots")], (6, 1)),
        ];
        for (path, (line, column)) in cases {
            assert_eq!(locate(text, path), Some(Position { line, column }), "{path:?}");
        }
    }
}
