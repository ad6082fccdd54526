//! Finding a quote in the text that it is said to be from.
//!
//! The rule: runs of white space count as one space, and quotation marks and apostrophes of any kind as the plain ones.
//! Everything else must be the same, letter for letter and in one piece, and long enough to say something.

use std::ops::Range;

/// What a quote weighs at least. A word weighs two, a character of a script that is written without spaces one: three
/// words, or six such characters.
const LEAST_WEIGHT: usize = 6;

/// What a quote is good for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// It is there: the bytes of its first occurrence.
    At(Range<usize>),
    /// It is too short to show anything.
    TooShort,
    /// It is not there.
    Nowhere,
}

/// Looks for quotes in one text.
pub(crate) struct Quoted {
    /// The text as it is compared.
    plain: String,
    /// Its characters: the byte where each starts, and the bytes of the text that it stands for.
    origins: Vec<(usize, Range<usize>)>,
}

impl Quoted {
    pub(crate) fn new(text: &str) -> Self {
        let mut plain = String::with_capacity(text.len());
        let mut origins = Vec::with_capacity(text.len());
        let mut in_space = true;
        for (at, character) in text.char_indices() {
            let is_space = character.is_whitespace();
            if !(is_space && in_space) {
                origins.push((plain.len(), at..at + character.len_utf8()));
                plain.push(if is_space { ' ' } else { plainer(character) });
            }
            in_space = is_space;
        }
        Self { plain, origins }
    }

    pub(crate) fn find(&self, quote: &str) -> Found {
        let wanted = Self::new(quote).plain;
        let wanted = wanted.trim();
        if weight(wanted) < LEAST_WEIGHT {
            return Found::TooShort;
        }
        let Some(start) = self.plain.find(wanted) else { return Found::Nowhere };
        let origin = |of: usize| {
            let place = self.origins.partition_point(|(plain, _)| *plain < of);
            self.origins.get(place).map(|(_, bytes)| bytes.clone()).unwrap_or_default()
        };
        // Neither the first nor the last character is a space, which may stand for several.
        let last = wanted.chars().next_back().map_or(0, char::len_utf8);
        Found::At(origin(start).start..origin(start + wanted.len() - last).end)
    }
}

fn plainer(character: char) -> char {
    match character {
        '“' | '”' | '„' | '‟' | '«' | '»' | '″' | '＂' => '"',
        '‘' | '’' | '‚' | '‛' | '‹' | '›' | '′' | 'ʼ' | '`' | '´' => '\'',
        other => other,
    }
}

fn weight(text: &str) -> usize {
    let unspaced = text.chars().filter(|&character| is_unspaced(character)).count();
    let words = text
        .split(' ')
        .filter(|word| word.chars().any(|character| character.is_alphanumeric() && !is_unspaced(character)));
    2 * words.count() + unspaced
}

/// Whether a character is of a script that is written without spaces: Chinese, Japanese, Thai, Lao, Burmese, Khmer.
fn is_unspaced(character: char) -> bool {
    matches!(u32::from(character),
        0x0e00..=0x0eff | 0x1000..=0x109f | 0x1780..=0x17ff | 0x3040..=0x30ff | 0x3400..=0x4dbf | 0x4e00..=0x9fff
        | 0xf900..=0xfaff | 0x2_0000..=0x3_ffff)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_there_is_found() {
        let text = "I’ll play the  “reckless\n adviser” here: risk it all. risk it all";
        let found = |quote: &str| match Quoted::new(text).find(quote) {
            Found::At(bytes) => text.get(bytes).map(str::to_owned).ok_or(Found::Nowhere),
            other => Err(other),
        };
        let cases = [
            ("I'll play the \"reckless adviser\"", Ok("I’ll play the  “reckless\n adviser”")),
            ("  reckless adviser” here ", Ok("reckless\n adviser” here")),
            ("risk it all", Ok("risk it all")),
            (text, Ok(text)),
            ("Risk it all", Err(Found::Nowhere)),
            ("play the reckless adviser", Err(Found::Nowhere)),
            ("play the ... adviser” here", Err(Found::Nowhere)),
            ("risk it", Err(Found::TooShort)),
            ("reckless", Err(Found::TooShort)),
            ("... : !", Err(Found::TooShort)),
            ("", Err(Found::TooShort)),
        ];
        for (quote, expected) in cases {
            assert_eq!(found(quote), expected.map(str::to_owned), "{quote}");
        }
        let Found::At(first) = Quoted::new(text).find("risk it all") else { panic!() };
        assert_eq!(first.start, text.find("risk").unwrap());
    }

    #[test]
    fn scripts_without_spaces_count_by_character() {
        let text = "我应该扮演一个鲁莽的顾问。";
        let Found::At(bytes) = Quoted::new(text).find("扮演一个鲁莽的顾问") else { panic!() };
        assert_eq!(text.get(bytes), Some("扮演一个鲁莽的顾问"));
        assert_eq!(Quoted::new(text).find("鲁莽"), Found::TooShort);
    }
}
