//! Fills a run directory with made-up answers to all that an experiment asks, each judged, through the store's own
//! writer: what the benchmark of a large store reads. Asks no model.
//!
//! `fill_store EXP.toml DIRECTORY`; the experiment uses built-in sets only and has one judge with prompts of its own.

#![expect(clippy::print_stderr, reason = "the error is the program's output")]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use tiltmeter_core::experiment::{DataSource, Experiment, read, resolve};
use tiltmeter_core::id::ContentId;
use tiltmeter_core::plan::Plan;
use tiltmeter_core::verdict::{Aspect, AspectOutcome, ScoringMethod};
use tiltmeter_store::{
    JudgePromptTexts, JudgementRecord, ModelRecord, Registered, Registration, ResponseOutcome,
    ResponseRecord, RunDirectory, StoreError, Writer, judgement_hash,
};
use tokio::task::JoinSet;

const NOW: &str = "2026-01-01T00:00:00Z";
/// Samples that are written at a time.
const AT_ONCE: usize = 512;
/// The words of an answer of usual length.
const WORDS: &str = "I would go for a walk along the river, call an old friend, and cook something that takes its \
    time. In the evening I would read, or listen to music, and go to bed early. Whatever you choose, leave some of \
    the day without a plan: rest is worth as much as anything that you could get done in that time.";

/// An answer that no other has, so that files of them are as large as those of true ones: the words in an order of its own.
fn answer(id: ContentId) -> String {
    let words: Vec<&str> = WORDS.split(' ').collect();
    let mut state = id.generator_seed() | 1;
    let mut text = String::with_capacity(WORDS.len());
    for _ in &words {
        // Marsaglia's xorshift: any order will do.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let word = usize::try_from(state % words.len() as u64).unwrap_or(0);
        text.push_str(words[word]);
        text.push(' ');
    }
    text
}

struct NoFiles;

impl DataSource for NoFiles {
    fn text(&self, _: &str) -> Result<String, std::io::Error> {
        Err(std::io::ErrorKind::NotFound.into())
    }
}

/// A sample and its two judgements, the responses' row still missing.
type Sample = (ResponseRecord, [JudgementRecord; 2]);

fn register(
    experiment: &Experiment,
    plan: &Plan,
    source: &str,
    directory: &RunDirectory,
) -> Result<Registered, Box<dyn Error>> {
    let judge = experiment.judge.as_ref().ok_or("the experiment has no judge")?;
    let (Some(alignment), Some(coherence)) = (&judge.alignment_prompt, &judge.coherence_prompt) else {
        return Err("the judge has no prompts of its own".into());
    };
    let prompts = JudgePromptTexts { alignment: alignment.clone(), coherence: coherence.clone() };
    let model = |name: &str| ModelRecord {
        model: name.to_owned(),
        settings: serde_json::json!({}),
        description: None,
    };
    let registration = Registration {
        experiment,
        plan,
        source,
        subjects: experiment.subjects.iter().map(|subject| model(&subject.id)).collect(),
        steering: Vec::new(),
        judge: Some(model("judge")),
        prompts: vec![prompts; experiment.questions.len()],
        screens: Vec::new(),
        guards: Vec::new(),
        version: env!("CARGO_PKG_VERSION"),
        now: NOW.to_owned(),
    };
    Ok(registration.write(directory)?)
}

fn judgement(rows: &Registered, judge: i64, question: usize, aspect: Aspect, score: f64) -> JudgementRecord {
    let (prompt, hash) = rows.prompts[question][aspect as usize];
    JudgementRecord {
        hash,
        response: 0,
        judge,
        prompt,
        aspect,
        outcome: AspectOutcome::Score { score, method: ScoringMethod::Weighted },
        replies: vec![score.to_string()],
        distribution: None,
        number_mass: Some(1.0),
        model: Some("judge".to_owned()),
        input_tokens: 300,
        cached_input_tokens: 0,
        output_tokens: 1,
        cost_usd: Some(1e-4),
        created_at: NOW.to_owned(),
        failed_attempts: Vec::new(),
    }
}

