//! What an experiment would ask, cost and take, before anything is asked.

use serde::Serialize;
use tiltmeter_core::experiment::{Experiment, Judge, ModelSettings, Rates, Subject};
use tiltmeter_core::plan::{BlockEstimate, CHARACTERS_PER_TOKEN, Estimate, Plan, estimate};
use tiltmeter_core::procedure::{Procedure, SelfCheck, SubsampleVote};
use tiltmeter_core::reshaping::Screen;
use tiltmeter_core::treatment::Treatment;
use tiltmeter_stats::StatsError;

use crate::connect::{CONCURRENCY, LOCAL};
use crate::planned_inspection::planned_inspection;
use crate::prices::{Prices, context_limit};
use crate::resolution::{Resolution, resolution};

pub use crate::planned_inspection::PlannedInspection;
pub use tiltmeter_core::plan::LIKELY_ANSWER_TOKENS;

/// Tokens of a judge's reply in the likely cost: a number.
const LIKELY_VERDICT_TOKENS: f64 = 2.0;
/// Seconds that a call is taken to last where a time is estimated.
pub const LIKELY_CALL_SECONDS: f64 = 10.0;
const SECONDS_PER_MINUTE: f64 = 60.0;

/// The document that `tiltmeter plan --json` prints. Tokens are estimates from characters; costs are in US dollars.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Forecast {
    /// `tiltmeter.plan/1`.
    pub schema: &'static str,
    /// Name of the experiment.
    pub experiment: String,
    /// The rows of the result table, and behind them the conditions of the probes of usefulness.
    pub conditions: Vec<PlannedCondition>,
    /// What is asked of each subject.
    pub subjects: Vec<PlannedSubject>,
    /// What is asked of the judge.
    pub judge: Option<PlannedJudge>,
    /// What filters' models are asked before contexts are made.
    pub screening: Vec<PlannedScreening>,
    /// What guards' looking at contexts takes before any is shown.
    pub inspection: Vec<PlannedInspection>,
    /// Cost at most, without discounts, of all whose price is known.
    pub most_cost_usd: f64,
    /// Likely cost of all whose price is known.
    pub likely_cost_usd: f64,
    /// Models whose price is not known, so that neither sum holds them.
    pub unpriced: Vec<String>,
    /// Minutes that the slowest served model takes, by its limits and at ten seconds a call; absent where all models
    /// are local.
    pub about_minutes: Option<f64>,
    /// Published sets that are not fetched: what concerns them is computed from the catalogue's row count and mean length.
    pub not_fetched: Vec<String>,
    /// What the EM rates can resolve, by size of condition; empty without a judge.
    pub resolution: Vec<Resolution>,
    /// What may go wrong.
    pub warnings: Vec<String>,
    /// What a reader should know.
    pub notes: Vec<String>,
    /// What k = 0 means under the placements.
    pub baseline_note: String,
}

/// A row of the result table.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlannedCondition {
    /// `misalignment`, or `usefulness`: answers that are compared with what a probe accepts and are not judged.
    pub purpose: &'static str,
    /// Id of the subject.
    pub subject: String,
    /// Name of the demonstration set, or of the probe.
    pub demonstrations: String,
    /// Whose answers the demonstrations have.
    pub control: &'static str,
    /// Where the demonstrations stand.
    pub placement: &'static str,
    /// Number of demonstrations.
    pub shots: u32,
    /// What is done to the request besides the demonstrations: `none`, or the name of an instruction or defence.
    pub treatment: String,
    /// Draws of the context.
    pub contexts: u64,
    /// Answers.
    pub samples: u64,
    /// Texts scored for the tilt.
    pub scored_texts: u64,
}

/// What is asked of a subject.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlannedSubject {
    /// Its id.
    pub subject: String,
    /// `provider/model`.
    pub model: String,
    /// Answers.
    pub samples: u64,
    /// Calls for answers at most: some defences take several for one answer.
    pub calls: u64,
    /// Texts scored for the tilt.
    pub scored_texts: u64,
    /// Tokens of all prompts for answers.
    pub input_tokens: u64,
    /// Tokens among them that a prompt cache could serve.
    pub cacheable_tokens: u64,
    /// Tokens of all answers if each used its whole limit.
    pub most_output_tokens: u64,
    /// Tokens of one largest prompt.
    pub largest_prompt_tokens: u64,
    /// Cost at most, without discounts; absent where the price is not known.
    pub most_cost_usd: Option<f64>,
    /// Cost with a prompt cache and answers of [`LIKELY_ANSWER_TOKENS`].
    pub likely_cost_usd: Option<f64>,
}

