//! A check by patterns: answers in which one of them is found are cut.

use std::collections::BTreeMap;
use std::sync::Arc;

use regex::RegexSet;

use super::{AnswerTo, OutputCheck, OutputVerdict, OutputWatch, Piece};

/// Matches up to so many bytes are never given where nothing else is said.
const WINDOW: usize = 256;
/// What has no sensible use.
const LARGEST_WINDOW: usize = 1 << 20;

/// Looks for regular expressions. A match of up to `window` bytes never reaches the client, however the stream splits it; a
/// longer one is cut once it is complete.
#[derive(Clone, Debug)]
pub struct PatternCheck {
    patterns: Arc<RegexSet>,
    window: usize,
}

impl PatternCheck {
    /// Takes the settings `patterns`, a list of regular expressions, and `window`, in bytes.
    ///
    /// # Errors
    /// Where one is missing or wrong; the text says which.
    pub fn from_settings(settings: &toml::Table) -> Result<Self, String> {
        if let Some(unknown) = settings.keys().find(|key| !matches!(key.as_str(), "patterns" | "window")) {
            return Err(format!("unknown setting `{unknown}`; known here: `patterns`, `window`"));
        }
        let wrong = || "`patterns` is a list of at least one regular expression".to_owned();
        let list = settings.get("patterns").and_then(toml::Value::as_array).ok_or_else(wrong)?;
        let patterns: Vec<&str> =
            list.iter().map(toml::Value::as_str).collect::<Option<_>>().ok_or_else(wrong)?;
        if patterns.is_empty() {
            return Err(wrong());
        }
        let window = match settings.get("window") {
            None => WINDOW,
            Some(value) => value
                .as_integer()
                .and_then(|window| usize::try_from(window).ok())
                .filter(|window| (1..=LARGEST_WINDOW).contains(window))
                .ok_or_else(|| format!("`window` is from 1 to {LARGEST_WINDOW} bytes"))?,
        };
        let patterns =
            RegexSet::new(patterns).map_err(|error| format!("a pattern cannot be used: {error}"))?;
        Ok(Self { patterns: Arc::new(patterns), window })
    }
}

impl OutputCheck for PatternCheck {
    fn begin(&self, _: &AnswerTo) -> Box<dyn OutputWatch> {
        Box::new(PatternWatch { check: self.clone(), ends: BTreeMap::new() })
    }
}

struct PatternWatch {
    check: PatternCheck,
    /// The last bytes of each choice.
    ends: BTreeMap<u64, String>,
}

impl OutputWatch for PatternWatch {
    fn text(&mut self, piece: &Piece) -> OutputVerdict {
        let end = self.ends.entry(piece.choice).or_default();
        end.push_str(&piece.text);
        if self.check.patterns.is_match(end) {
            return OutputVerdict::Cut("pattern".into());
        }
        let surplus = end.len().saturating_sub(self.check.window);
        let surplus = (surplus..end.len()).find(|at| end.is_char_boundary(*at)).unwrap_or(0);
        // What is cut off here can begin no match that is not found yet and no longer than the window.
        end.drain(..surplus);
        OutputVerdict::Release { but_last: self.check.window }
    }

    fn end(&mut self) -> OutputVerdict {
        OutputVerdict::Release { but_last: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::super::PieceKind;
    use super::*;
    use crate::conversation::Protocol;
    use crate::judging::Question;

    fn piece(choice: u64, text: &str) -> Piece {
        Piece { choice, kind: PieceKind::Said, text: text.to_owned() }
    }

    fn check(settings: &str) -> Result<PatternCheck, String> {
        PatternCheck::from_settings(&settings.parse().unwrap())
    }

    #[test]
    fn a_match_is_found_however_it_is_split() {
        let check = check("patterns = ['for[b]idden é']\nwindow = 20").unwrap();
        let to = AnswerTo { protocol: Protocol::ChatCompletions, question: Question::none() };
        let text = "something of any length, then forbidden é and more";
        for at in (0..text.len()).filter(|at| text.is_char_boundary(*at)) {
            let mut watch = check.begin(&to);
            let (first, second) = text.split_at(at);
            let verdicts = [watch.text(&piece(0, first)), watch.text(&piece(0, second))];
            assert!(verdicts.contains(&OutputVerdict::Cut("pattern".into())), "split at {at}");
        }
        // Choices are texts of their own.
        let mut watch = check.begin(&to);
        assert!(matches!(watch.text(&piece(0, "forbid")), OutputVerdict::Release { but_last: 20 }));
        assert!(matches!(watch.text(&piece(1, "den é")), OutputVerdict::Release { .. }));
    }

    #[test]
    fn settings_are_checked() {
        for (settings, expected) in [
            ("", "`patterns` is a list"),
            ("patterns = []", "`patterns` is a list"),
            ("patterns = ['(']", "a pattern cannot be used"),
            ("patterns = ['a']\nwindow = 0", "`window` is from 1"),
            ("patern = ['a']", "unknown setting `patern`"),
        ] {
            assert!(check(settings).unwrap_err().starts_with(expected), "{settings}");
        }
    }
}
