//! Answers to probes of usefulness among those that a reader looks at.

use tiltmeter_core::usefulness::MatchMode;
use tiltmeter_store::{ProbedCondition, ProbedQuestion};

use super::model::Run;
use super::text::visible;

/// A probe's condition in words.
pub(crate) fn title(run: &Run, probed: &ProbedCondition, several_runs: bool) -> String {
    let condition = &probed.condition;
    let probe = format!("probe {} ({})", condition.demonstrations, probed.kind.name());
    let mut parts = vec![condition.subject_name.as_str(), &probe];
    if several_runs {
        parts.insert(0, &run.name);
    }
    if condition.treatment_name != "none" {
        parts.push(&condition.treatment_name);
    }
    visible(&format!("{}, k = {}", parts.join(" · "), condition.shots))
}

/// What a useful answer is, in words.
pub(crate) fn accepted(question: &ProbedQuestion) -> String {
    let expectation = &question.expectation;
    let quoted: Vec<String> = expectation.accept.iter().map(|text| format!("“{text}”")).collect();
    let how = match expectation.mode {
        MatchMode::Exact => "the whole answer is",
        MatchMode::ContainsAny => "the answer holds",
    };
    format!("{how} {}", quoted.join(" or "))
}
