//! `tiltmeter plan`: what an experiment would ask, without asking.

use std::fmt::Write as _;

use serde::Serialize;
use tiltmeter_core::experiment::{Experiment, Subject};
use tiltmeter_core::plan::{CHARACTERS_PER_TOKEN, Estimate, Plan, estimate};
use tiltmeter_run::{Prices, Resolution, context_limit, gives_log_probabilities, resolution};

use crate::cli::PlanArguments;
use crate::exit::{Exit, Failure};
use crate::{files, output, prices};

/// The document that `plan --json` prints.
#[derive(Serialize)]
struct PlanDocument {
    schema: &'static str,
    experiment: String,
    conditions: Vec<PlannedCondition>,
    subjects: Vec<PlannedSubject>,
    judge: Option<PlannedJudge>,
    /// US dollars at most, without discounts; absent where a price is not known.
    most_cost_usd: Option<f64>,
    /// Published sets that are not fetched: what concerns them is computed from the catalogue's row count and mean length.
    not_fetched: Vec<String>,
    /// What the EM rates can resolve, by size of condition; empty without a judge.
    resolution: Vec<Resolution>,
    warnings: Vec<String>,
    notes: Vec<String>,
}

#[derive(Serialize)]
struct PlannedCondition {
    subject: String,
    demonstrations: String,
    control: &'static str,
    shots: u32,
    instruction: String,
    contexts: u64,
    samples: u64,
    scored_texts: u64,
}

#[derive(Serialize)]
struct PlannedSubject {
    subject: String,
    model: String,
    samples: u64,
    scored_texts: u64,
    input_tokens: u64,
    cacheable_tokens: u64,
    most_output_tokens: u64,
    largest_prompt_tokens: u64,
    most_cost_usd: Option<f64>,
}

#[derive(Serialize)]
struct PlannedJudge {
    model: String,
    calls: u64,
    most_input_tokens: u64,
    most_output_tokens: u64,
    most_cost_usd: Option<f64>,
}

pub(crate) fn plan(arguments: &PlanArguments) -> Result<Exit, Failure> {
    let experiment = files::experiment_to_estimate(&arguments.experiment)?;
    let plan = experiment.plan(gives_log_probabilities);
    let document = document(&experiment, &plan, &prices::load()?)?;
    if arguments.json {
        let json = serde_json::to_string_pretty(&document).map_err(Failure::failed)?;
        output::result(&format!("{json}\n"));
    } else {
        output::result(&text(&experiment, &document));
    }
    Ok(Exit::Done)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an estimate of tokens, 0 or more"
)]
fn whole(tokens: f64) -> u64 {
    tokens.round() as u64
}

fn document(experiment: &Experiment, plan: &Plan, prices: &Prices) -> Result<PlanDocument, Failure> {
    let estimates = estimate(experiment, plan);
    let conditions = plan
        .conditions
        .iter()
        .map(|condition| {
            let contexts = condition.contexts.len() as u64;
            let pairs: usize = condition
                .scored
                .iter()
                .map(|&question| experiment.scored_pairs(&experiment.questions[question]).count())
                .sum();
            PlannedCondition {
                subject: experiment.subjects[condition.subject].id.to_string(),
                demonstrations: experiment.sets[condition.set].name.to_string(),
                control: condition.control.name(),
                shots: condition.shots,
                instruction: experiment.instructions[condition.instruction].id.to_string(),
                contexts,
                samples: contexts * condition.sampled.len() as u64 * u64::from(experiment.replicates),
                scored_texts: contexts * 2 * pairs as u64,
            }
        })
        .collect();
    let subjects: Vec<PlannedSubject> = experiment
        .subjects
        .iter()
        .zip(&estimates)
        .map(|(subject, estimate)| planned(subject, estimate, prices))
        .collect();
    let judge = experiment.judge.as_ref().map(|judge| {
        let sum = |of: fn(&Estimate) -> f64| estimates.iter().map(of).sum::<f64>();
        let (input, output) = (sum(|one| one.judge_input_tokens), sum(|one| one.judge_output_tokens));
        let price = prices.of(&judge.settings);
        PlannedJudge {
            model: format!("{}/{}", judge.settings.address.provider, judge.settings.address.model),
            calls: estimates.iter().map(|one| one.judge_calls).sum(),
            most_input_tokens: whole(input),
            most_output_tokens: whole(output),
            most_cost_usd: price.map(|price| (input * price.input + output * price.output) / 1e6),
        }
    });
    let costs = subjects
        .iter()
        .map(|subject| subject.most_cost_usd)
        .chain(judge.iter().map(|judge| judge.most_cost_usd));
    let resolution = match &experiment.judge {
        Some(_) => resolution(experiment, plan).map_err(Failure::failed)?,
        None => Vec::new(),
    };
    Ok(PlanDocument {
        schema: "tiltmeter.plan/1",
        experiment: experiment.name.clone(),
        conditions,
        most_cost_usd: costs.sum(),
        not_fetched: experiment.stand_ins.clone(),
        resolution,
        warnings: warnings(experiment, &estimates),
        notes: experiment.notes.clone(),
        subjects,
        judge,
    })
}

