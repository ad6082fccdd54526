//! What all formats need to know of a run: names, which condition an answer belongs to, what may be passed on.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use tiltmeter_core::id::ContentId;
use tiltmeter_core::verdict::{NoVerdict, Verdict};
use tiltmeter_store::{
    ConditionRow, DataSetRow, ExperimentRow, FailureRow, GuardedRow, Provenance, QuestionRow, Reader,
    SampleRow, SubjectRow, TreatmentTexts,
};

use crate::error::ExportError;

/// What becomes of text whose terms forbid passing it on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restricted {
    /// It is left out, and references stand in its place.
    Withheld,
    /// It is in the export, which then may not be passed on either.
    Included,
}

/// Subject, context, treatment: what the samples of one block share.
pub(crate) type Block = (i64, i64, i64);

/// A condition, by its index, that an answer belongs to, and the draw of its context.
pub(crate) type Place = (usize, u32);

/// The experiment that was run last in a directory.
pub(crate) struct Run {
    pub(crate) experiment: ExperimentRow,
    pub(crate) provenance: Provenance,
    pub(crate) conditions: Vec<ConditionRow>,
    pub(crate) subjects: BTreeMap<i64, SubjectRow>,
    pub(crate) questions: BTreeMap<i64, QuestionRow>,
    pub(crate) treatments: BTreeMap<i64, TreatmentTexts>,
    pub(crate) contexts: BTreeMap<i64, ContentId>,
    pub(crate) sources: BTreeMap<(i64, u32), Vec<u64>>,
    /// What guards did with contexts, by row of the condition.
    pub(crate) guarded: BTreeMap<i64, Vec<GuardedRow>>,
    pub(crate) data_sets: Vec<DataSetRow>,
    pub(crate) failures: Vec<FailureRow>,
    /// Of each condition, by its index, the questions that answers are drawn to.
    sampled: Vec<HashSet<i64>>,
    blocks: HashMap<Block, Vec<Place>>,
    /// Answers that the judge could not be asked about.
    judge_failed: HashSet<i64>,
    /// Ids of these, by row.
    pub(crate) sample_ids: BTreeMap<i64, ContentId>,
    restricted: Restricted,
}

impl Run {
    pub(crate) fn read(reader: &Reader, restricted: Restricted) -> Result<Self, ExportError> {
        let experiment = reader.experiment()?;
        let conditions = reader.conditions(experiment.id)?;
        let failures = reader.failures()?;
        let mut blocks: HashMap<Block, Vec<Place>> = HashMap::new();
        for (index, condition) in conditions.iter().enumerate() {
            for (draw, &context) in (0..).zip(&condition.contexts) {
                let places = blocks.entry((condition.subject, context, condition.treatment)).or_default();
                // Draws that came out alike are one context, whose answers count once in a condition.
                if places.last().is_none_or(|&(last, _)| last != index) {
                    places.push((index, draw));
                }
            }
        }
        let sampled = |condition: &ConditionRow| {
            let questions = condition.questions.iter().filter(|(_, sampled, _)| *sampled);
            questions.map(|(question, ..)| *question).collect()
        };
        let judge_failed = experiment.judge_failed(&failures);
        let mut sample_ids = BTreeMap::new();
        for &response in failures.iter().filter_map(|failure| failure.response.as_ref()) {
            sample_ids.insert(response, reader.sample_id(response)?);
        }
        Ok(Self {
            sample_ids,
            provenance: reader.provenance(experiment.id)?,
            sampled: conditions.iter().map(sampled).collect(),
            subjects: reader.subjects()?.into_iter().map(|subject| (subject.id, subject)).collect(),
            questions: reader.questions()?,
            treatments: reader.treatment_texts()?,
            contexts: reader.context_ids()?,
            sources: reader.context_sources(experiment.id)?,
            guarded: reader.guarded_contexts(experiment.id)?,
            data_sets: reader.data_sets(experiment.id)?,
            experiment,
            conditions,
            failures,
            blocks,
            judge_failed,
            restricted,
        })
    }