/// What is asked of the judge.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlannedJudge {
    /// `provider/model`.
    pub model: String,
    /// Calls.
    pub calls: u64,
    /// Tokens of all prompts if each answer used its whole limit.
    pub most_input_tokens: u64,
    /// Tokens of all replies if each used its whole limit.
    pub most_output_tokens: u64,
    /// Cost at most; absent where the price is not known.
    pub most_cost_usd: Option<f64>,
    /// Cost with answers of [`LIKELY_ANSWER_TOKENS`].
    pub likely_cost_usd: Option<f64>,
}

/// What a filter's model is asked.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlannedScreening {
    /// The defences whose filters go by it.
    pub defences: Vec<String>,
    /// `provider/model`.
    pub model: String,
    /// Demonstrations, each once.
    pub demonstrations: u64,
    /// Calls.
    pub calls: u64,
    /// Tokens of all prompts.
    pub input_tokens: u64,
    /// Tokens of all replies if each used its whole limit.
    pub most_output_tokens: u64,
    /// Cost at most; absent where the price is not known.
    pub most_cost_usd: Option<f64>,
    /// Cost with replies that are a number.
    pub likely_cost_usd: Option<f64>,
}

/// Works out what a plan asks, and what it costs at these prices.
///
/// # Errors
/// If what the rates can resolve cannot be computed.
pub fn forecast(experiment: &Experiment, plan: &Plan, prices: &Prices) -> Result<Forecast, StatsError> {
    let estimates = estimate(experiment, plan);
    let subjects: Vec<PlannedSubject> = experiment
        .subjects
        .iter()
        .zip(&estimates)
        .map(|(subject, estimate)| planned_subject(subject, estimate, prices))
        .collect();
    let judge = experiment.judge.as_ref().map(|judge| planned_judge(judge, experiment, &estimates, prices));
    let screening = planned_screening(experiment, plan, prices);
    let inspection = planned_inspection(experiment, plan, prices);
    let costs = || {
        let of_subjects =
            subjects.iter().map(|one| (&one.subject, one.most_cost_usd.zip(one.likely_cost_usd)));
        of_subjects
            .map(|(name, cost)| (name.as_str(), cost))
            .chain(judge.iter().map(|one| ("judge", one.most_cost_usd.zip(one.likely_cost_usd))))
            .chain(screening.iter().map(|one| ("filter", one.most_cost_usd.zip(one.likely_cost_usd))))
            .chain(inspection.iter().map(|one| ("guard", one.most_cost_usd.map(|cost| (cost, cost)))))
    };
    let known = || costs().filter_map(|(_, cost)| cost);
    let served = experiment
        .subjects
        .iter()
        .zip(&estimates)
        .map(|(subject, estimate)| (&subject.settings, estimate.calls + estimate.scores))
        .chain(
            experiment
                .judge
                .iter()
                .map(|judge| (&judge.settings, estimates.iter().map(|estimate| estimate.judge_calls).sum())),
        )
        .chain(
            experiment
                .screens
                .iter()
                .zip(&screening)
                .map(|(screen, planned)| (&screen.model.settings, planned.calls)),
        )
        .filter(|(settings, _)| settings.address.provider != LOCAL);
    Ok(Forecast {
        schema: "tiltmeter.plan/1",
        experiment: experiment.name.clone(),
        conditions: planned_conditions(experiment, plan),
        most_cost_usd: known().map(|(most, _)| most).sum(),
        likely_cost_usd: known().map(|(_, likely)| likely).sum(),
        unpriced: costs().filter(|(_, cost)| cost.is_none()).map(|(name, _)| name.to_owned()).collect(),
        about_minutes: served.map(|(settings, calls)| minutes(settings, calls)).reduce(f64::max),
        not_fetched: experiment.stand_ins.clone(),
        resolution: match &experiment.judge {
            Some(_) => resolution(experiment, plan)?,
            None => Vec::new(),
        },
        warnings: warnings(experiment, &estimates),
        notes: notes(experiment),
        baseline_note: experiment.baseline_note(),
        subjects,
        judge,
        screening,
        inspection,
    })
}

