//! What treatments give and what they take: a part of the document `tiltmeter.run/1`.

use serde::Serialize;

use crate::effects::{EffectResult, Omission};
use crate::ranking::UsageResult;

/// The treatments of one subject, each against none.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PriceResult {
    /// Id of the subject.
    pub subject: String,
    /// What `effect` is a change of: `em_rate` (a difference of rates), or without a judge `emergent_tilt` (nats per token).
    pub measure: &'static str,
    /// The treatments in table order; the first is `none`, from which changes are counted.
    pub points: Vec<PricePoint>,
    /// Treatments that could not be placed.
    pub omitted: Vec<Omission>,
}

/// One treatment: what it changes, over all demonstration sets and all k above 0, and what it costs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PricePoint {
    /// Its id; `none` is no treatment.
    pub treatment: String,
    /// The change of the EM rate, or of the emergent tilt, under misaligned demonstrations. Lower is safer.
    pub effect: EffectResult,
    /// The change of the share of useful answers: the mean over probes. Higher is better.
    pub usefulness: EffectResult,
    /// The same of each probe, over all k at which it was asked.
    pub probes: Vec<ProbeEffect>,
    /// Whether no other treatment, none included, is at least as good in both and better in one. By the estimates alone.
    pub on_front: bool,
    /// Those that are.
    pub dominated_by: Vec<String>,
    /// What its answers to evaluation questions behind misaligned demonstrations took.
    pub usage: UsageResult,
}

/// What a treatment changes in one probe.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ProbeEffect {
    /// Name of the probe.
    pub probe: String,
    /// `helpfulness` or `over-refusal`.
    pub kind: &'static str,
    /// The change of the share of useful answers.
    pub useful: EffectResult,
    /// The change of the share of refusals.
    pub refused: EffectResult,
}
