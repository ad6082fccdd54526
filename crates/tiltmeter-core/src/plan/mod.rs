//! From an experiment to the work that it asks for: conditions, contexts, and blocks of calls that share one
//! context. Pure: the same experiment gives the same plan, on any machine.

mod controls;
mod draw;
mod estimate;
mod guarding;
mod mixture;
mod parts;
mod reshape;
mod usefulness;

use std::ops::Range;
use std::sync::Arc;

use indexmap::IndexMap;

use crate::demonstration::Control;
use crate::experiment::{Experiment, Subject, TiltMode};
use crate::id::{Canonical, ContentId};
use crate::prompt::{Placement, Prompt, RenderedContext};
use crate::question::{AnswerPair, PairKind, Question};
use crate::treatment::Treatment;
use crate::usefulness::Purpose;

pub(crate) use draw::below;
pub use draw::draw_rows;
pub use estimate::{BlockEstimate, CHARACTERS_PER_TOKEN, Estimate, LIKELY_ANSWER_TOKENS, estimate};
pub use guarding::{GuardedContext, ToInspect};
pub use parts::sample_id;
pub use reshape::ReshapingCounts;

use reshape::Contexts;

/// Which demonstrations a context shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContextSpec {
    /// Index of the set in the experiment; 0 in the empty context.
    pub set: usize,
    /// Whose answers are shown.
    pub control: Control,
    /// How many.
    pub shots: u32,
    /// Which of the independent draws.
    pub draw: u32,
    /// Where the demonstrations stand.
    pub placement: Placement,
    /// Index of the treatment that reshapes its demonstrations; 0 where none does.
    pub reshaped_by: usize,
}

impl ContextSpec {
    /// The context without demonstrations. An experiment has one for all placements that put the question alike
    /// behind none.
    pub const fn empty(placement: Placement) -> Self {
        Self { set: 0, control: Control::None, shots: 0, draw: 0, placement, reshaped_by: 0 }
    }
}

/// One row of the result table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// What its answers are for.
    pub purpose: Purpose,
    /// Index of the subject.
    pub subject: usize,
    /// Index of the demonstration set. At k = 0 it says only whose in-domain questions are left out.
    pub set: usize,
    /// Whose answers are shown; `None` at k = 0.
    pub control: Control,
    /// Where the demonstrations stand. At k = 0 its context may be one that another placement has as well.
    pub placement: Placement,
    /// Number of demonstrations.
    pub shots: u32,
    /// Index of the treatment.
    pub treatment: usize,
    /// Indices of its contexts in [`Plan::contexts`], by draw.
    pub contexts: Vec<usize>,
    /// Indices of the questions to which answers are drawn.
    pub sampled: Vec<usize>,
    /// Indices of the questions whose answer pairs are scored.
    pub scored: Vec<usize>,
}

/// All calls of one subject and purpose that share a context and a treatment, so that a prefix is computed, or cached
/// by a provider, once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// What its answers are for.
    pub purpose: Purpose,
    /// Index of the subject.
    pub subject: usize,
    /// Index of the context in [`Plan::contexts`].
    pub context: usize,
    /// Index of the treatment, of those that do the same the first.
    pub treatment: usize,
    /// Indices of the questions to sample, ascending.
    pub sampled: Vec<usize>,
    /// Indices of the questions to score, ascending.
    pub scored: Vec<usize>,
}

/// Purpose, subject, context and treatment.
type BlockKey = (Purpose, usize, usize, usize);

/// All work of an experiment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The contexts, each once.
    pub contexts: Vec<ContextSpec>,
    /// The conditions, in table order: subject, set, treatment, placement, control, k; behind them those of usefulness.
    pub conditions: Vec<Condition>,
    /// The blocks, in the order in which they are best worked on.
    pub blocks: Vec<Block>,
}

/// One answer to be drawn.
#[derive(Clone, Debug)]
pub struct SampleSpec {
    /// Hash of what determines it.
    pub id: ContentId,
    /// Index of the question.
    pub question: usize,
    /// Which of the answers to that question in that context.
    pub replicate: u32,
    /// Which of the question's wordings is asked.
    pub wording: usize,
    /// What the subject is shown.
    pub prompt: Arc<Prompt>,
}