/// How long so many calls take within a model's limits.
fn minutes(settings: &ModelSettings, calls: u64) -> f64 {
    let at_once = f64::from(settings.concurrency.unwrap_or(CONCURRENCY));
    let by_latency = at_once / LIKELY_CALL_SECONDS * SECONDS_PER_MINUTE;
    let a_minute = settings.rpm.map_or(by_latency, |rpm| by_latency.min(rpm.into()));
    calls as f64 / (a_minute * settings.endpoints.len().max(1) as f64)
}

fn planned_conditions(experiment: &Experiment, plan: &Plan) -> Vec<PlannedCondition> {
    let planned = plan.conditions.iter().map(|condition| {
        let contexts = condition.contexts.len() as u64;
        let pairs: usize = condition
            .scored
            .iter()
            .map(|&question| experiment.scored_pairs(&experiment.questions[question]).count())
            .sum();
        PlannedCondition {
            purpose: condition.purpose.name(),
            subject: experiment.subjects[condition.subject].id.to_string(),
            demonstrations: experiment.sets[condition.set].name.to_string(),
            control: condition.control.name(),
            placement: condition.placement.name(),
            shots: condition.shots,
            treatment: experiment.treatments[condition.treatment].id.to_string(),
            contexts,
            samples: contexts
                * condition.sampled.len() as u64
                * u64::from(experiment.replicates_for(condition.purpose)),
            scored_texts: contexts * 2 * pairs as u64,
        }
    });
    planned.collect()
}

fn planned_subject(subject: &Subject, estimate: &Estimate, prices: &Prices) -> PlannedSubject {
    let price = prices.of(&subject.settings);
    PlannedSubject {
        subject: subject.id.to_string(),
        model: name(&subject.settings),
        samples: estimate.samples,
        calls: estimate.calls,
        scored_texts: estimate.scores,
        input_tokens: whole(estimate.input_tokens),
        cacheable_tokens: whole(estimate.cacheable_tokens),
        most_output_tokens: whole(estimate.most_output_tokens),
        largest_prompt_tokens: whole(estimate.largest_prompt_tokens),
        most_cost_usd: price.map(|price| {
            let most = f64::from(subject.max_tokens);
            let of_block = |block: &BlockEstimate| {
                cost(
                    price.at(whole(block.prompt_tokens())),
                    block.input_tokens,
                    0.0,
                    block.calls as f64 * most,
                )
            };
            estimate.blocks.iter().map(of_block).sum()
        }),
        likely_cost_usd: price.map(|price| {
            let of_block = |block: &BlockEstimate| {
                let cached = block.cacheable_tokens.min(block.input_tokens);
                let rates = price.at(whole(block.prompt_tokens()));
                cost(rates, block.input_tokens - cached, cached, block.calls as f64 * block.reply_tokens)
            };
            estimate.likely.iter().map(of_block).sum()
        }),
    }
}

fn planned_judge(
    judge: &Judge,
    experiment: &Experiment,
    estimates: &[Estimate],
    prices: &Prices,
) -> PlannedJudge {
    let sum = |of: fn(&Estimate) -> f64| estimates.iter().map(of).sum::<f64>();
    let (input, output) = (sum(|one| one.judge_input_tokens), sum(|one| one.judge_output_tokens));
    let calls: u64 = estimates.iter().map(|one| one.judge_calls).sum();
    // The rest of a prompt stays when the answer in it is shorter.
    let shorter: f64 = experiment
        .subjects
        .iter()
        .zip(estimates)
        .map(|(subject, estimate)| {
            let most = f64::from(subject.max_tokens);
            (most - LIKELY_ANSWER_TOKENS.min(most)) * estimate.judge_calls as f64
        })
        .sum();
    let written = calls as f64 * LIKELY_VERDICT_TOKENS.min(judge.max_tokens.into());
    let price = prices.of(&judge.settings);
    PlannedJudge {
        model: name(&judge.settings),
        calls,
        most_input_tokens: whole(input),
        most_output_tokens: whole(output),
        most_cost_usd: price.map(|price| cost(price.base, input, 0.0, output)),
        likely_cost_usd: price.map(|price| cost(price.base, input - shorter, 0.0, written)),
    }
}

