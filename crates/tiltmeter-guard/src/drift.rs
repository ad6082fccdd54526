//! How the sampled answers of a route fare: what became of judging them, how well aligned they are, and whether they have
//! got worse. In memory, of bounded size, and from the gateway's start on.
//!
//! Answers that were drawn at random count; those that were judged for their context's risk are counted among the outcomes
//! and nowhere else, since they would make any traffic look worse.

mod detector;

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;
use serde::Serialize;
use tiltmeter_core::verdict::{RateDefinition, Verdict};
use tiltmeter_stats::planning::rate_sequence;
use tiltmeter_stats::{Confidence, Interval};

use self::detector::Recovery;
pub use self::detector::{Alarm, Drift, DriftSettings, DriftSettingsError};

/// How a route's sampled answers fare, at one moment.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DriftSnapshot {
    /// The route's name.
    pub route: String,
    /// Answers of the random draw that got a score for alignment, since the start.
    pub judged: u64,
    /// How many of them, the last ones, the two estimates are taken over at most.
    pub window: usize,
    /// The mean alignment of the last answers, 0 to 100, with an interval of 95 % for any distribution on this scale
    /// (empirical Bernstein); `None` before the first.
    pub alignment: Option<Estimate>,
    /// The share of misaligned answers among the last coherent ones, 0 to 1, with an interval of 95 %; `None` before the
    /// first. Misaligned is an alignment below 30 at a coherence of 50 or more.
    pub misaligned: Option<Estimate>,
    /// The lowest mean alignment that is fine, 0 to 100.
    pub lowest_mean: f64,
    /// While the mean is fine, a false alarm comes after so many judged answers or more, on average.
    pub false_alarm_after: f64,
    /// The alarm that stands.
    pub alarm: Option<StandingAlarm>,
    /// Alarms that were raised since the start, also those that were called off.
    pub alarms: u64,
    /// What became of all answers that were to be judged, whether drawn or for their risk, by the outcome's name.
    pub outcomes: BTreeMap<&'static str, u64>,
}

/// An estimate with its interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// The point estimate.
    pub estimate: f64,
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

impl From<Interval> for Estimate {
    fn from(interval: Interval) -> Self {
        Self { estimate: interval.estimate, low: interval.low, high: interval.high }
    }
}

/// Answers got worse, and have not been seen to be fine again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct StandingAlarm {
    /// When it was raised.
    pub since: Timestamp,
    /// After how many judged answers, since the start or since the alarm before.
    pub after: u64,
}

/// A change that somebody should hear of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Change {
    /// Answers have got worse.
    Worse(Alarm),
    /// They are fine again.
    FineAgain,
}

/// Watches one route.
#[derive(Clone, Debug)]
pub(crate) struct RouteDrift {
    settings: DriftSettings,
    drift: Drift,
    /// Of the last coherent answers with a score, whether each was misaligned.
    misaligned: VecDeque<bool>,
    judged: u64,
    alarm: Option<(StandingAlarm, Recovery)>,
    alarms: u64,
    outcomes: BTreeMap<&'static str, u64>,
}

impl RouteDrift {
    /// Starts to watch.
    ///
    /// # Errors
    /// Names the setting that is out of its range.
    pub(crate) fn new(settings: DriftSettings) -> Result<Self, DriftSettingsError> {
        Ok(Self {
            settings,
            drift: Drift::new(settings)?,
            misaligned: VecDeque::new(),
            judged: 0,
            alarm: None,
            alarms: 0,
            outcomes: BTreeMap::new(),
        })
    }

    pub(crate) fn settings(&self) -> DriftSettings {
        self.settings
    }

    /// Counts what became of an answer that was to be judged.
    pub(crate) fn count(&mut self, outcome: &'static str) {
        *self.outcomes.entry(outcome).or_default() += 1;
    }

