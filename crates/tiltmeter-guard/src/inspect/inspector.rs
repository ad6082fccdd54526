//! The inspector: splits a request, asks detectors for what is not known yet, and puts the risk together.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::{join, join_all};
use futures_util::stream::{self, StreamExt};
use tiltmeter_core::id::{Canonical, ContentId};
use tokio::time::{Instant, timeout_at};
use tokio_util::task::TaskTracker;

use super::cache::{VerdictCache, VerdictKey};
use super::detector::{ContextDetector, DetectorError, ExampleDetector, Verdict};
use super::example::Example;
use super::risk::{ContextFinding, ExampleState, RiskSettings, assess};
use super::split::{Split, split};
use crate::inspection::{
    ExampleId, FlaggedExample, Inspection, Inspector, InspectorFigures, Reason, RequestView, Unchecked,
    UncheckedReason,
};

/// When a detector of examples works.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Timing {
    /// While the request waits.
    #[default]
    Blocking,
    /// Apart from requests: an example that is new is told as not checked yet, and known from then on.
    Background,
}

/// How a detector is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DetectorTerms {
    /// When it works.
    pub timing: Timing,
    /// How long it may take for all that is new in a request; in the background, for each batch.
    pub timeout: Duration,
    /// Batches that are asked for at the same time for one request, at least 1.
    pub parallel: usize,
    /// In the background: examples that may wait. More are not looked at, and told so.
    pub queue: usize,
}

impl Default for DetectorTerms {
    fn default() -> Self {
        Self { timing: Timing::Blocking, timeout: Duration::from_secs(5), parallel: 4, queue: 4096 }
    }
}

/// The parts of what cannot be looked at by any detector.
const SPLITTER: &str = "splitter";

struct ForExamples {
    detector: Arc<dyn ExampleDetector>,
    terms: DetectorTerms,
    /// Examples that wait in the background.
    waiting: Arc<Mutex<HashSet<ExampleId>>>,
}

struct ForContexts {
    detector: Arc<dyn ContextDetector>,
    timeout: Duration,
    is_for_instructions: bool,
}

/// Inspects contexts with the detectors that it is given.
pub struct ContextInspector {
    settings: RiskSettings,
    cache: Arc<VerdictCache>,
    examples: Vec<ForExamples>,
    contexts: Vec<ForContexts>,
    tasks: TaskTracker,
}

type Results = Vec<Result<Verdict, DetectorError>>;

impl ContextInspector {
    /// An inspector without detectors.
    pub fn new(settings: RiskSettings, cache: Arc<VerdictCache>) -> Self {
        let (examples, contexts) = (Vec::new(), Vec::new());
        Self { settings, cache, examples, contexts, tasks: TaskTracker::new() }
    }

    /// With a detector of examples.
    #[must_use]
    pub fn with_examples(mut self, detector: Arc<dyn ExampleDetector>, terms: DetectorTerms) -> Self {
        self.examples.push(ForExamples { detector, terms, waiting: Arc::default() });
        self
    }

    /// With a detector of instructions, whose scores count whether it flags or not.
    #[must_use]
    pub fn with_instructions(mut self, detector: Arc<dyn ContextDetector>, timeout: Duration) -> Self {
        self.contexts.push(ForContexts { detector, timeout, is_for_instructions: true });
        self
    }

    /// With a detector of whole contexts.
    #[must_use]
    pub fn with_contexts(mut self, detector: Arc<dyn ContextDetector>, timeout: Duration) -> Self {
        self.contexts.push(ForContexts { detector, timeout, is_for_instructions: false });
        self
    }

    /// Hash of all that findings depend on besides the request: the detectors, and how findings become a risk.
    pub fn identity(&self) -> ContentId {
        let RiskSettings { dose, share, instructions, half_life, floor, low, high } = self.settings;
        let risk = [dose, share, instructions, half_life, floor, low, high];
        let mut canonical =
            risk.into_iter().fold(Canonical::new("tiltmeter.guard-inspector/1"), |canonical, number| {
                canonical.number(number)
            });
        for of in &self.examples {
            canonical = canonical.text(of.detector.name()).id(&of.detector.identity());
        }
        // A detector of contexts has its own in every key.
        let nothing = Split::default();
        for of in &self.contexts {
            canonical = canonical.text(of.detector.name()).id(&of.detector.key(&nothing));
        }
        canonical.finish()
    }

    /// The verdicts that are kept.
    pub fn cache(&self) -> &VerdictCache {
        &self.cache
    }

    /// Waits until all that works in the background is done.
    pub async fn settle(&self) {
        self.tasks.close();
        self.tasks.wait().await;
        self.tasks.reopen();
    }

