//! What guards' looking at contexts would take, before anything is asked.

use std::collections::HashSet;

use serde::Serialize;
use tiltmeter_core::experiment::{Experiment, Judge};
use tiltmeter_core::guarding::Guard;
use tiltmeter_core::plan::{CHARACTERS_PER_TOKEN, Plan, ToInspect};

use crate::forecast::{cost, name, whole};
use crate::prices::Prices;

/// Characters of the judge's prompt apart from what it rates, about.
const JUDGE_PROMPT_CHARACTERS: f64 = 1500.0;
/// Tokens of a reply for each demonstration.
const REPLY_TOKENS: f64 = 8.0;
/// Characters of a question with one of its answers, about.
const ANSWER_CHARACTERS: f64 = 400.0;

/// What a guard's looking at contexts takes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlannedInspection {
    /// The defences that go by it.
    pub defences: Vec<String>,
    /// Its detectors.
    pub detectors: Vec<String>,
    /// `provider/model` of each model that they ask, apart from persona vectors and web hooks.
    pub models: Vec<String>,
    /// Contexts, each once.
    pub contexts: u64,
    /// Calls to models.
    pub calls: u64,
    /// Tokens of all prompts, about.
    pub input_tokens: u64,
    /// Tokens of all replies at most, about.
    pub most_output_tokens: u64,
    /// Cost at most; absent where a price is not known.
    pub most_cost_usd: Option<f64>,
}

#[derive(Clone, Copy, Default)]
struct Work {
    calls: u64,
    input: f64,
    output: f64,
}

/// Demonstrations that were rated are not rated again, whatever context they stand in.
fn of_judge(contexts: &[ToInspect], batch: u32) -> Work {
    let mut known = HashSet::new();
    let mut work = Work::default();
    for context in contexts {
        let new: Vec<f64> = context
            .demonstration_ids
            .iter()
            .zip(&context.demonstrations)
            .filter(|(id, _)| known.insert(**id))
            .map(|(_, (prompt, response))| (prompt.chars().count() + response.chars().count()) as f64)
            .collect();
        let calls = new.len().div_ceil(batch as usize) as u64;
        work.calls += calls;
        work.input +=
            (new.iter().sum::<f64>() + calls as f64 * JUDGE_PROMPT_CHARACTERS) / CHARACTERS_PER_TOKEN;
        work.output += new.len() as f64 * REPLY_TOKENS;
    }
    work
}

/// Two texts for each pair, with each context and once without.
fn of_tilt(contexts: &[ToInspect], pairs: u32) -> Work {
    let each = 2 * u64::from(pairs);
    let characters = |context: &ToInspect| context.prompt.context.characters() as f64 + ANSWER_CHARACTERS;
    let all: f64 = contexts.iter().map(characters).sum::<f64>() + ANSWER_CHARACTERS;
    Work {
        calls: each * (contexts.len() as u64 + 1),
        input: all * each as f64 / CHARACTERS_PER_TOKEN,
        output: 0.0,
    }
}

/// What each guard takes, in the experiment's order.
pub(crate) fn planned_inspection(
    experiment: &Experiment,
    plan: &Plan,
    prices: &Prices,
) -> Vec<PlannedInspection> {
    let of_guard = |(index, guard): (usize, &Guard)| {
        let contexts = experiment.to_be_inspected(plan, index);
        let judge = guard.judge.iter().map(|(model, batch)| (model, of_judge(&contexts, *batch)));
        let tilt = guard.tilt.iter().map(|(model, pairs)| (model, of_tilt(&contexts, *pairs)));
        let asked: Vec<(&Judge, Work)> = judge.chain(tilt).collect();
        let sum = |of: fn(&Work) -> f64| asked.iter().map(|(_, work)| of(work)).sum::<f64>();
        let costs = asked.iter().map(|(model, work)| {
            let price = prices.of(&model.settings)?;
            Some(cost(price.base, work.input, 0.0, work.output))
        });
        let goes_by_it = experiment
            .treatments
            .iter()
            .filter(|one| one.reshaping.guard.as_ref().is_some_and(|guarding| guarding.guard == index));
        PlannedInspection {
            defences: goes_by_it.map(|treatment| treatment.id.to_string()).collect(),
            detectors: guard.names(),
            models: asked.iter().map(|(model, _)| name(&model.settings)).collect(),
            contexts: contexts.len() as u64,
            calls: asked.iter().map(|(_, work)| work.calls).sum(),
            input_tokens: whole(sum(|work| work.input)),
            most_output_tokens: whole(sum(|work| work.output)),
            most_cost_usd: costs.sum(),
        }
    };
    experiment.guards.iter().enumerate().map(of_guard).collect()
}
