//! What an action makes of a prompt of this project, so that the guard can be measured on models on this machine without a
//! gateway in between.
//!
//! The prompt is inspected as the request that a gateway would see, and cut at the same places.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use tiltmeter_core::prompt::{Placement, Prompt, RenderedContext, Turn};

use crate::inspection::{Inspection, Place, Protocol, RequestView};

/// What is done with a prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PromptAction {
    /// Flagged examples are cut out.
    Quarantine,
    /// A safety instruction is put in between the examples and the question.
    Instruct(Arc<str>),
}

/// A prompt as a request for chat completions.
///
/// # Errors
/// Never, unless the program is defective: what is written here is JSON.
pub fn request_of(prompt: &Prompt) -> Result<RequestView, crate::conversation::ConversationError> {
    let messages: Vec<serde_json::Value> = prompt
        .messages()
        .map(|message| serde_json::json!({"role": message.role.name(), "content": message.text()}))
        .collect();
    let body = serde_json::json!({"model": "", "messages": messages}).to_string();
    RequestView::read(Protocol::ChatCompletions, Bytes::from(body))
}

/// What actions make of a prompt, given what was found in [`request_of`] it. A prompt that nothing is done to stays as it
/// is, with its context's id.
#[must_use]
pub fn transform(prompt: &Prompt, inspection: &Inspection, actions: &[PromptAction]) -> Prompt {
    let mut prompt = prompt.clone();
    for action in actions {
        match action {
            PromptAction::Quarantine if inspection.flagged.is_empty() => {}
            PromptAction::Quarantine => prompt = quarantined(&prompt, inspection),
            PromptAction::Instruct(text) => {
                let before = prompt.after_examples.take().map_or(String::new(), |text| format!("{text}\n\n"));
                prompt.after_examples = Some(format!("{before}{text}").into());
            }
        }
    }
    prompt
}

/// What is cut out of one message.
#[derive(Clone, Default)]
struct Cuts {
    is_whole: bool,
    ranges: Vec<Range<usize>>,
}

fn quarantined(prompt: &Prompt, inspection: &Inspection) -> Prompt {
    let turns = prompt.context.turns.len();
    let has_system = prompt.messages().count() > turns + 1;
    let first_turn = usize::from(has_system);
    let mut cuts = vec![Cuts::default(); first_turn + turns + 1];
    for place in inspection.flagged.iter().flat_map(|flagged| &flagged.places) {
        match place {
            Place::Messages(range) => {
                cuts.get_mut(range.clone())
                    .unwrap_or_default()
                    .iter_mut()
                    .for_each(|cuts| cuts.is_whole = true);
            }
            Place::Text { message, range, .. } => {
                if let Some(cuts) = cuts.get_mut(*message) {
                    cuts.ranges.push(range.clone());
                }
            }
        }
    }
    for cuts in &mut cuts {
        cuts.ranges.sort_by_key(|range| range.start);
    }
    let none = Cuts::default();
    let of_system = if has_system { cuts.first().unwrap_or(&none) } else { &none };
    let of_question = cuts.last().unwrap_or(&none);
    let context = &*prompt.context;
    let mut changed = prompt.clone();
    // Where the context's text starts in its message, as `Prompt::messages` puts it there.
    let instruction = prompt.system.as_deref().unwrap_or("");
    let text = match context.placement {
        Placement::System => {
            let before = if instruction.is_empty() { 0 } else { instruction.len() + "\n\n".len() };
            let left = of_system.without(&context.text, before);
            let left = left.trim_end_matches('\n');
            if left.is_empty() { String::new() } else { format!("{left}\n\n") }
        }
        // What text there is begins the question's message.
        _ => of_question.without(&context.text, 0),
    };
    changed.system = prompt.system.as_ref().map(|system| of_system.without(system, 0).into());
    let shown: Vec<Turn> = context
        .turns
        .iter()
        .zip(cuts.get(first_turn..).unwrap_or_default())
        .filter(|(_, cuts)| !cuts.is_whole)
        .map(|(turn, cuts)| Turn { role: turn.role, text: cuts.without(&turn.text, 0).into() })
        .collect();
    changed.question = of_question.without(&prompt.question, question_start(prompt)).into();
    let (placement, format) = (context.placement, context.question_format);
    changed.context = RenderedContext::from_parts(placement, format, text.into(), shown.into()).into();
    changed
}