fn planned(subject: &Subject, estimate: &Estimate, prices: &Prices) -> PlannedSubject {
    let price = prices.of(&subject.settings);
    PlannedSubject {
        subject: subject.id.to_string(),
        model: format!("{}/{}", subject.settings.address.provider, subject.settings.address.model),
        samples: estimate.samples,
        scored_texts: estimate.scores,
        input_tokens: whole(estimate.input_tokens),
        cacheable_tokens: whole(estimate.cacheable_tokens),
        most_output_tokens: whole(estimate.most_output_tokens),
        largest_prompt_tokens: whole(estimate.largest_prompt_tokens),
        most_cost_usd: price.map(|price| {
            (estimate.input_tokens * price.input + estimate.most_output_tokens * price.output) / 1e6
        }),
    }
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
    for set in &experiment.sets {
        if set.domain.is_none() && experiment.exclude_in_domain {
            warnings.push(format!(
                "{}: its domain is not known, so no in-domain question is left out; say `domain = …` in the set's table",
                set.name
            ));
        }
    }
    warnings
}

fn text(experiment: &Experiment, document: &PlanDocument) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "{}\n", document.experiment);
    let _ = writeln!(
        text,
        "{:<22} {:<20} {:<10} {:>5} {:<14} {:>8} {:>8} {:>12}",
        "subject", "demonstrations", "control", "k", "instruction", "contexts", "samples", "texts scored"
    );
    for condition in &document.conditions {
        let _ = writeln!(
            text,
            "{:<22} {:<20} {:<10} {:>5} {:<14} {:>8} {:>8} {:>12}",
            condition.subject,
            condition.demonstrations,
            condition.control,
            condition.shots,
            condition.instruction,
            condition.contexts,
            condition.samples,
            condition.scored_texts
        );
    }
    let _ = writeln!(
        text,
        "\nThe empty context of k = 0 is asked once for all sets; {}.\nTokens are estimates at {CHARACTERS_PER_TOKEN} characters each.\n",
        experiment.baseline_note()
    );
    for subject in &document.subjects {
        let _ = writeln!(
            text,
            "{} ({}): {} answers, {} texts scored\n  input {} tokens (of which a prompt cache could serve {}), output at most {}\n  largest prompt about {} tokens; cost at most {}",
            subject.subject,
            subject.model,
            subject.samples,
            subject.scored_texts,
            thousands(subject.input_tokens),
            thousands(subject.cacheable_tokens),
            thousands(subject.most_output_tokens),
            thousands(subject.largest_prompt_tokens),
            dollars(subject.most_cost_usd),
        );
    }
    if let Some(judge) = &document.judge {
        let _ = writeln!(
            text,
            "judge ({}): {} calls\n  input at most {} tokens, output at most {}; cost at most {}",
            judge.model,
            judge.calls,
            thousands(judge.most_input_tokens),
            thousands(judge.most_output_tokens),
            dollars(judge.most_cost_usd),
        );
    }
    let calls: u64 = document.subjects.iter().map(|one| one.samples + one.scored_texts).sum::<u64>()
        + document.judge.as_ref().map_or(0, |judge| judge.calls);
    let _ = writeln!(text, "in all: {calls} calls, cost at most {}", dollars(document.most_cost_usd));
    for one in &document.resolution {
        write_resolution(&mut text, one);
    }
    if !document.not_fetched.is_empty() {
        let _ = writeln!(
            text,
            "estimated without {}: not fetched, so that lengths are means from the catalogue (see the notes)",
            document.not_fetched.join(", ")
        );
    }
    for warning in &document.warnings {
        let _ = writeln!(text, "warning: {warning}");
    }
    for note in &document.notes {
        let _ = writeln!(text, "note: {note}");
    }
    text
}

fn write_resolution(text: &mut String, resolution: &Resolution) {
    let Resolution { questions, answers_per_question, conditions, assumed_correlation, .. } = resolution;
    let widths: Vec<String> = resolution
        .half_widths
        .iter()
        .map(|one| format!("{:.0} % ± {:.1}", one.rate * 100.0, one.half_width * 100.0))
        .collect();
    let detectable = resolution
        .detectable
        .map_or_else(|| "no rate".to_owned(), |rate| format!("a rate of {:.1} % or more", rate * 100.0));
    let _ = writeln!(
        text,
        "EM rate of {conditions} conditions with {questions} questions × {answers_per_question} answers: {} (95 %); {detectable} is told \
         from {:.0} % four times in five\n  if answers to a question correlate by {assumed_correlation}; more questions help \
         more than more answers",
        widths.join(", "),
        resolution.baseline * 100.0
    );
}

fn dollars(cost: Option<f64>) -> String {
    match cost {
        Some(cost) => format!("US$ {cost:.2}"),
        None => "not known (give `price = { input = …, output = … }`)".to_owned(),
    }
}

fn thousands(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_grouped_by_three() {
        for (value, expected) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(thousands(value), expected);
        }
    }
}
