//! How many calls and tokens a plan asks for, before anything is asked.

use super::{Block, Plan};
use crate::experiment::Experiment;
use crate::procedure::{Procedure, SelfCheck};
use crate::treatment::Treatment;
use crate::usefulness::Purpose;

/// Characters of English text per token, for estimates only: providers differ by some 20 %.
pub const CHARACTERS_PER_TOKEN: f64 = 4.0;

/// Tokens of an answer where a likely cost is computed: free-form answers of some paragraphs. Reasoning may take many
/// more.
pub const LIKELY_ANSWER_TOKENS: f64 = 400.0;

/// Tokens of a subject's likely reply to a check: a word.
const LIKELY_CHECK_TOKENS: f64 = 2.0;

/// Characters of the built-in judge prompts, about; the user's own may differ.
const JUDGE_PROMPT_CHARACTERS: f64 = 1200.0;

/// What one subject of a plan asks for. Tokens are estimates from characters.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Estimate {
    /// Answers to be drawn.
    pub samples: u64,
    /// Calls for them at most: some defences take several for one answer.
    pub calls: u64,
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
    /// The most calls by context, for prices that depend on a prompt's length.
    pub blocks: Vec<BlockEstimate>,
    /// The likely calls: of what is asked for only if an answer is found harmful, none.
    pub likely: Vec<BlockEstimate>,
}

/// What is asked for with one context.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BlockEstimate {
    /// Calls.
    pub calls: u64,
    /// Tokens of all their prompts, about.
    pub input_tokens: f64,
    /// Tokens among them that a prompt cache could serve, about.
    pub cacheable_tokens: f64,
    /// Likely tokens of a reply.
    pub reply_tokens: f64,
}

impl BlockEstimate {
    /// Tokens of one prompt, about: those of a block differ by their questions alone.
    pub fn prompt_tokens(&self) -> f64 {
        self.input_tokens / self.calls.max(1) as f64
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

/// Calls of one kind for every answer of a block.
struct Calls {
    /// At most, for one answer.
    most: u64,
    /// Likely, for one answer.
    likely: u64,
    /// Tokens of demonstrations in each.
    context: f64,
    /// Whether calls with the same demonstrations follow each other.
    shares_context: bool,
    /// The prompt's other tokens at most, by the tokens of the undefended prompt without demonstrations; likely ones.
    own: fn(f64, &Asked) -> [f64; 2],
    /// Likely tokens of a reply.
    reply: f64,
}

/// What the size of a check depends on.
struct Asked {
    question: f64,
    wording: f64,
    answer: f64,
}

/// What is asked for one answer under a treatment.
fn calls(experiment: &Experiment, treatment: &Treatment, context: f64, answer: f64) -> Vec<Calls> {
    let reply = LIKELY_ANSWER_TOKENS.min(answer);
    let plain = Calls { most: 1, likely: 1, context, shares_context: true, own: |own, _| [own, own], reply };
    match &treatment.procedure {
        None => vec![plain],
        Some(Procedure::SubsampleVote(vote)) => {
            let draws = u64::from(vote.draws);
            let context = context * vote.share;
            vec![Calls { most: draws, likely: draws, context, shares_context: false, ..plain }]
        }
        Some(Procedure::SelfCheck(SelfCheck { attempts, .. })) => {
            let undefended = treatment.of_parts().hash();
            let is_shared = experiment.treatments.iter().any(|other| other.hash() == undefended);
            let attempts = u64::from(*attempts);
            let check = Calls {
                most: attempts,
                likely: 1,
                context: 0.0,
                shares_context: false,
                own: |_, asked| {
                    let rest = asked.wording + asked.question;
                    [rest + asked.answer, rest + LIKELY_ANSWER_TOKENS.min(asked.answer)]
                },
                reply: LIKELY_CHECK_TOKENS,
            };
            let answers =
                Calls { most: attempts - u64::from(is_shared), likely: u64::from(!is_shared), ..plain };
            vec![answers, check]
        }
    }
}

fn add(estimate: &mut Estimate, experiment: &Experiment, block: &Block, context_characters: usize) {
    let subject = &experiment.subjects[block.subject];
    let treatment = &experiment.treatments[block.treatment];
    let context = context_characters as f64 / CHARACTERS_PER_TOKEN;
    let replicates = u64::from(experiment.replicates_for(block.purpose));
    let answer = f64::from(subject.max_tokens);
    let empty = crate::prompt::RenderedContext::empty();
    let wording = match &treatment.procedure {
        Some(Procedure::SelfCheck(check)) => check.wording.chars().count(),
        _ => 0,
    };
    let asked: Vec<(f64, Asked)> = block
        .sampled
        .iter()
        .map(|&question| {
            let asked = &experiment.questions[question];
            let own = experiment.prompt(&empty, block.treatment, asked, 0);
            let own: usize = own.messages().map(|message| message.text().chars().count()).sum();
            let question = asked.wording(0).chars().count() as f64 / CHARACTERS_PER_TOKEN;
            let wording = wording as f64 / CHARACTERS_PER_TOKEN;
            (own as f64 / CHARACTERS_PER_TOKEN, Asked { question, wording, answer })
        })
        .collect();
    let answers = replicates * asked.len() as u64;
    estimate.samples += answers;
    for kind in calls(experiment, treatment, context, answer) {
        let of = |calls: u64, size: usize| {
            let all = (calls * replicates) as f64;
            let input: f64 =
                asked.iter().map(|(own, asked)| (kind.context + (kind.own)(*own, asked)[size]) * all).sum();
            let calls = calls * answers;
            let again = if kind.shares_context { (calls as f64 - 1.0).max(0.0) } else { 0.0 };
            BlockEstimate {
                calls,
                input_tokens: input,
                cacheable_tokens: kind.context * again,
                reply_tokens: kind.reply,
            }
        };
        let (most, likely) = (of(kind.most, 0), of(kind.likely, 1));
        for (own, asked) in &asked {
            let prompt = kind.context + (kind.own)(*own, asked)[0];
            estimate.largest_prompt_tokens = estimate.largest_prompt_tokens.max(prompt);
        }
        estimate.calls += most.calls;
        estimate.input_tokens += most.input_tokens;
        estimate.cacheable_tokens += most.cacheable_tokens;
        estimate.most_output_tokens += answer * most.calls as f64;
        estimate.blocks.push(most);
        estimate.likely.push(likely);
    }
    if let Some(judge) = experiment.judge.as_ref().filter(|_| block.purpose == Purpose::Misalignment) {
        let each = 2 * u64::from(judge.samples) * replicates;
        for (_, Asked { question, .. }) in &asked {
            let judged = JUDGE_PROMPT_CHARACTERS / CHARACTERS_PER_TOKEN + question + answer;
            estimate.judge_calls += each;
            estimate.judge_input_tokens += judged * each as f64;
            estimate.judge_output_tokens += f64::from(judge.max_tokens) * each as f64;
        }
    }
    for &question in &block.scored {
        let pairs = experiment.scored_pairs(&experiment.questions[question]).count() as u64;
        estimate.scores += 2 * pairs;
        estimate.largest_prompt_tokens = estimate.largest_prompt_tokens.max(context);
    }
}
