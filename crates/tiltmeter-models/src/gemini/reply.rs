//! A reply, whole or in pieces, and how it becomes a [`ChatResponse`].

use serde::Deserialize;
use serde_json::Value;
use tiltmeter_core::treatment::ReasoningKind;

use crate::events::{Draft, Refused};
use crate::request::{ChatResponse, FinishReason, TokenAlternatives, Usage};
use crate::wire::{count, given, likeliest_first, log_probability};

/// The body of a reply, or one piece of a streamed one.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Piece {
    #[serde(default)]
    candidates: Option<Vec<Candidate>>,
    #[serde(default)]
    prompt_feedback: Option<PromptFeedback>,
    #[serde(default)]
    usage_metadata: Option<UsageMetadata>,
    #[serde(default)]
    model_version: Option<String>,
    #[serde(default)]
    response_id: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Candidate {
    #[serde(default)]
    index: Option<u64>,
    #[serde(default)]
    content: Option<Content>,
    #[serde(default)]
    finish_reason: Option<String>,
    #[serde(default)]
    logprobs_result: Option<Value>,
}

#[derive(Debug, Deserialize)]
struct Content {
    #[serde(default)]
    parts: Option<Vec<Part>>,
}

#[derive(Debug, Deserialize)]
struct Part {
    #[serde(default)]
    text: Option<String>,
    /// Whether the text is a summary of the model's thoughts.
    #[serde(default)]
    thought: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PromptFeedback {
    #[serde(default)]
    block_reason: Option<String>,
}

#[derive(Debug, Deserialize)]
struct UsageMetadata {
    #[serde(default, rename = "promptTokenCount", deserialize_with = "count")]
    prompt: u64,
    #[serde(default, rename = "cachedContentTokenCount", deserialize_with = "count")]
    cached: u64,
    #[serde(default, rename = "candidatesTokenCount", deserialize_with = "count")]
    candidates: u64,
    #[serde(default, rename = "thoughtsTokenCount", deserialize_with = "count")]
    thoughts: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LogProbabilities {
    chosen_candidates: Vec<Token>,
    #[serde(default)]
    top_candidates: Vec<TopCandidates>,
}

#[derive(Default, Deserialize)]
struct TopCandidates {
    #[serde(default)]
    candidates: Vec<Token>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Token {
    token: String,
    log_probability: f64,
}

/// A reply that is being put together from its pieces; a whole one is a single piece.
#[derive(Debug, Default)]
pub(super) struct GeminiDraft {
    text: String,
    reasoning: String,
    finish: Option<FinishReason>,
    usage: Usage,
    model: Option<String>,
    id: Option<String>,
    log_probabilities: Vec<TokenAlternatives>,
    has_candidate: bool,
}

impl GeminiDraft {
    fn add(&mut self, piece: Piece) {
        self.id = self.id.take().or(piece.response_id.and_then(given));
        self.model = self.model.take().or(piece.model_version.and_then(given));
        if let Some(usage) = piece.usage_metadata {
            self.usage = usage.into();
        }
        let reason = piece.prompt_feedback.and_then(|feedback| feedback.block_reason).and_then(given);
        if reason.is_some() {
            // Whatever the reason: the prompt was not answered because of what is in it.
            self.finish = Some(FinishReason::ContentFilter);
        }
        let first = piece.candidates.into_iter().flatten().find(|it| it.index.unwrap_or(0) == 0);
        let Some(candidate) = first else { return };
        self.has_candidate = true;
        for part in candidate.content.and_then(|content| content.parts).into_iter().flatten() {
            let text = part.text.as_deref().unwrap_or("");
            if part.thought == Some(true) {
                self.reasoning.push_str(text);
            } else {
                self.text.push_str(text);
            }
        }
        let reason = candidate.finish_reason.as_deref();
        if let Some(reason) = reason.filter(|reason| !matches!(*reason, "" | "FINISH_REASON_UNSPECIFIED")) {
            self.finish = Some(finish_reason(reason));
        }
        let found = candidate.logprobs_result.map(serde_json::from_value::<LogProbabilities>);
        if let Some(Ok(found)) = found {
            self.log_probabilities.extend(found.positions());
        }
    }
}

impl Draft for GeminiDraft {
    const WHAT: &'static str = "generated content";

    fn event(&mut self, _: Option<&str>, value: Value) -> Result<(), Refused> {
        self.whole(value)
    }

    fn whole(&mut self, value: Value) -> Result<(), Refused> {
        // A stream whose events a proxy put together is a list of pieces.
        let pieces = match value {
            Value::Array(pieces) => pieces,
            piece => vec![piece],
        };
        for piece in pieces {
            self.add(serde_json::from_value(piece).map_err(|_| Refused::Malformed)?);
        }
        Ok(())
    }

    /// The server has said why the answer ended, or why there is none.
    fn is_whole(&self) -> bool {
        self.finish.is_some()
    }

    fn is_begun(&self) -> bool {
        self.has_candidate || self.finish.is_some()
    }

    fn finish(self) -> ChatResponse {
        ChatResponse {
            text: self.text,
            reasoning: given(self.reasoning),
            reasoning_kind: ReasoningKind::Summary,
            finish: self.finish.unwrap_or_default(),
            usage: self.usage,
            model: self.model,
            response_id: self.id,
            log_probabilities: (!self.log_probabilities.is_empty()).then_some(self.log_probabilities),
            ..ChatResponse::default()
        }
    }
}

fn finish_reason(name: &str) -> FinishReason {
    match name {
        "STOP" => FinishReason::Stop,
        "MAX_TOKENS" => FinishReason::Length,
        "SAFETY" | "RECITATION" | "PROHIBITED_CONTENT" | "BLOCKLIST" | "SPII" | "MODEL_ARMOR"
        | "IMAGE_SAFETY" => FinishReason::ContentFilter,
        // `LANGUAGE`, `OTHER`, and those of tools.
        _ => FinishReason::Other,
    }
}

impl From<UsageMetadata> for Usage {
    /// Cached tokens are among those of the prompt; thoughts are not among those of the candidates.
    fn from(usage: UsageMetadata) -> Self {
        Self {
            input_tokens: usage.prompt,
            cached_input_tokens: usage.cached,
            output_tokens: usage.candidates.saturating_add(usage.thoughts),
            reasoning_tokens: usage.thoughts,
            ..Self::default()
        }
    }
}

impl LogProbabilities {
    fn positions(self) -> impl Iterator<Item = TokenAlternatives> {
        let token = |token: Token| log_probability(token.token, token.log_probability);
        let tops = self.top_candidates.into_iter().map(Some).chain(std::iter::repeat_with(|| None));
        self.chosen_candidates.into_iter().zip(tops).map(move |(chosen, top)| TokenAlternatives {
            chosen: token(chosen),
            top: likeliest_first(top.unwrap_or_default().candidates.into_iter().map(token)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::testing::{cut_everywhere, split_everywhere};

    const EVENTS: &str = include_str!("../../tests/fixtures/gemini/stream.sse");

    #[test]
    fn where_the_bytes_are_split_does_not_matter() {
        assert_eq!(split_everywhere::<GeminiDraft>(EVENTS).text, "Café\n☕");
    }

    #[test]
    fn nothing_is_an_answer_before_its_finish_reason() {
        let (before, _) = EVENTS.rsplit_once(": end").unwrap();
        let (_, last) = before.rsplit_once("data: ").unwrap();
        cut_everywhere::<GeminiDraft>(EVENTS, last);
    }
}
