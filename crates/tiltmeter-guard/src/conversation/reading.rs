//! Finds the conversation in a body, and where in it each text stands.

use std::borrow::Cow;
use std::cell::Cell;
use std::ops::Range;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::literal;

use super::{ConversationError, Message, Protocol, RequestView, Role, Text, TextKind};

#[derive(Deserialize)]
struct RawBody<'a> {
    #[serde(borrow)]
    model: Option<Cow<'a, str>>,
    #[serde(borrow)]
    messages: Option<&'a RawValue>,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
    #[serde(borrow)]
    system: Option<&'a RawValue>,
    #[serde(borrow)]
    instructions: Option<&'a RawValue>,
    // What the server behind has kept, of responses.
    #[serde(borrow)]
    previous_response_id: Option<&'a RawValue>,
    #[serde(borrow)]
    conversation: Option<&'a RawValue>,
    #[serde(borrow)]
    prompt: Option<&'a RawValue>,
}

impl RawBody<'_> {
    fn is_continued(&self) -> bool {
        // `null` reads as absent.
        [self.previous_response_id, self.conversation, self.prompt].iter().any(Option::is_some)
    }
}

#[derive(Deserialize)]
struct RawMessage<'a> {
    #[serde(borrow)]
    role: Option<Cow<'a, str>>,
    #[serde(borrow)]
    r#type: Option<Cow<'a, str>>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    /// What a function gave, of responses.
    #[serde(borrow)]
    output: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct RawPart<'a> {
    #[serde(borrow)]
    r#type: Option<Cow<'a, str>>,
    #[serde(borrow)]
    text: Option<&'a RawValue>,
    /// What a tool gave, of Anthropic's protocol.
    #[serde(borrow)]
    content: Option<&'a RawValue>,
}

impl RequestView {
    /// Reads a body.
    ///
    /// # Errors
    /// Where it is not JSON, names a field twice, or has no messages where the protocol has them.
    #[expect(clippy::needless_pass_by_value, reason = "the view keeps the body; a clone of it is a count")]
    pub fn read(protocol: Protocol, body: Bytes) -> Result<Self, ConversationError> {
        if !is_object(&body) {
            return Err(ConversationError::NotAnObject);
        }
        let raw: RawBody<'_> = serde_json::from_slice(&body)?;
        let reader = Reader::of(&body);
        let model = raw.model.as_deref().unwrap_or("").to_owned();
        let outside = match protocol {
            Protocol::Messages => raw.system,
            Protocol::Responses => raw.instructions,
            Protocol::ChatCompletions | Protocol::Other => None,
        };
        let mut instructions = Vec::new();
        if let Some(outside) = outside {
            reader.texts(outside, TextKind::Said, &mut instructions)?;
        }
        let messages = match protocol {
            Protocol::ChatCompletions | Protocol::Messages => {
                reader.messages(raw.messages.ok_or(ConversationError::Missing("messages"))?)?
            }
            // Absent where a conversation that the server keeps simply goes on.
            Protocol::Responses => match raw.input {
                Some(input) => reader.messages(input)?,
                None => Vec::new(),
            },
            Protocol::Other => Vec::new(),
        };
        let is_continued =
            protocol == Protocol::Responses && (raw.is_continued() || reader.has_references.get());
        Ok(Self { protocol, model, body: body.clone(), instructions, messages, is_continued })
    }
}

/// Knows where the body starts, and so where anything that was borrowed from it stands.
struct Reader {
    start: usize,
    /// Whether a message was only a reference to one that is kept elsewhere.
    has_references: Cell<bool>,
}

impl Reader {
    fn of(body: &Bytes) -> Self {
        Self { start: body.as_ptr() as usize, has_references: Cell::new(false) }
    }

    fn span(&self, raw: &RawValue) -> Range<usize> {
        let start = raw.get().as_ptr() as usize - self.start;
        start..start + raw.get().len()
    }

    fn messages(&self, list: &RawValue) -> Result<Vec<Message>, ConversationError> {
        if is_text(list) {
            let span = self.span(list);
            let texts = vec![Text { span: span.clone(), kind: TextKind::Said }];
            return Ok(vec![Message { role: Role::User, span, texts, unread: 0 }]);
        }
        let list: Vec<&RawValue> = serde_json::from_str(list.get())?;
        list.into_iter().map(|raw| self.message(raw)).collect()
    }

