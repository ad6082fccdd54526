//! When a cell of an experiment has been sampled enough.

use crate::confidence::Confidence;
use crate::error::{StatsError, at_least, positive};
use crate::interval::Interval;
use crate::rates::{ClusterCount, total};
use crate::special::f_point;

use super::sequence::{rate_sequence, real_rate_sequence};

/// Sample until the rate on these questions is known to within a half-width.
///
/// It is asked after whole rounds, one sample of every question. Its interval is a confidence sequence, so that
/// asking after every round and stopping at the first yes keeps its level. Its target is the mean rate of **this**
/// set of questions; what other questions would give is the business of [`crate::clustered_rate`], whose interval
/// more samples cannot narrow beyond what questions differ by. Where that alone exceeds the target, sampling on is of
/// little use to anybody who cares for questions in general, and the rule says so.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StoppingRule {
    half_width: f64,
    confidence: Confidence,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The interval is narrow enough.
    Settled,
    /// It is not yet.
    NotSettled,
    /// The questions differ so much that the interval for questions in general stays wider than the target.
    CannotSettle,
}

/// How much the questions' own rates differ.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BetweenQuestions {
    /// The estimated standard deviation of the questions' rates: what is left of their spread when the chance of
    /// the samples is taken out; at least 0.
    pub deviation: f64,
    /// Its lower confidence limit, at a level that allows for being asked after every round.
    pub low: f64,
    /// The half-width below which the interval for questions in general cannot come, by the lower limit.
    pub smallest_half_width: f64,
}

/// The state of a cell after some rounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Assessment {
    /// What to do next.
    pub decision: Decision,
    /// The rate on these questions with its confidence sequence.
    pub interval: Interval,
    /// Rounds so far.
    pub rounds: u64,
    /// Rounds in all after which the interval would be narrow enough if the rate stayed what it is.
    pub expected_rounds: u64,
    /// How much the questions differ; `None` before the second round.
    pub between: Option<BetweenQuestions>,
}

impl StoppingRule {
    /// A rule that stops at a half-width, such as 0.03.
    ///
    /// # Errors
    /// [`StatsError::OutOfRange`] unless the half-width is between 10⁻⁴ and ½.
    pub fn new(half_width: f64, confidence: Confidence) -> Result<Self, StatsError> {
        positive("the target half-width", half_width)?;
        if !(1e-4..=0.5).contains(&half_width) {
            let (what, range) = ("the target half-width", "0.0001 to 0.5");
            return Err(StatsError::OutOfRange { what, value: half_width, range });
        }
        Ok(Self { half_width, confidence })
    }

    /// The target.
    pub fn half_width(&self) -> f64 {
        self.half_width
    }

    /// Judges the counts of all questions, each with as many trials as there were rounds.
    ///
    /// # Errors
    /// [`StatsError::UnevenRounds`], and as [`StoppingRule::assess_counted`].
    pub fn assess(&self, questions: &[ClusterCount]) -> Result<Assessment, StatsError> {
        let rounds = questions.first().map_or(0, |count| count.trials);
        if let Some((question, count)) =
            questions.iter().enumerate().find(|(_, count)| count.trials != rounds)
        {
            return Err(StatsError::UnevenRounds { question, trials: count.trials, others: rounds });
        }
        self.assess_counted(questions, rounds)
    }

