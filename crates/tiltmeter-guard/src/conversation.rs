//! The conversation in a request's body: whose texts stand where, in bytes of the body as it came.

use std::borrow::Cow;
use std::cell::Cell;
use std::ops::Range;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::literal;

/// Which protocol a request is of, by its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// `/v1/chat/completions`.
    ChatCompletions,
    /// `/v1/responses`.
    Responses,
    /// Anthropic's `/v1/messages`.
    Messages,
    /// Anything else that names a model, such as `/v1/embeddings`: it holds no conversation.
    Other,
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// `system` or `developer`.
    System,
    /// `user`.
    User,
    /// `assistant`.
    Assistant,
    /// `tool`, `function`, or what a function gave.
    Tool,
    /// Anything else.
    Other,
}

/// What a text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TextKind {
    /// What somebody says.
    Said,
    /// What a tool gave, inside a message of the user's (Anthropic's protocol) or of its own.
    ToolResult,
}

/// A text in a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// The bytes of its literal in the body, with the quotes.
    pub span: Range<usize>,
    /// What it is.
    pub kind: TextKind,
}

/// A message of the conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// The bytes of the message in the body.
    pub span: Range<usize>,
    /// Its texts, in order.
    pub texts: Vec<Text>,
    /// Bytes of parts that are no text: images, sounds, files, calls of tools, references.
    pub unread: u64,
}

/// A request as inspectors see it. Cheap to clone but for its list of messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestView {
    /// The protocol.
    pub protocol: Protocol,
    /// The model that is asked for.
    pub model: String,
    /// The body as it came.
    pub body: Bytes,
    /// Instructions that stand outside of the messages: Anthropic's `system`, `instructions` of responses.
    pub instructions: Vec<Text>,
    /// The messages, in order. Of responses, the items of `input`; where that is a single text, one message.
    pub messages: Vec<Message>,
    /// Whether the server behind adds to the context what it has kept, which is not in the body: an earlier answer or
    /// conversation (of responses, `previous_response_id` or `conversation`), a prompt or an item by its name.
    pub is_continued: bool,
}

/// A body in which no conversation can be found.
#[derive(Debug, thiserror::Error)]
pub enum ConversationError {
    /// Not JSON, or not of the shape that the protocol has.
    #[error("the body is not a request of this protocol: {0}")]
    Json(#[from] serde_json::Error),
    /// JSON, but a list or a single value.
    #[error("the body is not a JSON object")]
    NotAnObject,
    /// The model is named by something else than a text.
    #[error("the body's `model` is not a text")]
    Model,
    /// The messages are missing.
    #[error("the body has no `{0}`")]
    Missing(&'static str),
}

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

    /// What a text says.
    pub fn text(&self, text: &Text) -> Cow<'_, str> {
        literal::text(self.raw(&text.span))
    }

    /// Where in the body bytes of a text stand: those of the text as [`RequestView::text`] gives it.
    pub fn places(&self, text: &Text, ranges: &[Range<usize>]) -> Vec<Range<usize>> {
        let start = text.span.start;
        let places = literal::places(self.raw(&text.span), ranges).into_iter();
        places.map(|place| start + place.start..start + place.end).collect()
    }