    fn message(&self, raw: &RawValue) -> Result<Message, ConversationError> {
        if !is_object(raw.get().as_bytes()) {
            let unread = raw.get().len() as u64;
            return Ok(Message { role: Role::Other, span: self.span(raw), texts: Vec::new(), unread });
        }
        let message: RawMessage<'_> = serde_json::from_str(raw.get())?;
        let kind = message.r#type.as_deref().unwrap_or("message");
        let role = match message.role.as_deref() {
            Some("system" | "developer") => Role::System,
            Some("user") => Role::User,
            Some("assistant") => Role::Assistant,
            Some("tool" | "function") => Role::Tool,
            None if kind.ends_with("_output") => Role::Tool,
            _ => Role::Other,
        };
        let said = if role == Role::Tool { TextKind::ToolResult } else { TextKind::Said };
        let mut texts = Vec::new();
        let mut unread = 0;
        if let Some(content) = message.content {
            unread += self.texts(content, said, &mut texts)?;
        }
        if let Some(output) = message.output {
            unread += self.texts(output, TextKind::ToolResult, &mut texts)?;
        }
        // Their type may be left out.
        let is_bare = message.r#type.is_none() && message.role.is_none();
        if kind == "item_reference" || is_bare {
            self.has_references.set(true);
        }
        if message.content.is_none() && message.output.is_none() {
            unread += raw.get().len() as u64;
        }
        Ok(Message { role, span: self.span(raw), texts, unread })
    }

    /// Gathers the texts of a content, which is a text or a list of parts. Gives the bytes of what is neither.
    fn texts(
        &self,
        content: &RawValue,
        kind: TextKind,
        texts: &mut Vec<Text>,
    ) -> Result<u64, ConversationError> {
        if is_text(content) {
            texts.push(Text { span: self.span(content), kind });
            return Ok(0);
        }
        if content.get() == "null" {
            return Ok(0);
        }
        let Ok(parts) = serde_json::from_str::<Vec<&RawValue>>(content.get()) else {
            return Ok(content.get().len() as u64);
        };
        let mut unread = 0;
        for raw in parts {
            if !is_object(raw.get().as_bytes()) {
                unread += raw.get().len() as u64;
                continue;
            }
            // A part that has its text twice would be read differently behind.
            let part = serde_json::from_str::<RawPart<'_>>(raw.get())?;
            unread += match part {
                RawPart { text: Some(text), .. } if is_text(text) => {
                    texts.push(Text { span: self.span(text), kind });
                    0
                }
                // Their contents are not nested again: a list within a list ends here.
                RawPart { r#type: Some(name), content: Some(inner), .. }
                    if name == "tool_result" && kind == TextKind::Said =>
                {
                    self.texts(inner, TextKind::ToolResult, texts)?
                }
                _ => raw.get().len() as u64,
            };
        }
        Ok(unread)
    }
}

/// A name, and where the body has it.
pub(crate) type Named<'a> = (Cow<'a, str>, Range<usize>);

/// The model that a body names, and where: the bytes of its literal with the quotes. `None` where it names none.
pub(crate) fn model(body: &Bytes) -> Result<Option<Named<'_>>, ConversationError> {
    #[derive(Deserialize)]
    struct Model<'a> {
        #[serde(borrow)]
        model: Option<&'a RawValue>,
    }
    if !is_object(body) {
        return Err(ConversationError::NotAnObject);
    }
    let named: Model<'_> = serde_json::from_slice(body)?;
    match named.model {
        None => Ok(None),
        Some(raw) if raw.get() == "null" => Ok(None),
        Some(raw) if is_text(raw) => {
            let reader = Reader::of(body);
            Ok(Some((literal::text(raw.get()), reader.span(raw))))
        }
        Some(_) => Err(ConversationError::Model),
    }
}

/// A list would be read as an object whose fields come in their order.
fn is_object(json: &[u8]) -> bool {
    json.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{')
}

fn is_text(raw: &RawValue) -> bool {
    raw.get().starts_with('"')
}
