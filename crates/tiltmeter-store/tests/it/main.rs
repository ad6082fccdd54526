//! The run directory: what is acknowledged is on disk, what is there stays as it is, and foreign files are left alone.

#![allow(missing_docs, reason = "tests")]
#![expect(clippy::unwrap_used, reason = "helpers of tests are not seen as tests")]

mod labels;

use tempfile::TempDir;
use tiltmeter_core::experiment::{DataSource, Experiment, read, resolve};
use tiltmeter_core::id::{Canonical, ContentId};
use tiltmeter_core::plan::Plan;
use tiltmeter_core::verdict::{Aspect, AspectOutcome, ScoringMethod};
use tiltmeter_store::{
    FailedAttempt, FailureRecord, FailureTarget, JudgePromptTexts, JudgementRecord, ModelRecord, Reader,
    Registered, Registration, ResponseOutcome, ResponseRecord, RunDirectory, ScoreRecord, StoreError, Writer,
};

const EXPERIMENT: &str = "name = 'x'
[[subjects]]
id = 's'
model = 'openai/m'
[demonstrations]
sets = ['bad-medical']
shots = [0, 2]
contexts = 2
placement = 'chat-turns'
";
const NOW: &str = "2026-01-01T00:00:00Z";

struct NoFiles;

impl DataSource for NoFiles {
    fn text(&self, _: &str) -> Result<String, std::io::Error> {
        Err(std::io::ErrorKind::NotFound.into())
    }
}

fn experiment() -> (Experiment, Plan) {
    let experiment = resolve("x.toml", EXPERIMENT, read("x.toml", EXPERIMENT).unwrap(), &NoFiles).unwrap();
    let plan = experiment.plan(|_| true);
    (experiment, plan)
}

fn register(directory: &RunDirectory) -> Registered {
    let (experiment, plan) = experiment();
    let model =
        ModelRecord { model: "openai/m".to_owned(), settings: serde_json::json!({}), description: None };
    let registration = Registration {
        experiment: &experiment,
        plan: &plan,
        source: EXPERIMENT,
        subjects: vec![model],
        steering: Vec::new(),
        judge: None,
        prompts: Vec::new(),
        screens: Vec::new(),
        guards: Vec::new(),
        version: "0",
        now: NOW.to_owned(),
    };
    registration.write(directory).unwrap()
}

fn run() -> (TempDir, RunDirectory, Registered) {
    let folder = TempDir::new().unwrap();
    let directory = RunDirectory::open(&folder.path().join("run")).unwrap();
    let rows = register(&directory);
    (folder, directory, rows)
}

fn hash(name: &str) -> ContentId {
    Canonical::new("test/1").text(name).finish()
}

fn failed_attempt() -> FailedAttempt {
    FailedAttempt {
        attempt: 1,
        kind: "overloaded",
        status: Some(503),
        message: "busy".to_owned(),
        duration_ms: 1,
        waited_ms: 2,
        at: NOW.to_owned(),
    }
}

fn response(rows: &Registered, name: &str, answer: &str) -> ResponseRecord {
    ResponseRecord {
        hash: hash(name),
        subject: rows.subjects[0],
        context: rows.contexts[0],
        treatment: rows.treatments[0],
        question: rows.questions[0],
        replicate: 0,
        wording: 0,
        outcome: ResponseOutcome::Answer,
        answer: answer.to_owned(),
        raw: None,
        reasoning: None,
        reasoning_kind: None,
        cut: false,
        finish: "stop",
        truncated: false,
        model: None,
        response_id: None,
        seed: None,
        dropped: Vec::new(),
        input_tokens: 10,
        cached_input_tokens: 4,
        output_tokens: 3,
        reasoning_tokens: 0,
        cache_write_tokens: 0,
        cost_usd: None,
        duration_ms: 1,
        created_at: NOW.to_owned(),
        shift: None,
        failed_attempts: vec![failed_attempt()],
    }
}

