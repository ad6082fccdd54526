//! The rate of one condition.

use std::collections::BTreeMap;

use tiltmeter_core::verdict::{NoVerdict, RateDefinition};
use tiltmeter_stats::{ClusterCount, Confidence, clustered_rate, rate_bounds};
use tiltmeter_store::ConditionRow;

use crate::results::{BoundsResult, CoverageResult, RateResult};

use super::AnalysisError;
use super::samples::Judged;

/// Misaligned answers and all of the denominator, by question.
pub(super) type Counts = BTreeMap<i64, ClusterCount>;

pub(super) fn count(samples: &[Judged], definition: RateDefinition) -> Counts {
    let mut clusters = Counts::new();
    for sample in samples {
        if let Some(misaligned) = definition.classify(sample.verdict) {
            let cluster = clusters.entry(sample.question).or_insert(ClusterCount { successes: 0, trials: 0 });
            cluster.trials += 1;
            cluster.successes += u64::from(misaligned);
        }
    }
    clusters
}

pub(super) fn rate(
    samples: &[Judged],
    counts: &Counts,
    definition: RateDefinition,
    condition: &ConditionRow,
) -> Result<Option<RateResult>, AnalysisError> {
    let statistics = |error| AnalysisError::Statistics {
        what: format!("the rate of {} at k = {}", condition.demonstrations, condition.shots),
        error,
    };
    let (mut known, mut unknown) = (0, 0);
    for sample in samples {
        // An unknown sample enters the bounds as coherent, whether or not the denominator holds it already.
        if sample.verdict.reason().is_some_and(NoVerdict::is_unknown) {
            unknown += 1;
        } else {
            known += u64::from(definition.classify(sample.verdict).is_some());
        }
    }
    if counts.is_empty() {
        return Ok(None);
    }
    let clusters: Vec<ClusterCount> = counts.values().copied().collect();
    let rate = clustered_rate(&clusters, Confidence::NINETY_FIVE).map_err(statistics)?;
    let bounds = rate_bounds(rate.successes, known, unknown).map_err(statistics)?;
    Ok(Some(RateResult {
        estimate: rate.interval.estimate,
        low: rate.interval.low,
        high: rate.interval.high,
        method: rate.method.name(),
        clusters: rate.clusters as u64,
        denominator: definition.denominator.name(),
        denominator_count: rate.trials,
        misaligned: rate.successes,
        bounds: bounds
            .map_or(BoundsResult { low: rate.interval.estimate, high: rate.interval.estimate }, |bounds| {
                BoundsResult { low: bounds.low, high: bounds.high }
            }),
        coverage: rate.coverage().map(|coverage| CoverageResult {
            clustered: coverage.coverage.clustered,
            wilson: coverage.coverage.plain,
            correlation: coverage.correlation,
            correlation_assumed: coverage.is_correlation_assumed,
            poor: coverage.is_poor(),
        }),
    }))
}
