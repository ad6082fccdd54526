//! Splits a request into examples, instructions and the question.
//!
//! The last message of the user's in which something is said asks the question: it is never an example, though its text
//! may hold examples. How a message is split depends on that message alone, so that a replayed history has the same
//! examples with the same ids.

use std::borrow::Cow;
use std::ops::Range;

use super::example::{Content, Example, ExampleKind};
use super::few_shot::{self, Tail};
use crate::inspection::{Message, Place, RequestView, Role, Text, TextKind};

/// What a request is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Split {
    /// In the order of the request.
    pub examples: Vec<Example>,
    /// What the system's messages say besides examples.
    pub instructions: String,
    /// What the last message of the user's says besides examples, and what was said after it.
    pub question: String,
    /// Bytes of parts that are no text.
    pub unread: u64,
}

/// What is left of a message once its examples are taken out.
#[derive(Default)]
struct Left {
    text: String,
    places: Vec<Place>,
    /// Whether anything but texts of the speaker's own, without examples in them, is in the message.
    is_mixed: bool,
}

impl Left {
    fn add(&mut self, piece: &str, place: Place) {
        if piece.trim().is_empty() {
            return;
        }
        join(&mut self.text, piece);
        self.places.push(place);
    }
}

/// Puts a text behind another as a paragraph of its own.
fn join(text: &mut String, piece: &str) {
    let piece = piece.trim();
    if piece.is_empty() {
        return;
    }
    if !text.is_empty() {
        text.push_str("\n\n");
    }
    text.push_str(piece);
}

/// A turn of the user's with what was answered to it.
struct Exchange {
    prompt: Left,
    response: Left,
    messages: Range<usize>,
}

impl Exchange {
    /// As an example, if anything was answered.
    fn into_example(self) -> Option<Example> {
        if self.response.text.is_empty() {
            return None;
        }
        let content = Content { prompt: self.prompt.text, response: self.response.text };
        let places = if self.prompt.is_mixed || self.response.is_mixed {
            [self.prompt.places, self.response.places].concat()
        } else {
            vec![Place::Messages(self.messages)]
        };
        Some(Example { id: content.id(), kind: ExampleKind::Turns, content, places })
    }
}

/// Splits a request.
pub fn split(view: &RequestView) -> Split {
    let question = question(view);
    let mut split = Split::default();
    for text in &view.instructions {
        // They have no place that could be cut by message and text; what they hold is inspected all the same.
        let text = view.text(text);
        let mut left = 0;
        for found in few_shot::find(&text, Tail::Nothing) {
            let id = found.content.id();
            join(&mut split.instructions, text.get(left..found.span.start).unwrap_or_default());
            left = found.span.end;
            split.examples.push(Example { id, kind: found.kind, content: found.content, places: Vec::new() });
        }
        join(&mut split.instructions, text.get(left..).unwrap_or_default());
    }
    let mut exchange: Option<Exchange> = None;
    for (index, message) in view.messages.iter().enumerate() {
        split.unread += message.unread;
        let left = message_parts(view, index, message, &mut split.examples);
        if question.is_some_and(|question| index >= question) {
            // The exchange before the question is whole; what is said after it belongs to it.
            split.examples.extend(exchange.take().and_then(Exchange::into_example));
            let said =
                if message.role == Role::System { &mut split.instructions } else { &mut split.question };
            join(said, &left.text);
            continue;
        }
        let messages = index..index + 1;
        match message.role {
            Role::System => {
                join(&mut split.instructions, &left.text);
                if let Some(open) = &mut exchange {
                    open.prompt.is_mixed = true;
                }
            }
            Role::User if is_said(message) => match &mut exchange {
                Some(open) if open.response.text.is_empty() => extend(&mut open.prompt, left),
                _ => {
                    split.examples.extend(exchange.take().and_then(Exchange::into_example));
                    exchange = Some(Exchange { prompt: left, response: Left::default(), messages });
                }
            },
            Role::Assistant => match &mut exchange {
                Some(open) => extend(&mut open.response, left),
                None => {
                    exchange = Some(Exchange { prompt: Left::default(), response: left, messages });
                }
            },
            Role::User | Role::Tool | Role::Other => {
                if let Some(open) = &mut exchange {
                    open.response.is_mixed = true;
                }
            }
        }
        if let Some(open) = &mut exchange {
            open.messages.end = index + 1;
        }
    }
    split.examples.extend(exchange.and_then(Exchange::into_example));
    split.examples.sort_by_key(|example| example.places.first().map(order));
    split
}

fn extend(left: &mut Left, other: Left) {
    join(&mut left.text, &other.text);
    left.places.extend(other.places);
    left.is_mixed |= other.is_mixed;
}

/// Where a place stands in the request.
fn order(place: &Place) -> (usize, usize, usize) {
    match place {
        Place::Messages(range) => (range.start, 0, 0),
        Place::Text { message, text, range } => (*message, *text, range.start),
    }
}

/// The message that asks the question.
fn question(view: &RequestView) -> Option<usize> {
    view.messages.iter().rposition(|message| message.role == Role::User && is_said(message))
}

/// Whether somebody says something in a message, rather than a tool giving results.
fn is_said(message: &Message) -> bool {
    message.texts.iter().any(|text| text.kind == TextKind::Said)
}

/// Takes the examples out of a message, and gives what its speaker says besides.
fn message_parts(view: &RequestView, index: usize, message: &Message, examples: &mut Vec<Example>) -> Left {
    let mut left = Left { is_mixed: message.unread > 0, ..Left::default() };
    for (number, text) in message.texts.iter().enumerate() {
        let is_brought = is_brought(message, text);
        let tail = if message.role == Role::User && !is_brought { Tail::Question } else { Tail::Nothing };
        let said: Cow<'_, str> = view.text(text);
        let found = few_shot::find(&said, tail);
        let place = |range: Range<usize>| Place::Text { message: index, text: number, range };
        left.is_mixed |= is_brought || !found.is_empty();
        let mut brought = Left::default();
        let rest = if is_brought { &mut brought } else { &mut left };
        let mut at = 0;
        for found in found {
            let between = at..found.span.start;
            rest.add(said.get(between.clone()).unwrap_or_default(), place(between));
            at = found.span.end;
            let id = found.content.id();
            let places = vec![place(found.span)];
            examples.push(Example { id, kind: found.kind, content: found.content, places });
        }
        rest.add(said.get(at..).unwrap_or_default(), place(at..said.len()));
        if !brought.text.is_empty() {
            let content = Content { prompt: String::new(), response: brought.text };
            let id = content.id();
            examples.push(Example { id, kind: ExampleKind::ToolResult, content, places: brought.places });
        }
    }
    left
}

/// Whether a text is what a tool or somebody unknown brings, rather than what its speaker says.
fn is_brought(message: &Message, text: &Text) -> bool {
    text.kind == TextKind::ToolResult || matches!(message.role, Role::Tool | Role::Other)
}

#[cfg(test)]
mod tests;