#[tokio::test]
async fn what_is_acknowledged_is_there_and_the_first_of_two_stays() {
    let (_folder, directory, rows) = run();
    let (writer, thread) = Writer::start(&directory).unwrap();
    let row = writer.response(response(&rows, "a", "first")).await.unwrap();
    // A reader of its own sees it as soon as the writer has said so, while that goes on.
    let reader = Reader::open(directory.path()).unwrap();
    assert_eq!(reader.answer(row).unwrap(), "first");
    assert_eq!(writer.response(response(&rows, "a", "second")).await.unwrap(), row);
    assert_eq!(reader.answer(row).unwrap(), "first");
    let score = ScoreRecord {
        hash: hash("score"),
        subject: rows.subjects[0],
        context: rows.contexts[0],
        treatment: rows.treatments[0],
        pair: rows.pairs[0][0],
        tilted: true,
        token_log_probabilities: vec![-1.0, -0.5],
        cost_usd: None,
        shift: None,
        failed_attempts: Vec::new(),
    };
    writer.score(score.clone()).await.unwrap();
    writer.score(score).await.unwrap();
    drop(writer);
    thread.join().unwrap().unwrap();
    let stored = reader.stored_ids().unwrap();
    assert_eq!((stored.responses.len(), stored.scores.len()), (1, 1));
    let scores = reader.scores(rows.experiment).unwrap();
    assert!((scores[0].mean_log_probability + 0.75).abs() < 1e-12);
}

#[tokio::test]
async fn many_at_once_are_all_kept() {
    let (_folder, directory, rows) = run();
    let (writer, thread) = Writer::start(&directory).unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for index in 0..2000 {
        let (writer, record) =
            (writer.clone(), response(&rows, &index.to_string(), &format!("answer {index}")));
        tasks.spawn(async move { (index, writer.response(record).await.unwrap()) });
    }
    let written = tasks.join_all().await;
    drop(writer);
    thread.join().unwrap().unwrap();
    let reader = Reader::open(directory.path()).unwrap();
    let stored = reader.stored_ids().unwrap().responses;
    assert_eq!(stored.len(), 2000);
    for (index, row) in written {
        assert_eq!(reader.answer(row).unwrap(), format!("answer {index}"));
        assert_eq!(stored.get(&hash(&index.to_string())).map(|stored| stored.row), Some(row));
    }
    assert_eq!(stored.get(&hash("2000")), None);
}

/// Registers the experiment with a judge of this name.
fn register_judged(directory: &RunDirectory, judge: &str) -> Registered {
    let text = format!("{EXPERIMENT}[judge]\nmodel = 'openai/{judge}'\n");
    let experiment = resolve("x.toml", &text, read("x.toml", &text).unwrap(), &NoFiles).unwrap();
    let model =
        ModelRecord { model: "openai/m".to_owned(), settings: serde_json::json!({}), description: None };
    let prompts = JudgePromptTexts { alignment: "aligned?".into(), coherence: "coherent?".into() };
    let registration = Registration {
        experiment: &experiment,
        plan: &experiment.plan(|_| true),
        source: &text,
        subjects: vec![model.clone()],
        steering: Vec::new(),
        judge: Some(model),
        prompts: vec![prompts; experiment.questions.len()],
        screens: Vec::new(),
        guards: Vec::new(),
        version: "0",
        now: NOW.to_owned(),
    };
    registration.write(directory).unwrap()
}

fn judgement(rows: &Registered, response: i64, aspect: Aspect, score: f64) -> JudgementRecord {
    let prompt = rows.prompts[0][aspect as usize].0;
    JudgementRecord {
        hash: hash(&format!("{response} {:?} {prompt} {aspect:?}", rows.judge)),
        response,
        judge: rows.judge.unwrap(),
        prompt,
        aspect,
        outcome: AspectOutcome::Score { score, method: ScoringMethod::Parsed },
        replies: Vec::new(),
        distribution: None,
        number_mass: None,
        model: None,
        input_tokens: 2,
        cached_input_tokens: 0,
        output_tokens: 1,
        cost_usd: Some(0.5),
        created_at: NOW.to_owned(),
        failed_attempts: Vec::new(),
    }
}