    /// The same where not every sample of a round counts, as incoherent answers do not, or a round holds several
    /// samples of a question.
    ///
    /// The target is then the mean of the questions' rates by the shares in which their samples count. These shares
    /// become known while sampling, which the sequence does not allow for; in simulations it covers as it should
    /// (`tests/it/planning.rs`). Questions of which no sample counts are left out.
    ///
    /// # Errors
    /// [`StatsError::TooFew`] with fewer than two questions that count; [`StatsError::NoTrials`],
    /// [`StatsError::MoreSuccessesThanTrials`], [`StatsError::TooMany`].
    pub fn assess_counted(&self, questions: &[ClusterCount], rounds: u64) -> Result<Assessment, StatsError> {
        let (all, _) = total(questions)?;
        if all.trials == 0 {
            return Err(StatsError::NoTrials);
        }
        let counted: Vec<ClusterCount> = questions.iter().filter(|count| count.trials > 0).copied().collect();
        at_least("questions", 2, counted.len())?;
        let interval = rate_sequence(all.successes, all.trials, self.confidence)?;
        let has_spread = rounds >= 2 && all.trials > counted.len() as u64;
        let between = has_spread.then(|| self.between(&counted, rounds));
        let decision = if interval.half_width() <= self.half_width {
            Decision::Settled
        } else if between.is_some_and(|between| between.smallest_half_width > self.half_width) {
            Decision::CannotSettle
        } else {
            Decision::NotSettled
        };
        let a_round = all.trials as f64 / rounds.max(1) as f64;
        let expected_rounds = self.rounds_at(interval.estimate, a_round, rounds);
        Ok(Assessment { decision, interval, rounds, expected_rounds, between })
    }

    /// Rounds after which the sequence is narrow enough if a `rate` is observed throughout, for planning: at least
    /// `from`.
    pub fn expected_rounds(&self, rate: f64, questions: u64, from: u64) -> u64 {
        self.rounds_at(rate, questions as f64, from)
    }

    /// The same where a round brings so many trials that count.
    fn rounds_at(&self, rate: f64, a_round: f64, from: u64) -> u64 {
        let narrow = |rounds: u64| {
            let trials = rounds as f64 * a_round;
            let (s, f) = (rate * trials, (1.0 - rate) * trials);
            real_rate_sequence(s, f, self.confidence).half_width() <= self.half_width
        };
        let from = from.max(1);
        if narrow(from) {
            return from;
        }
        let (mut low, mut high) = (from, from.saturating_mul(2));
        while !narrow(high) && high < u64::MAX / 2 {
            (low, high) = (high, high.saturating_mul(2));
        }
        while high - low > 1 {
            let middle = u64::midpoint(low, high);
            if narrow(middle) { high = middle } else { low = middle }
        }
        high
    }

    /// The variance between questions of a one-way layout with random effects, with its lower limit by the F
    /// distribution of the ratio of mean squares (Searle, Casella & `McCulloch`, *Variance Components*, 1992, §3.5;
    /// an approximation for binary samples). The level is divided over the rounds r by `r (r − 1)`, whose
    /// inverses add up to 1, so that all rounds together keep it.
    fn between(&self, questions: &[ClusterCount], rounds: u64) -> BetweenQuestions {
        let count = questions.len() as f64;
        let (mut trials, mut squares, mut successes, mut of_samples) = (0.0, 0.0, 0.0, 0.0);
        for question in questions {
            let (n, rate) = (question.trials as f64, question.successes as f64 / question.trials as f64);
            trials += n;
            squares += n * n;
            successes += question.successes as f64;
            of_samples += n * rate * (1.0 - rate);
        }
        let mean = successes / trials;
        let deviation = |question: &ClusterCount| {
            let n = question.trials as f64;
            let miss = question.successes as f64 / n - mean;
            n * miss * miss
        };
        let of_questions = questions.iter().map(deviation).sum::<f64>() / (count - 1.0);
        let free = trials - count;
        let of_samples = of_samples / free;
        // Samples of a question: all alike, or the number that takes their place where they are not (Searle et al.,
        // §3.6).
        let m = (trials - squares / trials) / (count - 1.0);
        let tail = self.confidence.tail() / (rounds as f64 * (rounds as f64 - 1.0));
        let quantile = f_point(tail, count - 1.0, free);
        let variance = ((of_questions - of_samples) / m).max(0.0);
        let low = ((of_questions / quantile - of_samples) / m).clamp(0.0, variance).sqrt();
        let t = self.confidence.t_quantile(questions.len() as u64 - 1);
        BetweenQuestions { deviation: variance.sqrt(), low, smallest_half_width: t * low / count.sqrt() }
    }
}
