//! Where sampled answers wait for their judge, apart from all requests: a queue of bounded length for each judge, and what
//! became of each answer, told to the audit log, the figures and the watch over drift.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::answer::{AnswerJudge, JudgedContent, MOST_CHOICES, Questions};
use super::gather::Gathered;
use super::judgement::{Judgement, JudgingOutcome};
use super::question::Question;
use super::sampling::Chosen;
use crate::audit::JudgementRecord;
use crate::config::{JudgingSettings, Settings};
use crate::drift::{Change, DriftSnapshot, RouteDrift};
use crate::gateway::Shared;
use crate::relay::Ended;
use crate::telemetry::Span;

/// How long records of what was given up may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// An answer that is to be judged.
pub(crate) struct Sampled {
    /// The request's id.
    pub(crate) request: String,
    pub(crate) route: String,
    pub(crate) settings: JudgingSettings,
    pub(crate) chosen: Chosen,
    pub(crate) question: Question,
    /// The request in traces, once it was told.
    pub(crate) span: Option<Span>,
}

/// The desk.
#[derive(Debug, Default)]
pub(crate) struct Desk {
    tasks: TaskTracker,
    gives_up: CancellationToken,
    /// When each answer that waits came.
    waiting: Mutex<BTreeMap<u64, Instant>>,
    next: AtomicU64,
    drifts: Mutex<BTreeMap<String, RouteDrift>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A place in a judge's queue.
struct Waiting {
    shared: Arc<Shared>,
    judge: Arc<AnswerJudge>,
    number: u64,
}

impl Waiting {
    /// Takes a place; `None` where there is none left.
    fn take(shared: &Arc<Shared>, judge: &Arc<AnswerJudge>) -> Option<Self> {
        let queue = judge.settings.queue;
        let free = |waiting: usize| (waiting < queue).then_some(waiting + 1);
        judge.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, free).ok()?;
        let number = shared.desk.next.fetch_add(1, Ordering::Relaxed);
        locked(&shared.desk.waiting).insert(number, Instant::now());
        Some(Self { shared: Arc::clone(shared), judge: Arc::clone(judge), number })
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.judge.waiting.fetch_sub(1, Ordering::Relaxed);
        locked(&self.shared.desk.waiting).remove(&self.number);
    }
}

impl Desk {
    /// How many answers wait.
    pub(crate) fn waiting(&self) -> usize {
        locked(&self.waiting).len()
    }

    /// For how long the oldest of them has waited.
    pub(crate) fn oldest(&self) -> Duration {
        locked(&self.waiting).first_key_value().map_or(Duration::ZERO, |(_, since)| since.elapsed())
    }

    /// How the answers of all routes that have them judged fare, in the order of the configuration.
    pub(crate) fn drift(&self, settings: &Settings) -> Vec<DriftSnapshot> {
        let mut drifts = locked(&self.drifts);
        let judged: Vec<_> = settings
            .routes()
            .iter()
            .filter_map(|route| Some((&route.name, route.judging.as_ref()?)))
            .collect();
        drifts.retain(|name, _| judged.iter().any(|(judged, _)| *judged == name));
        let watched = judged.into_iter().filter_map(|(name, judging)| {
            let drift = Self::of_route(&mut drifts, name, judging)?;
            Some(drift.snapshot(name))
        });
        watched.collect()
    }

    /// A route's watch; it begins anew where its settings are others than before.
    fn of_route<'a>(
        drifts: &'a mut BTreeMap<String, RouteDrift>,
        route: &str,
        settings: &JudgingSettings,
    ) -> Option<&'a mut RouteDrift> {
        if drifts.get(route).is_none_or(|drift| drift.settings() != settings.drift) {
            // The configuration was checked by the same rule.
            drifts.insert(route.to_owned(), RouteDrift::new(settings.drift).ok()?);
        }
        drifts.get_mut(route)
    }

    /// Waits until all answers that were handed in are judged. Nothing may be handed in meanwhile.
    pub(crate) async fn settle(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Judges nothing more: what is left is recorded as not checked.
    pub(crate) async fn give_up(&self) {
        self.gives_up.cancel();
        if tokio::time::timeout(PATIENCE, self.settle()).await.is_err() {
            tracing::error!(target: "tiltmeter::guard", "answers that were not judged could not all be recorded");
        }
    }
}