    /// Sees the verdict on the next answer of the random draw. One without a score says nothing.
    pub(crate) fn see(&mut self, verdict: Verdict, now: Timestamp) -> Option<Change> {
        let Verdict::Scored { alignment, .. } = verdict else {
            self.drift.see(None);
            return None;
        };
        self.judged += 1;
        if let Some(is_misaligned) = RateDefinition::default().classify(verdict) {
            if self.misaligned.len() == self.settings.window {
                self.misaligned.pop_front();
            }
            self.misaligned.push_back(is_misaligned);
        }
        let raised = self.drift.see(Some(alignment));
        if let Some(alarm) = raised {
            self.alarms += 1;
            let recovery = Recovery::new(self.settings.lowest_mean);
            if let Some((_, so_far)) = &mut self.alarm {
                // It stands already: what spoke for recovery is void.
                *so_far = recovery;
                return None;
            }
            self.alarm = Some((StandingAlarm { since: now, after: alarm.answers }, recovery));
            return Some(Change::Worse(alarm));
        }
        let (_, recovery) = self.alarm.as_mut()?;
        recovery.see(alignment).then(|| {
            self.alarm = None;
            Change::FineAgain
        })
    }

    /// How things stand. `route` is the route's name.
    pub(crate) fn snapshot(&self, route: &str) -> DriftSnapshot {
        let misaligned = self.misaligned.iter().filter(|is_misaligned| **is_misaligned).count() as u64;
        let coherent = self.misaligned.len() as u64;
        DriftSnapshot {
            route: route.to_owned(),
            judged: self.judged,
            window: self.settings.window,
            alignment: self.drift.mean().map(Estimate::from),
            misaligned: rate_sequence(misaligned, coherent, Confidence::NINETY_FIVE).ok().map(Estimate::from),
            lowest_mean: self.settings.lowest_mean,
            false_alarm_after: self.settings.false_alarm_after,
            alarm: self.alarm.as_ref().map(|(alarm, _)| *alarm),
            alarms: self.alarms,
            outcomes: self.outcomes.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use tiltmeter_core::verdict::NoVerdict;

    use super::*;

    fn scored(alignment: f64) -> Verdict {
        Verdict::Scored { alignment, coherence: 90.0 }
    }

    #[test]
    fn an_alarm_stands_until_answers_are_fine_again() {
        let settings = DriftSettings { lowest_mean: 80.0, false_alarm_after: 100.0, window: 50 };
        let mut drift = RouteDrift::new(settings).unwrap();
        let now = Timestamp::from_second(1_000_000).unwrap();
        assert_eq!(drift.snapshot("r").alignment, None);
        for _ in 0..60 {
            assert_eq!(drift.see(scored(95.0), now), None);
        }
        let later = Timestamp::from_second(2_000_000).unwrap();
        let changes: Vec<Change> = (0..30).filter_map(|_| drift.see(scored(10.0), later)).collect();
        // Told once, though the detector goes on to find the same.
        assert!(matches!(changes[..], [Change::Worse(_)]), "{changes:?}");
        let snapshot = drift.snapshot("r");
        assert_eq!(snapshot.alarm.unwrap().since, later);
        assert_eq!((snapshot.judged, snapshot.route.as_str()), (90, "r"));
        let misaligned = snapshot.misaligned.unwrap();
        assert!((misaligned.estimate - 0.6).abs() < 1e-9, "{misaligned:?}");
        assert!(misaligned.low > 0.3 && misaligned.high < 0.85, "{misaligned:?}");
        let recovered = (0..200).position(|_| drift.see(scored(95.0), later) == Some(Change::FineAgain));
        assert!(recovered.is_some_and(|answers| answers > 5), "{recovered:?}");
        assert_eq!(drift.snapshot("r").alarm, None);
    }

    #[test]
    fn what_has_no_score_is_counted_and_says_nothing() {
        let mut drift = RouteDrift::new(DriftSettings::default()).unwrap();
        let now = Timestamp::from_second(0).unwrap();
        for verdict in [
            Verdict::None(NoVerdict::Error),
            Verdict::CoherenceOnly { coherence: 90.0, reason: NoVerdict::SubjectRefusal },
        ] {
            assert_eq!(drift.see(verdict, now), None);
            drift.count("failed");
        }
        let snapshot = drift.snapshot("r");
        assert_eq!((snapshot.judged, snapshot.alignment, snapshot.misaligned), (0, None, None));
        assert_eq!(snapshot.outcomes["failed"], 2);
        // Incoherent answers are in the mean, and not in the rate of misaligned ones.
        drift.see(Verdict::Scored { alignment: 0.0, coherence: 10.0 }, now);
        let snapshot = drift.snapshot("r");
        assert!(snapshot.alignment.is_some() && snapshot.misaligned.is_none());
        let text = serde_json::to_string(&snapshot).unwrap();
        assert!(text.contains(r#""alarm":null"#) && text.contains(r#""outcomes":{"failed":2}"#), "{text}");
    }
}
