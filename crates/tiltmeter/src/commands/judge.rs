//! `tiltmeter judge`: scores what is stored, by the same judge where scores are missing, or by another one, without
//! the experiment file and without asking a subject.

use std::collections::BTreeMap;
use std::sync::Arc;

use tiltmeter_core::experiment::file::{ExperimentFile, JudgeFile};
use tiltmeter_core::experiment::{Judge, resolve_judge};
use tiltmeter_judge::JudgePrompts;
use tiltmeter_run::{Reach, Rejudge, connect_judge, rejudge};
use tiltmeter_store::{BatchOwner, ExperimentRow, JudgePromptTexts, Reader, Rejudging};

use crate::cli::JudgeArguments;
use crate::exit::{Exit, Failure};
use crate::prices;
use crate::start::Start;

pub(crate) fn judge(arguments: &JudgeArguments) -> Result<Exit, Failure> {
    let path = &arguments.run;
    // A directory that holds no run is not made into one.
    Reader::open(path).map_err(Failure::failed)?;
    let start = Start::new(path, arguments.asking.max_cost, &arguments.asking.log)?;
    let reader = Reader::open(path).map_err(Failure::failed)?;
    let experiment = reader.experiment().map_err(Failure::failed)?;
    let (file, judge) = judge_of(&experiment, arguments)?;
    let prompts = prompts(&reader, &experiment, &judge)?;
    let environment = |name: &str| std::env::var(name).ok();
    let prices = prices::load()?;
    let model = start.connect(connect_judge(&judge, &prices, &environment, start.progress()))?;
    start.check_prices(std::iter::once(&model))?;
    let rejudging = Rejudging {
        experiment: experiment.id,
        resolved: &serde_json::to_string(&file).map_err(Failure::failed)?,
        judge: &judge,
        record: model.record.clone(),
        prompts: prompts.clone(),
        version: env!("CARGO_PKG_VERSION"),
        now: jiff::Timestamp::now().to_string(),
    };
    let rows = rejudging.write(start.directory()).map_err(Failure::failed)?;
    let invocation = rows.invocation;
    let batches = start.batching(&arguments.asking.batch, &reader, std::iter::once(&model))?;
    let outcome = start.work(|means| async move {
        let mut model = Arc::new(model);
        if let Some(batches) = batches {
            model = batches
                .with(&means, rows.experiment, Reach::Whole)
                .wrap_shared(model, BatchOwner::Judge(rows.judge));
        }
        rejudge(Rejudge { judge, model, rows, prompts, means }, reader).await
    })?;
    start.end(invocation, &outcome, &arguments.ending)
}

/// The stored experiment with the judge that is to score, and that judge.
fn judge_of(
    experiment: &ExperimentRow,
    arguments: &JudgeArguments,
) -> Result<(ExperimentFile, Judge), Failure> {
    let damaged = |error| Failure::failed(format!("the stored experiment cannot be read: {error}"));
    let mut file: ExperimentFile = serde_json::from_str(&experiment.resolved).map_err(damaged)?;
    let mut table = match (file.judge.take(), &arguments.judge) {
        (Some(table), _) => table,
        (None, Some(model)) => {
            serde_json::from_value(serde_json::json!({ "model": model })).map_err(damaged)?
        }
        (None, None) => {
            return Err(Failure::configuration(
                "the stored experiment has no judge\n  name one: `--judge provider/model`",
            ));
        }
    };
    replace(
        &mut table,
        arguments.judge.as_deref(),
        arguments.base_url.as_deref(),
        arguments.api_key_env.as_deref(),
    );
    table.samples = arguments.samples.unwrap_or(table.samples);
    file.judge = Some(table);
    let judge = resolve_judge("the judge", &file).map_err(Failure::configuration)?;
    let judge = judge.ok_or_else(|| Failure::failed("the judge was lost"))?;
    Ok((file, judge))
}

/// Puts another model into the judge's table. What belongs to the old model goes with it: its price, and with
/// another provider also its address, key and further fields.
pub(crate) fn replace(
    table: &mut JudgeFile,
    model: Option<&str>,
    base_url: Option<&str>,
    api_key_env: Option<&str>,
) {
    if let Some(model) = model
        && model != table.model
    {
        let provider = |name: &str| name.split('/').next().unwrap_or_default().to_owned();
        if provider(model) != provider(&table.model) {
            (table.base_url, table.api_key_env) = (None, None);
            table.endpoints.clear();
            table.extra_body.clear();
        }
        table.price = None;
        model.clone_into(&mut table.model);
    }
    if base_url.is_some() || api_key_env.is_some() {
        table.endpoints.clear();
    }
    if let Some(url) = base_url {
        table.base_url = Some(url.to_owned());
    }
    if let Some(variable) = api_key_env {
        table.api_key_env = Some(variable.to_owned());
    }
}

/// The prompts by which the answers were judged; for an experiment without a judge the project's own.
fn prompts(
    reader: &Reader,
    experiment: &ExperimentRow,
    judge: &Judge,
) -> Result<BTreeMap<i64, JudgePromptTexts>, Failure> {
    let stored = reader.judge_prompts(experiment.id).map_err(Failure::failed)?;
    if !stored.is_empty() {
        return Ok(stored);
    }
    let prompts = JudgePrompts::default()
        .replaced(judge.alignment_prompt.clone(), judge.coherence_prompt.clone())
        .map_err(Failure::configuration)?;
    let texts = JudgePromptTexts { alignment: prompts.alignment, coherence: prompts.coherence };
    let questions = reader.question_names().map_err(Failure::failed)?;
    Ok(questions.into_iter().map(|(row, _)| (row, texts.clone())).collect())
}
