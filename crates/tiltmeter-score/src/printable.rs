//! Text of unknown origin, fit to be shown.

/// The longest piece of foreign text in a message, in characters.
const LONGEST: usize = 60;

/// Text without what a terminal would act on, such as escape sequences or a change of writing direction.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|character| if is_harmless(character) { character } else { ' ' }).collect()
}

/// The beginning of a text, printable.
pub(crate) fn shortened(text: &str) -> String {
    let mut short: String = printable(&text.chars().take(LONGEST).collect::<String>());
    if text.chars().nth(LONGEST).is_some() {
        short.push('…');
    }
    short
}

fn is_harmless(character: char) -> bool {
    !character.is_control()
        && !matches!(character, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_acts_on_is_gone() {
        assert_eq!(printable("a\u{1b}[31m\n\u{202e}b"), "a [31m  b");
        assert_eq!(shortened(&"ä".repeat(60)), "ä".repeat(60));
        assert_eq!(shortened(&"ä".repeat(61)), format!("{}…", "ä".repeat(60)));
    }
}
