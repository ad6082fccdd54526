//! What a model turns out not to take, and what is left out of its requests for it.
//!
//! Servers of the same protocol differ in the parameters that they accept, and many refuse a request for one that
//! they do not know. Leaving it out and sending the request again is negotiation, not a retry: it happens at most
//! once for each parameter, it is remembered only when the request then succeeds, and the reply names what was
//! left out.

use crate::endpoint::TokenField;
use crate::failure::{Failure, is_word_in, number_after};

/// A parameter that a server may refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Parameter {
    LogProbabilities,
    Seed,
    Temperature,
    TokenLimit,
    /// That thoughts, or their summary, are shown. Before the next one, whose name is part of this one's.
    ShownReasoning,
    Reasoning,
    Stop,
    StreamOptions,
}

impl Parameter {
    pub(crate) const ALL: [Self; 8] = [
        Self::LogProbabilities,
        Self::Seed,
        Self::Temperature,
        Self::TokenLimit,
        Self::ShownReasoning,
        Self::Reasoning,
        Self::Stop,
        Self::StreamOptions,
    ];

    /// A setting's name, as replies list it, from its text.
    pub(crate) fn setting_named(name: &str) -> Option<&'static str> {
        Self::ALL.into_iter().filter_map(Self::setting).find(|known| *known == name)
    }

    /// The setting's name, as replies list it; `None` where leaving it out changes nothing about the answer.
    pub(crate) fn setting(self) -> Option<&'static str> {
        match self {
            Self::LogProbabilities => Some("top_log_probabilities"),
            Self::Seed => Some("seed"),
            Self::Temperature => Some("temperature"),
            Self::TokenLimit => Some("max_tokens"),
            Self::Reasoning => Some("reasoning"),
            // The engine cuts the answer itself.
            Self::Stop | Self::StreamOptions | Self::ShownReasoning => None,
        }
    }
}

/// What is left out or sent otherwise. Starts with everything sent as it is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Terms {
    /// One bit for each parameter.
    left_out: u8,
    /// The most alternatives a position that the server gives.
    most_alternatives: Option<u8>,
    /// Whether the length limit goes by its other name.
    other_token_field: bool,
}

impl Terms {
    pub(crate) fn leaves_out(self, parameter: Parameter) -> bool {
        self.left_out & (1 << parameter as u8) != 0
    }

    pub(crate) fn token_field(self, usual: TokenField) -> TokenField {
        if self.other_token_field { usual.other() } else { usual }
    }

    pub(crate) fn top_log_probabilities(self, asked: u8) -> u8 {
        self.most_alternatives.map_or(asked, |most| asked.min(most))
    }

    /// Both what these and other terms leave out.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            left_out: self.left_out | other.left_out,
            most_alternatives: match (self.most_alternatives, other.most_alternatives) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            },
            other_token_field: self.other_token_field || other.other_token_field,
        }
    }

    /// The terms to try next, after a refusal; `None` where the refusal is not about a parameter that was sent.
    /// Each step leaves out more than the one before, so that the steps come to an end.
    pub(crate) fn after(
        self,
        status: u16,
        failure: &Failure,
        fields: impl Fn(Parameter) -> &'static [&'static str],
        sends: impl Fn(Parameter) -> bool,
    ) -> Option<Self> {
        // 403 is what OpenAI answers where log-probabilities are not allowed.
        if !matches!(status, 400 | 403 | 422) {
            return None;
        }
        let message = failure.message.to_lowercase();
        // The server's own field for the parameter is surer than its prose, which may name others as well.
        let param = failure.param.as_deref().unwrap_or("").to_lowercase();
        let text = if param.is_empty() { &message } else { &param };
        let is_named = |parameter: &Parameter| {
            fields(*parameter).iter().any(|name| is_word_in(text, &name.to_lowercase()))
        };
        let parameter = Parameter::ALL.into_iter().filter(|&parameter| sends(parameter)).find(is_named)?;
        if !says_unsupported(&message, failure.code.as_deref().unwrap_or("")) {
            if parameter == Parameter::LogProbabilities {
                let most = most_alternatives(&message)?;
                let is_news = self.most_alternatives.is_none_or(|known| most < known);
                return is_news.then_some(Self { most_alternatives: Some(most), ..self });
            }
            return None;
        }
        if parameter == Parameter::TokenLimit && !self.other_token_field {
            return Some(Self { other_token_field: true, ..self });
        }
        Some(Self { left_out: self.left_out | 1 << parameter as u8, ..self })
    }
}

/// Whether a refusal says that the parameter, or its value, is not supported, rather than that it is wrong.
fn says_unsupported(message: &str, code: &str) -> bool {
    const CODES: [&str; 4] =
        ["unsupported_parameter", "unsupported_value", "unknown_parameter", "unrecognized_parameter"];
    const PHRASES: [&str; 20] = [
        "unsupported",
        "not supported",
        "not support ",
        "not currently support",
        "not yet support",
        "not available",
        "not enabled",
        "not allowed",
        "not permitted",
        "not implemented",
        "not accept",
        "only the default",
        "only 1 is allowed",
        "unknown",
        "unrecognized",
        "unrecognised",
        "unexpected",
        "deprecated",
        "extra inputs",
        "extra_forbidden",
    ];
    CODES.contains(&code) || PHRASES.iter().any(|phrase| message.contains(phrase))
}

