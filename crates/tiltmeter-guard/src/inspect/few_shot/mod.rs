//! Few-shot examples and retrieved passages inside one text.
//!
//! Examples and passages under a heading with a number or between tags are taken first; what is left is searched for
//! runs of prompts and responses. The time is linear in the text: every mark is looked at a bounded number of times.
//!
//! A label such as `Q:` stands in many texts, so that one pair with it is no example: it takes two, or one and a last
//! prompt that is left open. A heading such as `### Prompt:` is enough by itself.

mod marks;
mod tail;

use std::ops::Range;

use marks::{Form, Mark, Starts, marks, without_closing};
pub(super) use tail::Tail;

use super::example::{Content, ExampleKind};

/// An example found in a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) kind: ExampleKind,
    /// All of it, marks included.
    pub(super) span: Range<usize>,
    pub(super) content: Content,
}

/// Finds all examples of a text, in order; their spans do not overlap.
pub(super) fn find(text: &str, tail: Tail) -> Vec<Found> {
    let marks = marks(text);
    if marks.is_empty() {
        return Vec::new();
    }
    let search = Search { text, rest: tail.start(text) };
    let (mut found, free) = search.containers(&marks);
    search.runs(&free, &mut found);
    found.sort_by_key(|found| found.span.start);
    found
}

struct Search<'a> {
    text: &'a str,
    /// Where the text's last paragraph starts, which may be the question and not a part of the last example.
    rest: usize,
}

/// A mark outside of examples that are found already, or the start of one of these.
#[derive(Clone, Copy)]
enum Free {
    Mark(Mark),
    Barrier(usize),
}

impl Search<'_> {
    fn slice(&self, range: Range<usize>) -> &str {
        self.text.get(range).unwrap_or_default()
    }

    /// Where an example ends that nothing follows.
    fn end_after(&self, from: usize) -> usize {
        if self.rest > from && !self.slice(from..self.rest).trim().is_empty() {
            self.rest
        } else {
            self.text.len()
        }
    }

    /// Examples and passages that have a heading or tags of their own, and what is left.
    fn containers(&self, marks: &[Mark]) -> (Vec<Found>, Vec<Free>) {
        let next = next_of_word(marks);
        let (mut found, mut free) = (Vec::new(), Vec::new());
        let mut index = 0;
        while let Some(&mark) = marks.get(index) {
            let kind = match mark.starts {
                Starts::Example => ExampleKind::Numbered,
                Starts::Passage => ExampleKind::Passage,
                Starts::Prompt | Starts::Response => {
                    free.push(Free::Mark(mark));
                    index += 1;
                    continue;
                }
                // It closes nothing.
                Starts::End => {
                    index += 1;
                    continue;
                }
            };
            let inside = marks.get(index + 1..).unwrap_or_default();
            let following = next.get(index).copied().flatten().and_then(|next| marks.get(next));
            let (inner, end) = match following {
                Some(close) if close.starts == Starts::End => (close.start, close.content),
                Some(next) => (next.start, next.start),
                None => {
                    let end = self.last_end(mark, inside);
                    (end, end)
                }
            };
            let content = match kind {
                ExampleKind::Passage => Content {
                    prompt: String::new(),
                    response: without_closing(self.slice(mark.content..inner)).to_owned(),
                },
                _ => self.content(mark.content..inner, inside),
            };
            if !content.is_empty() {
                found.push(Found { kind, span: mark.start..end, content });
            }
            free.push(Free::Barrier(mark.start));
            while marks.get(index).is_some_and(|mark| mark.start < end) {
                index += 1;
            }
        }
        (found, free)
    }

    /// Where an example or a passage ends that no other of its word follows, and that is not closed.
    fn last_end(&self, mark: Mark, inside: &[Mark]) -> usize {
        let other = inside
            .iter()
            .find(|other| matches!(other.starts, Starts::Example | Starts::Passage))
            .map_or(self.text.len(), |other| other.start);
        let prompt_from = |from: usize| {
            let prompt = inside.iter().find(|mark| mark.starts == Starts::Prompt && mark.start >= from);
            prompt.map_or(self.text.len(), |prompt| prompt.start)
        };
        let alone = || self.end_after(mark.content).min(prompt_from(mark.content));
        let end = match answer_of(inside, other) {
            Some(answer) if mark.starts == Starts::Example => {
                let end = self.end_after(answer.content).min(prompt_from(answer.content));
                // An answer that is left open is the question's.
                if self.slice(answer.content..end).trim().is_empty() { alone() } else { end }
            }
            _ => alone(),
        };
        end.min(other)
    }

    /// The prompt and response in a range, by the first marks in it; without any, the range is one text.
    fn content(&self, range: Range<usize>, marks: &[Mark]) -> Content {
        let Range { start, end } = range;
        let prompt = marks
            .iter()
            .take_while(|mark| mark.start < end)
            .take_while(|mark| mark.starts != Starts::Response)
            .find(|mark| mark.starts == Starts::Prompt);
        let answer = answer_of(marks, end);
        let (prompt, response) = match answer {
            Some(answer) => {
                let before = prompt.map_or(start, |prompt| prompt.start);
                let is_bare = self.slice(start..before).trim().is_empty();
                let from = prompt.filter(|_| is_bare).map_or(start, |prompt| prompt.content);
                (self.slice(from..answer.start), self.slice(answer.content..end))
            }
            None => ("", self.slice(start..end)),
        };
        let text = |text: &str| without_closing(text).to_owned();
        Content { prompt: text(prompt), response: text(response) }
    }

    /// Runs of prompts and responses of one form.
    fn runs(&self, free: &[Free], found: &mut Vec<Found>) {
        // Up to where it is known that a prompt's mark starts no run, by form and word.
        let mut failed: Vec<(Form, &str, usize)> = Vec::new();
        let mut index = 0;
        while let Some(&mark) = free.get(index) {
            let start = index;
            index += 1;
            let Free::Mark(mark) = mark else { continue };
            let is_known = |(form, word, until): &(Form, &str, usize)| {
                (*form, *word) == (mark.form, mark.word) && start < *until
            };
            if mark.starts != Starts::Prompt || failed.iter().any(is_known) {
                continue;
            }
            let run = self.run(free, start, mark);
            if run.is_valid(mark.form) {
                index = run.next;
                found.extend(run.pairs);
            } else {
                failed.retain(|(form, word, _)| (*form, *word) != (mark.form, mark.word));
                failed.push((mark.form, mark.word, run.next));
            }
        }
    }

    /// The run that a prompt's mark starts: marks of the same form and word, and responses of the first word that answers.
    fn run(&self, free: &[Free], start: usize, first: Mark) -> Run {
        let mut run = Run { pairs: Vec::new(), is_open: false, next: free.len() };
        let (mut prompt, mut answer, mut answers) = (first, None, None);
        let mut limit = None;
        for (index, &mark) in free.iter().enumerate().skip(start + 1) {
            let mark = match mark {
                Free::Mark(mark) => mark,
                Free::Barrier(at) => {
                    (run.next, limit) = (index, Some(at));
                    break;
                }
            };
            let is_prompt = mark.starts == Starts::Prompt;
            if is_prompt && (mark.form, mark.word) == (first.form, first.word) {
                run.pairs.extend(self.pair(prompt, answer, mark.start));
                (prompt, answer) = (mark, None);
            } else if is_prompt && mark.form == Form::Heading && first.form != Form::Heading {
                (run.next, limit) = (index, Some(mark.start));
                break;
            } else if mark.starts == Starts::Response
                && mark.form == first.form
                && answer.is_none()
                && answers.is_none_or(|word| word == mark.word)
            {
                (answer, answers) = (Some(mark), Some(mark.word));
            }
        }
        if let Some(answer) = answer {
            let end = limit.unwrap_or_else(|| self.end_after(answer.content));
            let last = self.pair(prompt, Some(answer), end);
            run.is_open = last.is_none();
            run.pairs.extend(last);
        } else {
            run.is_open = true;
        }
        run
    }

    /// A pair that has an answer.
    fn pair(&self, prompt: Mark, answer: Option<Mark>, end: usize) -> Option<Found> {
        let answer = answer?;
        let text = |range| without_closing(self.slice(range)).to_owned();
        let content =
            Content { prompt: text(prompt.content..answer.start), response: text(answer.content..end) };
        let found = Found { kind: ExampleKind::Pair, span: prompt.start..end, content };
        (!found.content.response.is_empty()).then_some(found)
    }
}

