//! What can be wrong with the numbers that come in.

/// Why a statistic cannot be had from the numbers given.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum StatsError {
    /// A rate over nothing.
    #[error("a rate needs at least one trial")]
    NoTrials,
    /// Counts that contradict each other.
    #[error("{successes} successes in {trials} trials: successes are a part of the trials")]
    MoreSuccessesThanTrials {
        /// Successes as given.
        successes: u64,
        /// Trials as given.
        trials: u64,
    },
    /// Counts whose sum does not fit into 64 bits.
    #[error("the counts add up to more than 64 bits hold")]
    TooMany,
    /// A confidence level outside its range.
    #[error("confidence level {0} is not between 0.001 and 0.999999: give a share such as 0.95")]
    Confidence(f64),
    /// A rate outside its range.
    #[error("rate {0} is not between 0 and 1")]
    Rate(f64),
    /// A sample size that is not a positive, finite number.
    #[error("effective number of trials {0} is not a positive, finite number")]
    EffectiveTrials(f64),
    /// A quantile that is not a positive, finite number.
    #[error("normal quantile {0} is not a positive, finite number")]
    Quantile(f64),
    /// A mean over nothing.
    #[error("a mean needs at least one observation")]
    NoObservations,
    /// A value that is not a finite number.
    #[error("the value of question {question}, draw {draw}, pair {pair} is not a finite number")]
    NotFinite {
        /// Index of the question.
        question: u32,
        /// Index of the draw.
        draw: u32,
        /// Index of the pair.
        pair: u32,
    },
    /// The same observation twice.
    #[error("question {question}, draw {draw}, pair {pair} is given twice")]
    Duplicate {
        /// Index of the question.
        question: u32,
        /// Index of the draw.
        draw: u32,
        /// Index of the pair.
        pair: u32,
    },
    /// A bootstrap without resamples.
    #[error("a bootstrap needs at least one resample")]
    NoResamples,
}