/// The limit in messages such as "`top_logprobs` must be less than or equal to 5".
fn most_alternatives(message: &str) -> Option<u8> {
    const MARKERS: [&str; 7] =
        ["less than or equal to ", "at most ", "<= ", "between 0 and ", "maximum of ", "maximum is ", "[0, "];
    let most = MARKERS.iter().find_map(|marker| number_after(message, marker))?;
    u8::try_from(most).ok().filter(|most| (1..20).contains(most))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(parameter: Parameter, token_field: TokenField) -> &'static [&'static str] {
        match parameter {
            Parameter::LogProbabilities => &["logprobs", "top_logprobs"],
            Parameter::Seed => &["seed"],
            Parameter::Temperature => &["temperature"],
            Parameter::TokenLimit if token_field == TokenField::MaxTokens => &["max_tokens"],
            Parameter::TokenLimit => &["max_completion_tokens"],
            Parameter::ShownReasoning => &[],
            Parameter::Reasoning => &["reasoning_effort"],
            Parameter::Stop => &["stop"],
            Parameter::StreamOptions => &["stream_options"],
        }
    }

    /// What is left out, one step after the other, when a server keeps refusing with a message.
    fn steps(status: u16, body: &str) -> Vec<String> {
        let failure = Failure::read(body.as_bytes()).unwrap();
        let mut terms = Terms::default();
        let mut steps = Vec::new();
        let usual = TokenField::MaxTokens;
        while let Some(next) = terms.after(
            status,
            &failure,
            |parameter| fields(parameter, terms.token_field(usual)),
            |parameter| !terms.leaves_out(parameter),
        ) {
            let left_out = Parameter::ALL.into_iter().filter(|&parameter| next.leaves_out(parameter));
            let names: Vec<_> = left_out.map(|parameter| fields(parameter, usual)[0]).collect();
            let field = next.token_field(usual).name();
            steps.push(format!("{} {field} {}", names.join(","), next.top_log_probabilities(20)));
            terms = next;
        }
        steps
    }

    #[test]
    fn a_refused_parameter_is_left_out() {
        let cases: [(u16, &str, &[&str]); 12] = [
            (
                400,
                r#"{"error":{"message":"Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.","param":"max_tokens","code":"unsupported_parameter"}}"#,
                &[" max_completion_tokens 20"],
            ),
            (
                400,
                r#"{"error":{"message":"Unsupported value: 'temperature' does not support 0.7 with this model. Only the default (1) value is supported.","param":"temperature","code":"unsupported_value"}}"#,
                &["temperature max_tokens 20"],
            ),
            (
                403,
                r#"{"error":{"message":"You are not allowed to request logprobs from this model","type":"invalid_request_error","param":null,"code":null}}"#,
                &["logprobs max_tokens 20"],
            ),
            (
                400,
                r#"[{"error":{"code":400,"message":"Invalid JSON payload received. Unknown name \"seed\": Cannot find field.","status":"INVALID_ARGUMENT"}}]"#,
                &["seed max_tokens 20"],
            ),
            (
                422,
                r#"{"detail":[{"type":"extra_forbidden","loc":["body","reasoning_effort"],"msg":"Extra inputs are not permitted"}]}"#,
                &["reasoning_effort max_tokens 20"],
            ),
            (
                400,
                r#"{"error":{"message":"top_logprobs must be less than or equal to 5"}}"#,
                &[" max_tokens 5"],
            ),
            // Wrong, not unsupported: leaving it out would hide the mistake.
            (400, r#"{"error":{"message":"max_tokens is too large: 90000","param":"max_tokens"}}"#, &[]),
            (400, r#"{"error":{"message":"temperature must be between 0 and 2"}}"#, &[]),
            // Not about a parameter.
            (400, r#"{"error":{"message":"unknown model `seedling`"}}"#, &[]),
            (401, r#"{"error":{"message":"seed is not supported"}}"#, &[]),
            (429, r#"{"error":{"message":"logprobs not available, try later"}}"#, &[]),
            (
                400,
                r#"{"error":{"message":"stream_options is not supported"}}"#,
                &["stream_options max_tokens 20"],
            ),
        ];
        for (status, body, expected) in cases {
            assert_eq!(steps(status, body), expected, "{body}");
        }
    }

    #[test]
    fn terms_add_up() {
        let both = Terms { left_out: 1, most_alternatives: Some(5), other_token_field: false }.and(Terms {
            left_out: 2,
            most_alternatives: Some(8),
            other_token_field: true,
        });
        assert_eq!(both, Terms { left_out: 3, most_alternatives: Some(5), other_token_field: true });
    }
}
