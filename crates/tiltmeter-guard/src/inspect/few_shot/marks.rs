//! Headings and tags that start prompts, responses, examples and passages inside a text.
//!
//! One pass; what is looked at from any one place is bounded, so that the time is linear in the text.

/// What a mark starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Starts {
    /// What is asked.
    Prompt,
    /// What is answered.
    Response,
    /// An example as a whole.
    Example,
    /// A retrieved passage.
    Passage,
    /// Nothing: a closing tag of an example or a passage.
    End,
}

/// How a mark is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// `### Prompt:`. Rarely meant in any other way.
    Heading,
    /// `Q:`. People write it in all kinds of texts.
    Label,
    /// `<example>`, `<|user|>`.
    Tag,
}

/// A mark in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) starts: Starts,
    pub(super) form: Form,
    /// The word, in lower case.
    pub(super) word: &'static str,
    /// Where the mark starts, the decoration before it included.
    pub(super) start: usize,
    /// Where what it starts begins.
    pub(super) content: usize,
}

const PROMPTS: [&str; 11] = [
    "customer",
    "human",
    "input",
    "instruction",
    "problem",
    "prompt",
    "q",
    "query",
    "question",
    "request",
    "user",
];
const RESPONSES: [&str; 12] = [
    "a",
    "ai",
    "answer",
    "assistant",
    "bot",
    "chatbot",
    "completion",
    "model",
    "output",
    "reply",
    "response",
    "solution",
];
const EXAMPLES: [&str; 5] = ["case", "demonstration", "example", "sample", "shot"];
const PASSAGES: [&str; 10] = [
    "chunk",
    "context",
    "doc",
    "document",
    "excerpt",
    "passage",
    "result",
    "search result",
    "snippet",
    "source",
];
/// As tags; a form's `<input>` and a table's `<source>` are no passages, but `<input>` starts a prompt where `<output>`
/// follows.
const TAGS: [(&str, Starts); 18] = [
    ("answer", Starts::Response),
    ("assistant", Starts::Response),
    ("chunk", Starts::Passage),
    ("completion", Starts::Response),
    ("demonstration", Starts::Example),
    ("doc", Starts::Passage),
    ("document", Starts::Passage),
    ("example", Starts::Example),
    ("human", Starts::Prompt),
    ("input", Starts::Prompt),
    ("output", Starts::Response),
    ("passage", Starts::Passage),
    ("prompt", Starts::Prompt),
    ("question", Starts::Prompt),
    ("response", Starts::Response),
    ("search_result", Starts::Passage),
    ("snippet", Starts::Passage),
    ("user", Starts::Prompt),
];
/// Marks of chat templates.
const TURNS: [(&str, &str, Starts); 4] = [
    ("<|im_start|>user", "user", Starts::Prompt),
    ("<|im_start|>assistant", "assistant", Starts::Response),
    ("<|user|>", "user", Starts::Prompt),
    ("<|assistant|>", "assistant", Starts::Response),
];

/// The most bytes of decoration before a heading's word.
const DECORATION: usize = 16;
/// The most bytes of a heading's word.
const WORD: usize = 16;
/// The most digits of its number.
const DIGITS: usize = 6;
/// The most bytes of a tag with its attributes.
const TAG: usize = 256;

/// All marks of a text, in order.
pub(super) fn marks(text: &str) -> Vec<Mark> {
    let mut marks = Vec::new();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        line_marks(line, start, &mut marks);
        start += line.len();
    }
    marks
}

/// A heading may stand at the start of a line, and right behind a tag.
fn line_marks(line: &str, start: usize, marks: &mut Vec<Mark>) {
    let mut at = 0;
    let mut may_be_heading = true;
    loop {
        let rest = line.get(at..).unwrap_or_default();
        if may_be_heading && let Some(mark) = heading(rest) {
            at += mark.content;
            marks.push(moved(mark, start + at - mark.content));
        }
        let Some(next) = line.get(at..).and_then(|rest| rest.find('<')) else { return };
        at += next;
        let tag = tag(line.get(at..).unwrap_or_default());
        may_be_heading = tag.is_some();
        marks.extend(tag.map(|mark| moved(mark, start + at)));
        at += tag.map_or(1, |mark| mark.content);
    }
}

