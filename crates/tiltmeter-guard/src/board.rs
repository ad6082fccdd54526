//! What the live page shows, gathered in memory: the last hour by the minute, and what was found and failed since the start.
//! Its size is bounded whatever is sent.

mod examples;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde::Serialize;

use self::examples::Examples;
pub(crate) use self::examples::FlaggedRow;
use crate::config::{Redaction, Route};
use crate::inspecting::Found;
use crate::inspection::{RequestView, RiskLevel};
use crate::policy::Deed;

/// Minutes that are kept.
pub(crate) const MINUTES: usize = 60;

/// What became of a request, as the page tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Fate {
    /// The model's server answered, and all of it was given.
    Answered,
    /// A check of contexts or answers ended it.
    Blocked,
    /// The gateway refused it for another reason.
    Refused,
    /// The model's server failed.
    Failed,
    /// The client left.
    Left,
}

impl Fate {
    pub(crate) const ALL: [Self; 5] =
        [Self::Answered, Self::Blocked, Self::Refused, Self::Failed, Self::Left];

    /// `ended` is how the answer ended, by its name in figures.
    fn of(status: Option<u16>, ended: &str) -> Self {
        match (ended, status) {
            ("client-left", _) => Self::Left,
            ("cut", _) | ("refused", Some(403)) => Self::Blocked,
            ("broken-off" | "timed-out", _) | (_, Some(502 | 504)) => Self::Failed,
            ("refused", _) => Self::Refused,
            (_, Some(status)) if status >= 500 => Self::Failed,
            _ => Self::Answered,
        }
    }

    /// As the page names it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Blocked => "blocked",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Left => "left",
        }
    }

    fn index(self) -> usize {
        self as usize
    }
}

/// Requests by what became of them, in the order of [`Fate::ALL`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts([u64; Fate::ALL.len()]);

impl Counts {
    fn add(&mut self, fate: Fate) {
        if let Some(count) = self.0.get_mut(fate.index()) {
            *count += 1;
        }
    }

    fn add_all(&mut self, others: Self) {
        for (count, other) in self.0.iter_mut().zip(others.0) {
            *count += other;
        }
    }

    pub(crate) fn of(&self, fate: Fate) -> u64 {
        self.0.get(fate.index()).copied().unwrap_or(0)
    }

    pub(crate) fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

impl Serialize for Counts {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(Fate::ALL.iter().map(|fate| (fate.name(), self.of(*fate))))
    }
}

/// A minute of the last hour.
#[derive(Clone, Debug, Default)]
struct Minute {
    /// Minutes since 1970.
    at: i64,
    routes: BTreeMap<String, Counts>,
}

/// What was found in a route's contexts, since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct RouteRisk {
    /// Inspected requests at each risk, by what was done with them.
    pub(crate) none: BTreeMap<String, u64>,
    pub(crate) low: BTreeMap<String, u64>,
    pub(crate) high: BTreeMap<String, u64>,
}

impl RouteRisk {
    pub(crate) fn levels(&self) -> [(RiskLevel, &BTreeMap<String, u64>); 3] {
        [(RiskLevel::None, &self.none), (RiskLevel::Low, &self.low), (RiskLevel::High, &self.high)]
    }
}

