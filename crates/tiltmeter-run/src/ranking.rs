//! Treatments of one run, ranked by what they change, as `tiltmeter compare RUN --json` prints them: schema
//! `tiltmeter.treatments/1`.

use serde::Serialize;
use tiltmeter_core::experiment::Family;

use crate::effects::{Comparison, Omission};
use crate::results::TreatmentResult;

/// The document that `tiltmeter compare RUN --json` prints.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TreatmentRanking {
    /// `tiltmeter.treatments/1`.
    pub schema: &'static str,
    /// The directory as it was given.
    pub directory: String,
    /// Name of the experiment.
    pub experiment: String,
    /// The judge as `provider/model`; absent without one.
    pub judge: Option<String>,
    /// What the p-values of EM rates are corrected by, over all of this document.
    pub correction: Family,
    /// Differences of tilts that the simultaneous intervals allow for, over all of this document.
    pub tilts_compared: u64,
    /// One for each subject, set, placement and baseline.
    pub groups: Vec<RankedGroup>,
    /// What defences took before any context was shown, once for all answers: in no average of this document.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub beforehand: Vec<Beforehand>,
    /// Comparisons that could not be made.
    pub omitted: Vec<Omission>,
}

/// What a defence took before any context was shown: a filter's screening of demonstrations, or a guard's looking at
/// contexts, all starts together.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Beforehand {
    /// The treatments that go by it.
    pub treatments: Vec<String>,
    /// `filter` or `guard`.
    pub kind: &'static str,
    /// Hash of the guard's settings and of what they open; absent for filters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guard: Option<String>,
    /// The filter's model, or the guard's detectors.
    pub by: String,
    /// Demonstrations that were screened, or contexts that were looked at.
    pub items: u64,
    /// Of these, demonstrations without a score, or contexts of which some detector did not see all.
    pub in_part: u64,
    /// Calls to models.
    pub calls: u64,
    /// Tokens sent.
    pub input_tokens: u64,
    /// Tokens written.
    pub output_tokens: u64,
    /// US dollars, where all costs are known.
    pub cost_usd: Option<f64>,
    /// Milliseconds for each context, on average: what a guard would delay a request by that is not known to it yet. Absent
    /// for filters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub milliseconds_mean: Option<f64>,
}

/// What the defences of a run took beforehand, each once.
pub(crate) fn beforehand(treatments: &[TreatmentResult]) -> Vec<Beforehand> {
    let mut all: Vec<Beforehand> = Vec::new();
    for treatment in treatments {
        let screening = treatment.screening.as_ref().map(|one| Beforehand {
            treatments: Vec::new(),
            kind: "filter",
            guard: None,
            by: one.model.clone(),
            items: one.demonstrations,
            in_part: one.without_score,
            calls: one.calls,
            input_tokens: one.input_tokens,
            output_tokens: one.output_tokens,
            cost_usd: one.cost_usd,
            milliseconds_mean: None,
        });
        let inspection = treatment.inspection.as_ref().map(|one| Beforehand {
            treatments: Vec::new(),
            kind: "guard",
            guard: Some(one.guard.clone()),
            by: one.detectors.join(", "),
            items: one.contexts,
            in_part: one.with_gaps,
            calls: one.calls,
            input_tokens: one.input_tokens,
            output_tokens: one.output_tokens,
            cost_usd: one.cost_usd,
            milliseconds_mean: one.milliseconds_mean,
        });
        for one in screening.into_iter().chain(inspection) {
            let same = |other: &Beforehand| Beforehand { treatments: Vec::new(), ..other.clone() } == one;
            let at = all.iter().position(same).unwrap_or_else(|| {
                all.push(one);
                all.len() - 1
            });
            all[at].treatments.push(treatment.name.clone());
        }
    }
    all
}

/// Treatments of one subject under the demonstrations of one set, each against the same without it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RankedGroup {
    /// Id of the subject.
    pub subject: String,
    /// Name of the demonstration set.
    pub demonstrations: String,
    /// Where the demonstrations stand.
    pub placement: String,
    /// What they are compared with: `none`, or `reasoning` for treatments with reasoning asked for.
    pub baseline: String,
    /// Each treatment at each k, by k and then by rank.
    pub cells: Vec<RankedCell>,
    /// What the baseline's answers took, by k.
    pub baseline_usage: Vec<(u32, UsageResult)>,
    /// Whether the order holds as k grows.
    pub order: Option<OrderResult>,
}

/// One treatment at one k.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RankedCell {
    /// Name of the treatment.
    pub treatment: String,
    /// Number of demonstrations.
    pub shots: u32,
    /// Place at this k, from 1, by the EM rate where there is one and else by the tilt: 1 lowers it most. Absent where
    /// neither could be compared.
    pub rank: Option<u64>,
    /// The EM rate against the baseline's, on the questions that both have; `against` is `untreated`.
    pub em_rate: Option<Comparison>,
    /// The tilt against the baseline's, on the same contexts and questions.
    pub tilt: Option<TiltChange>,
    /// The same of emergent tilts.
    pub emergent_tilt: Option<TiltChange>,
    /// Why there is no tilt, where the treatment is of a kind that it does not apply to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tilt_not_applicable: Option<&'static str>,
    /// What its answers took.
    pub usage: UsageResult,
}

/// A difference of tilts, in nats per token.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct TiltChange {
    /// The treatment's minus the baseline's.
    pub estimate: f64,
    /// Lower end of the 95 % interval.
    pub low: Option<f64>,
    /// Its upper end.
    pub high: Option<f64>,
    /// Lower end of the interval that holds together with those of all other tilts compared (Bonferroni).
    pub simultaneous_low: Option<f64>,
    /// Its upper end.
    pub simultaneous_high: Option<f64>,
    /// Questions.
    pub questions: u64,
    /// Context draws.
    pub contexts: u64,
    /// What was resampled.
    pub method: &'static str,
}

impl TiltChange {
    /// Whether the simultaneous interval leaves out 0.
    pub fn is_clear(&self) -> bool {
        leaves_out_zero(self.simultaneous_low, self.simultaneous_high)
    }
}

/// Whether an interval, where there is one, leaves out 0.
pub(crate) fn leaves_out_zero(low: Option<f64>, high: Option<f64>) -> bool {
    matches!((low, high), (Some(low), Some(high)) if low > 0.0 || high < 0.0)
}

/// What answers took, on average. The judge's work is not in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct UsageResult {
    /// Answers.
    pub answers: u64,
    /// Calls an answer.
    pub calls: Option<f64>,
    /// Tokens read an answer, cached ones included.
    pub input_tokens: Option<f64>,
    /// Tokens written an answer.
    pub output_tokens: Option<f64>,
    /// US dollars for 1,000 answers; absent unless the cost of each is known.
    pub cost_per_thousand_usd: Option<f64>,
}

/// Whether treatments keep their order from the smallest k to the largest.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OrderResult {
    /// The smallest k above 0 at which at least two were ranked.
    pub first_shots: u32,
    /// The largest.
    pub last_shots: u32,
    /// Treatments ranked at both.
    pub treatments: u64,
    /// Kendall's τ-b between the two orders, from −1 (turned round) to 1 (kept); absent with fewer than three treatments.
    pub kendall: Option<f64>,
    /// The treatment that lowered the measure most at the smallest k.
    pub first_best: String,
    /// At the largest.
    pub last_best: String,
}
