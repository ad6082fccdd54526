//! Shapes that several protocols share on the wire.
//!
//! Servers leave out fields and write `null` where others write nothing. Only what the answer's meaning hangs on
//! is required; all else is taken where it is there and has the usual shape.

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::request::{TokenAlternatives, TokenLogProbability};

/// A count that may be missing, null or nonsense: none of these is worth losing an answer for.
pub(crate) fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    Ok(Value::deserialize(deserializer)?.as_u64().unwrap_or(0))
}

/// A sum of money that may be missing or nonsense.
pub(crate) fn cost<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    let cost = Value::deserialize(deserializer)?.as_f64();
    Ok(cost.filter(|cost| cost.is_finite() && *cost >= 0.0))
}

/// A text that is there.
pub(crate) fn given(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

/// OpenAI's form of a position's log-probabilities.
#[derive(Deserialize)]
pub(crate) struct WireAlternatives {
    token: String,
    logprob: f64,
    #[serde(default)]
    top_logprobs: Option<Vec<WireToken>>,
}

#[derive(Deserialize)]
struct WireToken {
    token: String,
    logprob: f64,
}

impl From<WireAlternatives> for TokenAlternatives {
    fn from(position: WireAlternatives) -> Self {
        let top = position.top_logprobs.into_iter().flatten();
        let top = likeliest_first(top.map(|other| log_probability(other.token, other.logprob)));
        Self { chosen: log_probability(position.token, position.logprob), top }
    }
}

/// Rounding on the server's side can leave a certain token a little above 0.
pub(crate) fn log_probability(token: String, value: f64) -> TokenLogProbability {
    TokenLogProbability { token, log_probability: value.min(0.0) }
}

/// The likeliest first, whatever order they came in.
pub(crate) fn likeliest_first(
    alternatives: impl Iterator<Item = TokenLogProbability>,
) -> Vec<TokenLogProbability> {
    let mut top: Vec<_> = alternatives.collect();
    top.sort_by(|a, b| b.log_probability.total_cmp(&a.log_probability));
    top
}
