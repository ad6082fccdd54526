//! How detectors are run: at the same time, under limits, with what the configuration says of failures. What is not
//! checked is said.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::config::file::OnFailure;
use crate::config::{Detector, Route, Settings};
use crate::inspection::{FlaggedExample, Inspection, RequestView, Risk, Unchecked, UncheckedReason};

/// What one detector came to.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    pub(crate) detector: Arc<Detector>,
    /// What it says of the risk; `None` where it failed.
    pub(crate) risk: Option<Risk>,
    /// Why it failed, if it did.
    pub(crate) failure: Option<UncheckedReason>,
    pub(crate) took: Duration,
}

/// What all detectors of a route came to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found {
    /// All that they say, together.
    pub(crate) inspection: Inspection,
    pub(crate) findings: Vec<Finding>,
    pub(crate) took: Duration,
}

impl Found {
    /// Whether a check failed without which the request may not go on.
    pub(crate) fn must_refuse(&self) -> bool {
        self.findings
            .iter()
            .any(|finding| finding.failure.is_some() && finding.detector.on_failure == OnFailure::Closed)
    }
}

/// Failures of a detector in a row.
#[derive(Debug, Default)]
struct Breaker {
    failures: u32,
    rests_until: Option<Instant>,
}

/// What is known of detectors across requests.
#[derive(Debug)]
pub(crate) struct Detectors {
    breakers: BTreeMap<String, Mutex<Breaker>>,
    running: AtomicUsize,
    most: usize,
    largest: usize,
}

impl Detectors {
    pub(crate) fn new(settings: &Settings) -> Self {
        let breakers =
            settings.detectors().into_iter().map(|detector| (detector.name.clone(), Mutex::default()));
        Self {
            breakers: breakers.collect(),
            running: AtomicUsize::new(0),
            most: settings.concurrent_inspections,
            largest: settings.inspected_bytes,
        }
    }

    /// How many detectors, of so many, may run for a request while so many others are inspected. Up to half of the limit, all;
    /// from there on fewer; none where the limit is reached.
    fn allowed(&self, detectors: usize, others: usize) -> usize {
        let free = self.most.saturating_sub(others);
        if 2 * others <= self.most && free > 0 {
            return detectors;
        }
        (detectors * 2 * free).div_ceil(self.most).min(detectors)
    }

    /// Lets a route's detectors look at a request. `view` is `None` where its body cannot be read as a conversation.
    pub(crate) async fn run(&self, route: &Route, view: Option<&Arc<RequestView>>, bytes: usize) -> Found {
        let began = Instant::now();
        let place = Place::take(&self.running);
        let allowed = self.allowed(route.detectors.len(), place.others);
        let mut tasks = Vec::with_capacity(route.detectors.len());
        for (index, detector) in route.detectors.iter().enumerate() {
            // Those that fail closed would refuse requests: they are left out last, with all others.
            let is_shed =
                place.others >= self.most || (index >= allowed && detector.on_failure == OnFailure::Open);
            let reason = match view {
                None => Some(UncheckedReason::Unknown),
                Some(_) if bytes > self.largest => Some(UncheckedReason::TooLarge),
                Some(_) if is_shed => Some(UncheckedReason::Shed),
                Some(_) if self.rests(detector) => Some(UncheckedReason::Resting),
                Some(_) => None,
            };
            let started = match (reason, view) {
                (None, Some(view)) => Ok(start(detector, view)),
                (reason, _) => Err(reason.unwrap_or(UncheckedReason::Unknown)),
            };
            tasks.push((Arc::clone(detector), started));
        }
        let mut found = Found::default();
        for (detector, started) in tasks {
            let result = match started {
                Ok(task) => finish(&detector, task, began).await,
                Err(reason) => Err(reason),
            };
            let mut took = began.elapsed();
            let (risk, failure) = match result {
                Ok((inspection, working)) => {
                    took = working;
                    let failure =
                        inspection.unchecked.iter().map(|unchecked| unchecked.reason).find(|reason| {
                            matches!(reason, UncheckedReason::TimedOut | UncheckedReason::Failed)
                        });
                    let risk = inspection.risk;
                    merge(&mut found.inspection, inspection);
                    (Some(risk), failure)
                }
                Err(reason) => {
                    found.inspection.unchecked.push(Unchecked {
                        detector: detector.name.clone().into(),
                        reason,
                        bytes: bytes as u64,
                    });
                    (None, Some(reason))
                }
            };
            self.count(&detector, failure);
            let failure = failure.or_else(|| stored_elsewhere(&mut found.inspection, &detector, view));
            found.findings.push(Finding { detector, risk, failure, took });
        }
        drop(place);
        found.took = began.elapsed();
        found
    }