struct Run {
    pairs: Vec<Found>,
    /// Whether the last prompt has no answer: it is the question.
    is_open: bool,
    /// Where the search goes on.
    next: usize,
}

impl Run {
    fn is_valid(&self, form: Form) -> bool {
        let enough = if form == Form::Heading || self.is_open { 1 } else { 2 };
        self.pairs.len() >= enough
    }
}

/// The first response's mark before a place, and before any other example.
fn answer_of(marks: &[Mark], end: usize) -> Option<&Mark> {
    marks
        .iter()
        .take_while(|mark| mark.start < end)
        .take_while(|mark| !matches!(mark.starts, Starts::Example | Starts::Passage))
        .find(|mark| mark.starts == Starts::Response)
}

/// For each mark of an example or a passage, the next one with the same word that opens or closes.
fn next_of_word(marks: &[Mark]) -> Vec<Option<usize>> {
    let mut last: Vec<(Form, &str, usize)> = Vec::new();
    let mut next = vec![None; marks.len()];
    for (index, mark) in marks.iter().enumerate().rev() {
        if matches!(mark.starts, Starts::Prompt | Starts::Response) {
            continue;
        }
        // A heading and a label are the same thing here; a tag is closed by a tag.
        let form = if mark.form == Form::Tag { Form::Tag } else { Form::Label };
        match last.iter_mut().find(|(other, word, _)| (*other, *word) == (form, mark.word)) {
            Some((.., at)) => {
                next[index] = Some(*at);
                *at = index;
            }
            None => last.push((form, mark.word, index)),
        }
    }
    next
}

#[cfg(test)]
mod tests;
