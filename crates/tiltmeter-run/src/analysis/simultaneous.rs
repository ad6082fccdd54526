//! Bootstrap intervals of several means that hold together.

use tiltmeter_stats::{BootstrapInterval, BootstrapSettings, Confidence, PairedDifference, bootstrap_mean};

use super::{AnalysisError, statistics};

/// Resamples in each tail of a simultaneous interval, at least about.
const TAIL_RESAMPLES: f64 = 100.0;

/// The most resamples.
const MOST_RESAMPLES: f64 = 100_000.0;

/// The level at which each of so many intervals holds so that all hold together at 95 % (Dunn, "Multiple comparisons among
/// means", JASA 56 (1961) 52–64: each at 1 − α/m).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Simultaneous(Confidence);

impl Simultaneous {
    /// For so many means, at least one.
    pub(crate) fn of(compared: usize) -> Result<Self, AnalysisError> {
        let level = 1.0 - (1.0 - Confidence::NINETY_FIVE.level()) / compared.max(1) as f64;
        Confidence::new(level.min(0.999_999)).map(Self).map_err(|error| statistics("a level", error))
    }

    /// A mean with its own interval, and with the one that holds together with the others.
    pub(crate) fn mean(
        self,
        observations: &[PairedDifference],
        seed: u64,
        what: &str,
    ) -> Result<(BootstrapInterval, BootstrapInterval), AnalysisError> {
        let interval = |confidence: Confidence| {
            let usual = BootstrapSettings::default();
            let needed = (TAIL_RESAMPLES / confidence.tail()).min(MOST_RESAMPLES).ceil();
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "between 1 and 100,000"
            )]
            let resamples = usual.resamples.max(needed as u32);
            bootstrap_mean(observations, &BootstrapSettings { seed, confidence, resamples })
                .map_err(|error| statistics(what, error))
        };
        Ok((interval(Confidence::NINETY_FIVE)?, interval(self.0)?))
    }
}
