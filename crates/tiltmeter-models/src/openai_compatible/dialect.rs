//! What servers of OpenAI's chat-completions protocol do each in their own way.
//!
//! The one thing that they agree on least is how a model is told how much to think. Each way is written down here
//! and nowhere else; a field that a model turns out to refuse is left out by negotiation, and the reply says so.

use serde_json::{Map, Value, json};

use crate::error::ModelError;
use crate::request::{Reasoning, Sampling};
use crate::thinking;

/// Whose way of asking a server follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// `reasoning_effort`: `none`, `low`, `medium` or `high`. Also xAI, Groq, Mistral, Fireworks, Ollama, LM
    /// Studio, and Gemini's endpoint of this protocol.
    #[default]
    OpenAi,
    /// `reasoning.effort`, in the same words; asks for the cost of each call.
    OpenRouter,
    /// `thinking.type`: `enabled` or `disabled`, so that low, medium and high are one; `reasoning_effort` for
    /// models of the third generation and later.
    Moonshot,
    /// `thinking.type`: `enabled` or `disabled`, so that low, medium and high are one.
    DeepSeek,
    /// `enable_thinking`, and `thinking_budget` in tokens: 1,024, 8,192 or 24,576.
    DashScope,
    /// `reasoning.enabled`, and `reasoning_effort` where it is on.
    Together,
    /// The chat template's own arguments `enable_thinking` and `thinking`, and `reasoning_effort` where it is on.
    /// A template ignores arguments that it does not know.
    Vllm,
    /// The chat template's own arguments `enable_thinking`, and `reasoning_effort` where it is on.
    LlamaCpp,
    /// Anthropic's endpoint of this protocol: `thinking`, as in its own. It takes a temperature above 1 for 1
    /// without saying so, so that such a request is refused here.
    Anthropic,
}

impl Dialect {
    /// The fields that [`Dialect::reasoning`] may set, and other names that servers call them by when they refuse
    /// them.
    pub(super) fn reasoning_fields(self) -> &'static [&'static str] {
        match self {
            // The second is xAI's.
            Self::OpenAi => &["reasoning_effort", "reasoningEffort"],
            Self::OpenRouter => &["reasoning"],
            Self::Moonshot => &["thinking", "reasoning_effort"],
            Self::DeepSeek => &["thinking"],
            Self::Anthropic => &thinking::ANTHROPIC_FIELDS,
            Self::DashScope => &["enable_thinking", "thinking_budget"],
            Self::Together => &["reasoning", "reasoning_effort"],
            Self::Vllm => &["chat_template_kwargs", "reasoning_effort"],
            Self::LlamaCpp => &["chat_template_kwargs"],
        }
    }

    /// The fields that say how much to think. Not called for [`Reasoning::Default`].
    pub(super) fn reasoning(self, model: &str, sampling: &Sampling) -> Vec<(&'static str, Value)> {
        let reasoning = sampling.reasoning;
        let is_on = reasoning != Reasoning::Off;
        let effort = if is_on { reasoning.name() } else { "none" };
        let switch = json!({ "type": if is_on { "enabled" } else { "disabled" } });
        match self {
            Self::OpenAi => vec![("reasoning_effort", effort.into())],
            Self::OpenRouter => vec![("reasoning", json!({ "effort": effort }))],
            Self::Moonshot if is_on && has_effort(model) => vec![("reasoning_effort", effort.into())],
            Self::Moonshot | Self::DeepSeek => vec![("thinking", switch)],
            Self::DashScope => {
                let mut fields = vec![("enable_thinking", is_on.into())];
                fields.extend(thinking::budget(reasoning).map(|tokens| ("thinking_budget", tokens.into())));
                fields
            }
            Self::Together if is_on => {
                vec![("reasoning", json!({ "enabled": true })), ("reasoning_effort", effort.into())]
            }
            Self::Together => vec![("reasoning", json!({ "enabled": false }))],
            Self::Vllm => {
                let arguments = json!({ "enable_thinking": is_on, "thinking": is_on });
                let mut fields = vec![("chat_template_kwargs", arguments)];
                fields.extend(is_on.then(|| ("reasoning_effort", effort.into())));
                fields
            }
            Self::LlamaCpp => {
                let mut arguments = Map::from_iter([("enable_thinking".to_owned(), is_on.into())]);
                if is_on {
                    arguments.insert("reasoning_effort".to_owned(), effort.into());
                }
                vec![("chat_template_kwargs", arguments.into())]
            }
            Self::Anthropic => thinking::anthropic(model, reasoning, sampling.max_tokens),
        }
    }

    /// Fields of every request.
    pub(super) fn standing_fields(self) -> Vec<(&'static str, Value)> {
        match self {
            Self::OpenRouter => vec![("usage", json!({ "include": true }))],
            _ => Vec::new(),
        }
    }

    /// What the server would take for something else without saying so.
    pub(super) fn check(self, model: &str, sampling: &Sampling) -> Result<(), ModelError> {
        if self != Self::Anthropic {
            return Ok(());
        }
        thinking::check_anthropic(model, sampling)
    }
}