    fn rests(&self, detector: &Detector) -> bool {
        let Some(breaker) = self.breakers.get(&detector.name) else { return false };
        let mut breaker = breaker.lock().unwrap_or_else(PoisonError::into_inner);
        match breaker.rests_until {
            Some(until) if Instant::now() < until => true,
            Some(_) => {
                // One request tries it; the next ones wait for what comes of that.
                breaker.rests_until = Some(Instant::now() + detector.rest);
                false
            }
            None => false,
        }
    }

    fn count(&self, detector: &Detector, failure: Option<UncheckedReason>) {
        let Some(breaker) = self.breakers.get(&detector.name) else { return };
        let mut breaker = breaker.lock().unwrap_or_else(PoisonError::into_inner);
        match failure {
            None => *breaker = Breaker::default(),
            Some(UncheckedReason::TimedOut | UncheckedReason::Failed) => {
                breaker.failures = breaker.failures.saturating_add(1);
                if detector.rest_after > 0 && breaker.failures >= detector.rest_after {
                    breaker.rests_until = Some(Instant::now() + detector.rest);
                }
            }
            // It was not asked.
            Some(_) => {}
        }
    }
}

/// Says that a detector saw only what the request itself has of its context, where that is not all of it.
fn stored_elsewhere(
    inspection: &mut Inspection,
    detector: &Detector,
    view: Option<&Arc<RequestView>>,
) -> Option<UncheckedReason> {
    view.filter(|view| view.is_continued)?;
    let reason = UncheckedReason::StoredElsewhere;
    // How much it is, the server behind alone knows.
    inspection.unchecked.push(Unchecked { detector: detector.name.clone().into(), reason, bytes: 0 });
    Some(reason)
}

/// A detector at work. It is stopped where nobody waits for it any more.
struct Task(tokio::task::JoinHandle<(Inspection, Duration)>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn start(detector: &Detector, view: &Arc<RequestView>) -> Task {
    let (inspector, view) = (Arc::clone(&detector.inspector), Arc::clone(view));
    Task(tokio::spawn(async move {
        let began = Instant::now();
        let inspection = inspector.inspect(&view).await;
        (inspection, began.elapsed())
    }))
}

async fn finish(
    detector: &Detector,
    mut task: Task,
    began: Instant,
) -> Result<(Inspection, Duration), UncheckedReason> {
    let left = detector.time.saturating_sub(began.elapsed());
    match tokio::time::timeout(left, &mut task.0).await {
        Err(_) => Err(UncheckedReason::TimedOut),
        // It panicked: its own fault, and no reason to lose the request.
        Ok(Err(_)) => Err(UncheckedReason::Failed),
        Ok(Ok(finished)) => Ok(finished),
    }
}

/// A place among the requests that are inspected.
struct Place<'a> {
    running: &'a AtomicUsize,
    /// How many others were inspected when this one came.
    others: usize,
}

impl<'a> Place<'a> {
    fn take(running: &'a AtomicUsize) -> Self {
        Self { others: running.fetch_add(1, Ordering::Relaxed), running }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.running.fetch_sub(1, Ordering::Relaxed);
    }
}

fn merge(all: &mut Inspection, one: Inspection) {
    all.risk = all.risk.max(one.risk);
    all.reasons.extend(one.reasons);
    // Detectors look at the same context.
    all.examples = all.examples.max(one.examples);
    let known: HashSet<FlaggedExample> = all.flagged.iter().cloned().collect();
    all.flagged.extend(one.flagged.into_iter().filter(|example| !known.contains(example)));
    all.unchecked.extend(one.unchecked);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn detectors_are_left_out_bit_by_bit() {
        let detectors =
            Detectors { breakers: BTreeMap::new(), running: AtomicUsize::new(0), most: 100, largest: 0 };
        let allowed: Vec<usize> = [0, 50, 51, 60, 75, 76, 90, 99, 100, 500]
            .iter()
            .map(|others| detectors.allowed(4, *others))
            .collect();
        assert_eq!(allowed, [4, 4, 4, 4, 2, 2, 1, 1, 0, 0]);
    }
}