fn moved(mark: Mark, by: usize) -> Mark {
    Mark { start: mark.start + by, content: mark.content + by, ..mark }
}

/// The bytes at the start of a text for which a condition holds, at most so many.
fn run(text: &str, most: usize, holds: impl Fn(u8) -> bool) -> usize {
    text.bytes().take(most).take_while(|&byte| holds(byte)).count()
}

/// The text from a place that is between two ASCII characters.
fn after(text: &str, at: usize) -> &str {
    text.get(at..).unwrap_or_default()
}

/// A heading at the start of a text: decoration, a word, perhaps a number, a colon. A heading of an example or a passage
/// has a number, and may stand in brackets or alone on its line instead of having a colon.
fn heading(text: &str) -> Option<Mark> {
    let mut at = run(text, DECORATION, |byte| b" \t>#*_-".contains(&byte));
    let is_heading = text.bytes().take(at).any(|byte| byte == b'#');
    let digits = run(after(text, at), DIGITS, |byte| byte.is_ascii_digit());
    if digits > 0 && after(text, at + digits).starts_with([')', '.']) {
        at += digits + 1;
        at += run(after(text, at), DECORATION, |byte| b" *_".contains(&byte));
    }
    let in_brackets = after(text, at).starts_with('[');
    at += usize::from(in_brackets);
    let letters = run(after(text, at), WORD, |byte| byte.is_ascii_alphabetic() || byte == b' ');
    let name = text.get(at..at + letters)?.trim_end();
    let (word, starts) = known(name)?;
    at += letters;
    let sign = run(after(text, at), 1, |byte| byte == b'#');
    let digits = run(after(text, at + sign), DIGITS, |byte| byte.is_ascii_digit());
    at += sign + digits;
    at += run(after(text, at), 3, |byte| b"*_".contains(&byte));
    let closed = in_brackets && after(text, at).starts_with(']');
    at += usize::from(closed);
    let colon = after(text, at).starts_with(':');
    at += usize::from(colon);
    let line_ends = after(text, at).trim_start_matches([' ', '*', '_', '\r']).is_empty()
        || after(text, at).trim_start_matches([' ', '*', '_', '\r']).starts_with('\n');
    let is_whole = match starts {
        Starts::Prompt | Starts::Response => colon || (is_heading && line_ends),
        Starts::Example | Starts::Passage | Starts::End => digits > 0 && (colon || closed || line_ends),
    };
    if !is_whole || (in_brackets && !closed) {
        return None;
    }
    at += run(after(text, at), 3, |byte| b"*_".contains(&byte));
    let form = if is_heading { Form::Heading } else { Form::Label };
    Some(Mark { starts, form, word, start: 0, content: at })
}

fn known(name: &str) -> Option<(&'static str, Starts)> {
    let of = |words: &[&'static str], starts| {
        words.iter().find(|word| word.eq_ignore_ascii_case(name)).map(|&word| (word, starts))
    };
    of(&PROMPTS, Starts::Prompt)
        .or_else(|| of(&RESPONSES, Starts::Response))
        .or_else(|| of(&EXAMPLES, Starts::Example))
        .or_else(|| of(&PASSAGES, Starts::Passage))
}

/// A tag at the start of a text.
fn tag(text: &str) -> Option<Mark> {
    for (mark, word, starts) in TURNS {
        if text.starts_with(mark) {
            return Some(Mark { starts, form: Form::Tag, word, start: 0, content: mark.len() });
        }
    }
    let closes = text.starts_with("</");
    let from = 1 + usize::from(closes);
    let letters = run(after(text, from), WORD, |byte| byte.is_ascii_alphabetic() || byte == b'_');
    let name = text.get(from..from + letters)?;
    let &(word, starts) = TAGS.iter().find(|(word, _)| word.eq_ignore_ascii_case(name))?;
    let attributes = after(text, from + letters);
    if !attributes.starts_with(['>', ' ', '/', '\t']) {
        return None;
    }
    let length = run(attributes, TAG, |byte| byte != b'>' && byte != b'<');
    if !after(attributes, length).starts_with('>') {
        return None;
    }
    let starts = match (closes, starts) {
        (false, starts) => starts,
        (true, Starts::Example | Starts::Passage) => Starts::End,
        // The end of a prompt or a response is where the next thing starts.
        (true, _) => return None,
    };
    Some(Mark { starts, form: Form::Tag, word, start: 0, content: from + letters + length + 1 })
}

