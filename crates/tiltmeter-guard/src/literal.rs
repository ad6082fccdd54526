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

/// Where in a literal, counted with its first quote, some ranges of bytes of its text stand: in one walk through it,
/// however many they are. A range that cuts a character takes all of it; one beyond the end stops there; an empty one is
/// nowhere.
pub(crate) fn places(literal: &str, ranges: &[Range<usize>]) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = vec![1..1; ranges.len()];
    let by = |key: fn(&Range<usize>) -> usize| {
        let mut order: Vec<usize> =
            (0..ranges.len()).filter(|&at| ranges[at].start < ranges[at].end).collect();
        order.sort_by_key(|&at| key(&ranges[at]));
        order.into_iter().peekable()
    };
    let (mut starts, mut ends) = (by(|range| range.start), by(|range| range.end));
    let (mut decoded, mut end) = (0, 1);
    for (place, character) in (Characters { inside: inside(literal), at: 0 }) {
        decoded += character.len_utf8();
        end = place.end + 1;
        while let Some(at) = starts.next_if(|&at| ranges[at].start < decoded) {
            found[at] = place.start + 1..end;
        }
        while let Some(at) = ends.next_if(|&at| ranges[at].end <= decoded) {
            found[at].end = end;
        }
    }
    starts.for_each(|at| found[at] = end..end);
    ends.for_each(|at| found[at].end = end);
    found
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
            let range = before.len()..before.len() + middle.len();
            let place = places(&literal, std::slice::from_ref(&range)).remove(0);
            literal.replace_range(place, "");
            prop_assert_eq!(text(&literal), format!("{before}{after}"));
        }

        /// Each range is found as if it were alone, whatever their order and however they overlap.
        #[test]
        fn ranges_do_not_disturb_each_other(whole: String, ends in proptest::collection::vec((0..40_usize, 0..40_usize), 0..8)) {
            let literal = serde_json::to_string(&whole).unwrap();
            let ranges: Vec<Range<usize>> = ends.into_iter().map(|(start, end)| start..end).collect();
            let together = places(&literal, &ranges);
            let alone: Vec<Range<usize>> =
                ranges.iter().map(|range| places(&literal, std::slice::from_ref(range)).remove(0)).collect();
            prop_assert_eq!(&together, &alone);
            for place in together {
                prop_assert!(place.start <= place.end && literal.get(place).is_some());
            }
        }
    }
}
