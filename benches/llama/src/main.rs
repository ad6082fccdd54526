//! The rival of the local benchmark: the same job as `local_job`, on llama.cpp. One context is prefilled and its
//! sequence forked for each question, text and answer; what can go into one batch does.
//!
//! Prompts come rendered in the job file, so that both programs read the same text. Sampling is at temperature 1
//! from the whole distribution, on as many threads as compute.

use std::num::NonZeroU32;
use std::time::Instant;

use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::context::params::LlamaContextParams;
use llama_cpp_2::llama_backend::LlamaBackend;
use llama_cpp_2::llama_batch::LlamaBatch;
use llama_cpp_2::model::params::LlamaModelParams;
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::token::LlamaToken;
use serde::{Deserialize, Serialize};

type Failure = Box<dyn std::error::Error>;

#[derive(Deserialize)]
struct Job {
    model: String,
    threads: i32,
    /// The prompts of all questions, with the chat template's text.
    prompts: Vec<String>,
    texts: Vec<String>,
    replicates: usize,
    max_tokens: usize,
    /// Tokens of one batch.
    batch: u32,
    /// Answers that are drawn at once.
    parallel: usize,
}

#[derive(Default, Serialize)]
struct Took {
    seconds: f64,
    prefill_seconds: f64,
    score_seconds: f64,
    draw_seconds: f64,
    prompt_tokens: usize,
    scored: usize,
    log_probability: f64,
    drawn: usize,
}

