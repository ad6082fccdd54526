//! The calls that answers are put together from, and the ids under which answers are stored.

use std::sync::Arc;

use super::{Block, Plan, SampleSpec, draw};
use crate::experiment::{Experiment, Steering, Subject};
use crate::id::{Canonical, ContentId};
use crate::procedure::{REPLICATE_STRIDE, SubsampleVote};
use crate::treatment::Treatment;

/// The id of a sample: of its subject's hash, its prompt's id, which answer it is, and how the treatment steers.
pub fn sample_id(
    subject: &ContentId,
    prompt: &ContentId,
    replicate: u32,
    steering: Option<&Steering>,
) -> ContentId {
    let canonical = Canonical::new("tiltmeter.sample/1").id(subject).id(prompt).integer(replicate.into());
    match steering {
        Some(steering) => steering.canonical(canonical).finish(),
        None => canonical.finish(),
    }
}

/// The id of an answer under a treatment, put together or not.
pub(super) fn answer_id(
    subject: &Subject,
    treatment: &Treatment,
    prompt: &ContentId,
    replicate: u32,
) -> ContentId {
    let steering = treatment.steering.as_ref();
    let Some(procedure) = &treatment.procedure else {
        return sample_id(&subject.hash, prompt, replicate, steering);
    };
    let canonical = Canonical::new("tiltmeter.composed/1")
        .id(&subject.hash)
        .id(prompt)
        .id(&procedure.hash())
        .integer(replicate.into());
    match steering {
        Some(steering) => steering.canonical(canonical).finish(),
        None => canonical.finish(),
    }
}

impl Experiment {
    /// One of the answers that a check looks at for an answer of a block, counted from 0. The first is the undefended
    /// answer itself, so that it is asked for once.
    pub fn attempt(&self, block: &Block, sample: &SampleSpec, attempt: u32) -> SampleSpec {
        self.part(block, sample, attempt)
    }

    /// One of the answers, counted from 0, that are voted on for an answer of a block: in a context of its own, a
    /// random part of the block's. Which part follows from the context, the replicate and the number, so that all
    /// questions share it.
    pub fn draw(
        &self,
        plan: &Plan,
        block: &Block,
        vote: &SubsampleVote,
        sample: &SampleSpec,
        number: u32,
    ) -> SampleSpec {
        let spec = plan.contexts[block.context];
        let pairs = self.demonstrations(spec);
        let key = Canonical::new("tiltmeter.subsample/1")
            .integer(self.sampling.seed)
            .id(&sample.prompt.context.id)
            .integer(sample.replicate.into())
            .integer(number.into())
            .finish();
        let shown: Vec<_> = draw::part(key, pairs.len(), vote.size(pairs.len()))
            .into_iter()
            .map(|place| pairs[place].clone())
            .collect();
        let context = Arc::new(self.render_shown(spec, &shown));
        let prompt = Arc::new(crate::prompt::Prompt { context, ..(*sample.prompt).clone() });
        // Small contexts may be drawn twice: the answers are drawn apart all the same.
        self.part(block, &SampleSpec { prompt, ..sample.clone() }, number + 1)
    }

    fn part(&self, block: &Block, sample: &SampleSpec, number: u32) -> SampleSpec {
        let subject = &self.subjects[block.subject];
        let steering = self.treatments[block.treatment].steering.as_ref();
        let replicate = number.saturating_mul(REPLICATE_STRIDE).saturating_add(sample.replicate);
        let id = sample_id(&subject.hash, &sample.prompt.id(), replicate, steering);
        SampleSpec { id, replicate, ..sample.clone() }
    }

    /// The id of a check of an answer.
    pub fn check_id(&self, block: &Block, checked: &ContentId, wording: &str) -> ContentId {
        // The answer's id holds the subject and its steering.
        let subject = &self.subjects[block.subject];
        Canonical::new("tiltmeter.self-check/1").id(&subject.hash).id(checked).text(wording).finish()
    }
}