    fn raw(&self, span: &Range<usize>) -> &str {
        self.body.get(span.clone()).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or("")
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

#[cfg(test)]
mod tests {
    use super::*;

    fn read(protocol: Protocol, body: &str) -> RequestView {
        RequestView::read(protocol, Bytes::copy_from_slice(body.as_bytes())).unwrap()
    }

    fn shown(view: &RequestView) -> Vec<(Role, Vec<String>)> {
        let texts =
            |message: &Message| message.texts.iter().map(|text| view.text(text).into_owned()).collect();
        view.messages.iter().map(|message| (message.role, texts(message))).collect()
    }

    #[test]
    fn texts_are_found_in_all_protocols() {
        let chat = read(
            Protocol::ChatCompletions,
            r#"{"model":"m","messages":[{"role":"developer","content":"be\nkind"},{"role":"user","content":[{"type":"text","text":"a"},{"type":"image_url","image_url":{}}]},{"role":"assistant","content":null,"tool_calls":[]},{"role":"tool","content":"t"}]}"#,
        );
        assert_eq!(
            shown(&chat),
            [
                (Role::System, vec!["be\nkind".to_owned()]),
                (Role::User, vec!["a".to_owned()]),
                (Role::Assistant, vec![]),
                (Role::Tool, vec!["t".to_owned()]),
            ]
        );
        assert_eq!(chat.messages[1].unread, r#"{"type":"image_url","image_url":{}}"#.len() as u64);
        let anthropic = read(
            Protocol::Messages,
            r#"{"system":[{"type":"text","text":"s"}],"messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"x","content":[{"type":"text","text":"r"}]},{"type":"text","text":"q"}]}]}"#,
        );
        assert_eq!(anthropic.text(&anthropic.instructions[0]), "s");
        assert_eq!(anthropic.messages[0].texts.len(), 2);
        assert_eq!(anthropic.messages[0].texts[0].kind, TextKind::ToolResult);
        assert_eq!(anthropic.text(&anthropic.messages[0].texts[1]), "q");
        let responses = read(
            Protocol::Responses,
            r#"{"model":"m","instructions":"i","input":[{"type":"message","role":"user","content":[{"type":"input_text","text":"a"}]},{"type":"function_call_output","call_id":"c","output":"o"}]}"#,
        );
        assert_eq!(
            shown(&responses),
            [(Role::User, vec!["a".to_owned()]), (Role::Tool, vec!["o".to_owned()])]
        );
        assert_eq!(
            shown(&read(Protocol::Responses, r#"{"input":"x"}"#)),
            [(Role::User, vec!["x".to_owned()])]
        );
    }

    #[test]
    fn what_the_server_behind_adds_is_known_of() {
        for (fields, expected) in [
            (r#""input":"x","previous_response_id":"r""#, true),
            (r#""previous_response_id":"r""#, true),
            (r#""input":"x","conversation":{"id":"c"}"#, true),
            (r#""input":"x","prompt":{"id":"p"}"#, true),
            (r#""input":[{"type":"item_reference","id":"i"},{"role":"user","content":"x"}]"#, true),
            (r#""input":[{"id":"i"},{"role":"user","content":"x"}]"#, true),
            (r#""input":"x","previous_response_id":null,"conversation":null"#, false),
            (r#""input":[{"type":"reasoning","id":"i","summary":[]},{"role":"user","content":"x"}]"#, false),
        ] {
            assert_eq!(
                read(Protocol::Responses, &format!("{{{fields}}}")).is_continued,
                expected,
                "{fields}"
            );
        }
        let other = r#"{"messages":[],"previous_response_id":"r"}"#;
        assert!(!read(Protocol::ChatCompletions, other).is_continued);
    }

    #[test]
    fn spans_are_those_of_the_body() {
        let body = r#" { "messages" : [ {"role":"user","content":"caf\u00e9 au lait"} ] }"#;
        let view = read(Protocol::ChatCompletions, body);
        assert_eq!(
            body.get(view.messages[0].span.clone()).unwrap(),
            r#"{"role":"user","content":"caf\u00e9 au lait"}"#
        );
        let text = &view.messages[0].texts[0];
        assert_eq!(body.get(text.span.clone()).unwrap(), r#""caf\u00e9 au lait""#);
        let range = 3.."café".len();
        let place = view.places(text, std::slice::from_ref(&range)).remove(0);
        assert_eq!(body.get(place).unwrap(), r"\u00e9");
    }

    #[test]
    fn hostile_bodies_are_refused_or_read() {
        let refuse = |body: &[u8]| {
            RequestView::read(Protocol::ChatCompletions, Bytes::copy_from_slice(body)).unwrap_err()
        };
        refuse(b"");
        refuse(b"[]");
        refuse(b"{\"messages\":[],\"messages\":[]}");
        refuse(b"{\"messages\":[{\"role\":\"user\",\"content\":\"\xff\"}]}");
        refuse(b"{\"model\":\"m\"}");
        refuse(br#"{"messages":[{"role":"user","content":"a","content":"b"}]}"#);
        refuse(br#"{"messages":[{"role":"user","content":[{"type":"text","text":"a","text":"b"}]}]}"#);
        let deep = format!(
            r#"{{"messages":[{{"role":"user","content":{}{}}}]}}"#,
            "[".repeat(100_000),
            "]".repeat(100_000)
        );
        let view = read(Protocol::ChatCompletions, &deep);
        assert_eq!(view.messages[0].unread, 200_000 - 2);
        let many =
            format!(r#"{{"messages":[{}]}}"#, vec![r#"{"role":"user","content":"x"}"#; 100_000].join(","));
        assert_eq!(read(Protocol::ChatCompletions, &many).messages.len(), 100_000);
    }
}
