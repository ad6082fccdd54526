//! How much a model may think, in tokens, where its provider counts thoughts so.

use serde_json::{Value, json};
use tiltmeter_core::treatment::ReasoningKind;

use crate::error::{ErrorKind, ModelError};
use crate::request::{Reasoning, Sampling};

/// The fewest tokens of thought that Anthropic takes.
const LEAST_AT_ANTHROPIC: u32 = 1024;

/// Tokens of thought for low, medium and high: the numbers by which Google's own translation of
/// `reasoning_effort` goes, used for all providers that count tokens, so that a level means one thing.
pub(crate) fn budget(reasoning: Reasoning) -> Option<u32> {
    match reasoning {
        Reasoning::Off | Reasoning::Default => None,
        Reasoning::Low => Some(1024),
        Reasoning::Medium => Some(8192),
        Reasoning::High => Some(24_576),
    }
}

/// The fields that [`anthropic`] may set.
pub(crate) const ANTHROPIC_FIELDS: [&str; 2] = ["thinking", "output_config"];

/// How Anthropic's models are told how much to think; not called for [`Reasoning::Default`].
///
/// Up to version 4.6 a budget is given. It counts towards the limit of tokens, so that it is at most four fifths
/// of that: the answer needs room. From 4.7 on, models take no budget; they are given an effort, which also bears
/// on the answer itself.
pub(crate) fn anthropic(model: &str, reasoning: Reasoning, max_tokens: u32) -> Vec<(&'static str, Value)> {
    let Some(tokens) = budget(reasoning) else {
        return vec![("thinking", json!({ "type": "disabled" }))];
    };
    if is_adaptive(model) {
        // Without `display`, newer models think and show nothing of it.
        return vec![
            ("thinking", json!({ "type": "adaptive", "display": "summarized" })),
            ("output_config", json!({ "effort": reasoning.name() })),
        ];
    }
    let most = max_tokens / 5 * 4;
    let tokens = tokens.min(most).max(LEAST_AT_ANTHROPIC);
    vec![("thinking", json!({ "type": "enabled", "budget_tokens": tokens }))]
}

/// Whether one of Anthropic's models decides by itself how much it thinks: from version 4.7 on.
fn is_adaptive(model: &str) -> bool {
    version(model) >= (4, 7)
}

/// What Anthropic gives of a model's thoughts: the text itself up to version 3.7, a summary from 4 on. A name without a
/// version is taken for a newer one.
pub(crate) fn reasoning_kind(model: Option<&str>) -> ReasoningKind {
    match model.map(version) {
        Some((1..=3, _)) => ReasoningKind::Text,
        _ => ReasoningKind::Summary,
    }
}

/// The version in the name of one of Anthropic's models; 0 where it has none.
fn version(model: &str) -> (u8, u8) {
    // `claude-opus-4-7`, `claude-3-7-sonnet-20250219`; a number of many digits is a date.
    let mut numbers = model
        .split(['-', '.', '@'])
        .skip_while(|part| part.parse::<u8>().is_err())
        .map_while(|part| part.parse::<u8>().ok());
    let major = numbers.next().unwrap_or(0);
    (major, numbers.next().unwrap_or(0))
}

/// What Anthropic refuses, or takes for something else.
///
/// # Errors
/// [`ErrorKind::BadRequest`] for a temperature above 1, and for a limit of tokens that leaves nothing beside the
/// thoughts.
pub(crate) fn check_anthropic(model: &str, sampling: &Sampling) -> Result<(), ModelError> {
    let wrong = |message: String| Err(ModelError::new(ErrorKind::BadRequest, message));
    let temperature = sampling.temperature;
    if temperature > 1.0 {
        return wrong(format!(
            "Anthropic's models take a temperature from 0 to 1, not {temperature}: set it to 1 or below"
        ));
    }
    let has_budget = budget(sampling.reasoning).is_some() && !is_adaptive(model);
    if has_budget && sampling.max_tokens <= LEAST_AT_ANTHROPIC {
        return wrong(format!(
            "a reasoning budget takes at least {LEAST_AT_ANTHROPIC} of the tokens, and `max_tokens` is {}: \
             raise it, or set `reasoning` to \"off\" or \"default\"",
            sampling.max_tokens
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_that_take_an_effort_are_told_by_their_version() {
        for (model, adaptive) in [
            ("claude-3-7-sonnet-20250219", false),
            ("claude-opus-4-20250514", false),
            ("claude-sonnet-4-5-20250929", false),
            ("claude-opus-4-6", false),
            ("claude-opus-4-7", true),
            ("anthropic/claude-opus-4.7", true),
            ("claude-sonnet-5", true),
            ("claude-haiku-latest", false),
        ] {
            assert_eq!(is_adaptive(model), adaptive, "{model}");
        }
    }

    #[test]
    fn a_budget_leaves_room_for_the_answer() {
        for (reasoning, max_tokens, expected) in [
            (Reasoning::Low, 5000, 1024),
            (Reasoning::Medium, 5000, 4000),
            (Reasoning::High, 100_000, 24_576),
            (Reasoning::High, 1100, 1024),
        ] {
            let fields = anthropic("claude-opus-4-5", reasoning, max_tokens);
            let expected = json!({ "type": "enabled", "budget_tokens": expected });
            assert_eq!(fields, [("thinking", expected)]);
        }
    }
}
