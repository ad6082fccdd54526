//! One job of the local benchmark (`benches/run.py --only local`), read from a JSON file; prints what it took as JSON.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use serde::Deserialize;
use tiltmeter_core::prompt::{Placement, Prompt, QuestionFormat, RenderedContext};
use tiltmeter_local::{LocalModel, LocalSettings, ModelSource, open};
use tiltmeter_models::{ChatModel, ChatRequest, Reasoning, Sampling, ScoreRequest};

/// What is asked. Fields that only the rival reads are left out.
#[derive(Deserialize)]
struct Job {
    model: PathBuf,
    threads: NonZeroUsize,
    demonstrations: Vec<(String, String)>,
    questions: Vec<String>,
    /// Scored behind each question.
    texts: Vec<String>,
    /// Answers drawn for each question, of so many tokens.
    replicates: u32,
    max_tokens: u32,
    /// Answers drawn at once, where it is not the default.
    batch_sequences: Option<NonZeroUsize>,
}

/// What one part of the job took.
#[derive(Default, serde::Serialize)]
struct Took {
    seconds: f64,
    prompt_tokens: u64,
    scored: usize,
    log_probability: f64,
    drawn: u64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let file = std::env::args().nth(1).ok_or("give the job's JSON file")?;
    let job: Job = serde_json::from_str(&fs_err::read_to_string(file)?)?;
    let defaults = LocalSettings::default();
    let batch_sequences = job.batch_sequences.unwrap_or(defaults.batch_sequences);
    let settings = LocalSettings { threads: Some(job.threads), batch_sequences, ..defaults };
    let model = open(&ModelSource::File(job.model.clone()), settings, &()).await?;
    let took = run(&job, &model).await?;
    #[expect(clippy::print_stdout, reason = "this is what the program is for")]
    {
        println!("{}", serde_json::to_string(&took)?);
    }
    Ok(())
}

/// Asks all at once, as an experiment does, and waits for the replies.
async fn run(job: &Job, model: &LocalModel) -> Result<Took, Box<dyn std::error::Error>> {
    let pairs = job.demonstrations.iter().map(|(question, answer)| (question.as_str(), answer.as_str()));
    let context: Arc<RenderedContext> =
        RenderedContext::render(pairs, Placement::FirstUser, QuestionFormat::Header).into();
    let start = Instant::now();
    let (mut scores, mut chats) = (Vec::new(), Vec::new());
    for question in &job.questions {
        let prompt: Arc<Prompt> = Prompt::new(Arc::clone(&context), None, question.as_str()).into();
        for text in &job.texts {
            let request = ScoreRequest { prompt: Arc::clone(&prompt), continuation: text.as_str().into() };
            let model = model.clone();
            scores.push(tokio::spawn(async move { model.score(&request).await }));
        }
        for seed in 0..job.replicates {
            let sampling = Sampling {
                temperature: 1.0,
                max_tokens: job.max_tokens,
                seed: Some(seed),
                stop: Vec::new(),
                top_log_probabilities: None,
                reasoning: Reasoning::default(),
            };
            let request = ChatRequest { prompt: Arc::clone(&prompt), sampling };
            let model = model.clone();
            chats.push(tokio::spawn(async move { model.chat(&request).await }));
        }
    }
    let mut took = Took::default();
    for score in scores {
        let score = score.await??;
        took.prompt_tokens = took.prompt_tokens.max(score.prompt_tokens);
        took.scored += score.token_log_probabilities.len();
        took.log_probability += score.token_log_probabilities.iter().copied().map(f64::from).sum::<f64>();
    }
    for chat in chats {
        let usage = chat.await??.usage;
        took.prompt_tokens = took.prompt_tokens.max(usage.input_tokens);
        took.drawn += usage.output_tokens;
    }
    took.seconds = start.elapsed().as_secs_f64();
    Ok(took)
}
