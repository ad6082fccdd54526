//! `tiltmeter trace`: has chain-of-thought traces coded by models, and shows what their codings come to.

use std::path::Path;

use tiltmeter_core::experiment::file::{ExperimentFile, JudgeFile};
use tiltmeter_core::experiment::{ConfigError, Judge, resolve_judge};
use tiltmeter_core::id::ContentId;
use tiltmeter_judge::CodeBook;
use tiltmeter_report::traces_table;
use tiltmeter_run::{
    CodeTraces, Coder, TraceDrawError, TraceResults, code_traces, connect_coder, draw_traces, trace_results,
};
use tiltmeter_store::{CodeBookRow, CoderRecord, CodingRegistration, ExperimentRow, Reader, TraceDraw};

use crate::cli::{DrawArguments, TraceArguments};
use crate::commands::judge::replace;
use crate::exit::{Exit, Failure};
use crate::start::Start;
use crate::{output, prices};

/// Aligned traces for each misaligned one, where nothing else is said.
const BASE_RATE: f64 = 1.0;

pub(crate) fn trace(arguments: &TraceArguments) -> Result<Exit, Failure> {
    let path = &arguments.run;
    // A directory that holds no run is not made into one.
    Reader::open(path).map_err(Failure::failed)?;
    if arguments.report_only {
        let book = arguments.draw.codebook.as_deref().map(|_| code_book(&arguments.draw)).transpose()?;
        return show(path, book.map(|book| book.hash), arguments.json);
    }
    let book = code_book(&arguments.draw)?;
    let start = Start::new(path, arguments.max_cost, &arguments.log)?;
    let reader = Reader::open(path).map_err(Failure::failed)?;
    let experiment = reader.experiment().map_err(Failure::failed)?;
    let draw = draw(&reader, &experiment, &arguments.draw)?;
    let environment = |name: &str| std::env::var(name).ok();
    let prices = prices::load()?;
    let mut coders: Vec<Coder> = Vec::new();
    let mut records = Vec::new();
    for judge in judges(&experiment, arguments)? {
        let model = start.connect(connect_coder(&judge, &prices, &environment, start.progress()))?;
        let record = model.record.clone();
        let coder = Coder::new(&judge, model);
        if coders.iter().any(|earlier| earlier.hash == coder.hash) {
            continue;
        }
        records.push(CoderRecord { hash: coder.hash, model: record });
        coders.push(coder);
    }
    start.check_prices(coders.iter().map(|coder| &*coder.model))?;
    let (row, hash) = (book_row(&book), book.hash);
    let registration =
        CodingRegistration { book: &row, coders: records, draw, version: env!("CARGO_PKG_VERSION") };
    let rows = registration.write(start.directory()).map_err(Failure::failed)?;
    let items = reader.trace_items(rows.draw).map_err(Failure::failed)?;
    let invocation = rows.invocation;
    let outcome = start.work(|means| async move {
        code_traces(CodeTraces { book, coders, rows, items, means }, reader).await
    })?;
    start.close(invocation, &outcome)?;
    let exit = show(path, Some(hash), arguments.json)?;
    start.tell(&outcome);
    Ok(exit)
}

/// The code book that is named, or the project's own.
pub(crate) fn code_book(arguments: &DrawArguments) -> Result<CodeBook, Failure> {
    let Some(path) = &arguments.codebook else { return CodeBook::built_in().map_err(Failure::failed) };
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| {
        Failure::configuration(ConfigError::new(&name, format!("cannot read the code book: {error}")))
    })?;
    CodeBook::read(&name, &text).map_err(Failure::configuration)
}

/// The code book as it is stored.
pub(crate) fn book_row(book: &CodeBook) -> CodeBookRow {
    CodeBookRow { id: 0, hash: book.hash, name: book.name.clone(), source: book.source.to_string() }
}

/// The traces to be coded or labelled. What is not said is as in the newest draw.
pub(crate) fn draw(
    reader: &Reader,
    experiment: &ExperimentRow,
    arguments: &DrawArguments,
) -> Result<TraceDraw, Failure> {
    let newest = reader.trace_draw().map_err(Failure::failed)?.map(|(_, draw)| draw);
    let base_rate = match (arguments.all, arguments.base_rate, &newest) {
        (true, ..) => None,
        (_, Some(base_rate), _) => Some(base_rate),
        (.., Some(newest)) => newest.base_rate,
        (.., None) => Some(BASE_RATE),
    };
    let seed = arguments.seed.or(newest.map(|draw| draw.seed)).unwrap_or(experiment.seed);
    let now = jiff::Timestamp::now().to_string();
    draw_traces(reader, base_rate, seed, now).map_err(|error| match error {
        TraceDrawError::Store(error) => Failure::failed(error),
        error => Failure::configuration(error),
    })
}

/// The coders: judges that read something else.
fn judges(experiment: &ExperimentRow, arguments: &TraceArguments) -> Result<Vec<Judge>, Failure> {
    let names: Vec<Option<&str>> = if arguments.coder.is_empty() {
        vec![None]
    } else {
        arguments.coder.iter().map(|name| Some(name.as_str())).collect()
    };
    names.into_iter().map(|name| judge(experiment, name, arguments)).collect()
}

fn judge(
    experiment: &ExperimentRow,
    name: Option<&str>,
    arguments: &TraceArguments,
) -> Result<Judge, Failure> {
    let damaged = |error| Failure::failed(format!("the stored experiment cannot be read: {error}"));
    let mut file: ExperimentFile = serde_json::from_str(&experiment.resolved).map_err(damaged)?;
    let mut table: JudgeFile = match (file.judge.take(), name) {
        (Some(table), _) => table,
        (None, Some(model)) => {
            serde_json::from_value(serde_json::json!({ "model": model })).map_err(damaged)?
        }
        (None, None) => {
            return Err(Failure::configuration(
                "the stored experiment has no judge whose model could code\n  name one: `--coder provider/model`",
            ));
        }
    };
    replace(&mut table, name, arguments.base_url.as_deref(), arguments.api_key_env.as_deref());
    (table.samples, table.log_probabilities, table.max_tokens) = (1, false, arguments.max_tokens);
    table.temperature = Some(0.0);
    (table.alignment_prompt, table.coherence_prompt) = (None, None);
    file.judge = Some(table);
    let judge = resolve_judge("the coder", &file).map_err(Failure::configuration)?;
    judge.ok_or_else(|| Failure::failed("the coder was lost"))
}

/// What the codings come to.
fn show(path: &Path, book: Option<ContentId>, json: bool) -> Result<Exit, Failure> {
    let results = trace_results(path, book).map_err(Failure::failed)?;
    let results = results.ok_or_else(|| {
        Failure::configuration(
            "no traces were coded by this code book yet\n  `tiltmeter trace RUN` has them coded",
        )
    })?;
    if json {
        let document = serde_json::to_string_pretty(&results).map_err(Failure::failed)?;
        output::result(&format!("{document}\n"));
    } else {
        output::result(&traces_table(&results));
    }
    Ok(if is_incomplete(&results) { Exit::Incomplete } else { Exit::Done })
}

/// Whether a model has not coded all that was drawn. People may take their time.
fn is_incomplete(results: &TraceResults) -> bool {
    results.coders.iter().any(|coder| coder.kind == "model" && !coder.not_coded.is_empty())
}