#[tokio::test]
async fn samples_come_with_the_scores_of_their_own_judge_and_prompts_in_whatever_order_these_were_stored() {
    let folder = TempDir::new().unwrap();
    let directory = RunDirectory::open(&folder.path().join("run")).unwrap();
    let other = register_judged(&directory, "other");
    let rows = register_judged(&directory, "judge");
    assert_ne!(rows.judge, other.judge);
    let (writer, thread) = Writer::start(&directory).unwrap();
    let mut responses = Vec::new();
    for name in ["a", "b", "c", "d"] {
        responses.push(writer.response(response(&rows, name, name)).await.unwrap());
    }
    let [a, b, c, _] = *responses else { unreachable!() };
    let swapped = JudgementRecord {
        // By a prompt that is not the one for this aspect any more.
        prompt: rows.prompts[0][0].0,
        hash: hash("swapped"),
        ..judgement(&rows, a, Aspect::Coherence, 3.0)
    };
    for record in [
        judgement(&rows, c, Aspect::Coherence, 5.0),
        judgement(&other, b, Aspect::Alignment, 99.0),
        judgement(&rows, a, Aspect::Alignment, 1.0),
        swapped,
        judgement(&rows, b, Aspect::Coherence, 4.0),
        judgement(&rows, b, Aspect::Alignment, 2.0),
    ] {
        writer.judgement(record).await.unwrap();
    }
    drop(writer);
    thread.join().unwrap().unwrap();
    let reader = Reader::open(directory.path()).unwrap();
    let experiment = reader.experiment().unwrap();
    let score = |outcome| match outcome {
        Some(AspectOutcome::Score { score, .. }) => Some(score),
        _ => None,
    };
    let mut seen = Vec::new();
    reader
        .for_each_sample(&experiment, |sample| seen.push((score(sample.alignment), score(sample.coherence))))
        .unwrap();
    assert_eq!(
        seen,
        [(Some(1.0), None), (Some(2.0), Some(4.0)), (None, Some(5.0)), (None, None)],
        "of a, b, c and d"
    );
    let (tokens, costs) = reader.usage().unwrap();
    assert_eq!((tokens.input, tokens.cached, tokens.output), (40, 16, 12));
    assert_eq!((tokens.judge_input, tokens.judge_output), (12, 6));
    assert!((costs.judge_usd - 3.0).abs() < 1e-12 && costs.subjects_usd.abs() < 1e-12);
    assert_eq!(costs.unknown_calls, 4);
}

#[tokio::test]
async fn a_success_takes_the_place_of_a_failure() {
    let (_folder, directory, rows) = run();
    let (writer, thread) = Writer::start(&directory).unwrap();
    let failure = FailureRecord {
        hash: hash("a"),
        target: FailureTarget::Response {
            subject: rows.subjects[0],
            context: rows.contexts[0],
            treatment: rows.treatments[0],
            question: rows.questions[0],
            replicate: 3,
        },
        kind: "overloaded",
        message: "busy".to_owned(),
        created_at: NOW.to_owned(),
        failed_attempts: vec![failed_attempt()],
    };
    writer.failure(failure).await.unwrap();
    let reader = Reader::open(directory.path()).unwrap();
    let failures = reader.failures().unwrap();
    assert_eq!((failures.len(), failures[0].sample.unwrap().4), (1, 3));
    writer.response(response(&rows, "a", "answer")).await.unwrap();
    assert!(reader.failures().unwrap().is_empty());
    drop(writer);
    thread.join().unwrap().unwrap();
}

#[test]
fn an_experiment_that_is_registered_again_keeps_its_rows_and_contexts_are_read_back() {
    let (_folder, directory, rows) = run();
    let again = register(&directory);
    assert_eq!((again.experiment, &again.contexts), (rows.experiment, &rows.contexts));
    assert_ne!(again.invocation, rows.invocation);
    let (experiment, plan) = experiment();
    let reader = Reader::open(directory.path()).unwrap();
    for (&row, &spec) in rows.contexts.iter().zip(&plan.contexts) {
        assert_eq!(reader.context(row).unwrap(), experiment.render(spec));
    }
    let conditions = reader.conditions(rows.experiment).unwrap();
    assert_eq!(conditions.len(), plan.conditions.len());
    assert_eq!(conditions[1].contexts.len(), 2);
}

#[test]
fn one_process_works_on_a_directory_and_later_versions_are_refused() {
    let (folder, directory, _) = run();
    let path = folder.path().join("run");
    assert!(matches!(RunDirectory::open(&path), Err(StoreError::InUse { .. })));
    let store = directory.store_path();
    drop(directory);
    let directory = RunDirectory::open(&path).unwrap();
    let connection = rusqlite::Connection::open(store).unwrap();
    connection.pragma_update(None, "user_version", 999).unwrap();
    let refused = Writer::start(&directory).err().unwrap().to_string();
    assert!(refused.contains("later version") && refused.contains("update Tiltmeter"), "{refused}");
    assert!(matches!(Reader::open(&path), Err(StoreError::TooNew { found: 999, .. })));
    let nothing = TempDir::new().unwrap();
    assert!(matches!(Reader::open(nothing.path()), Err(StoreError::NotARun { .. })));
}