    /// The conditions that an answer belongs to.
    pub(crate) fn places(
        &self,
        block: Block,
        question: i64,
        replicate: u32,
    ) -> impl Iterator<Item = Place> + '_ {
        let places = self.blocks.get(&block).map(Vec::as_slice).unwrap_or_default();
        places.iter().copied().filter(move |&(index, _)| {
            let is_asked = self.sampled.get(index).is_some_and(|questions| questions.contains(&question));
            is_asked && self.conditions.get(index).is_some_and(|condition| replicate < condition.replicates)
        })
    }

    /// The first condition of a block: what it says of the context holds for all of them.
    pub(crate) fn condition_of(&self, block: Block) -> Option<&ConditionRow> {
        let &(index, _) = self.blocks.get(&block)?.first()?;
        self.conditions.get(index)
    }

    pub(crate) fn verdict(&self, sample: &SampleRow) -> Verdict {
        let failed = self.judge_failed.contains(&sample.response);
        sample.verdict(self.experiment.judge.is_some(), failed)
    }

    /// Failed calls for answers of this experiment, with the conditions that each belongs to.
    pub(crate) fn failed_samples(&self) -> impl Iterator<Item = FailedSample<'_>> {
        self.failures.iter().filter_map(|failure| {
            let (subject, context, treatment, question, replicate) = failure.sample?;
            let block = (subject, context, treatment);
            let places: Vec<Place> = self.places(block, question, replicate).collect();
            (!places.is_empty()).then_some(FailedSample { failure, block, question, replicate, places })
        })
    }

    /// What a failed call counts as.
    pub(crate) fn failed_verdict() -> Verdict {
        Verdict::None(NoVerdict::Error)
    }

    /// Whether the terms of a demonstration set keep its text out of this export.
    pub(crate) fn withholds_set(&self, name: &str) -> bool {
        self.restricted == Restricted::Withheld
            && self.data_sets.iter().any(|set| set.kind == "demonstrations" && set.name == name && !set.share)
    }

    /// Whether the questions' texts are kept out. The store does not say which question is of which set, so that one set
    /// withholds them all.
    pub(crate) fn withholds_questions(&self) -> bool {
        self.restricted == Restricted::Withheld
            && self.data_sets.iter().any(|set| set.kind == "questions" && !set.share)
    }

    /// Whether a condition's contexts are kept out. Without demonstrations there is nothing to keep.
    pub(crate) fn withholds_contexts(&self, condition: &ConditionRow) -> bool {
        condition.shots > 0 && self.withholds_set(&condition.demonstrations)
    }

    /// Names of the sets whose text is kept out.
    pub(crate) fn withheld(&self) -> Vec<String> {
        let sets = self.data_sets.iter().filter(|set| {
            if set.kind == "questions" {
                self.restricted == Restricted::Withheld && !set.share
            } else {
                self.withholds_set(&set.name)
            }
        });
        sets.map(|set| set.name.clone()).collect()
    }

    /// Whether any set may not be passed on, withheld here or not.
    pub(crate) fn is_restricted(&self) -> bool {
        self.data_sets.iter().any(|set| !set.share)
    }

    /// The contexts of this experiment, each once, with a condition that shows it.
    pub(crate) fn used_contexts(&self) -> Vec<(i64, &ConditionRow)> {
        let mut seen = BTreeSet::new();
        let uses = self
            .conditions
            .iter()
            .flat_map(|condition| condition.contexts.iter().map(move |&context| (context, condition)));
        uses.filter(|(context, _)| seen.insert(*context)).collect()
    }
}

/// A call for an answer that failed for good.
pub(crate) struct FailedSample<'a> {
    pub(crate) failure: &'a FailureRow,
    pub(crate) block: Block,
    pub(crate) question: i64,
    pub(crate) replicate: u32,
    pub(crate) places: Vec<Place>,
}
