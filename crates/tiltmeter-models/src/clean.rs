//! Makes what a server says fit to be shown: no key, no control characters, not long.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};

/// The most characters of a server's message that are kept.
const MESSAGE_LIMIT: usize = 400;
/// The most characters of a reply that is not what it should be.
const EXCERPT_LIMIT: usize = 160;

/// Cleans texts that came from a server, which may be hostile and may repeat the key that it was sent.
#[derive(Clone)]
pub(crate) struct Cleaner {
    key: Option<SecretString>,
}

impl fmt::Debug for Cleaner {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Cleaner")
    }
}

impl Cleaner {
    pub(crate) fn new(key: Option<SecretString>) -> Self {
        // An empty key would match between any two characters.
        Self { key: key.filter(|key| !key.expose_secret().is_empty()) }
    }

    /// A message, for an error.
    pub(crate) fn message(&self, text: &str) -> String {
        self.clean(text, MESSAGE_LIMIT)
    }

    /// The beginning of a reply that is not what the protocol promises.
    pub(crate) fn excerpt(&self, body: &[u8]) -> String {
        // Only so much of the body is looked at as can matter: a hostile one may be long.
        let head = body.get(..EXCERPT_LIMIT * 16).unwrap_or(body);
        self.clean(&String::from_utf8_lossy(head), EXCERPT_LIMIT)
    }

    fn clean(&self, text: &str, limit: usize) -> String {
        let visible: String = text.chars().map(|c| if is_unfit(c) { ' ' } else { c }).collect();
        let words: Vec<&str> = visible.split_whitespace().collect();
        let mut cleaned = words.join(" ");
        // The key goes before the text is cut, so that no part of it is left at the end.
        if let Some(key) = &self.key {
            cleaned = cleaned.replace(key.expose_secret(), "[key]");
        }
        match cleaned.char_indices().nth(limit) {
            Some((end, _)) => {
                cleaned.truncate(end);
                cleaned.push('…');
                cleaned
            }
            None => cleaned,
        }
    }
}

/// Control characters, and those that hide text or turn its direction round.
fn is_unfit(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_fit_to_be_shown() {
        let cleaner = Cleaner::new(Some("sk-secret".into()));
        let cases = [
            ("bad\u{1b}[31m\n\n  request\0", "bad [31m request"),
            ("Incorrect API key provided: sk-secret.", "Incorrect API key provided: [key]."),
            ("left\u{202e}right", "left right"),
            ("", ""),
        ];
        for (text, expected) in cases {
            assert_eq!(cleaner.message(text), expected);
        }
        let long = format!("{}sk-secret", "é".repeat(MESSAGE_LIMIT - 4));
        let shown = cleaner.message(&long);
        assert!(shown.ends_with("é[key…") && shown.chars().count() == MESSAGE_LIMIT + 1, "{shown}");
        assert_eq!(Cleaner::new(Some("".into())).message("abc"), "abc");
    }
}
