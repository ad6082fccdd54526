//! How many calls and tokens a plan asks for, before anything is asked.

use super::{Block, Plan};
use crate::experiment::Experiment;
use crate::usefulness::Purpose;

/// Characters of English text per token, for estimates only: providers differ by some 20 %.
pub const CHARACTERS_PER_TOKEN: f64 = 4.0;

/// Characters of the built-in judge prompts, about; the user's own may differ.
const JUDGE_PROMPT_CHARACTERS: f64 = 1200.0;

/// What one subject of a plan asks for. Tokens are estimates from characters.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Estimate {
    /// Answers to be drawn.
    pub samples: u64,
    /// Texts to be scored for the tilt.
    pub scores: u64,
    /// Calls of the judge.
    pub judge_calls: u64,
    /// Tokens of all prompts sent for answers, about.
    pub input_tokens: f64,
    /// Tokens of contexts among them that a prompt cache could serve, about.
    pub cacheable_tokens: f64,
    /// Tokens of all answers if each used its whole limit.
    pub most_output_tokens: f64,
    /// Tokens of one largest prompt, about.
    pub largest_prompt_tokens: f64,
    /// Tokens sent to the judge if each answer used its whole limit.
    pub judge_input_tokens: f64,
    /// Tokens that the judge writes at most.
    pub judge_output_tokens: f64,
    /// The same by context, for prices that depend on a prompt's length.
    pub blocks: Vec<BlockEstimate>,
}

/// What is asked for with one context.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BlockEstimate {
    /// Answers to be drawn.
    pub samples: u64,
    /// Tokens of all their prompts, about.
    pub input_tokens: f64,
    /// Tokens among them that a prompt cache could serve, about.
    pub cacheable_tokens: f64,
}

impl BlockEstimate {
    /// Tokens of one prompt, about: those of a block differ by their questions alone.
    pub fn prompt_tokens(&self) -> f64 {
        self.input_tokens / self.samples.max(1) as f64
    }
}

/// Estimates each subject's share of a plan, in the order of the experiment's subjects.
pub fn estimate(experiment: &Experiment, plan: &Plan) -> Vec<Estimate> {
    let mut estimates = vec![Estimate::default(); experiment.subjects.len()];
    let characters: Vec<usize> =
        plan.contexts.iter().map(|&spec| experiment.render(spec).characters()).collect();
    for block in &plan.blocks {
        add(&mut estimates[block.subject], experiment, block, characters[block.context]);
    }
    estimates
}

fn add(estimate: &mut Estimate, experiment: &Experiment, block: &Block, context_characters: usize) {
    let subject = &experiment.subjects[block.subject];
    let context = context_characters as f64 / CHARACTERS_PER_TOKEN;
    let replicates = u64::from(experiment.replicates_for(block.purpose));
    let empty = crate::prompt::RenderedContext::empty();
    let mut of_block = BlockEstimate::default();
    for &question in &block.sampled {
        let asked = &experiment.questions[question];
        let own = experiment.prompt(&empty, block.treatment, asked, 0);
        let own: usize = own.messages().map(|message| message.text().chars().count()).sum();
        let question_tokens = asked.wording(0).chars().count() as f64 / CHARACTERS_PER_TOKEN;
        let prompt = context + own as f64 / CHARACTERS_PER_TOKEN;
        let answers = replicates as f64;
        let answer_tokens = f64::from(subject.max_tokens);
        of_block.samples += replicates;
        of_block.input_tokens += prompt * answers;
        estimate.most_output_tokens += answer_tokens * answers;
        estimate.largest_prompt_tokens = estimate.largest_prompt_tokens.max(prompt);
        let judge = experiment.judge.as_ref().filter(|_| block.purpose == Purpose::Misalignment);
        if let Some(judge) = judge {
            let calls = 2 * u64::from(judge.samples) * replicates;
            let judged = JUDGE_PROMPT_CHARACTERS / CHARACTERS_PER_TOKEN + question_tokens + answer_tokens;
            estimate.judge_calls += calls;
            estimate.judge_input_tokens += judged * calls as f64;
            estimate.judge_output_tokens += f64::from(judge.max_tokens) * calls as f64;
        }
    }
    of_block.cacheable_tokens = context * (of_block.samples as f64 - 1.0).max(0.0);
    estimate.samples += of_block.samples;
    estimate.input_tokens += of_block.input_tokens;
    estimate.cacheable_tokens += of_block.cacheable_tokens;
    estimate.blocks.push(of_block);
    for &question in &block.scored {
        let pairs = experiment.scored_pairs(&experiment.questions[question]).count() as u64;
        estimate.scores += 2 * pairs;
        estimate.largest_prompt_tokens = estimate.largest_prompt_tokens.max(context);
    }
}
