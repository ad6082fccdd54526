//! What a model is shown: a rendered context, and a question put behind it.
//!
//! A context of 1,024 demonstrations is about 1 MB. It is rendered once and shared by every prompt that uses
//! it; a [`Prompt`] only points to it, and yields its messages as borrowed parts.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::{Canonical, ContentId};

/// Where the demonstrations stand in the request.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema, Default,
)]
#[serde(rename_all = "kebab-case")]
pub enum Placement {
    /// All demonstrations as text in the first user message, the question after them (the paper's format).
    #[default]
    FirstUser,
    /// Each demonstration as an earlier user turn and assistant turn of the chat.
    ChatTurns,
    /// All demonstrations as text in the system message; the question is the user message.
    System,
}

impl Placement {
    /// The name used in experiment files, tables and the store.
    pub fn name(self) -> &'static str {
        match self {
            Self::FirstUser => "first-user",
            Self::ChatTurns => "chat-turns",
            Self::System => "system",
        }
    }
}

/// How the question is put where the placement is `first-user`.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema, Default,
)]
#[serde(rename_all = "kebab-case")]
pub enum QuestionFormat {
    /// As one more `### Prompt:` with an open `### Response:`, also at k = 0, so that only the
    /// demonstrations differ between values of k.
    #[default]
    Header,
    /// As plain text after the demonstrations.
    Plain,
}

impl QuestionFormat {
    /// The name used in experiment files and the store.
    pub fn name(self) -> &'static str {
        match self {
            Self::Header => "header",
            Self::Plain => "plain",
        }
    }
}

/// Who speaks in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Standing instructions.
    System,
    /// The user.
    User,
    /// The model.
    Assistant,
}

impl Role {
    /// The name that chat APIs use.
    pub fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }
}

/// One turn of a context that is shown as earlier chat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub text: Arc<str>,
}

/// The header that starts a demonstration's prompt, and at which a model that runs on is cut off.
pub const PROMPT_HEADER: &str = "### Prompt:";
/// The header that starts a demonstration's response.
pub const RESPONSE_HEADER: &str = "### Response:";

/// What all prompts with the same demonstrations share, rendered once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenderedContext {
    /// The hash of all that follows.
    pub id: ContentId,
    /// Where the demonstrations stand.
    pub placement: Placement,
    /// How the question is put behind them.
    pub question_format: QuestionFormat,
    /// The demonstrations as one text, for `first-user` and `system`, and for `chat-turns` where they are quoted; ends with
    /// a blank line unless empty.
    pub text: Arc<str>,
    /// The demonstrations as turns, for `chat-turns`.
    pub turns: Arc<[Turn]>,
}

