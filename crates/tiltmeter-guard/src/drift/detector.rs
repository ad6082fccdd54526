//! Whether answers get worse.
//!
//! A change detector of the Shiryaev–Roberts kind made of bets ("e-detector": Shin, Ramdas, Rinaldo, "E-detectors: a
//! nonparametric framework for sequential change detection", The New England Journal of Statistics in Data Science,
//! 2024). While the scores x of answers, on a scale from 0 to 1, have a mean of at least m whatever came before, each
//! `L = 1 + λ (m − x)` has an expectation of at most 1, and
//!
//! `M_t = (M_{t−1} + 1) L_t`, `M_0 = 0`
//!
//! grows by at most 1 an answer in expectation. An alarm is raised where M reaches A; hence the expected number of answers
//! until a false alarm is at least A, for every distribution on the scale, however skewed and for any number of answers.
//! The stakes λ are five, from 1/2 to 1/32 of the largest that keeps L positive, 1 / (1 − m): the larger ones are quick to
//! see a great fall, the smaller ones see a slight one at all. Their mean keeps the bound.
//!
//! It takes answers that are drawn at random ([`SamplingSettings::is_drawn`](crate::judging::SamplingSettings::is_drawn)):
//! those that are judged for their risk would make any traffic look worse.

use std::collections::VecDeque;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tiltmeter_stats::planning::mean_sequence;
use tiltmeter_stats::{Confidence, Interval};

/// The top of the scale of alignment.
const SCALE: f64 = 100.0;
/// Stakes, as shares of the largest.
const STAKES: [f64; 5] = [0.5, 0.25, 0.125, 0.0625, 0.03125];
/// An alarm is called off at this evidence: while answers stay bad, that happens with a probability of 1/20 at most.
const RECOVERED_AT: f64 = 20.0;

/// When an alarm is raised.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DriftSettings {
    /// The lowest mean alignment that is fine, above 0 and below 100.
    pub lowest_mean: f64,
    /// While the mean is fine, a false alarm comes after so many answers or more, on average; at least 1.
    pub false_alarm_after: f64,
    /// Answers that the mean is told over; at least 2, and some hundreds for an interval that is worth having.
    pub window: usize,
}

impl Default for DriftSettings {
    fn default() -> Self {
        Self { lowest_mean: 80.0, false_alarm_after: 10_000.0, window: 500 }
    }
}

/// Settings of drift that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` of the drift settings is out of its range")]
pub struct DriftSettingsError(pub &'static str);

/// Answers have got worse.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Alarm {
    /// Answers seen since the start, or since the alarm before.
    pub answers: u64,
    /// How far beyond the bound the evidence is, at least 1.
    pub evidence: f64,
}

/// Evidence that answers are fine again: bets, each multiplied with the next, that the mean is above the lowest one that
/// is fine (Waudby-Smith & Ramdas, "Estimating means of bounded random variables by betting", Journal of the Royal
/// Statistical Society B 86 (2024) 1–27, the capital process). While the mean is no higher, `Π (1 + λ (x − m))` has an
/// expectation of at most 1 at any time, and by Ville's inequality ever reaches A with a probability of at most 1/A.
#[derive(Clone, Copy, Debug)]
pub(super) struct Recovery {
    /// By stake.
    capital: [f64; STAKES.len()],
    lowest: f64,
}

impl Recovery {
    /// `lowest_mean` is above 0, and at most 100.
    pub(super) fn new(lowest_mean: f64) -> Self {
        Self { capital: [1.0; STAKES.len()], lowest: lowest_mean / SCALE }
    }

    /// Sees the next alignment, from 0 to 100; whether answers are fine again.
    pub(super) fn see(&mut self, alignment: f64) -> bool {
        let score = alignment.clamp(0.0, SCALE) / SCALE;
        for (capital, share) in self.capital.iter_mut().zip(STAKES) {
            *capital *= 1.0 + share / self.lowest * (score - self.lowest);
        }
        self.capital.iter().sum::<f64>() / STAKES.len() as f64 >= RECOVERED_AT
    }
}