fn common(a: &[LlamaToken], b: &[LlamaToken]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// The natural log-probability of a token.
fn log_probability(logits: &[f32], token: LlamaToken) -> f64 {
    let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let total: f64 = logits.iter().map(|&logit| f64::from((logit - highest).exp())).sum();
    f64::from(logits[token.0 as usize] - highest) - total.ln()
}

/// Draws at temperature 1.
fn draw(logits: &[f32], state: &mut u64) -> LlamaToken {
    // A generator by Marsaglia (2003); its quality is not what is measured.
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    let uniform = (*state >> 11) as f64 / (1_u64 << 53) as f64;
    let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weights: Vec<f32> = logits.iter().map(|&logit| (logit - highest).exp()).collect();
    let target = uniform * weights.iter().copied().map(f64::from).sum::<f64>();
    let mut sum = 0.0;
    for (index, &weight) in weights.iter().enumerate() {
        sum += f64::from(weight);
        if sum > target {
            return LlamaToken(index as i32);
        }
    }
    LlamaToken(weights.len() as i32 - 1)
}

/// Applies `body` to all items, on so many threads.
fn on_threads<T: Send, R: Send>(threads: i32, items: Vec<T>, body: impl Fn(T) -> R + Sync) -> Vec<R> {
    let share = items.len().div_ceil(threads as usize).max(1);
    let mut parts = Vec::new();
    let mut items = items.into_iter();
    loop {
        let part: Vec<T> = items.by_ref().take(share).collect();
        if part.is_empty() {
            break;
        }
        parts.push(part);
    }
    let body = &body;
    std::thread::scope(|scope| {
        let handles: Vec<_> = parts
            .into_iter()
            .map(|part| scope.spawn(move || part.into_iter().map(body).collect::<Vec<_>>()))
            .collect();
        handles.into_iter().flat_map(|handle| handle.join().expect("a thread failed")).collect()
    })
}

/// Reads tokens into a sequence from a position on; the last one gives logits.
fn fill(
    context: &mut LlamaContext<'_>,
    tokens: &[LlamaToken],
    from: usize,
    sequence: i32,
    batch_tokens: usize,
) -> Result<(), Failure> {
    let mut batch = LlamaBatch::new(batch_tokens, 1);
    for (chunk, part) in tokens.chunks(batch_tokens).enumerate() {
        batch.clear();
        for (index, &token) in part.iter().enumerate() {
            let place = chunk * batch_tokens + index;
            batch.add(token, (from + place) as i32, &[sequence], place + 1 == tokens.len())?;
        }
        context.decode(&mut batch)?;
    }
    Ok(())
}

struct Sequence {
    id: i32,
    position: usize,
    last: LlamaToken,
    drawn: usize,
    random: u64,
}

fn main() -> Result<(), Failure> {
    let file = std::env::args().nth(1).ok_or("give the job's JSON file")?;
    let job: Job = serde_json::from_str(&std::fs::read_to_string(file)?)?;
    let mut backend = LlamaBackend::init()?;
    backend.void_logs();
    let model = LlamaModel::load_from_file(&backend, &job.model, &LlamaModelParams::default())?;
    let vocabulary = model.vocab();
    let encode = |text: &String| vocabulary.tokenize(text.as_bytes(), false, true);
    let prompts: Vec<_> = job.prompts.iter().map(encode).collect();
    let texts: Vec<_> = job.texts.iter().map(encode).collect();
    let first = &prompts[0];
    let shared = prompts.iter().map(|prompt| common(first, prompt)).min().unwrap_or(0).min(first.len() - 1);
    let longest = prompts.iter().map(Vec::len).max().unwrap_or(0);
    let own = longest - shared;
    let longest_text = texts.iter().map(Vec::len).max().unwrap_or(0);
    // The cells of one cache, which all sequences share.
    let scoring = prompts.iter().map(|prompt| prompt.len() - shared).sum::<usize>()
        + texts.len() * longest_text * (job.batch as usize / longest_text.max(1) + texts.len());
    let drawing = job.parallel * (own + job.max_tokens);
    let cells = shared + scoring.max(drawing) + 64;
    let sequences = (1 + prompts.len() * (1 + texts.len())).max(1 + 2 * job.parallel).min(256);
    let params = LlamaContextParams::default()
        .with_n_ctx(NonZeroU32::new(cells.next_multiple_of(256) as u32))
        .with_n_batch(job.batch)
        .with_n_ubatch(512.min(job.batch))
        .with_n_seq_max(sequences as u32)
        .with_kv_unified(true)
        .with_n_threads(job.threads)
        .with_n_threads_batch(job.threads);
    let mut context = model.new_context(&backend, params)?;
    let batch_tokens = job.batch as usize;
    let mut took = Took { prompt_tokens: longest, ..Took::default() };
    let start = Instant::now();
    fill(&mut context, &first[..shared], 0, 0, batch_tokens)?;
    context.synchronize();
    took.prefill_seconds = start.elapsed().as_secs_f64();

    // Scoring: the ends of all prompts in as few batches as fit, then the texts behind them.
    if !texts.is_empty() {
        score(&mut context, &job, &prompts, &texts, shared, &mut took)?;
    }
    took.score_seconds = start.elapsed().as_secs_f64() - took.prefill_seconds;
    if job.replicates > 0 {
        draw_all(&mut context, &model, &job, &prompts, shared, &mut took)?;
    }
    took.seconds = start.elapsed().as_secs_f64();
    took.draw_seconds = took.seconds - took.score_seconds - took.prefill_seconds;
    println!("{}", serde_json::to_string(&took)?);
    Ok(())
}

fn score(
    context: &mut LlamaContext<'_>,
    job: &Job,
    prompts: &[Vec<LlamaToken>],
    texts: &[Vec<LlamaToken>],
    shared: usize,
    took: &mut Took,
) -> Result<(), Failure> {
    let batch_tokens = job.batch as usize;
    let mut batch = LlamaBatch::new(batch_tokens, 1);
    // So many questions that their ends fit into one batch, and so do their texts.
    let own = prompts.iter().map(|prompt| prompt.len() - shared).max().unwrap_or(1);
    let behind: usize = texts.iter().map(|text| text.len() - 1).sum();
    let group = (batch_tokens / own.max(behind)).clamp(1, 250 / (1 + texts.len()));
    for prompts in prompts.chunks(group) {
        batch.clear();
        let mut lasts = Vec::new();
        for (index, prompt) in prompts.iter().enumerate() {
            let sequence = 1 + index as i32;
            context.kv_cache_seq_cp(0, sequence, None, None)?;
            for (place, &token) in prompt.iter().enumerate().skip(shared) {
                batch.add(token, place as i32, &[sequence], place + 1 == prompt.len())?;
            }
            lasts.push(batch.n_tokens() - 1);
        }
        context.decode(&mut batch)?;
        let firsts = lasts.iter().map(|&last| context.get_logits_ith(last)).collect();
        let firsts: Vec<f64> = on_threads(job.threads, firsts, |logits: &[f32]| {
            texts.iter().map(|text| log_probability(logits, text[0])).sum()
        });
        took.log_probability += firsts.iter().sum::<f64>();
        took.scored += prompts.len() * texts.len();
        batch.clear();
        let mut wanted = Vec::new();
        let mut fork = 1 + prompts.len() as i32;
        for (index, prompt) in prompts.iter().enumerate() {
            for text in texts {
                context.kv_cache_seq_cp(1 + index as i32, fork, None, None)?;
                for (place, pair) in text.windows(2).enumerate() {
                    wanted.push((batch.n_tokens(), pair[1]));
                    batch.add(pair[0], (prompt.len() + place) as i32, &[fork], true)?;
                }
                fork += 1;
            }
        }
        if batch.n_tokens() > 0 {
            context.decode(&mut batch)?;
        }
        took.scored += wanted.len();
        let rows = wanted.iter().map(|&(row, token)| (context.get_logits_ith(row), token)).collect();
        let values: Vec<f64> =
            on_threads(job.threads, rows, |(logits, token): (&[f32], LlamaToken)| log_probability(logits, token));
        took.log_probability += values.iter().sum::<f64>();
        for sequence in 1..fork {
            context.clear_kv_cache_seq(Some(sequence as u32), None, None)?;
        }
    }
    Ok(())
}

/// Draws all answers, `parallel` at once: as soon as there is room for a question's, its end joins the next batch.
fn draw_all(
    context: &mut LlamaContext<'_>,
    model: &LlamaModel,
    job: &Job,
    prompts: &[Vec<LlamaToken>],
    shared: usize,
    took: &mut Took,
) -> Result<(), Failure> {
    let vocabulary = model.vocab();
    let mut batch = LlamaBatch::new(job.batch as usize, 1);
    let mut waiting = prompts.iter().peekable();
    let most = 1 + 2 * job.parallel.max(job.replicates);
    let mut free: Vec<i32> = (1..most as i32).rev().collect();
    let mut alive: Vec<Sequence> = Vec::new();
    let mut seed = 0_u64;
    while !alive.is_empty() || waiting.peek().is_some() {
        batch.clear();
        let mut rows = Vec::new();
        for sequence in &mut alive {
            rows.push(batch.n_tokens());
            batch.add(sequence.last, sequence.position as i32, &[sequence.id], true)?;
            sequence.position += 1;
        }
        let mut entering = Vec::new();
        let mut places = alive.len();
        while places == 0 || places + job.replicates <= job.parallel {
            let fits = |prompt: &&Vec<LlamaToken>| {
                batch.n_tokens() as usize + prompt.len() - shared <= job.batch as usize
            };
            let Some(prompt) = waiting.next_if(fits) else { break };
            let id = free.pop().ok_or("more sequences than were made")?;
            context.kv_cache_seq_cp(0, id, None, None)?;
            for (place, &token) in prompt.iter().enumerate().skip(shared) {
                batch.add(token, place as i32, &[id], place + 1 == prompt.len())?;
            }
            entering.push((id, prompt.len(), batch.n_tokens() - 1));
            places += job.replicates;
        }
        context.decode(&mut batch)?;
        for (question, position, row) in entering {
            for _ in 0..job.replicates {
                let id = free.pop().ok_or("more sequences than were made")?;
                context.kv_cache_seq_cp(question, id, None, None)?;
                seed += 1;
                let random = 0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(seed) | 1;
                alive.push(Sequence { id, position, last: LlamaToken(0), drawn: 0, random });
                rows.push(row);
            }
            context.clear_kv_cache_seq(Some(question as u32), None, None)?;
            free.push(question);
        }
        let work = alive.iter_mut().zip(&rows).map(|(sequence, &row)| (sequence, context.get_logits_ith(row)));
        on_threads(job.threads, work.collect(), |(sequence, logits): (&mut Sequence, &[f32])| {
            sequence.last = draw(logits, &mut sequence.random);
            sequence.drawn += 1;
        });
        took.drawn += alive.len();
        alive.retain(|sequence| {
            let goes_on = sequence.drawn < job.max_tokens && !vocabulary.is_eog(sequence.last);
            if !goes_on {
                let _ = context.clear_kv_cache_seq(Some(sequence.id as u32), None, None);
                free.push(sequence.id);
            }
            goes_on
        });
    }
    Ok(())
}
