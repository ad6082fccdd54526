//! The only place that prints. Results go to standard output, everything else to standard error.

use std::io::Write as _;

/// Prints a result. A reader that has gone away, such as `head`, is no error.
pub(crate) fn result(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes());
    let _ = stdout.flush();
}

/// Prints a line for the person who waits. It may hold names from files and messages of servers: what a terminal would
/// act on is left out of it.
pub(crate) fn note(text: &str) {
    let mut stderr = std::io::stderr().lock();
    let _ = writeln!(stderr, "{}", harmless(text));
}

fn harmless(text: &str) -> String {
    let harmless = |character: char| {
        if character.is_control() && !matches!(character, '\n' | '\t') { ' ' } else { character }
    };
    text.chars().map(harmless).collect()
}

/// Prints why the program ends early.
pub(crate) fn error(text: &str) {
    note(&format!("error: {text}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_hold_nothing_that_a_terminal_acts_on() {
        assert_eq!(harmless("a\n\tb\u{1b}[31mc\u{9b}2J\r"), "a\n\tb [31mc 2J ");
    }
}