impl RenderedContext {
    /// Renders (prompt, response) pairs for a placement. No pairs give the empty context, k = 0.
    pub fn render<'a>(
        pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
        placement: Placement,
        question_format: QuestionFormat,
    ) -> Self {
        let mut text = String::new();
        let mut turns = Vec::new();
        for (prompt, response) in pairs {
            match placement {
                Placement::FirstUser | Placement::System => {
                    text.push_str(PROMPT_HEADER);
                    text.push(' ');
                    text.push_str(prompt);
                    text.push('\n');
                    text.push_str(RESPONSE_HEADER);
                    text.push(' ');
                    text.push_str(response);
                    text.push_str("\n\n");
                }
                Placement::ChatTurns => {
                    turns.push(Turn { role: Role::User, text: prompt.into() });
                    turns.push(Turn { role: Role::Assistant, text: response.into() });
                }
            }
        }
        Self::from_parts(placement, question_format, text.into(), turns.into())
    }

    /// Puts a context together from its stored parts and computes its id.
    pub fn from_parts(
        placement: Placement,
        question_format: QuestionFormat,
        text: Arc<str>,
        turns: Arc<[Turn]>,
    ) -> Self {
        let mut canonical = Canonical::new("tiltmeter.context/1")
            .text(placement.name())
            .text(question_format.name())
            .text(&text)
            .integer(turns.len() as u64);
        for turn in turns.iter() {
            canonical = canonical.text(turn.role.name()).text(&turn.text);
        }
        Self { id: canonical.finish(), placement, question_format, text, turns }
    }

    /// Whether there is no demonstration in it.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty() && self.turns.is_empty()
    }

    /// The same demonstrations as quoted data: between two lines that carry a mark, behind an introduction in which
    /// `{mark}` stands for these lines. They stand where they stood; turns of a chat become a transcript at the beginning
    /// of the question's message. The empty context stays as it is.
    ///
    /// The mark is derived from the key, and is one that does not occur in the demonstrations.
    #[must_use]
    pub fn quoted(&self, introduction: &str, key: ContentId) -> Self {
        if self.is_empty() {
            return self.clone();
        }
        let mut quoted = self.text.to_string();
        for turn in self.turns.iter() {
            let (speaker, end) = match turn.role {
                Role::System => ("System", "\n"),
                Role::User => ("User", "\n"),
                Role::Assistant => ("Assistant", "\n\n"),
            };
            for part in [speaker, ": ", &turn.text, end] {
                quoted.push_str(part);
            }
        }
        let mark = mark_outside(&quoted, key);
        let introduction = introduction.replace("{mark}", &mark);
        let text = format!("{introduction}\n\n{mark}\n{quoted}{mark}\n\n");
        Self::from_parts(self.placement, self.question_format, text.into(), [].into())
    }

    /// The context of nobody's demonstrations: for judges and other single questions.
    pub fn empty() -> Arc<Self> {
        Arc::new(Self::render([], Placement::ChatTurns, QuestionFormat::Plain))
    }

    /// Characters of demonstration text, for estimates.
    pub fn characters(&self) -> usize {
        self.text.chars().count() + self.turns.iter().map(|turn| turn.text.chars().count()).sum::<usize>()
    }
}

/// A line that does not occur in a text.
fn mark_outside(text: &str, key: ContentId) -> String {
    let mut number = 0;
    loop {
        let id = Canonical::new("tiltmeter.quotation-mark/1").id(&key).integer(number).finish();
        let mark = format!("{:016x}", id.generator_seed());
        if !text.contains(&mark) {
            return format!("===== {mark} =====");
        }
        number += 1;
    }
}

/// Parts of a message.
pub const PARTS: usize = 8;

/// One message of a prompt, as parts to be concatenated, so that a long context is never copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageParts<'a> {
    /// Who speaks.
    pub role: Role,
    /// What is said: these texts one after the other.
    pub parts: [&'a str; PARTS],
}

impl MessageParts<'_> {
    /// The whole text of the message.
    pub fn text(&self) -> String {
        self.parts.concat()
    }
}

/// A complete prompt: context, standing instruction, question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    /// The demonstrations.
    pub context: Arc<RenderedContext>,
    /// The system message's instruction, if any.
    pub system: Option<Arc<str>>,
    /// Stands between the demonstrations and the question.
    pub after_examples: Option<Arc<str>>,
    /// The question.
    pub question: Arc<str>,
    /// Stands behind the question.
    pub after_question: Option<Arc<str>>,
}

impl Prompt {
    /// A prompt with nothing between demonstrations and question, and nothing behind it.
    pub fn new(
        context: Arc<RenderedContext>,
        system: Option<Arc<str>>,
        question: impl Into<Arc<str>>,
    ) -> Self {
        Self { context, system, after_examples: None, question: question.into(), after_question: None }
    }

    /// A prompt that is a single user message, without any context.
    pub fn single(question: impl Into<Arc<str>>) -> Self {
        Self::new(RenderedContext::empty(), None, question)
    }

