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
    /// Two lists that belong together and differ in length.
    #[error("{first} values of {what} against {second}: the lists go together and are of one length")]
    Lengths {
        /// Of what.
        what: &'static str,
        /// Length of the first.
        first: usize,
        /// Length of the second.
        second: usize,
    },
    /// A value in a list that is not a finite number.
    #[error("value {index} of {what} is not a finite number")]
    NotFiniteAt {
        /// Of what.
        what: &'static str,
        /// Position, from 0.
        index: usize,
    },
    /// Less than a method needs.
    #[error("{given} {what}, where at least {needed} are needed")]
    TooFew {
        /// Of what.
        what: &'static str,
        /// How many are needed.
        needed: usize,
        /// How many were given.
        given: usize,
    },
    /// A number outside the range that has a meaning.
    #[error("{what} of {value} is outside {range}")]
    OutOfRange {
        /// Which number.
        what: &'static str,
        /// Its value.
        value: f64,
        /// The range.
        range: &'static str,
    },
    /// A statistic that these numbers leave undefined.
    #[error("{what} is undefined: {why}")]
    Undefined {
        /// Which statistic.
        what: &'static str,
        /// Why.
        why: &'static str,
    },
    /// A system of equations without a single solution.
    #[error("{0} cannot be solved: some covariate is a combination of the others")]
    Singular(&'static str),
    /// A search that came to no end.
    #[error("{what} did not converge in {iterations} iterations")]
    NotConverged {
        /// Which search.
        what: &'static str,
        /// How far it was let go.
        iterations: u32,
    },
    /// Covariates that predict outcomes without error, so that the likelihood has no maximum.
    #[error("the covariates separate successes from failures: use the penalised fit")]
    Separated,
    /// Rounds of replicates that are not complete.
    #[error("question {question} has {trials} trials where others have {others}: give whole rounds")]
    UnevenRounds {
        /// Index of the question.
        question: usize,
        /// Its trials.
        trials: u64,
        /// The trials of the first question.
        others: u64,
    },
}

/// Refuses lists that go together and differ in length.
pub(crate) fn same_length(what: &'static str, first: usize, second: usize) -> Result<(), StatsError> {
    if first == second { Ok(()) } else { Err(StatsError::Lengths { what, first, second }) }
}

/// Refuses a list with a value that is not a finite number.
pub(crate) fn all_finite(what: &'static str, values: &[f64]) -> Result<(), StatsError> {
    match values.iter().position(|value| !value.is_finite()) {
        Some(index) => Err(StatsError::NotFiniteAt { what, index }),
        None => Ok(()),
    }
}

/// Refuses fewer than `needed`.
pub(crate) fn at_least(what: &'static str, needed: usize, given: usize) -> Result<(), StatsError> {
    if given >= needed { Ok(()) } else { Err(StatsError::TooFew { what, needed, given }) }
}

/// Refuses a share that is not between 0 and 1, both allowed.
pub(crate) fn share(what: &'static str, value: f64) -> Result<(), StatsError> {
    if (0.0..=1.0).contains(&value) {
        Ok(())
    } else {
        Err(StatsError::OutOfRange { what, value, range: "0 to 1" })
    }
}

/// Refuses a number that is not above 0 and finite.
pub(crate) fn positive(what: &'static str, value: f64) -> Result<(), StatsError> {
    if value > 0.0 && value.is_finite() {
        Ok(())
    } else {
        Err(StatsError::OutOfRange { what, value, range: "the positive, finite numbers" })
    }
}
