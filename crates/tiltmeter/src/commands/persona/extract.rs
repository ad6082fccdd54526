//! `tiltmeter persona extract`.

use std::path::PathBuf;
use std::sync::Arc;

use tiltmeter_core::experiment::{Judge, file::ExperimentFile, resolve_judge};
use tiltmeter_models::ErrorKind;
use tiltmeter_persona::{
    ExtractError, Extraction, ExtractionSettings, RolloutStore, Step, TraitFile, TraitJudge,
};
use tiltmeter_run::{Budget, PatientModel, RetryPolicy, connect_judge, judge_settings};
use tokio_util::sync::CancellationToken;

use super::arguments::ExtractArguments;
use crate::exit::{Exit, Failure};
use crate::log::Log;
use crate::progress::Progress;
use crate::{output, prices};

pub(crate) fn extract(arguments: &ExtractArguments) -> Result<Exit, Failure> {
    let _log = Log::start(&arguments.log)?;
    let of = TraitFile::open(&arguments.name).map_err(Failure::configuration)?;
    if arguments.temperature <= 0.0 {
        return Err(Failure::configuration(
            "`--temperature` must be above 0: rollouts would all be the same",
        ));
    }
    let settings = ExtractionSettings {
        rollouts: arguments.rollouts,
        pairs: arguments.pairs.map(|pairs| pairs as usize),
        questions: arguments.questions.map(|questions| questions as usize),
        temperature: arguments.temperature,
        max_tokens: arguments.max_tokens,
        seed: arguments.seed,
        ..ExtractionSettings::default()
    };
    of.check_counts(settings.pairs, settings.questions).map_err(Failure::configuration)?;
    let judge = arguments.judge.as_ref().map(|model| judge_of(model, arguments)).transpose()?;
    let runtime = super::runtime()?;
    let progress = Arc::new(Progress::new());
    let asked = match &judge {
        Some(judge) => {
            let environment = |name: &str| std::env::var(name).ok();
            let prices = prices::load()?;
            let connecting = connect_judge(judge, &prices, &environment, &*progress);
            let model = runtime.block_on(connecting).map_err(|error| {
                if error.is_configuration() { Failure::configuration(error) } else { Failure::failed(error) }
            })?;
            if arguments.max_cost.is_some() && model.price.is_none() {
                return Err(Failure::configuration(format!(
                    "`--max-cost` needs the price of `{}`, which is not known; put it into the price table",
                    model.record.model
                )));
            }
            let name = model.record.model.clone();
            let budget = Arc::new(Budget::new(arguments.max_cost.map(|most| most.0)));
            let (policy, stop) = (RetryPolicy::default(), CancellationToken::new());
            let observer = progress.clone();
            let model = PatientModel::new(model, policy, budget, observer, jiff::Timestamp::now, stop);
            Some((model, name, judge.hash, judge_settings(judge)))
        }
        None => None,
    };
    let model = super::open(&runtime, &arguments.model, &progress)?;
    let path = arguments
        .out
        .clone()
        .unwrap_or_else(|| PathBuf::from(format!("{}-{}.safetensors", of.name, model.description().name)));
    let mut store = RolloutStore::open(&beside(&path)).map_err(|error| failure(&error))?;
    let shown = progress.clone();
    let observer = move |step| match step {
        Step::Drawn { done, of } => shown.step("rollouts", done, of),
        Step::Rated { done, of } => shown.step("ratings of trait and coherence", done, of),
        Step::Read { done, of } => shown.step("hidden states", done, of),
    };
    let extraction = Extraction {
        model: &model,
        of: &of,
        settings,
        judge: asked.as_ref().map(|(model, name, hash, settings)| TraitJudge {
            model,
            name: name.clone(),
            hash: *hash,
            settings: settings.clone(),
        }),
        software: concat!("tiltmeter ", env!("CARGO_PKG_VERSION")),
        observer: &observer,
    };
    let vector = runtime
        .block_on(tiltmeter_persona::extract(&extraction, &mut store))
        .map_err(|error| failure(&error))?;
    vector.save(&path).map_err(Failure::failed)?;
    if arguments.json {
        let document = serde_json::to_string_pretty(&vector.record).map_err(Failure::failed)?;
        output::result(&format!("{document}\n"));
    } else {
        output::result(&tiltmeter_report::vector_table(&vector.record));
    }
    if vector.record.chosen().is_none() {
        output::note(
            "warning: no layer is chosen, since there are too few answers to compare layers on what was held out; \
             steering and projection need `--layer`, or more `--questions`, `--pairs` and `--rollouts` here",
        );
    }
    output::note(&format!("vectors: {}; rollouts: {}", path.display(), store.path().display()));
    Ok(Exit::Done)
}

/// The rollouts' file beside a vector file.
fn beside(path: &std::path::Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".rollouts.jsonl");
    PathBuf::from(name)
}

fn failure(error: &ExtractError) -> Failure {
    let kept = "what was drawn and rated is kept";
    match error {
        ExtractError::Model { error: cause, .. } if can_go_on(cause.kind) => {
            Failure::failed(format!("{error}\n  {kept}; run again to go on"))
        }
        ExtractError::Model { .. } => Failure::failed(format!("{error}\n  {kept}")),
        error => Failure::failed(error),
    }
}

/// Whether the same command may succeed later, also once an account or a key has been seen to.
fn can_go_on(kind: ErrorKind) -> bool {
    kind.is_retryable() || matches!(kind, ErrorKind::Unauthorised | ErrorKind::OutOfCredit)
}

/// A judge with the settings that an experiment's has by default.
fn judge_of(model: &str, arguments: &ExtractArguments) -> Result<Judge, Failure> {
    let mut table = serde_json::Map::new();
    table.insert("model".to_owned(), model.into());
    for (key, value) in [("base_url", &arguments.base_url), ("api_key_env", &arguments.api_key_env)] {
        if let Some(value) = value {
            table.insert(key.to_owned(), value.as_str().into());
        }
    }
    let file: ExperimentFile = serde_json::from_value(serde_json::json!({
        "name": "judge",
        "subjects": [],
        "demonstrations": { "sets": [], "shots": [] },
        "judge": table,
    }))
    .map_err(Failure::configuration)?;
    let judge = resolve_judge("the judge", &file).map_err(Failure::configuration)?;
    judge.ok_or_else(|| Failure::failed("the judge was lost"))
}

#[cfg(test)]
mod tests {
    use tiltmeter_models::ModelError;

    use super::*;

    #[test]
    fn only_what_running_again_can_mend_asks_for_it() {
        let said = |kind| {
            let error = ModelError::new(kind, "no".to_owned());
            failure(&ExtractError::Model { who: "the judge", error }).message
        };
        for kind in [ErrorKind::RateLimited, ErrorKind::Unreachable, ErrorKind::OutOfCredit] {
            assert!(said(kind).contains("run again to go on"), "{kind:?}");
        }
        for kind in
            [ErrorKind::Local, ErrorKind::ContextTooLong, ErrorKind::BadRequest, ErrorKind::Unsupported]
        {
            assert!(!said(kind).contains("run again") && said(kind).contains("is kept"), "{kind:?}");
        }
    }
}