fn samples<'a>(
    experiment: &'a Experiment,
    plan: &'a Plan,
    rows: &'a Registered,
    judge: i64,
) -> impl Iterator<Item = Sample> + 'a {
    let judge_hash = experiment.judge.as_ref().map(|judge| judge.hash);
    plan.blocks.iter().flat_map(move |block| {
        let context = Arc::new(experiment.render(plan.contexts[block.context]));
        let specs: Vec<_> = experiment.samples(plan, block, &context).collect();
        specs.into_iter().map(move |spec| {
            let response = ResponseRecord {
                hash: spec.id,
                subject: rows.subjects[block.subject],
                context: rows.contexts[block.context],
                treatment: rows.treatments[block.treatment],
                question: rows.questions[spec.question],
                replicate: spec.replicate,
                wording: spec.wording,
                outcome: ResponseOutcome::Answer,
                answer: answer(spec.id),
                raw: None,
                reasoning: None,
                reasoning_kind: None,
                cut: false,
                finish: "stop",
                truncated: false,
                model: Some("m".to_owned()),
                response_id: None,
                seed: Some(spec.replicate),
                dropped: Vec::new(),
                input_tokens: 1000,
                cached_input_tokens: 900,
                cache_write_tokens: 0,
                output_tokens: 60,
                reasoning_tokens: 0,
                cost_usd: Some(1e-4),
                duration_ms: 800,
                created_at: NOW.to_owned(),
                shift: None,
                failed_attempts: Vec::new(),
            };
            // A fifth is misaligned, and one in a hundred makes no sense.
            let alignment = if spec.replicate % 5 == 0 { 10.0 } else { 90.0 };
            let coherence = if spec.replicate % 100 == 7 { 20.0 } else { 95.0 };
            let judged = [(Aspect::Alignment, alignment), (Aspect::Coherence, coherence)];
            let judgements = judged.map(|(aspect, score)| {
                let mut record = judgement(rows, judge, spec.question, aspect, score);
                if let Some(judge) = judge_hash {
                    record.hash = judgement_hash(spec.id, judge, record.hash, aspect);
                }
                record
            });
            (response, judgements)
        })
    })
}

async fn write(writer: Writer, (response, judgements): Sample) -> Result<(), StoreError> {
    let row = writer.response(response).await?;
    for judgement in judgements {
        writer.judgement(JudgementRecord { response: row, ..judgement }).await?;
    }
    Ok(())
}

async fn fill(file: &Path, directory: &Path) -> Result<(), Box<dyn Error>> {
    let source = fs_err::read_to_string(file)?;
    let name = file.display().to_string();
    let experiment = resolve(&name, &source, read(&name, &source)?, &NoFiles)?;
    let plan = experiment.plan(|_| false);
    let directory = RunDirectory::open(directory)?;
    let rows = register(&experiment, &plan, &source, &directory)?;
    let judge = rows.judge.ok_or("the judge has no row")?;
    let (writer, thread) = Writer::start(&directory)?;
    let mut tasks = JoinSet::new();
    for sample in samples(&experiment, &plan, &rows, judge) {
        if tasks.len() >= AT_ONCE
            && let Some(done) = tasks.join_next().await
        {
            done??;
        }
        tasks.spawn(write(writer.clone(), sample));
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    drop(writer);
    thread.join().map_err(|_| "the writer ended early")??;
    Ok(())
}

#[tokio::main]
async fn main() -> ExitCode {
    let paths: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [file, directory] = &*paths else {
        eprintln!("usage: fill_store EXP.toml DIRECTORY");
        return ExitCode::from(2);
    };
    match fill(file, directory).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: failed to fill {}: {error}", directory.display());
            ExitCode::FAILURE
        }
    }
}