/// Kimi's third generation and later take an effort and cannot be switched.
fn has_effort(model: &str) -> bool {
    let generation = model.rsplit('/').next().and_then(|name| name.strip_prefix("kimi-k"));
    let digits = |rest: &str| rest.chars().take_while(char::is_ascii_digit).collect::<String>();
    generation.and_then(|rest| digits(rest).parse::<u32>().ok()).is_some_and(|generation| generation >= 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_much_to_think_in_each_dialect() {
        let on = |effort: &str| json!({ "effort": effort });
        let cases = [
            (
                Dialect::OpenAi,
                "m",
                json!({"reasoning_effort": "none"}),
                json!({"reasoning_effort": "medium"}),
            ),
            (Dialect::OpenRouter, "m", json!({"reasoning": on("none")}), json!({"reasoning": on("medium")})),
            (
                Dialect::Moonshot,
                "kimi-k2.6",
                json!({"thinking": {"type": "disabled"}}),
                json!({"thinking": {"type": "enabled"}}),
            ),
            (
                Dialect::Moonshot,
                "kimi-k3.1-pro",
                json!({"thinking": {"type": "disabled"}}),
                json!({"reasoning_effort": "medium"}),
            ),
            (
                Dialect::DeepSeek,
                "deepseek-chat",
                json!({"thinking": {"type": "disabled"}}),
                json!({"thinking": {"type": "enabled"}}),
            ),
            (
                Dialect::DashScope,
                "qwen3-32b",
                json!({"enable_thinking": false}),
                json!({"enable_thinking": true, "thinking_budget": 8192}),
            ),
            (
                Dialect::Together,
                "m",
                json!({"reasoning": {"enabled": false}}),
                json!({"reasoning": {"enabled": true}, "reasoning_effort": "medium"}),
            ),
            (
                Dialect::Vllm,
                "m",
                json!({"chat_template_kwargs": {"enable_thinking": false, "thinking": false}}),
                json!({
                    "chat_template_kwargs": {"enable_thinking": true, "thinking": true},
                    "reasoning_effort": "medium"
                }),
            ),
            (
                Dialect::LlamaCpp,
                "m",
                json!({"chat_template_kwargs": {"enable_thinking": false}}),
                json!({"chat_template_kwargs": {"enable_thinking": true, "reasoning_effort": "medium"}}),
            ),
            (
                Dialect::Anthropic,
                "claude-sonnet-4-5",
                json!({"thinking": {"type": "disabled"}}),
                json!({"thinking": {"type": "enabled", "budget_tokens": 4000}}),
            ),
        ];
        for (dialect, model, off, medium) in cases {
            for (reasoning, expected) in [(Reasoning::Off, off), (Reasoning::Medium, medium)] {
                let sampling = Sampling {
                    temperature: 1.0,
                    max_tokens: 5000,
                    seed: None,
                    stop: Vec::new(),
                    top_log_probabilities: None,
                    reasoning,
                };
                let fields = dialect.reasoning(model, &sampling);
                for (name, _) in &fields {
                    assert!(dialect.reasoning_fields().contains(name), "{dialect:?}: {name}");
                }
                let found: Map<String, Value> =
                    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
                assert_eq!(Value::from(found), expected, "{dialect:?} {model} {reasoning:?}");
            }
        }
    }
}
