//! String literals of JSON: their text, and where in them a part of the text stands.

use std::borrow::Cow;
use std::ops::Range;

/// The characters of a literal without its quotes: each with its place in the literal. Half of a surrogate pair, which no
/// Rust text can hold, counts as U+FFFD.
struct Characters<'a> {
    inside: &'a str,
    at: usize,
}

impl Iterator for Characters<'_> {
    type Item = (Range<usize>, char);

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.inside.get(self.at..)?;
        let first = rest.chars().next()?;
        let (length, character) = if first == '\\' { escape(rest) } else { (first.len_utf8(), first) };
        let range = self.at..self.at + length;
        self.at += length;
        Some((range, character))
    }
}

/// The escape at the start of a text: how long it is, and what it stands for.
fn escape(text: &str) -> (usize, char) {
    let kind = text.chars().nth(1).unwrap_or('\\');
    let character = match kind {
        'u' => return unicode(text),
        'n' => '\n',
        't' => '\t',
        'r' => '\r',
        'b' => '\u{8}',
        'f' => '\u{c}',
        other => other,
    };
    (text.len().min(1 + kind.len_utf8()), character)
}

fn unicode(text: &str) -> (usize, char) {
    let unit = |at: usize| text.get(at..at + 4).and_then(|digits| u32::from_str_radix(digits, 16).ok());
    let Some(first) = unit(2) else { return (2, char::REPLACEMENT_CHARACTER) };
    if (0xd800..0xdc00).contains(&first)
        && text.get(6..8) == Some("\\u")
        && let Some(second) = unit(8)
        && (0xdc00..0xe000).contains(&second)
    {
        let code = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
        return (12, char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
    }
    (6, char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER))
}

/// Without the quotes.
fn inside(literal: &str) -> &str {
    literal.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or("")
}

/// The text of a literal, which is given with its quotes.
pub(crate) fn text(literal: &str) -> Cow<'_, str> {
    let inside = inside(literal);
    if inside.contains('\\') {
        Cow::Owned(Characters { inside, at: 0 }.map(|(_, character)| character).collect())
    } else {
        Cow::Borrowed(inside)
    }
}

/// Where in a literal, counted with its first quote, bytes of its text stand. A range that cuts a character takes all
/// of it; one beyond the end stops there.
pub(crate) fn place(literal: &str, range: &Range<usize>) -> Range<usize> {
    let mut decoded = 0;
    let mut start = None;
    let mut end = 1;
    for (place, character) in (Characters { inside: inside(literal), at: 0 }) {
        let next = decoded + character.len_utf8();
        if next > range.start && decoded < range.end {
            start = start.or(Some(place.start + 1));
            end = place.end + 1;
        }
        decoded = next;
    }
    let start = start.unwrap_or(end);
    start..end.max(start)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn escapes_are_read() {
        let cases = [
            (r#""plain""#, "plain"),
            (r#""a\n\t\"\\\/b""#, "a\n\t\"\\/b"),
            (r#""\u00e9\ud83d\ude00""#, "é😀"),
            (r#""\ud83dx""#, "\u{fffd}x"),
            (r#""\ude00""#, "\u{fffd}"),
            (r#""""#, ""),
        ];
        for (literal, expected) in cases {
            assert_eq!(text(literal), expected, "{literal}");
        }
    }

    proptest! {
        /// Cutting the place out of the literal cuts the range out of the text.
        #[test]
        fn places_are_those_of_the_text(before: String, middle: String, after: String, is_ascii: bool) {
            let whole = format!("{before}{middle}{after}");
            let mut literal = serde_json::to_string(&whole).unwrap();
            if is_ascii {
                literal = literal.chars().map(|character| if character.is_ascii() { character.to_string() } else {
                    character.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect::<Vec<_>>().concat()
                }).collect();
            }
            prop_assert_eq!(text(&literal), whole.as_str());
            prop_assume!(!middle.is_empty());
            let place = place(&literal, &(before.len()..before.len() + middle.len()));
            literal.replace_range(place, "");
            prop_assert_eq!(text(&literal), format!("{before}{after}"));
        }
    }
}
