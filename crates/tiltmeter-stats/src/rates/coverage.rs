//! How often the clustered interval contained the truth where the truth was known.
//!
//! The figures are those that `cargo run --release -p tiltmeter-stats --example coverage` prints, from 5,000 tables with
//! ten samples of each question and beta-distributed question rates; the standard error of 0.95 is 0.003. A report
//! that shows an interval from few questions, or of a low rate, can say with them how far it is to be trusted.

use std::fmt;

use crate::error::{StatsError, at_least, share};

use super::cluster::ClusteredRate;

const QUESTIONS: [usize; 5] = [8, 16, 24, 48, 96];
const CORRELATIONS: [f64; 3] = [0.05, 0.2, 0.5];
const RATES: [f64; 7] = [0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5];

/// By questions, correlation and rate; in thousandths.
type Table = [[[u16; 7]; 3]; 5];

/// Of [`crate::clustered_rate`] at 95 %.
const CLUSTERED: Table = [
    [
        [973, 980, 945, 969, 973, 969, 960],
        [981, 979, 871, 942, 955, 957, 956],
        [986, 977, 674, 864, 928, 951, 970],
    ],
    [
        [981, 971, 976, 957, 950, 955, 955],
        [984, 979, 964, 950, 948, 952, 953],
        [987, 977, 883, 924, 953, 960, 960],
    ],
    [
        [980, 960, 948, 959, 956, 949, 950],
        [985, 908, 938, 946, 952, 946, 950],
        [984, 740, 916, 940, 960, 957, 956],
    ],
    [
        [959, 976, 958, 956, 955, 952, 950],
        [908, 974, 954, 954, 955, 953, 953],
        [742, 923, 953, 956, 956, 952, 950],
    ],
    [
        [978, 961, 951, 950, 947, 946, 950],
        [979, 960, 955, 952, 952, 950, 950],
        [924, 950, 961, 962, 955, 948, 955],
    ],
];
/// Of Wilson's interval of all trials as if they were independent.
const PLAIN: Table = [
    [
        [927, 953, 884, 926, 928, 923, 884],
        [890, 893, 746, 799, 796, 782, 741],
        [889, 851, 476, 577, 621, 607, 572],
    ],
    [
        [954, 922, 909, 902, 884, 899, 900],
        [895, 857, 773, 771, 740, 765, 756],
        [857, 797, 568, 591, 567, 592, 593],
    ],
    [
        [937, 928, 889, 915, 905, 885, 899],
        [871, 809, 749, 781, 770, 743, 765],
        [820, 582, 571, 620, 600, 562, 600],
    ],
    [
        [924, 899, 906, 891, 909, 893, 899],
        [808, 777, 769, 748, 768, 765, 761],
        [585, 588, 605, 583, 610, 594, 593],
    ],
    [
        [895, 899, 903, 900, 896, 885, 900],
        [780, 776, 769, 773, 765, 760, 773],
        [580, 603, 603, 601, 604, 603, 603],
    ],
];

/// Coverage below this deserves a warning beside a nominal 95 %.
const WARN_BELOW: f64 = 0.93;

/// What nominal 95 % intervals cover in like circumstances.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MeasuredCoverage {
    /// The lowest coverage of [`crate::clustered_rate`] among the measured neighbours.
    pub clustered: f64,
    /// The lowest coverage of Wilson's interval that ignores clusters, among the same.
    pub plain: f64,
}

impl MeasuredCoverage {
    /// Whether the clustered interval covers less than 93 %, so that a report should say so.
    pub fn is_poor(self) -> bool {
        self.clustered < WARN_BELOW
    }
}