/// One text to be scored.
#[derive(Clone, Debug)]
pub struct ScoreSpec {
    /// Hash of what determines it.
    pub id: ContentId,
    /// Index of the question.
    pub question: usize,
    /// Index of the pair within the question.
    pub pair: usize,
    /// Whether it is the tilted one of the pair.
    pub tilted: bool,
    /// What the subject is shown.
    pub prompt: Arc<Prompt>,
    /// The text.
    pub text: Arc<str>,
}

impl Experiment {
    /// Plans the work. `can_score` says of each subject whether it gives log-probabilities of given text.
    pub fn plan(&self, can_score: impl Fn(&Subject) -> bool) -> Plan {
        let mut contexts = Contexts::new(self);
        let mut conditions = Vec::new();
        let mut blocks: IndexMap<BlockKey, Block> = IndexMap::new();
        for (subject_index, subject) in self.subjects.iter().enumerate() {
            let scores = self.tilt.measure == TiltMode::Auto && can_score(subject);
            for set in 0..self.measured_sets().len() {
                for treatment in 0..self.treatments.len() {
                    if !self.treatments[treatment].applies_to(subject) {
                        continue;
                    }
                    let grid = self.placements.iter().flat_map(|&placement| {
                        self.controls.iter().map(move |&control| (placement, control))
                    });
                    for (placement, control) in grid {
                        for &shots in &self.shots {
                            if !control.is_distinct(shots) {
                                continue;
                            }
                            let mut condition = Condition {
                                purpose: Purpose::Misalignment,
                                subject: subject_index,
                                set,
                                control,
                                placement,
                                shots,
                                treatment,
                                contexts: Vec::new(),
                                sampled: self.sampled_questions(set, shots),
                                scored: if scores && self.treatments[treatment].has_tilt() {
                                    self.scored_questions(set, shots)
                                } else {
                                    Vec::new()
                                },
                            };
                            for spec in self.context_specs(&condition) {
                                condition.contexts.push(contexts.place(spec));
                            }
                            conditions.push(condition);
                        }
                    }
                }
            }
        }
        self.usefulness_conditions(&mut contexts, &mut conditions);
        // The tilt is a shift from the prompt without context: score that one even where k = 0 is no condition.
        let mut baselines = Vec::new();
        for condition in conditions.iter().filter(|condition| !condition.scored.is_empty()) {
            let context = contexts.place(self.empty_context(condition.placement));
            baselines.push(Condition { contexts: vec![context], sampled: Vec::new(), ..condition.clone() });
        }
        let all = baselines
            .iter()
            .chain(&conditions)
            .filter(|one| !(one.sampled.is_empty() && one.scored.is_empty()));
        for condition in all {
            let treatment = self.asked_as(condition.treatment);
            for &context in &condition.contexts {
                let key = (condition.purpose, condition.subject, context, treatment);
                let block = blocks.entry(key).or_insert_with(|| Block {
                    purpose: condition.purpose,
                    subject: condition.subject,
                    context,
                    treatment,
                    sampled: Vec::new(),
                    scored: Vec::new(),
                });
                merge(&mut block.sampled, &condition.sampled);
                merge(&mut block.scored, &condition.scored);
            }
        }
        let contexts = contexts.into_specs();
        let mut blocks: Vec<Block> = blocks.into_values().collect();
        // Draw before k: the context of k = 16 then extends that of k = 4, whose prefix is still at hand. Treatments under
        // which a prompt begins alike follow each other at each context, which is then still at hand as well.
        blocks.sort_by_key(|block| {
            let spec = contexts[block.context];
            let first = spec.shots != 0;
            let order = (spec.placement, spec.set, spec.control, spec.draw, spec.shots);
            let begins = self.begins_as(block.treatment);
            (block.subject, begins, first, spec.reshaped_by, order, block.treatment, block.purpose)
        });
        Plan { contexts, conditions, blocks }
    }