impl Sampled {
    /// Hands an answer in once it has ended, and returns at once.
    pub(crate) fn hand_in(self, shared: &Arc<Shared>, gathered: Gathered, ended: Ended) {
        let unchecked = |reason| Some((JudgingOutcome::Unchecked, reason));
        let has_text = !gathered.answers.is_empty();
        let why_not = if ended == Ended::Cut {
            unchecked("cut")
        } else if gathered.is_unreadable {
            unchecked("unreadable")
        } else if !has_text {
            unchecked(if gathered.is_whole { "no-text" } else { ended.name() })
        } else if tokio::runtime::Handle::try_current().is_err() {
            unchecked("stopping")
        } else {
            None
        };
        let judge = Arc::clone(&self.settings.judge);
        if let Some((outcome, reason)) = why_not {
            return self.tell(shared, &Judgement::none(&judge.name, 0, outcome, reason), None);
        }
        let Some(place) = Waiting::take(shared, &judge) else {
            let dropped = Judgement::none(&judge.name, 0, JudgingOutcome::Dropped, "queue-full");
            return self.tell(shared, &dropped, None);
        };
        let shared = Arc::clone(shared);
        let desk = Arc::clone(&shared);
        desk.desk.tasks.spawn(async move {
            let gives_up = shared.desk.gives_up.clone();
            let judged = tokio::select! {
                biased;
                () = gives_up.cancelled() => None,
                judged = self.judge(&judge, &gathered, place) => Some(judged),
            };
            let Some(judged) = judged else {
                let none = Judgement::none(&judge.name, 0, JudgingOutcome::Unchecked, "stopping");
                return self.tell(&shared, &none, None);
            };
            for (judgement, content) in judged {
                self.tell(&shared, &judgement, Some(&content));
            }
        });
    }

    async fn judge(
        &self,
        judge: &AnswerJudge,
        gathered: &Gathered,
        place: Waiting,
    ) -> Vec<(Judgement, JudgedContent)> {
        // It is never closed.
        let _permit = judge.places.acquire().await;
        drop(place);
        let none = |choice, reason| {
            let none = Judgement::none(&judge.name, choice, JudgingOutcome::Unchecked, reason);
            vec![(none, JudgedContent::default())]
        };
        let Some(question) = self.question.text().await else { return none(0, "no-question") };
        let mut judged = Vec::new();
        for (position, (choice, texts)) in gathered.answers.iter().enumerate() {
            if position == MOST_CHOICES {
                judged.extend(none(*choice, "too-many-choices"));
                break;
            }
            let (mut judgement, content) = judge.judge(&question, *choice, texts, Questions::ALL).await;
            judgement.is_partial = !gathered.is_whole;
            judged.push((judgement, content));
        }
        judged
    }

    /// Records and counts what became of an answer.
    fn tell(&self, shared: &Arc<Shared>, judgement: &Judgement, content: Option<&JudgedContent>) {
        shared.metrics.judging.judged(&self.route, judgement);
        self.watch(shared, judgement);
        if let Some(span) = &self.span {
            span.judged(judgement);
        }
        let live = shared.live();
        let redaction = live.settings.audit.as_ref().and_then(|audit| audit.content.as_ref());
        let content = content.zip(redaction).map(|(content, redaction)| redaction.apply(&content.to_json()));
        let record = JudgementRecord { route: &self.route, chosen: self.chosen.name(), judgement };
        shared.hand_over(record.entry(&self.request, content));
    }

    fn watch(&self, shared: &Shared, judgement: &Judgement) {
        let mut drifts = locked(&shared.desk.drifts);
        let Some(drift) = Desk::of_route(&mut drifts, &self.route, &self.settings) else { return };
        drift.count(judgement.outcome.name());
        // An answer that ended early is judged for what it is, and is no draw of what the model says.
        if self.chosen != Chosen::Drawn || judgement.is_partial {
            return;
        }
        match drift.see(judgement.verdict(), Timestamp::now()) {
            None => {}
            Some(Change::Worse(alarm)) => {
                let (route, answers, evidence) = (&self.route, alarm.answers, alarm.evidence);
                tracing::warn!(target: "tiltmeter::guard", route = %route, answers, evidence, "answers got worse: their mean alignment is below what is fine");
            }
            Some(Change::FineAgain) => {
                tracing::warn!(target: "tiltmeter::guard", route = %self.route, "answers are fine again");
            }
        }
    }
}