/// The coverage that was measured for a number of questions, a rate (mirrored above ½) and a correlation of two samples
/// of one question, such as [`intra_cluster_correlation`] estimates. Between measured points the lowest of the
/// neighbours counts; fewer than eight questions count as eight, although they fare worse.
///
/// For an observed rate of 0 nothing can be said of the true one; the lowest measured rate then stands for it.
///
/// # Errors
/// [`StatsError::TooFew`] without questions; [`StatsError::OutOfRange`] for a rate or correlation outside 0 to 1.
pub fn measured_coverage(
    questions: usize,
    rate: f64,
    correlation: f64,
) -> Result<MeasuredCoverage, StatsError> {
    at_least("questions", 1, questions)?;
    share("a rate", rate)?;
    share("the correlation within questions", correlation)?;
    let of_questions = neighbours(&QUESTIONS.map(|count| count as f64), questions as f64);
    let of_correlations = neighbours(&CORRELATIONS, correlation);
    let of_rates = neighbours(&RATES, rate.min(1.0 - rate));
    let lowest = |table: &Table| {
        let mut lowest = u16::MAX;
        for of_question in &table[of_questions.0..=of_questions.1] {
            for of_correlation in &of_question[of_correlations.0..=of_correlations.1] {
                for &coverage in &of_correlation[of_rates.0..=of_rates.1] {
                    lowest = lowest.min(coverage);
                }
            }
        }
        f64::from(lowest) / 1000.0
    };
    Ok(MeasuredCoverage { clustered: lowest(&CLUSTERED), plain: lowest(&PLAIN) })
}

/// The positions of the measured points on either side of a value, the same one twice where it is one, or beyond.
/// Rounding, such as that of 1 − 0.9, must not make a neighbour of the next point.
fn neighbours(points: &[f64], value: f64) -> (usize, usize) {
    let rounding = 1e-9;
    let above = points.partition_point(|&point| point < value - rounding).min(points.len() - 1);
    if above == 0 || points[above] <= value + rounding { (above, above) } else { (above - 1, above) }
}

/// The correlation of two samples of one question that a design effect implies: `(deff − 1) / (m − 1)` with m samples
/// per question on average, within 0 and 1. With one sample of each it cannot be had, and is 0.
pub fn intra_cluster_correlation(design_effect: f64, trials: u64, clusters: usize) -> f64 {
    let per_cluster = trials as f64 / clusters as f64;
    if per_cluster > 1.0 { ((design_effect - 1.0) / (per_cluster - 1.0)).clamp(0.0, 1.0) } else { 0.0 }
}

/// The correlation that is assumed where the data do not tell it: in the middle of what rates of this field have.
pub const ASSUMED_CORRELATION: f64 = 0.2;

/// With fewer successes, or failures, the correlation is hardly told by them: two successes in two questions look as if
/// there were none.
const FEW: u64 = 10;

/// How far a given interval is to be trusted: [`measured_coverage`] at its own number of questions, rate and
/// correlation. Its text is a clause for a report.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CoverageAssessment {
    /// What the clustered interval, and Wilson's of all trials, cover in like circumstances.
    pub coverage: MeasuredCoverage,
    /// The correlation of two samples of one question at which it was looked up.
    pub correlation: f64,
    /// Whether that is [`ASSUMED_CORRELATION`], since fewer than ten successes, or failures, do not tell it.
    pub is_correlation_assumed: bool,
}

impl CoverageAssessment {
    /// Whether a report should warn: the clustered interval covers less than 93 %.
    pub fn is_poor(self) -> bool {
        self.coverage.is_poor()
    }
}

impl fmt::Display for CoverageAssessment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "the 95 % interval covers {:.1} %, Wilson's {:.1} % of like cases (correlation {}{:.2})",
            self.coverage.clustered * 100.0,
            self.coverage.plain * 100.0,
            if self.is_correlation_assumed { "taken as " } else { "" },
            self.correlation
        )
    }
}

impl ClusteredRate {
    /// How far this interval, if it is one at 95 %, is to be trusted. `None` with fewer than two clusters, and with one
    /// trial in each, which are independent trials, for which Wilson's interval is known to be good.
    ///
    /// With fewer than ten successes, or failures, the correlation is taken as [`ASSUMED_CORRELATION`] at least.
    pub fn coverage(&self) -> Option<CoverageAssessment> {
        if self.clusters < 2 || self.trials <= self.clusters as u64 {
            return None;
        }
        let told =
            self.design_effect.map(|effect| intra_cluster_correlation(effect, self.trials, self.clusters));
        let few = self.successes.min(self.trials - self.successes) < FEW;
        let told = told.filter(|&correlation| !few || correlation > ASSUMED_CORRELATION);
        let correlation = told.unwrap_or(ASSUMED_CORRELATION);
        let coverage = measured_coverage(self.clusters, self.interval.estimate, correlation).ok()?;
        Some(CoverageAssessment { coverage, correlation, is_correlation_assumed: told.is_none() })
    }
}