    /// The first treatment that does the same to a request, demonstrations apart, as this one: under it answers are
    /// asked for and stored.
    pub fn asked_as(&self, treatment: usize) -> usize {
        let hash = self.treatments[treatment].hash();
        self.treatments.iter().position(|other| other.hash() == hash).unwrap_or(treatment)
    }

    /// The first treatment under which prompts begin as under this one: what differs stands behind the demonstrations.
    fn begins_as(&self, treatment: usize) -> usize {
        let instruction = &self.treatments[treatment].instruction.text;
        self.treatments.iter().position(|other| other.instruction.text == *instruction).unwrap_or(treatment)
    }

    pub(super) fn context_specs(&self, condition: &Condition) -> Vec<ContextSpec> {
        let &Condition { set, control, placement, shots, treatment, .. } = condition;
        if shots == 0 {
            return vec![self.empty_context(placement)];
        }
        let reshaped_by = if self.treatments[treatment].reshapes() { treatment } else { 0 };
        (0..self.contexts)
            .map(|draw| self.shown_as(ContextSpec { set, control, shots, draw, placement, reshaped_by }))
            .collect()
    }

    /// The context without demonstrations: that of the first placement which puts the question as this one does.
    fn empty_context(&self, placement: Placement) -> ContextSpec {
        let has_header = |one: Placement| one.has_header(self.question_format);
        let alike = self.placements.iter().copied().find(|&one| has_header(one) == has_header(placement));
        ContextSpec::empty(alike.unwrap_or(placement))
    }

    fn allowed_questions(&self, set: usize) -> impl Iterator<Item = (usize, &Question)> {
        let domain =
            if self.exclude_in_domain { self.sets.get(set).and_then(|set| set.domain) } else { None };
        self.evaluation_questions()
            .iter()
            .enumerate()
            .filter(move |(_, question)| domain.is_none() || question.domain != domain)
    }

    fn sampled_questions(&self, set: usize, shots: u32) -> Vec<usize> {
        if !self.sampling.shots.contains(&shots) {
            return Vec::new();
        }
        let most = self.sampling.questions.unwrap_or(usize::MAX);
        self.allowed_questions(set).map(|(index, _)| index).take(most).collect()
    }

    fn scored_questions(&self, set: usize, shots: u32) -> Vec<usize> {
        if !self.tilt.shots.contains(&shots) {
            return Vec::new();
        }
        let most = self.tilt.questions.unwrap_or(usize::MAX);
        self.allowed_questions(set)
            .filter(|(_, question)| !question.pairs.is_empty())
            .map(|(index, _)| index)
            .take(most)
            .collect()
    }