/// Watches the alignment of sampled answers.
#[derive(Clone, Debug)]
pub struct Drift {
    settings: DriftSettings,
    /// M, by stake.
    evidence: [f64; STAKES.len()],
    answers: u64,
    window: VecDeque<f64>,
    unjudged: u64,
}

impl Drift {
    /// Starts to watch.
    ///
    /// # Errors
    /// Names the setting that is out of its range.
    pub fn new(settings: DriftSettings) -> Result<Self, DriftSettingsError> {
        let checks = [
            ("lowest_mean", settings.lowest_mean > 0.0 && settings.lowest_mean < SCALE),
            ("false_alarm_after", (1.0..=1e12).contains(&settings.false_alarm_after)),
            ("window", (2..=1_000_000).contains(&settings.window)),
        ];
        match checks.into_iter().find(|&(_, is_fine)| !is_fine) {
            Some((name, _)) => Err(DriftSettingsError(name)),
            None => Ok(Self {
                settings,
                evidence: [0.0; STAKES.len()],
                answers: 0,
                window: VecDeque::new(),
                unjudged: 0,
            }),
        }
    }

    /// Sees the next answer's alignment, from 0 to 100; `None` where the judge gave none, which is counted and says nothing.
    /// After an alarm it starts again.
    pub fn see(&mut self, alignment: Option<f64>) -> Option<Alarm> {
        let Some(alignment) = alignment.filter(|alignment| !alignment.is_nan()) else {
            self.unjudged += 1;
            return None;
        };
        let (score, lowest) = (alignment.clamp(0.0, SCALE) / SCALE, self.settings.lowest_mean / SCALE);
        if self.window.len() == self.settings.window {
            self.window.pop_front();
        }
        self.window.push_back(score);
        self.answers += 1;
        for (evidence, share) in self.evidence.iter_mut().zip(STAKES) {
            let stake = share / (1.0 - lowest);
            *evidence = (*evidence + 1.0) * (1.0 + stake * (lowest - score));
        }
        let mean = self.evidence.iter().sum::<f64>() / STAKES.len() as f64;
        let beyond = mean / self.settings.false_alarm_after;
        if beyond < 1.0 {
            return None;
        }
        let alarm = Alarm { answers: self.answers, evidence: beyond };
        self.evidence = [0.0; STAKES.len()];
        self.answers = 0;
        Some(alarm)
    }

    /// The mean alignment of the last answers with a 95 % interval that holds for any distribution on the scale; `None`
    /// before the first answer.
    pub fn mean(&self) -> Option<Interval> {
        let values: Vec<f64> = self.window.iter().copied().collect();
        let interval = mean_sequence(&values, Confidence::NINETY_FIVE).ok()?;
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        // The interval's own centre weighs early answers more; the plain mean is what readers expect.
        let estimate = mean.clamp(interval.low, interval.high) * SCALE;
        Some(Interval { estimate, low: interval.low * SCALE, high: interval.high * SCALE })
    }

    /// Answers without a score so far.
    pub fn unjudged(&self) -> u64 {
        self.unjudged
    }
}