    /// Inspects what a request was split into.
    pub async fn inspect_split(&self, split: &Split) -> Inspection {
        let mut unique: Vec<&Example> = Vec::new();
        let mut index: HashMap<ExampleId, usize> = HashMap::new();
        let which: Vec<usize> = split
            .examples
            .iter()
            .map(|example| {
                *index.entry(example.id).or_insert_with(|| {
                    unique.push(example);
                    unique.len() - 1
                })
            })
            .collect();
        let examples = join_all(self.examples.iter().map(|detector| self.verdicts(detector, &unique)));
        let contexts = join_all(self.contexts.iter().map(|detector| self.verdict(detector, split)));
        let (examples, contexts) = join(examples, contexts).await;
        Report { inspector: self, split, which, unique, examples, contexts }.inspection()
    }

    /// One detector's verdicts on examples, no two of which are alike.
    async fn verdicts(&self, of: &ForExamples, examples: &[&Example]) -> Results {
        let detector = of.detector.identity();
        let key = |example: &Example| VerdictKey { detector, content: example.id.0 };
        let mut results: Vec<Option<Result<Verdict, DetectorError>>> =
            examples.iter().map(|example| self.cache.get(key(example)).map(Ok)).collect();
        let missing: Vec<usize> = (0..examples.len()).filter(|&index| results[index].is_none()).collect();
        if of.terms.timing == Timing::Background {
            let new: Vec<&Example> = missing.iter().map(|&index| examples[index]).collect();
            let error = self.send_to_background(of, &new);
            return results.into_iter().map(|result| result.unwrap_or(Err(error.clone()))).collect();
        }
        let deadline = Instant::now() + of.terms.timeout;
        let batches = missing.chunks(of.detector.batch().max(1)).map(|batch| async move {
            let asked: Vec<&Example> = batch.iter().map(|&index| examples[index]).collect();
            (batch, ask(&*of.detector, &asked, deadline).await)
        });
        // One after the other to the compiler, several at a time to the detector.
        let batches: Vec<_> = batches.collect();
        let answers: Vec<_> = stream::iter(batches).buffered(of.terms.parallel.max(1)).collect().await;
        for (batch, answers) in answers {
            for (&index, answer) in batch.iter().zip(answers) {
                if let Ok(verdict) = &answer {
                    self.cache.put(key(examples[index]), verdict.clone());
                }
                results[index] = Some(answer);
            }
        }
        let absent = || Err(DetectorError::Unusable("no result".to_owned()));
        results.into_iter().map(|result| result.unwrap_or_else(absent)).collect()
    }

    /// Has new examples looked at apart from the request; tells why they have no verdict meanwhile.
    fn send_to_background(&self, of: &ForExamples, new: &[&Example]) -> DetectorError {
        let mut waiting = of.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let new: Vec<Example> = new
            .iter()
            .filter(|example| !waiting.contains(&example.id))
            .map(|&example| example.clone())
            .collect();
        if waiting.len() + new.len() > of.terms.queue {
            return DetectorError::Shed;
        }
        waiting.extend(new.iter().map(|example| example.id));
        drop(waiting);
        let detector = Arc::clone(&of.detector);
        let (cache, waiting) = (Arc::clone(&self.cache), Arc::clone(&of.waiting));
        let timeout = of.terms.timeout;
        if !new.is_empty() {
            self.tasks.spawn(async move {
                let identity = detector.identity();
                for batch in new.chunks(detector.batch().max(1)) {
                    let asked: Vec<&Example> = batch.iter().collect();
                    let answers = ask(&*detector, &asked, Instant::now() + timeout).await;
                    for (example, answer) in batch.iter().zip(answers) {
                        if let Ok(verdict) = answer {
                            cache.put(VerdictKey { detector: identity, content: example.id.0 }, verdict);
                        }
                        waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&example.id);
                    }
                }
            });
        }
        DetectorError::Pending
    }

    /// One detector's verdict on a context, which is kept too.
    async fn verdict(&self, of: &ForContexts, split: &Split) -> Result<Verdict, DetectorError> {
        let content = of.detector.key(split);
        let key = VerdictKey { detector: content, content };
        if let Some(kept) = self.cache.get(key) {
            return Ok(kept);
        }
        let asked = of.detector.detect(split);
        let verdict =
            timeout_at(Instant::now() + of.timeout, asked).await.unwrap_or(Err(DetectorError::TimedOut))?;
        self.cache.put(key, verdict.clone());
        Ok(verdict)
    }
}

/// Asks for one batch, in time; gives as many results as there are examples.
async fn ask(detector: &dyn ExampleDetector, examples: &[&Example], deadline: Instant) -> Results {
    let answers = timeout_at(deadline, detector.detect(examples)).await;
    let mut answers = answers.unwrap_or_else(|_| vec![Err(DetectorError::TimedOut); examples.len()]);
    answers.resize_with(examples.len(), || Err(DetectorError::Unusable("no result".to_owned())));
    answers
}

/// All that is known of a request, to be told.
struct Report<'a> {
    inspector: &'a ContextInspector,
    split: &'a Split,
    /// For each example of the request, which of the unique ones it is.
    which: Vec<usize>,
    unique: Vec<&'a Example>,
    /// By detector.
    examples: Vec<Results>,
    contexts: Vec<Result<Verdict, DetectorError>>,
}

