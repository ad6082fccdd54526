//! The order of a subject's calls: block after block, so that what shares a context is asked together.
//!
//! Of a long context one call goes first, and the others follow when it is answered, so that they find the context
//! in the provider's prompt cache. While they are asked, the next context's first call is under way already.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use tiltmeter_core::id::ContentId;
use tiltmeter_core::plan::{Block, SampleSpec};
use tiltmeter_core::prompt::{Placement, RenderedContext};
use tiltmeter_core::usefulness::Purpose;
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
pub(super) struct Desk {
    pub(super) to_judge: mpsc::Sender<Judged>,
    pub(super) reader: Arc<Mutex<Reader>>,
    pub(super) tasks: TaskTracker,
    /// The round that is asked for, where sampling is adaptive.
    pub(super) round: Option<Round>,
}

/// One round of adaptive sampling.
pub(super) struct Round {
    /// The replicate that is asked for.
    pub(super) replicate: u32,
    /// Everything that belongs to the round holds a clone of this: when all are gone, the round is over.
    pub(super) held: mpsc::Sender<()>,
}

impl Desk {
    fn held(&self) -> Option<mpsc::Sender<()>> {
        self.round.as_ref().map(|round| round.held.clone())
    }
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
        let mut desk = Desk { to_judge, reader, tasks, round: None };
        let blocks: Vec<&Block> = self.plan.blocks.iter().filter(|block| block.subject == subject).collect();
        match self.experiment.sampling.until {
            None => {
                self.walk(blocks.into_iter(), &desk).await;
            }
            Some(until) => {
                // Rounds end by what the judge says, which says nothing of probes of usefulness.
                let (measured, of_probes): (Vec<_>, Vec<_>) =
                    blocks.into_iter().partition(|block| block.purpose == Purpose::Misalignment);
                self.ask_in_rounds(subject, measured, until, &mut desk).await;
                self.walk(of_probes.into_iter(), &desk).await;
            }
        }
    }

    /// Asks for all that is missing in some blocks, one after the other. `None`: the run is stopping.
    pub(super) async fn walk<'a>(
        self: &Arc<Self>,
        blocks: impl Iterator<Item = &'a Block>,
        desk: &Desk,
    ) -> Option<()> {
        let key = |block: &Block| (block.purpose, block.subject, block.context, block.treatment);
        let mut blocks = blocks.filter(|block| !self.complete.contains(&key(block)));
        let mut next = match blocks.next() {
            Some(block) => Some(self.prepare(block, desk).await?),
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
                Some(block) => Some(self.prepare(block, desk).await?),
                None => None,
            };
            self.ask_block(&prepared, first, desk).await?;
        }
        Some(())
    }

    /// The answers of a block that are asked for now.
    fn wanted<'a>(
        &'a self,
        block: &'a Block,
        context: &'a Arc<RenderedContext>,
        desk: &Desk,
    ) -> impl Iterator<Item = SampleSpec> + use<'a> {
        let replicates = match &desk.round {
            None => 0..self.experiment.replicates_for(block.purpose),
            Some(round) => round.replicate..round.replicate + 1,
        };
        self.experiment.replicates_of(&self.plan, block, context, replicates)
    }

    /// Renders a block's context and sends its first call if it is worth one. `None`: the run is stopping.
    async fn prepare<'a>(self: &Arc<Self>, block: &'a Block, desk: &Desk) -> Option<Prepared<'a>> {
        if self.ledger.is_stopping() {
            return None;
        }
        let context = Arc::new(self.experiment.render(self.plan.contexts[block.context]));
        let mut first = None;
        // The calls of one answer follow each other, mostly with other contexts: none goes first for them.
        let is_one_call =
            self.experiment.treatments[block.treatment].procedure.is_none() && context.withheld.is_none();
        if is_one_call && self.model(block).is_served && context.characters() >= LONG_CONTEXT {
            let sample = {
                let mut missing = self
                    .wanted(block, &context, desk)
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
        let model = self.model(block);
        let scores_now = desk.round.as_ref().is_none_or(|round| round.replicate == 0);
        for score in self.experiment.scores(block, context).filter(|_| scores_now) {
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
        for sample in self.wanted(block, context, desk) {
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
        let place = self.model(block).ways.place().await?;
        if self.ledger.is_stopping() {
            return None;
        }
        let (engine, block, to_judge, held) =
            (self.clone(), block.clone(), desk.to_judge.clone(), desk.held());
        Some(desk.tasks.spawn(async move {
            let start = Instant::now();
            let judged = engine.sample(&block, sample, placement).await;
            if let Some(judged) = judged {
                let judged = Judged { held, ..judged };
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
        let judged = Judged { held: desk.held(), ..self.judged(sample, response, answer, &aspects) };
        desk.to_judge.send(judged).await.ok()
    }
}
