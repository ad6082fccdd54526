//! The order of a subject's calls: block after block, so that what shares a context is asked together.
//!
//! Of a long context one call goes first, and the others follow when it is answered, so that they find the context
//! in the provider's prompt cache. While they are asked, the next context's first call is under way already.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use tiltmeter_core::id::ContentId;
use tiltmeter_core::plan::{Block, SampleSpec};
use tiltmeter_core::prompt::{Placement, RenderedContext};
use tiltmeter_core::verdict::Aspect;
use tiltmeter_store::Reader;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::Engine;
use super::judging::Judged;

/// Characters of demonstrations from which a context is worth a first call by itself: about 2,000 tokens. Providers
/// cache prompts from 1,024 to 4,096 tokens on.
const LONG_CONTEXT: usize = 8_000;

/// A block, rendered, with its first call under way where it has one.
struct Prepared<'a> {
    block: &'a Block,
    context: Arc<RenderedContext>,
    first: Option<(ContentId, JoinHandle<()>)>,
}

/// What a subject's task works with.
struct Desk {
    to_judge: mpsc::Sender<Judged>,
    reader: Arc<Mutex<Reader>>,
    tasks: TaskTracker,
}

impl Engine {
    /// Asks one subject for all that is missing.
    pub(super) async fn ask_subject(
        self: Arc<Self>,
        subject: usize,
        to_judge: mpsc::Sender<Judged>,
        reader: Arc<Mutex<Reader>>,
        tasks: TaskTracker,
    ) {
        let desk = Desk { to_judge, reader, tasks };
        let mut blocks = self.plan.blocks.iter().filter(|block| block.subject == subject);
        let mut next = match blocks.next() {
            Some(block) => self.prepare(block, &desk).await,
            None => None,
        };
        while let Some(mut prepared) = next.take() {
            let first = match prepared.first.take() {
                Some((sample, call)) => {
                    // It stores what became of it by itself.
                    let _ = call.await;
                    Some(sample)
                }
                None => None,
            };
            next = match blocks.next() {
                Some(block) => self.prepare(block, &desk).await,
                None => None,
            };
            if self.ask_block(&prepared, first, &desk).await.is_none() {
                return;
            }
        }
    }

    /// Renders a block's context and sends its first call if it is worth one. `None`: the run is stopping.
    async fn prepare<'a>(self: &Arc<Self>, block: &'a Block, desk: &Desk) -> Option<Prepared<'a>> {
        if self.ledger.is_stopping() {
            return None;
        }
        let context = Arc::new(self.experiment.render(self.plan.contexts[block.context]));
        let mut first = None;
        if self.connections.subjects[block.subject].is_served && context.characters() >= LONG_CONTEXT {
            let sample = {
                let mut missing = self
                    .experiment
                    .samples(&self.plan, block, &context)
                    .filter(|sample| !self.stored.responses.contains_key(&sample.id));
                let sample = missing.next();
                // The only call of its context has nobody to go first for.
                sample.filter(|_| missing.next().is_some())
            };
            if let Some(sample) = sample.filter(|_| self.allows_one_more()) {
                let id = sample.id;
                first = Some((id, self.spawn_sample(block, sample, context.placement, desk).await?));
            }
        }
        Some(Prepared { block, context, first })
    }

    /// Asks for all that is missing in a block but the first call. `None`: the run is stopping.
    async fn ask_block(
        self: &Arc<Self>,
        prepared: &Prepared<'_>,
        first: Option<ContentId>,
        desk: &Desk,
    ) -> Option<()> {
        let Prepared { block, context, .. } = prepared;
        let model = &self.connections.subjects[block.subject];
        for score in self.experiment.scores(block, context) {
            if self.stored.scores.contains(&score.id) {
                continue;
            }
            let place = model.ways.place().await?;
            if self.ledger.is_stopping() {
                return None;
            }
            let (engine, block) = (self.clone(), (*block).clone());
            desk.tasks.spawn(async move {
                let start = Instant::now();
                engine.score(&block, score).await;
                engine.ledger.meter.calls.add(start.elapsed());
                drop(place);
            });
        }
        for sample in self.experiment.samples(&self.plan, block, context) {
            if first == Some(sample.id) {
                continue;
            }
            if let Some(&response) = self.stored.responses.get(&sample.id) {
                if response.is_answer {
                    self.judge_again(&sample, response.row, desk).await?;
                }
                continue;
            }
            if self.allows_one_more() {
                self.spawn_sample(block, sample, context.placement, desk).await?;
            }
        }
        Some(())
    }

    /// Takes one of the answers that the user's limit leaves.
    fn allows_one_more(&self) -> bool {
        self.allowance.try_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    }

    /// Asks for an answer and hands it to the judge, in a task of its own. `None`: the run is stopping.
    async fn spawn_sample(
        self: &Arc<Self>,
        block: &Block,
        sample: SampleSpec,
        placement: Placement,
        desk: &Desk,
    ) -> Option<JoinHandle<()>> {
        let place = self.connections.subjects[block.subject].ways.place().await?;
        if self.ledger.is_stopping() {
            return None;
        }
        let (engine, block, to_judge) = (self.clone(), block.clone(), desk.to_judge.clone());
        Some(desk.tasks.spawn(async move {
            let start = Instant::now();
            let judged = engine.sample(&block, sample, placement).await;
            if let Some(judged) = judged {
                let from = Instant::now();
                // Waits while the judge is behind; the place in flight is kept meanwhile.
                let _ = to_judge.send(judged).await;
                engine.ledger.meter.judge_queue.add(from.elapsed());
            }
            engine.ledger.meter.calls.add(start.elapsed());
            drop(place);
        }))
    }

    /// Sends a stored answer to the judge if a score is missing. `None`: the run must stop.
    async fn judge_again(&self, sample: &SampleSpec, response: i64, desk: &Desk) -> Option<()> {
        let missing = |&aspect: &Aspect| {
            self.judgement_hash(sample.id, sample.question, aspect)
                .is_some_and(|hash| !self.stored.judgements.contains(&hash))
        };
        let aspects: Vec<Aspect> = Aspect::ALL.into_iter().filter(missing).collect();
        if aspects.is_empty() {
            return Some(());
        }
        let answer = desk.reader.lock().ok()?.answer(response);
        let answer = self.ledger.check(answer)?;
        desk.to_judge.send(self.judged(sample, response, answer, &aspects)).await.ok()
    }
}