impl Report<'_> {
    fn inspection(self) -> Inspection {
        let states: Vec<ExampleState> = (0..self.unique.len()).map(|index| self.state(index)).collect();
        let placed: Vec<ExampleState> = self.which.iter().map(|&index| states[index]).collect();
        let found = |is_for_instructions: bool| -> Vec<ContextFinding> {
            let all = self.inspector.contexts.iter().zip(&self.contexts);
            all.filter(|(of, _)| of.is_for_instructions == is_for_instructions)
                .filter_map(|(of, result)| {
                    let verdict = result.as_ref().ok()?.clone();
                    Some(ContextFinding { detector: of.detector.name(), verdict })
                })
                .collect()
        };
        let (risk, mut reasons) = assess(&self.inspector.settings, &placed, &found(true), &found(false));
        reasons.extend(self.example_reasons());
        Inspection {
            risk,
            reasons,
            examples: self.split.examples.len(),
            flagged: self.flagged(&states),
            unchecked: self.unchecked(),
        }
    }

    fn state(&self, index: usize) -> ExampleState {
        let mut verdicts =
            self.examples.iter().filter_map(|results| results.get(index)?.as_ref().ok()).peekable();
        if verdicts.peek().is_none() {
            ExampleState::Unchecked
        } else if verdicts.any(|verdict| verdict.is_flagged) {
            ExampleState::Flagged
        } else {
            ExampleState::Clean
        }
    }

    /// What the detectors found in flagged examples: each thing once, with its highest score.
    fn example_reasons(&self) -> Vec<Reason> {
        let mut found: BTreeMap<(&str, &str), f64> = BTreeMap::new();
        for (of, results) in self.inspector.examples.iter().zip(&self.examples) {
            for verdict in results.iter().flatten().filter(|verdict| verdict.is_flagged) {
                for finding in &verdict.findings {
                    let score = found.entry((of.detector.name(), &finding.code)).or_insert(0.0);
                    *score = score.max(finding.score);
                }
            }
        }
        let owned = |text: &str| Cow::Owned(text.to_owned());
        let reasons = found.into_iter().map(|((detector, code), score)| Reason {
            detector: owned(detector),
            code: owned(code),
            score,
        });
        reasons.collect()
    }

    fn flagged(&self, states: &[ExampleState]) -> Vec<FlaggedExample> {
        let mut flagged: Vec<FlaggedExample> = Vec::new();
        let mut at: HashMap<usize, usize> = HashMap::new();
        for (example, &index) in self.split.examples.iter().zip(&self.which) {
            if states[index] != ExampleState::Flagged {
                continue;
            }
            let place = *at.entry(index).or_insert_with(|| {
                flagged.push(FlaggedExample { id: example.id, places: Vec::new() });
                flagged.len() - 1
            });
            flagged[place].places.extend(example.places.iter().cloned());
        }
        flagged
    }

    fn unchecked(&self) -> Vec<Unchecked> {
        let mut sums: BTreeMap<(usize, UncheckedReason), u64> = BTreeMap::new();
        for (detector, results) in self.examples.iter().enumerate() {
            for (example, result) in self.unique.iter().zip(results) {
                if let Err(error) = result {
                    *sums.entry((detector, error.reason())).or_default() += example.content.len() as u64;
                }
            }
        }
        let of_examples = sums.into_iter().map(|((detector, reason), bytes)| Unchecked {
            detector: Cow::Borrowed(self.inspector.examples[detector].detector.name()),
            reason,
            bytes,
        });
        let bytes: usize = self.split.examples.iter().map(|example| example.content.len()).sum();
        let of_contexts = self.inspector.contexts.iter().zip(&self.contexts).filter_map(|(of, result)| {
            let reason = result.as_ref().err()?.reason();
            Some(Unchecked { detector: Cow::Borrowed(of.detector.name()), reason, bytes: bytes as u64 })
        });
        let unread = (self.split.unread > 0).then_some(Unchecked {
            detector: Cow::Borrowed(SPLITTER),
            reason: UncheckedReason::NotText,
            bytes: self.split.unread,
        });
        of_examples.chain(of_contexts).chain(unread).collect()
    }
}

#[async_trait]
impl Inspector for ContextInspector {
    async fn inspect(&self, request: &RequestView) -> Inspection {
        let request = request.clone();
        let bytes = request.body.len() as u64;
        match tokio::task::spawn_blocking(move || split(&request)).await {
            Ok(split) => self.inspect_split(&split).await,
            Err(_) => Inspection {
                unchecked: vec![Unchecked {
                    detector: Cow::Borrowed(SPLITTER),
                    reason: UncheckedReason::Failed,
                    bytes,
                }],
                ..Inspection::default()
            },
        }
    }

    fn figures(&self) -> InspectorFigures {
        InspectorFigures {
            cache: Some(self.cache.counts()),
            projections: self.contexts.iter().filter_map(|of| of.detector.projection()).collect(),
        }
    }
}

#[cfg(test)]
mod tests;
