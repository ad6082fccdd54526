//! What requests with the same context share: its text and turns, escaped and written once.

use bytes::Bytes;
use serde_json::{Map, Value};
use tiltmeter_core::id::ContentId;
use tiltmeter_core::prompt::{MessageParts, PARTS, Placement, Prompt, RenderedContext, Role, Turn};

use crate::body::BodyWriter;
use crate::recent::Recent;
use crate::tools::{Style, declaration};

/// Contexts that are kept, the last used first. Requests are ordered by context, so that few are in use at once;
/// those in flight hold their context themselves.
const KEPT: usize = 8;

/// How a protocol writes a context's turns, as elements of a list that is not at its end: each with a comma
/// behind it.
pub(crate) type WriteTurns = fn(&[Turn], &mut BodyWriter);

/// Marks a block as the end of what is cached. Prompts too short to be cached are taken as if it were not there.
pub(crate) const BREAKPOINT: &str = ",\"cache_control\":{\"type\":\"ephemeral\"}";

/// A context as its requests carry it.
#[derive(Clone, Debug, Default)]
pub(crate) struct SharedContext {
    /// The demonstrations' text as it stands in the prompt, escaped, without quotes.
    text: Bytes,
    /// The turns in the protocol's form, each with a comma behind it.
    pub(crate) turns: Bytes,
}

/// The contexts that a model's requests have used lately.
#[derive(Debug)]
pub(crate) struct ContextCache {
    write_turns: WriteTurns,
    kept: Recent<ContentId, SharedContext>,
}

impl ContextCache {
    pub(crate) fn new(write_turns: WriteTurns) -> Self {
        Self { write_turns, kept: Recent::new(KEPT) }
    }

    /// A context's shared form. Whoever needs it first writes it, and those who come meanwhile wait: about a
    /// millisecond for a megabyte.
    fn get(&self, context: &RenderedContext) -> SharedContext {
        if context.text.is_empty() && context.turns.is_empty() {
            return SharedContext::default();
        }
        self.kept.get(context.id, || self.write(context))
    }

    fn write(&self, context: &RenderedContext) -> SharedContext {
        let mut text = BodyWriter::default();
        text.text(shown_text(context));
        let mut turns = BodyWriter::default();
        (self.write_turns)(&context.turns, &mut turns);
        SharedContext { text: text.into_bytes(), turns: turns.into_bytes() }
    }

    /// A prompt, ready to be written.
    pub(crate) fn shown<'a>(&self, prompt: &'a Prompt) -> ShownPrompt<'a> {
        // The system's message, the turns and the question, in this order. A turn may be the system's as well.
        let has_system = prompt.messages().count() > prompt.context.turns.len() + 1;
        let system = prompt.messages().next().filter(|_| has_system);
        let question = prompt.messages().last();
        ShownPrompt {
            system,
            question: question.unwrap_or(MessageParts { role: Role::User, parts: [""; PARTS] }),
            shared: self.get(&prompt.context),
            context: &prompt.context,
        }
    }
}

/// The context's text as the prompt shows it.
fn shown_text(context: &RenderedContext) -> &str {
    match context.placement {
        Placement::System => context.text.trim_end_matches('\n'),
        Placement::FirstUser
        | Placement::ChatTurns
        | Placement::Retrieved
        | Placement::ToolOutput
        | Placement::Quoted => &context.text,
    }
}

/// A prompt's messages, with its context in the form that is shared.
pub(crate) struct ShownPrompt<'a> {
    /// The system message.
    pub(crate) system: Option<MessageParts<'a>>,
    /// The last message.
    pub(crate) question: MessageParts<'a>,
    /// The turns between them are in it.
    pub(crate) shared: SharedContext,
    context: &'a RenderedContext,
}

