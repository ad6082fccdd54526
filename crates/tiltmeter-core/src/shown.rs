//! Text of others and figures, as pages show them.

use std::fmt::Write as _;

/// Text of unknown origin with everything that would act on a reader made visible: control characters, and characters
/// that turn the direction of text or end a line unseen. Line feeds and tabs stay. The report's `transcripts.js` does
/// the same.
pub fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' | '\t' => shown.push(character),
            '\0'..='\u{1f}' => {
                shown.push(char::from_u32(0x2400 + u32::from(character)).unwrap_or('\u{fffd}'));
            }
            '\u{7f}' => shown.push('\u{2421}'),
            '\u{80}'..='\u{9f}'
            | '\u{61c}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}' => {
                let _ = write!(shown, "⟦U+{:04X}⟧", u32::from(character));
            }
            _ => shown.push(character),
        }
    }
    shown
}

/// A whole number, thousands apart by narrow spaces.
pub fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut shown = String::with_capacity(digits.len() + digits.len() / 3 * '\u{202f}'.len_utf8());
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            shown.push('\u{202f}');
        }
        shown.push(digit);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_their_thousands_apart() {
        assert_eq!(count(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!(count(12), "12");
    }

    #[test]
    fn what_acts_on_a_reader_is_shown() {
        let cases = [
            ("a\nb\tc", "a\nb\tc"),
            ("\0\u{1b}[31m", "␀␛[31m"),
            ("x\u{202e}y", "x⟦U+202E⟧y"),
            ("\u{2028}", "⟦U+2028⟧"),
            ("\u{85}é", "⟦U+0085⟧é"),
        ];
        for (text, expected) in cases {
            assert_eq!(visible(text), expected);
        }
    }
}