/// A text without a closing tag at its end.
pub(super) fn without_closing(text: &str) -> &str {
    let text = text.trim();
    let stripped = ["<|im_end|>", "</s>", "<|end|>"].iter().find_map(|end| text.strip_suffix(end));
    let closing = stripped.or_else(|| {
        let (before, name) = text.strip_suffix('>')?.rsplit_once("</")?;
        TAGS.iter().any(|(word, _)| word.eq_ignore_ascii_case(name)).then_some(before)
    });
    closing.unwrap_or(text).trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headings_and_tags() {
        use Form::{Heading, Label, Tag};
        use Starts::{End, Example, Passage, Prompt, Response};
        type Shown = Option<(Starts, Form, &'static str)>;
        let cases: [(&str, Shown); 36] = [
            ("### Prompt: x", Some((Prompt, Heading, "prompt"))),
            ("### Response:", Some((Response, Heading, "response"))),
            ("## Question\n", Some((Prompt, Heading, "question"))),
            ("Q: x", Some((Prompt, Label, "q"))),
            ("Q12: x", Some((Prompt, Label, "q"))),
            ("A: x", Some((Response, Label, "a"))),
            ("**Q:** x", Some((Prompt, Label, "q"))),
            ("**Q**: x", Some((Prompt, Label, "q"))),
            ("> User: x", Some((Prompt, Label, "user"))),
            ("1. Input: x", Some((Prompt, Label, "input"))),
            ("2) Output : x", Some((Response, Label, "output"))),
            ("Example 3: x", Some((Example, Label, "example"))),
            ("## Example 3\nx", Some((Example, Heading, "example"))),
            ("Example #3\n", Some((Example, Label, "example"))),
            ("[Document 1] x", Some((Passage, Label, "document"))),
            ("[Doc 2]: x", Some((Passage, Label, "doc"))),
            ("Passage 3: x", Some((Passage, Label, "passage"))),
            ("Search result 4:", Some((Passage, Label, "search result"))),
            ("<example>", Some((Example, Tag, "example"))),
            ("<document index=\"1\">", Some((Passage, Tag, "document"))),
            ("</document>", Some((End, Tag, "document"))),
            ("<user>", Some((Prompt, Tag, "user"))),
            ("<|im_start|>assistant\nx", Some((Response, Tag, "assistant"))),
            ("Answer", None),
            ("Questions: x", None),
            ("Question everything: x", None),
            ("Example: x", None),
            ("Examples:", None),
            ("Document: x", None),
            ("[Document 1", None),
            ("A man walks in.", None),
            ("a", None),
            ("<examples>", None),
            ("<document", None),
            ("</user>", None),
            ("é: x", None),
        ];
        for (text, expected) in cases {
            let found = marks(text);
            let shown = found.first().map(|mark| (mark.starts, mark.form, mark.word));
            assert_eq!(shown, expected, "{text}");
        }
    }

    #[test]
    fn places_are_those_of_the_text() {
        let text = "x\n <example>Q: a</example>\n- **A:** b";
        let found: Vec<(&str, &str)> = marks(text)
            .iter()
            .map(|mark| (after(text, mark.start).get(..mark.content - mark.start).unwrap(), mark.word))
            .collect();
        assert_eq!(
            found,
            [("<example>", "example"), ("Q:", "q"), ("</example>", "example"), ("- **A:**", "a")]
        );
    }

    #[test]
    fn closing_tags_are_taken_off() {
        for (text, expected) in [
            (" a </user>\n", "a"),
            ("a<|im_end|>", "a"),
            ("a </b>", "a </b>"),
            ("x > y", "x > y"),
            ("</answer>", ""),
        ] {
            assert_eq!(without_closing(text), expected);
        }
    }
}
