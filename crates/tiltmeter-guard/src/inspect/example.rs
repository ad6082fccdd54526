//! Examples: the pieces of a context that show a model how to behave, or bring it what others wrote.

use tiltmeter_core::id::Canonical;

use crate::inspection::{ExampleId, Place};

/// What an example is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ExampleKind {
    /// An earlier turn of the user's with what was answered to it.
    Turns,
    /// A prompt and a response inside one text, such as after `### Prompt:` and `### Response:`, or `Q:` and `A:`.
    Pair,
    /// A text under a heading of its own number, such as `Example 3:`, or between tags, such as `<example>`.
    Numbered,
    /// A retrieved passage, such as `[Document 1]`, `Passage 3:` or `<document>`.
    Passage,
    /// What a tool gave.
    ToolResult,
}

impl ExampleKind {
    /// As logs and web hooks name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Turns => "turns",
            Self::Pair => "pair",
            Self::Numbered => "numbered",
            Self::Passage => "passage",
            Self::ToolResult => "tool-result",
        }
    }

    /// Whether it shows an answer, rather than bringing a text.
    pub fn is_demonstration(self) -> bool {
        matches!(self, Self::Turns | Self::Pair | Self::Numbered)
    }
}

/// What an example says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// What was asked; empty where nothing was, or where the example is one text.
    pub prompt: String,
    /// What was answered, or the one text.
    pub response: String,
}

impl Content {
    /// The address of the content. Line ends are made `\n`, and white space at both ends of prompt and response is left
    /// out; nothing else is changed. The kind does not count, so that an example has the same verdict as a chat turn
    /// and as a line of a few-shot prompt.
    pub fn id(&self) -> ExampleId {
        let normal = |text: &str| text.trim().replace("\r\n", "\n");
        let (prompt, response) = (normal(&self.prompt), normal(&self.response));
        ExampleId(Canonical::new("tiltmeter.guard-example/1").text(&prompt).text(&response).finish())
    }

    /// Bytes of both texts.
    pub fn len(&self) -> usize {
        self.prompt.len() + self.response.len()
    }

    /// Whether there is no text at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// An example in a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// The address of its content.
    pub id: ExampleId,
    /// What it is.
    pub kind: ExampleKind,
    /// What it says.
    pub content: Content,
    /// Where it stands, in the order of the request; never overlapping another example's places.
    pub places: Vec<Place>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_those_of_the_content_but_for_its_edges() {
        let id = |prompt: &str, response: &str| {
            Content { prompt: prompt.to_owned(), response: response.to_owned() }.id()
        };
        let plain = id("a\nb", "c");
        assert_eq!(plain, id(" a\r\nb\n", "\tc \r\n"));
        for (prompt, response) in [("a b", "c"), ("a\nb", "C"), ("a\nbc", ""), ("", "a\nbc"), ("a\n\nb", "c")]
        {
            assert_ne!(plain, id(prompt, response), "{prompt} {response}");
        }
    }
}