    /// The answer pairs of a question that are scored, with their index in the question.
    pub fn scored_pairs<'a>(
        &self,
        question: &'a Question,
    ) -> impl Iterator<Item = (usize, &'a AnswerPair)> + use<'a> {
        let decoys = self.tilt.decoys;
        question.pairs.iter().enumerate().filter(move |(_, pair)| decoys || pair.kind != PairKind::Decoy)
    }

    /// The answers to be drawn in a block, in order. `context` is the block's context, rendered.
    pub fn samples<'a>(
        &'a self,
        plan: &'a Plan,
        block: &'a Block,
        context: &'a Arc<RenderedContext>,
    ) -> impl Iterator<Item = SampleSpec> + 'a {
        self.replicates_of(plan, block, context, 0..self.replicates_for(block.purpose))
    }

    /// Of these the answers of some replicates, such as of one round of adaptive sampling.
    pub fn replicates_of<'a>(
        &'a self,
        plan: &'a Plan,
        block: &'a Block,
        context: &'a Arc<RenderedContext>,
        replicates: Range<u32>,
    ) -> impl Iterator<Item = SampleSpec> + 'a {
        let (subject, treatment) = (&self.subjects[block.subject], &self.treatments[block.treatment]);
        let first_turn =
            plan.contexts[block.context].draw as usize * self.replicates_for(block.purpose) as usize;
        block.sampled.iter().flat_map(move |&question| {
            let asked = &self.questions[question];
            // One prompt for each wording, however many replicates ask it.
            let mut prompts: Vec<Option<(Arc<Prompt>, ContentId)>> = vec![None; asked.paraphrases.len()];
            replicates.clone().map(move |replicate| {
                let wording = (first_turn + replicate as usize) % asked.paraphrases.len();
                let (prompt, prompt_id) = prompts[wording].get_or_insert_with(|| {
                    let prompt = self.prompt(context, block.treatment, asked, wording);
                    let id = prompt.id();
                    (Arc::new(prompt), id)
                });
                let id = parts::answer_id(subject, treatment, prompt_id, replicate);
                SampleSpec { id, question, replicate, wording, prompt: prompt.clone() }
            })
        })
    }

    /// The texts to be scored in a block, in order.
    pub fn scores<'a>(
        &'a self,
        block: &'a Block,
        context: &'a Arc<RenderedContext>,
    ) -> impl Iterator<Item = ScoreSpec> + 'a {
        let model = score_identity(&self.subjects[block.subject], &self.treatments[block.treatment]);
        block.scored.iter().flat_map(move |&question| {
            let asked = &self.questions[question];
            let prompt = Arc::new(self.prompt(context, block.treatment, asked, 0));
            self.scored_pairs(asked).flat_map(move |(pair, texts)| {
                [(true, texts.tilted.clone()), (false, texts.upright.clone())].map(|(tilted, text)| {
                    let id =
                        Canonical::new("tiltmeter.score/1").id(&model).id(&prompt.id()).text(&text).finish();
                    ScoreSpec { id, question, pair, tilted, prompt: prompt.clone(), text }
                })
            })
        })
    }

    /// What the subject is shown.
    pub(crate) fn prompt(
        &self,
        context: &Arc<RenderedContext>,
        treatment: usize,
        question: &Question,
        wording: usize,
    ) -> Prompt {
        let Treatment { instruction, after_examples, elicitation, .. } = &self.treatments[treatment];
        Prompt {
            context: context.clone(),
            system: system_message(instruction.text.as_ref(), question.system.as_ref()),
            after_examples: after_examples.clone(),
            question: question.wording(wording).clone(),
            after_question: elicitation.as_ref().map(|one| one.text.clone()),
        }
    }

    /// How the placements put the question at k = 0, for the reader of a table.
    pub fn baseline_note(&self) -> String {
        const HEADER: &str = "the question keeps its `### Prompt:` header";
        let has_header = |one: &Placement| one.has_header(self.question_format);
        let with: Vec<&Placement> = self.placements.iter().filter(|one| has_header(one)).collect();
        match with.len() {
            0 => "at k = 0 the question stands alone".to_owned(),
            count if count == self.placements.len() => format!("at k = 0 {HEADER}"),
            _ => format!("at k = 0 {HEADER} with `{}` and stands alone otherwise", with[0].name()),
        }
    }
}

/// The system message of a question under a standing instruction.
pub fn system_message(instruction: Option<&Arc<str>>, question: Option<&Arc<str>>) -> Option<Arc<str>> {
    match (instruction, question) {
        (Some(instruction), Some(own)) => Some(format!("{instruction}\n\n{own}").into()),
        (Some(one), None) | (None, Some(one)) => Some(one.clone()),
        (None, None) => None,
    }
}

/// What determines the score of a text: the model, not how answers are drawn from it.
fn score_identity(subject: &Subject, treatment: &Treatment) -> ContentId {
    let canonical = Canonical::new("tiltmeter.scored-model/1")
        .text(&subject.id)
        .text(&subject.settings.address.provider)
        .text(&subject.settings.address.model);
    // Only one of them steers.
    match subject.steering.as_ref().or(treatment.steering.as_ref()) {
        Some(steering) => steering.canonical(canonical).finish(),
        None => canonical.finish(),
    }
}

/// Adds indices to a sorted list without doubles.
fn merge(into: &mut Vec<usize>, more: &[usize]) {
    into.extend_from_slice(more);
    into.sort_unstable();
    into.dedup();
}

#[cfg(test)]
mod tests;