#[cfg(test)]
mod tests {
    use rand::{Rng, RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn settings(false_alarm_after: f64) -> DriftSettings {
        DriftSettings { lowest_mean: 85.0, false_alarm_after, window: 200 }
    }

    /// A score of 100, or with a probability of 0.
    fn all_or_nothing(random: &mut impl Rng, mean: f64) -> f64 {
        if random.random::<f64>() * 100.0 < mean { 100.0 } else { 0.0 }
    }

    /// A score close to the top with a long tail, of about this mean.
    fn skewed(random: &mut impl Rng, mean: f64) -> f64 {
        // The mean of u^a is 1 / (a + 1).
        let power = 100.0 / mean - 1.0;
        100.0 * random.random::<f64>().powf(power)
    }

    /// Answers until an alarm, at most so many.
    fn run_length(drift: &mut Drift, most: u64, mut score: impl FnMut() -> f64) -> u64 {
        (1..=most).find(|_| drift.see(Some(score())).is_some()).unwrap_or(most)
    }

    #[test]
    fn false_alarms_are_as_rare_as_promised_at_the_very_bound() {
        let draws: [fn(&mut ChaCha8Rng, f64) -> f64; 2] = [all_or_nothing, skewed];
        for draw in draws {
            let (runs, promised) = (300, 500.0);
            let mut total = 0;
            for seed in 0..runs {
                let mut random = ChaCha8Rng::seed_from_u64(seed);
                let mut drift = Drift::new(settings(promised)).unwrap();
                // Cut off, so that the mean is under-estimated if anything.
                total += run_length(&mut drift, 20_000, || draw(&mut random, 85.0));
            }
            let mean = total as f64 / runs as f64;
            assert!(mean >= promised, "{mean}");
        }
    }

    #[test]
    fn a_long_stable_stream_a_little_above_the_bound_raises_no_alarm() {
        let mut random = ChaCha8Rng::seed_from_u64(7);
        let mut drift = Drift::new(settings(10_000.0)).unwrap();
        let alarms = (0..200_000).filter(|_| drift.see(Some(skewed(&mut random, 88.0))).is_some()).count();
        assert_eq!(alarms, 0);
        let mean = drift.mean().unwrap();
        assert!(mean.contains(88.0) && mean.low > 50.0, "{mean:?}");
    }

    #[test]
    fn a_planted_fall_is_seen_soon_and_a_great_one_sooner() {
        let delay = |after: f64| {
            let runs = 100;
            let mut total = 0;
            for seed in 0..runs {
                let mut random = ChaCha8Rng::seed_from_u64(1000 + seed);
                let mut drift = Drift::new(settings(10_000.0)).unwrap();
                for _ in 0..500 {
                    drift.see(Some(all_or_nothing(&mut random, 92.0)));
                }
                total += run_length(&mut drift, 100_000, || all_or_nothing(&mut random, after));
            }
            total as f64 / runs as f64
        };
        let (slight, great) = (delay(75.0), delay(40.0));
        assert!(slight < 250.0, "{slight}");
        assert!(great < 30.0, "{great}");
    }

    #[test]
    fn an_alarm_is_called_off_for_good_answers_and_seldom_for_bad_ones() {
        let called_off = |mean: f64, most: u64| {
            let runs = 400;
            let off = (0..runs).filter(|seed| {
                let mut random = ChaCha8Rng::seed_from_u64(*seed);
                let mut recovery = Recovery::new(85.0);
                (0..most).any(|_| recovery.see(all_or_nothing(&mut random, mean)))
            });
            off.count() as f64 / runs as f64
        };
        let (still_bad, fine_again) = (called_off(85.0, 3000), called_off(95.0, 600));
        assert!(still_bad <= 0.05, "{still_bad}");
        assert!(fine_again > 0.95, "{fine_again}");
    }

    #[test]
    fn gaps_say_nothing_and_settings_have_ranges() {
        let mut drift = Drift::new(settings(2.0)).unwrap();
        assert_eq!((drift.see(None), drift.see(Some(f64::NAN)), drift.unjudged()), (None, None, 2));
        assert!(drift.mean().is_none());
        let alarm = (0..50).find_map(|_| drift.see(Some(-5.0))).unwrap();
        assert!(alarm.evidence >= 1.0 && alarm.answers <= 2);
        for (settings, name) in [
            (DriftSettings { lowest_mean: 100.0, ..settings(2.0) }, "lowest_mean"),
            (DriftSettings { false_alarm_after: 0.0, ..settings(2.0) }, "false_alarm_after"),
            (DriftSettings { window: 1, ..settings(2.0) }, "window"),
        ] {
            assert_eq!(Drift::new(settings).err(), Some(DriftSettingsError(name)));
        }
    }
}