#[derive(Debug, Default)]
struct Inner {
    /// The newest last.
    minutes: VecDeque<Minute>,
    since_start: BTreeMap<String, Counts>,
    risk: BTreeMap<String, RouteRisk>,
    unchecked: BTreeMap<(String, &'static str), u64>,
    refusals: BTreeMap<&'static str, u64>,
    examples: Examples,
}

/// The board.
#[derive(Debug)]
pub(crate) struct Board {
    since: Timestamp,
    inner: Mutex<Inner>,
}

impl Board {
    pub(crate) fn new() -> Self {
        Self { since: Timestamp::now(), inner: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request has ended.
    pub(crate) fn ended(&self, route: &str, status: Option<u16>, ended: &str) {
        let fate = Fate::of(status, ended);
        let mut inner = self.lock();
        inner.minute(minute(Timestamp::now())).routes.entry(route.to_owned()).or_default().add(fate);
        inner.since_start.entry(route.to_owned()).or_default().add(fate);
    }

    /// The gateway answered itself.
    pub(crate) fn refused(&self, code: &'static str) {
        *self.lock().refusals.entry(code).or_default() += 1;
    }

    /// A check was not done.
    pub(crate) fn unchecked(&self, detector: &str, reason: &'static str) {
        *self.lock().unchecked.entry((detector.to_owned(), reason)).or_default() += 1;
    }

    /// A context was inspected. With `content`, the texts of flagged examples are kept, without what the redaction matches.
    pub(crate) fn inspected(
        &self,
        route: &Route,
        found: &Found,
        deed: &Deed,
        content: Option<(&RequestView, &Redaction)>,
    ) {
        let done = match (route.dry_run, deed.done.is_empty(), deed.not_done.is_empty()) {
            (true, _, false) => format!("would {}", deed.not_done.join(" + ")),
            (_, false, _) => deed.done.join(" + "),
            _ => "nothing".to_owned(),
        };
        let mut inner = self.lock();
        let risk = inner.risk.entry(route.name.clone()).or_default();
        let level = match found.inspection.risk.level {
            RiskLevel::None => &mut risk.none,
            RiskLevel::Low => &mut risk.low,
            RiskLevel::High => &mut risk.high,
        };
        *level.entry(done).or_default() += 1;
        if !found.inspection.flagged.is_empty() {
            inner.examples.see(&route.name, &found.inspection, content, Timestamp::now());
        }
    }

    /// What the page shows. `counted` is what is counted elsewhere.
    pub(crate) fn snapshot(&self, now: Timestamp, counted: Counted) -> BoardSnapshot {
        let inner = self.lock();
        let newest = minute(now);
        let oldest = newest + 1 - i64::try_from(MINUTES).unwrap_or(0);
        let mut minutes = vec![Counts::default(); MINUTES];
        let mut routes: BTreeMap<String, RouteTraffic> = BTreeMap::new();
        for minute in inner.minutes.iter().filter(|minute| (oldest..=newest).contains(&minute.at)) {
            for (route, counts) in &minute.routes {
                if let Some(all) =
                    usize::try_from(minute.at - oldest).ok().and_then(|index| minutes.get_mut(index))
                {
                    all.add_all(*counts);
                }
                let traffic = routes.entry(route.clone()).or_default();
                traffic.last_hour.add_all(*counts);
                if minute.at == newest {
                    traffic.this_minute = counts.total();
                }
            }
        }
        for (route, counts) in &inner.since_start {
            routes.entry(route.clone()).or_default().since_start = *counts;
        }
        BoardSnapshot {
            since: self.since,
            minutes,
            routes,
            risk: inner.risk.clone(),
            examples: inner.examples.rows(),
            more_examples: inner.examples.left_out(),
            failures: Failures {
                counted,
                unchecked: inner
                    .unchecked
                    .iter()
                    .map(|((detector, reason), count)| UncheckedRow {
                        detector: detector.clone(),
                        reason,
                        count: *count,
                    })
                    .collect(),
                refusals: inner.refusals.clone(),
            },
        }
    }
}

impl Inner {
    /// The entry of a minute; where the clock went back, of the newest that there is.
    fn minute(&mut self, at: i64) -> &mut Minute {
        let newest = self.minutes.back().map(|minute| minute.at);
        if newest.is_none_or(|newest| newest < at) {
            self.minutes.push_back(Minute { at, routes: BTreeMap::new() });
            while self.minutes.len() > MINUTES {
                self.minutes.pop_front();
            }
        }
        let last = self.minutes.len().saturating_sub(1);
        // There is one: it was just put in, or was there.
        &mut self.minutes.make_contiguous()[last]
    }
}

fn minute(at: Timestamp) -> i64 {
    at.as_second().div_euclid(60)
}

/// All that the board holds, at one moment.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct BoardSnapshot {
    /// When the gateway was started.
    pub(crate) since: Timestamp,
    /// Requests that ended in each minute of the last hour, the newest last.
    pub(crate) minutes: Vec<Counts>,
    /// By the route's name; of requests that no route is for, an empty one.
    pub(crate) routes: BTreeMap<String, RouteTraffic>,
    pub(crate) risk: BTreeMap<String, RouteRisk>,
    /// Flagged examples, those seen most first.
    pub(crate) examples: Vec<FlaggedRow>,
    /// Further flagged examples that are not kept, each as often as it was seen.
    pub(crate) more_examples: u64,
    pub(crate) failures: Failures,
}

/// A route's requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct RouteTraffic {
    pub(crate) this_minute: u64,
    pub(crate) last_hour: Counts,
    pub(crate) since_start: Counts,
}

/// What the gateway's figures count, since the start.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Counted {
    /// Requests that went on though a check failed.
    pub(crate) failed_open: u64,
    /// Answers that a check ended.
    pub(crate) cut: u64,
    /// Bytes of answers that no check saw before they were given.
    pub(crate) unchecked_bytes: u64,
}

