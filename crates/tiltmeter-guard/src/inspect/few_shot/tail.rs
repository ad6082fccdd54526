//! Where the last example of a text ends.

/// What may follow the last example of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::inspect) enum Tail {
    /// A question or an instruction, as its last paragraph.
    Question,
    /// Nothing: it goes on to the end.
    Nothing,
}

impl Tail {
    /// Where the last paragraph of a text starts, if it may be no part of an example; otherwise the end. Blank lines
    /// within fenced code do not count, where fences come in pairs.
    pub(super) fn start(self, text: &str) -> usize {
        if self == Self::Nothing {
            return text.len();
        }
        let is_fence = |line: &str| line.trim_start().starts_with("```");
        let fences = text.split('\n').filter(|line| is_fence(line)).count();
        let (mut at, mut start) = (0, 0);
        let (mut is_fenced, mut was_blank) = (false, false);
        for line in text.split_inclusive('\n') {
            let is_blank = line.trim().is_empty();
            if !is_blank && was_blank && !is_fenced {
                start = at;
            }
            is_fenced ^= fences % 2 == 0 && is_fence(line);
            was_blank = is_blank;
            at += line.len();
        }
        start
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_paragraph() {
        let cases = [
            ("a", "a"),
            ("a\n\nb", "b"),
            ("a\n\nb\nc", "b\nc"),
            ("a\n\nb\n\n", "b\n\n"),
            ("a\n \t\n\nb", "b"),
            ("a\n\n```\nx\n\ny\n```", "```\nx\n\ny\n```"),
            ("a\n\n```\nx\n\ny", "y"),
            ("", ""),
        ];
        for (text, expected) in cases {
            assert_eq!(text.get(Tail::Question.start(text)..), Some(expected), "{text}");
            assert_eq!(Tail::Nothing.start(text), text.len());
        }
    }
}