impl ShownPrompt<'_> {
    /// Writes parts of a message as one string's inside.
    pub(crate) fn write(&self, parts: &[&str], writer: &mut BodyWriter) {
        for part in parts {
            if self.is_context(part) {
                writer.shared(&self.shared.text);
            } else {
                writer.text(part);
            }
        }
    }

    /// The fields that declare the tool which the context has calls of; none where it has none.
    pub(crate) fn tool_fields(&self, style: Style) -> Map<String, Value> {
        if self.context.has_tool_turns() { declaration(style) } else { Map::new() }
    }

    /// Whether a part is the context's text: the very same memory, so that nothing need be compared.
    pub(crate) fn is_context(&self, part: &str) -> bool {
        !part.is_empty() && std::ptr::eq(part, shown_text(self.context))
    }
}

/// Writes a message's parts as blocks of text: one up to the end of the shared context, marked, and one for what
/// follows, so that all questions about a context find it in the cache.
pub(crate) fn write_marked_parts(prompt: &ShownPrompt<'_>, parts: &[&str], writer: &mut BodyWriter) {
    let context_end = parts.iter().position(|part| prompt.is_context(part)).map_or(0, |index| index + 1);
    let (cached, rest) = parts.split_at(context_end);
    let mut separator = "[";
    for (parts, mark) in [(cached, BREAKPOINT), (rest, "")] {
        if parts.iter().all(|part| part.is_empty()) {
            continue;
        }
        writer.raw(separator);
        writer.raw("{\"type\":\"text\",\"text\":\"");
        prompt.write(parts, writer);
        writer.raw("\"");
        writer.raw(mark);
        writer.raw("}");
        separator = ",";
    }
    // A message without any text is refused by the server, which then says so.
    writer.raw(if separator == "[" { "[]" } else { "]" });
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tiltmeter_core::prompt::QuestionFormat;

    use super::*;
    use crate::body::Body;

    fn write_turns(turns: &[Turn], writer: &mut BodyWriter) {
        for turn in turns {
            writer.json(&*turn.text);
            writer.raw(",");
        }
    }

    #[test]
    fn requests_in_flight_hold_a_context_once() {
        let pairs = (0..1024).map(|_| ("How do I \"save\"?", "Put it all on one horse.\n☕"));
        let cache = ContextCache::new(write_turns);
        for placement in [Placement::FirstUser, Placement::System, Placement::ChatTurns] {
            let context = Arc::new(RenderedContext::render(pairs.clone(), placement, QuestionFormat::Header));
            let bodies: Vec<_> = (0..512)
                .map(|number| {
                    let question = format!("Question {number}?");
                    let prompt = Prompt::new(Arc::clone(&context), Some("Be safe.".into()), question);
                    let shown = cache.shown(&prompt);
                    let mut writer = BodyWriter::default();
                    writer.raw("[\"");
                    shown.write(&shown.system.unwrap().parts, &mut writer);
                    writer.raw("\",");
                    writer.shared(&shown.shared.turns);
                    writer.raw("\"");
                    shown.write(&shown.question.parts, &mut writer);
                    writer.raw("\"]");
                    let body = writer.finish().unwrap();
                    // Reading a megabyte takes a while in tests.
                    if number < 2 {
                        let expected: Vec<String> = prompt.messages().map(|message| message.text()).collect();
                        let written: Vec<String> = serde_json::from_slice(&body.to_vec()).unwrap();
                        assert_eq!(written, expected);
                    }
                    body
                })
                .collect();
            let mut long: Vec<_> = bodies
                .iter()
                .flat_map(Body::pieces)
                .filter(|piece| piece.len() > 1000)
                .map(|piece| piece.as_ptr())
                .collect();
            assert_eq!(long.len(), 512);
            long.dedup();
            assert_eq!(long.len(), 1, "{placement:?}");
        }
    }

    #[test]
    fn turns_are_written_in_the_protocols_form() {
        let cache = ContextCache::new(write_turns);
        let context = RenderedContext::render([("a", "b")], Placement::ChatTurns, QuestionFormat::Plain);
        let prompt = Prompt::new(context.into(), None, "?");
        let shown = cache.shown(&prompt);
        assert_eq!(shown.shared.turns, "\"a\",\"b\",".as_bytes());
        assert_eq!((shown.system, shown.question.text().as_str()), (None, "?"));
    }
}