fn planned_screening(experiment: &Experiment, plan: &Plan, prices: &Prices) -> Vec<PlannedScreening> {
    let of_screen = |(index, screen): (usize, &Screen)| {
        let demonstrations = experiment.to_be_screened(plan, index);
        let calls = demonstrations.len() as u64 * u64::from(screen.model.samples);
        let asked = screen.prompt.chars().count();
        let characters: usize = demonstrations
            .iter()
            .map(|(_, prompt, response)| asked + prompt.chars().count() + response.chars().count())
            .sum();
        let input = characters as f64 / CHARACTERS_PER_TOKEN * f64::from(screen.model.samples);
        let most = calls as f64 * f64::from(screen.model.max_tokens);
        let likely = calls as f64 * LIKELY_VERDICT_TOKENS.min(screen.model.max_tokens.into());
        let price = prices.of(&screen.model.settings);
        let goes_by_it = |treatment: &&Treatment| {
            treatment.reshaping.filter.as_ref().is_some_and(|filter| filter.screen == index)
        };
        PlannedScreening {
            defences: experiment
                .treatments
                .iter()
                .filter(goes_by_it)
                .map(|treatment| treatment.id.to_string())
                .collect(),
            model: name(&screen.model.settings),
            demonstrations: demonstrations.len() as u64,
            calls,
            input_tokens: whole(input),
            most_output_tokens: whole(most),
            most_cost_usd: price.map(|price| cost(price.base, input, 0.0, most)),
            likely_cost_usd: price.map(|price| cost(price.base, input, 0.0, likely)),
        }
    };
    experiment.screens.iter().enumerate().map(of_screen).collect()
}

pub(crate) fn cost(rates: Rates, fresh: f64, cached: f64, output: f64) -> f64 {
    (fresh * rates.input + cached * rates.cached() + output * rates.output) / 1e6
}

pub(crate) fn name(settings: &ModelSettings) -> String {
    format!("{}/{}", settings.address.provider, settings.address.model)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an estimate of tokens, 0 or more"
)]
pub(crate) fn whole(tokens: f64) -> u64 {
    tokens.round() as u64
}

/// How many calls an answer takes under the defences that take several.
fn several_calls(experiment: &Experiment) -> impl Iterator<Item = String> {
    experiment.treatments.iter().filter_map(|treatment| {
        let id = &treatment.id;
        Some(match treatment.procedure.as_ref()? {
            Procedure::SubsampleVote(SubsampleVote { draws, .. }) => {
                format!("`{id}` takes {draws} calls for each answer, each with a part of the examples")
            }
            Procedure::SelfCheck(SelfCheck { attempts, .. }) => format!(
                "`{id}` takes up to {} calls for each answer: {attempts} answers and a check of each; likely one check \
                 of the undefended answer",
                2 * attempts
            ),
        })
    })
}

fn notes(experiment: &Experiment) -> Vec<String> {
    let mut notes = experiment.notes.clone();
    if !experiment.screens.is_empty() {
        notes.push(
            "what a filter leaves out is known once its model was asked: contexts under it are counted whole and as their \
             own; where nothing is left out, answers are those of the undefended context and cost nothing more"
                .to_owned(),
        );
    }
    if !experiment.guards.is_empty() {
        notes.push(
            "what a guard does is known once it has looked: contexts under it are counted whole and as their own; where \
             nothing is done, answers are those of the undefended context and cost nothing more"
                .to_owned(),
        );
    }
    notes.extend(several_calls(experiment));
    notes
}

fn warnings(experiment: &Experiment, estimates: &[Estimate]) -> Vec<String> {
    let mut warnings = Vec::new();
    for (subject, estimate) in experiment.subjects.iter().zip(estimates) {
        if let Some(limit) = context_limit(&subject.settings) {
            let tokens = whole(estimate.largest_prompt_tokens);
            if tokens > limit {
                warnings.push(format!(
                    "{}: the largest prompt has about {tokens} tokens, and the model is known to take {limit}; what it \
                     refuses will be counted as failed",
                    subject.id
                ));
            }
        }
    }
    if experiment.judge.is_none() && estimates.iter().any(|one| one.samples > 0) {
        warnings.push(
            "there is no [judge]: answers are kept and marked \"no judge\", and no EM rate is computed"
                .to_owned(),
        );
    }
    for set in experiment.measured_sets() {
        if set.domain.is_none() && experiment.exclude_in_domain {
            warnings.push(format!(
                "{}: its domain is not known, so no in-domain question is left out; say `domain = …` in the set's table",
                set.name
            ));
        }
    }
    warnings
}
