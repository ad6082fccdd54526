//! The conversation in a request's body: whose texts stand where, in bytes of the body as it came.

mod reading;

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::literal;

pub(crate) use self::reading::model;

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

impl RequestView {
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