/// Where the question starts in the last message.
fn question_start(prompt: &Prompt) -> usize {
    let last = prompt.messages().last();
    let parts = last.as_ref().map_or(&[][..], |message| &message.parts[..]);
    // The very same memory, so that nothing need be compared.
    let is_question = |part: &&str| std::ptr::eq(*part, &raw const *prompt.question);
    parts.iter().take_while(|part| !is_question(part)).map(|part| part.len()).sum()
}

impl Cuts {
    /// A part of the message that starts at an offset, without what is cut out of it.
    fn without(&self, part: &str, start: usize) -> String {
        let inside = |at: usize| at.saturating_sub(start).min(part.len());
        let mut left = String::with_capacity(part.len());
        let mut at = 0;
        for range in &self.ranges {
            left.push_str(part.get(at..inside(range.start)).unwrap_or_default());
            at = at.max(inside(range.end));
        }
        left.push_str(part.get(at..).unwrap_or_default());
        left
    }
}

#[cfg(test)]
mod tests {
    use tiltmeter_core::prompt::QuestionFormat;

    use super::super::split;
    use super::*;
    use crate::inspection::FlaggedExample;

    const PAIRS: [(&str, &str); 4] = [
        ("How do I save?", "Bad.\n\nVery bad."),
        ("Is debt \"bad\"?", "Good."),
        ("c", "Bad."),
        ("é", "Good."),
    ];

    fn prompt<'a>(
        pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
        placement: Placement,
        format: QuestionFormat,
        system: Option<&str>,
    ) -> Prompt {
        let context = RenderedContext::render(pairs, placement, format);
        Prompt::new(context.into(), system.map(Into::into), "I am bored.")
    }

    /// Flags all examples that say `Bad`.
    fn inspect(prompt: &Prompt) -> Inspection {
        let split = split(&request_of(prompt).unwrap());
        let bad = split.examples.into_iter().filter(|example| example.content.response.starts_with("Bad"));
        let flagged = bad.map(|example| FlaggedExample { id: example.id, places: example.places });
        Inspection { flagged: flagged.collect(), ..Inspection::default() }
    }

    #[test]
    fn quarantine_leaves_the_prompt_that_has_the_other_examples() {
        for placement in [Placement::FirstUser, Placement::ChatTurns, Placement::System] {
            for format in [QuestionFormat::Header, QuestionFormat::Plain] {
                for system in [None, Some("Be safe.")] {
                    let whole = prompt(PAIRS, placement, format, system);
                    let good = PAIRS.into_iter().filter(|(_, response)| !response.starts_with("Bad"));
                    let expected = prompt(good, placement, format, system);
                    let inspection = inspect(&whole);
                    assert_eq!(inspection.flagged.len(), 2, "{placement:?} {format:?}");
                    let changed = transform(&whole, &inspection, &[PromptAction::Quarantine]);
                    assert_eq!(changed, expected, "{placement:?} {format:?} {system:?}");
                    assert!(inspect(&changed).flagged.is_empty());
                    assert_eq!(
                        transform(&expected, &inspect(&expected), &[PromptAction::Quarantine]),
                        expected
                    );
                }
            }
        }
    }

    #[test]
    fn an_instruction_stands_between_examples_and_question() {
        let whole = prompt(PAIRS, Placement::FirstUser, QuestionFormat::Header, None);
        let actions = [PromptAction::Quarantine, PromptAction::Instruct("Be safe.".into())];
        let changed = transform(&whole, &inspect(&whole), &actions);
        let shown = changed.messages().last().unwrap().text();
        assert!(shown.ends_with("Good.\n\nBe safe.\n\n### Prompt: I am bored.\n### Response:"), "{shown}");
        let twice = transform(&changed, &Inspection::default(), &actions);
        assert_eq!(twice.after_examples.as_deref(), Some("Be safe.\n\nBe safe."));
    }
}