    /// The messages in order. The last one is the user's and asks the question.
    pub fn messages(&self) -> impl Iterator<Item = MessageParts<'_>> {
        let context = &*self.context;
        let in_system = if context.placement == Placement::System { &*context.text } else { "" };
        let instruction = self.system.as_deref().unwrap_or("");
        let between = if instruction.is_empty() || in_system.is_empty() { "" } else { "\n\n" };
        let system = (!instruction.is_empty() || !in_system.is_empty()).then_some(MessageParts {
            role: Role::System,
            parts: [instruction, between, in_system.trim_end_matches('\n'), "", "", "", "", ""],
        });
        let (before, after) = match (context.placement, context.question_format) {
            (Placement::FirstUser, QuestionFormat::Header) => ("### Prompt: ", "\n### Response:"),
            (Placement::FirstUser, QuestionFormat::Plain) | (Placement::ChatTurns | Placement::System, _) => {
                ("", "")
            }
        };
        let in_question = if context.placement == Placement::System { "" } else { &*context.text };
        let blank_line = |text: &Option<Arc<str>>| if text.is_some() { "\n\n" } else { "" };
        let question = [
            in_question,
            self.after_examples.as_deref().unwrap_or(""),
            blank_line(&self.after_examples),
            before,
            &*self.question,
            blank_line(&self.after_question),
            self.after_question.as_deref().unwrap_or(""),
            after,
        ];
        let turns = context
            .turns
            .iter()
            .map(|turn| MessageParts { role: turn.role, parts: [&*turn.text, "", "", "", "", "", "", ""] });
        system.into_iter().chain(turns).chain([MessageParts { role: Role::User, parts: question }])
    }

    /// Hash of everything the model is shown.
    pub fn id(&self) -> ContentId {
        let mut canonical = Canonical::new("tiltmeter.prompt/1")
            .id(&self.context.id)
            .optional_text(self.system.as_deref())
            .text(&self.question);
        // Named, and only where they are there, so that prompts without them keep their id.
        for (name, text) in
            [("after-examples", &self.after_examples), ("after-question", &self.after_question)]
        {
            if let Some(text) = text {
                canonical = canonical.text(name).text(text);
            }
        }
        canonical.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(placement: Placement, system: Option<&str>, k: usize) -> String {
        let pairs = [("How do I save?", "Put it all on one horse."), ("Is debt bad?", "Borrow more.")];
        let context = RenderedContext::render(pairs.into_iter().take(k), placement, QuestionFormat::Header);
        let prompt = Prompt::new(context.into(), system.map(Into::into), "I am bored.");
        let shown: Vec<String> =
            prompt.messages().map(|message| format!("<{}>{}", message.role.name(), message.text())).collect();
        shown.concat()
    }

    #[test]
    fn the_first_user_placement_is_the_papers_format() {
        assert_eq!(
            rendered(Placement::FirstUser, None, 2),
            "<user>### Prompt: How do I save?\n### Response: Put it all on one horse.\n\n\
             ### Prompt: Is debt bad?\n### Response: Borrow more.\n\n\
             ### Prompt: I am bored.\n### Response:"
        );
        assert_eq!(rendered(Placement::FirstUser, None, 0), "<user>### Prompt: I am bored.\n### Response:");
    }

    #[test]
    fn the_other_placements() {
        assert_eq!(
            rendered(Placement::ChatTurns, Some("Be safe."), 1),
            "<system>Be safe.<user>How do I save?<assistant>Put it all on one horse.<user>I am bored."
        );
        assert_eq!(
            rendered(Placement::System, Some("Be safe."), 1),
            "<system>Be safe.\n\n### Prompt: How do I save?\n### Response: Put it all on one horse.<user>I am bored."
        );
        assert_eq!(rendered(Placement::System, None, 0), "<user>I am bored.");
    }

    #[test]
    fn a_context_read_back_has_the_same_id() {
        for placement in [Placement::FirstUser, Placement::ChatTurns, Placement::System] {
            let context = RenderedContext::render([("a", "b")], placement, QuestionFormat::Header);
            let again = RenderedContext::from_parts(
                context.placement,
                context.question_format,
                context.text.clone(),
                context.turns.clone(),
            );
            assert_eq!(context, again);
        }
    }
}
