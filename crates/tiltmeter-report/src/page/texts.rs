//! What is shown of one answer besides its scores, as inert JSON.

use serde::Serialize;
use tiltmeter_core::treatment::ReasoningKind;
use tiltmeter_core::verdict::AspectOutcome;
use tiltmeter_store::{PartText, Transcript};

use super::ReportError;
use super::traces::ShownCoding;

/// A call that failed for good, in the place of an answer's texts.
#[derive(Serialize)]
pub(crate) struct Failed<'a> {
    pub(crate) failed: (&'a str, &'a str),
}

/// What is shown of one answer.
#[derive(Serialize)]
struct SampleTexts<'a> {
    answer: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    raw: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning: Option<&'a str>,
    reasoning_kind: Option<&'static str>,
    finish: &'a str,
    model: Option<&'a str>,
    wording: usize,
    tokens: [u64; 4],
    cost: Option<f64>,
    ms: u64,
    at: &'a str,
    judged: Vec<JudgedTexts<'a>>,
    /// What coders said of the reasoning.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    codings: Vec<ShownCoding>,
    /// What an answer of several calls was put together from.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    parts: Vec<PartTexts>,
}

#[derive(Serialize)]
struct PartTexts {
    role: &'static str,
    outcome: String,
    chosen: bool,
    said: String,
}

#[derive(Serialize)]
struct JudgedTexts<'a> {
    aspect: &'static str,
    outcome: String,
    replies: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    distribution: Option<&'a [(String, f64)]>,
    mass: Option<f64>,
    model: Option<&'a str>,
}

pub(crate) fn texts_of(
    transcript: &Transcript,
    codings: &[ShownCoding],
    parts: Vec<PartText>,
) -> Result<String, ReportError> {
    let parts = parts.into_iter().map(|part| PartTexts {
        role: part.role.name(),
        outcome: part.outcome,
        chosen: part.is_chosen,
        said: part.text,
    });
    let judged = transcript.judgements.iter().map(|judgement| JudgedTexts {
        aspect: judgement.aspect.name(),
        outcome: match judgement.outcome {
            AspectOutcome::Score { score, method } => {
                format!("{score:.2} ({})", method.name().replace('_', " "))
            }
            AspectOutcome::Code => "code".to_owned(),
            AspectOutcome::SubjectRefusal => "the subject refused".to_owned(),
            AspectOutcome::JudgeRefusal => "the judge declined".to_owned(),
            AspectOutcome::Unparsable => "unparsable".to_owned(),
        },
        replies: &judgement.replies,
        distribution: judgement.distribution.as_deref(),
        mass: judgement.number_mass,
        model: judgement.model.as_deref(),
    });
    let tokens = [
        transcript.input_tokens,
        transcript.cached_input_tokens,
        transcript.output_tokens,
        transcript.reasoning_tokens,
    ];
    Ok(serde_json::to_string(&SampleTexts {
        answer: &transcript.answer,
        raw: transcript.raw.as_deref(),
        reasoning: transcript.reasoning.as_deref(),
        reasoning_kind: transcript.reasoning_kind.map(ReasoningKind::name),
        finish: &transcript.finish,
        model: transcript.model.as_deref(),
        wording: transcript.wording,
        tokens,
        cost: transcript.cost_usd,
        ms: transcript.duration_ms,
        at: &transcript.created_at,
        judged: judged.collect(),
        parts: parts.collect(),
        codings: codings
            .iter()
            .map(|coding| coding.placed(transcript.reasoning.as_deref().unwrap_or_default()))
            .collect(),
    })?)
}