/// What failed, since the start.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Failures {
    #[serde(flatten)]
    pub(crate) counted: Counted,
    pub(crate) unchecked: Vec<UncheckedRow>,
    /// The gateway's own answers, by code.
    pub(crate) refusals: BTreeMap<&'static str, u64>,
}

/// Checks that were not done.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct UncheckedRow {
    pub(crate) detector: String,
    pub(crate) reason: &'static str,
    pub(crate) count: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_told_apart_by_what_became_of_them() {
        let cases = [
            (Some(200), "complete", Fate::Answered),
            (Some(429), "complete", Fate::Answered),
            (Some(500), "complete", Fate::Failed),
            (Some(200), "cut", Fate::Blocked),
            (Some(403), "refused", Fate::Blocked),
            (Some(503), "refused", Fate::Refused),
            (Some(400), "refused", Fate::Refused),
            (Some(502), "refused", Fate::Failed),
            (Some(200), "broken-off", Fate::Failed),
            (None, "client-left", Fate::Left),
        ];
        for (status, ended, expected) in cases {
            assert_eq!(Fate::of(status, ended), expected, "{status:?} {ended}");
        }
    }

    #[test]
    fn the_last_hour_is_kept_by_the_minute() {
        let mut inner = Inner::default();
        for at in [1000, 1001, 1001, 1005, 1003] {
            inner.minute(at).routes.entry("r".to_owned()).or_default().add(Fate::Answered);
        }
        let kept: Vec<(i64, u64)> =
            inner.minutes.iter().map(|minute| (minute.at, minute.routes["r"].total())).collect();
        // The clock went back once.
        assert_eq!(kept, [(1000, 1), (1001, 2), (1005, 2)]);
        for at in 2000..3000 {
            inner.minute(at);
        }
        assert_eq!((inner.minutes.len(), inner.minutes[0].at), (MINUTES, 2940));
        let board = Board { since: Timestamp::now(), inner: Mutex::new(Inner::default()) };
        board.ended("r", Some(200), "complete");
        board.ended("r", Some(403), "refused");
        let snapshot = board.snapshot(Timestamp::now(), Counted::default());
        assert_eq!(snapshot.routes["r"].last_hour.total(), 2);
        assert_eq!(snapshot.minutes.iter().map(Counts::total).sum::<u64>(), 2);
        let later = Timestamp::now() + jiff::SignedDuration::from_hours(2);
        let snapshot = board.snapshot(later, Counted::default());
        assert_eq!(snapshot.routes["r"].last_hour.total(), 0);
        assert_eq!(snapshot.routes["r"].since_start.of(Fate::Blocked), 1);
    }
}
