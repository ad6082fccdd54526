//! Thoughts that a model writes before its answer, between `<think>` and `</think>`.

/// Whether a model that can think before it answers is to do so, where its chat template asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Thinking {
    /// As the template has it where nothing is said.
    #[default]
    AsTrained,
    /// `enable_thinking` is false.
    Off,
    /// `enable_thinking` is true.
    On,
}

const OPEN: &str = "<think>";
const CLOSE: &str = "</think>";

/// Splits an answer into thoughts and what follows, piece by piece. An answer that does not start with `<think>` has
/// no thoughts.
#[derive(Debug)]
pub struct Thoughts {
    state: State,
    /// What cannot be told yet.
    rest: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing but the beginning of `<think>` so far.
    Start,
    /// Between the marks.
    Inside,
    /// Behind them, before anything but white space.
    Behind,
    /// In the answer.
    Answer,
}

/// What a piece adds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Split {
    /// To the thoughts.
    pub reasoning: String,
    /// To the answer.
    pub text: String,
}

impl Default for Thoughts {
    fn default() -> Self {
        Self { state: State::Start, rest: String::new() }
    }
}

impl Thoughts {
    /// Splits a whole answer: the thoughts without white space at their ends, if there are any, and the rest.
    pub fn split(answer: &str) -> (Option<String>, String) {
        let mut thoughts = Self::default();
        let first = thoughts.push(answer);
        let had_thoughts = answer.trim_start().starts_with(OPEN);
        let last = thoughts.finish();
        let reasoning = first.reasoning + &last.reasoning;
        (had_thoughts.then(|| reasoning.trim().to_owned()), first.text + &last.text)
    }

    /// Takes the next piece of the answer.
    pub fn push(&mut self, piece: &str) -> Split {
        let mut out = Split::default();
        self.rest.push_str(piece);
        loop {
            match self.state {
                State::Start => {
                    let begun = self.rest.trim_start();
                    if let Some(inside) = begun.strip_prefix(OPEN) {
                        self.rest = inside.to_owned();
                        self.state = State::Inside;
                    } else if OPEN.starts_with(begun) {
                        return out;
                    } else {
                        self.state = State::Answer;
                    }
                }
                State::Inside => {
                    if let Some((before, after)) = self.rest.split_once(CLOSE) {
                        out.reasoning.push_str(before);
                        self.rest = after.to_owned();
                        self.state = State::Behind;
                        continue;
                    }
                    // The end may be the beginning of the mark.
                    let held = (1..CLOSE.len())
                        .rev()
                        .find(|&length| CLOSE.get(..length).is_some_and(|begun| self.rest.ends_with(begun)));
                    let kept = self.rest.split_off(self.rest.len() - held.unwrap_or(0));
                    out.reasoning.push_str(&std::mem::replace(&mut self.rest, kept));
                    return out;
                }
                State::Behind => {
                    let trimmed = self.rest.trim_start();
                    if trimmed.is_empty() {
                        self.rest.clear();
                        return out;
                    }
                    self.rest = trimmed.to_owned();
                    self.state = State::Answer;
                }
                State::Answer => {
                    out.text.push_str(&std::mem::take(&mut self.rest));
                    return out;
                }
            }
        }
    }

    /// What is left when the answer has ended.
    pub fn finish(&mut self) -> Split {
        let rest = std::mem::take(&mut self.rest);
        match self.state {
            State::Inside => Split { reasoning: rest, text: String::new() },
            _ => Split { reasoning: String::new(), text: rest },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thoughts_are_split_wherever_pieces_end() {
        let cases = [
            ("Hello.", None, "Hello."),
            ("<think>\nShould I?\n</think>\n\nYes <think>.", Some("Should I?"), "Yes <think>."),
            ("<think>\n\n</think>\n\n", Some(""), ""),
            ("<think>cut </thi", Some("cut </thi"), ""),
            (" <thin", None, " <thin"),
            ("a</think>b", None, "a</think>b"),
            ("", None, ""),
        ];
        for (answer, reasoning, text) in cases {
            assert_eq!(
                Thoughts::split(answer),
                (reasoning.map(str::to_owned), text.to_owned()),
                "{answer:?}"
            );
            for cut in (0..=answer.len()).filter(|&cut| answer.is_char_boundary(cut)) {
                let mut thoughts = Thoughts::default();
                let (first, second) = answer.split_at(cut);
                let parts = [thoughts.push(first), thoughts.push(second), thoughts.finish()];
                let joined: String = parts.iter().map(|part| part.text.as_str()).collect();
                let thought: String = parts.iter().map(|part| part.reasoning.as_str()).collect();
                assert_eq!(
                    (joined.as_str(), thought.trim()),
                    (text, reasoning.unwrap_or("")),
                    "{answer:?} {cut}"
                );
            }
        }
    }
}
