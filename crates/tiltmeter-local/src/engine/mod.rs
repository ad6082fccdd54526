//! A model that is open: one thread owns it, requests reach it through a bounded channel.

mod direct;
mod disk;
mod echo;
mod generation;
mod job;
mod placing;
mod prefix;
mod reading;
mod sampler;
mod scoring;
mod worker;

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use serde::Serialize;
use tiltmeter_core::prompt::Prompt;
use tiltmeter_models::{ChatModel, ChatRequest, ChatResponse, ModelError, ScoreRequest, TextScore};
use tokio::sync::{mpsc, oneshot};

use crate::checkpoint::Checkpoint;
use crate::decoder;
use crate::error::LocalError;
use crate::settings::{LEAST_CONTEXT, LocalSettings};
use crate::source::ModelSource;
use crate::taps::{HiddenStates, Intervention, InterventionError, Tap};
use crate::text::{ChatTemplate, Thoughts, TokenizerError, Vocabulary};
use crate::weights::{self, Progress, WeightsError};
use job::{Job, Reply, Work};
use worker::{Limits, Worker, local};

pub use direct::{Piece, Watched};
pub use echo::EchoedToken;

/// What is known of an open model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ModelDescription {
    /// The known name, or the file's name without its ending.
    pub name: String,
    /// SHA-256 of the file, in hexadecimal; of a folder, that of the list of its files' hashes, as `sha256sum` writes it
    /// of the files in the order of their names.
    pub file_sha256: String,
    /// The architecture, such as `llama`.
    pub architecture: String,
    /// The number of weights.
    pub parameters: u64,
    /// The kind of number that most weights are stored as, such as `Q4_1`.
    pub quantisation: String,
    /// The most tokens of a prompt and its answer.
    pub context_length: usize,
    /// Blocks; the residual stream has the indices 0 to this number.
    pub layers: usize,
    /// Numbers of the residual stream at each token.
    pub width: usize,
}

/// A model on this machine. Clones share it; its memory is freed when the last one goes.
///
/// Results depend on the request alone: not on what else is asked, in which order, or what was asked before, to the
/// last bit. A chat without a seed takes one from its prompt, so that it is answered the same way each time.
///
/// - `chat` joins requests of the same context (and system instruction) to one batch. The answer is cut before the
///   first stop text. Log-probabilities are those at temperature 1.
/// - `score` takes the text as the beginning of the assistant's turn, right behind what the chat template writes to
///   open it. Prompt and text are made tokens apart, so that their boundary is the same for all texts; the end of
///   the turn is not scored.
/// - Without a system message, the prompt is what the model's chat template makes of it; SmolLM2's writes a system
///   message of its own.
/// - Thoughts between `<think>` and `</think>` at the start of an answer are its reasoning. Where reasoning is off,
///   templates that know `enable_thinking` are told so.
/// - Special tokens in prompts and texts are plain text.
#[derive(Clone, Debug)]
pub struct LocalModel {
    sender: mpsc::Sender<Job>,
    description: Arc<ModelDescription>,
    vocabulary: Arc<Vocabulary>,
    template: Arc<ChatTemplate>,
    /// Stands for the prompt of requests that come as tokens.
    no_prompt: Arc<Prompt>,
    /// What is done to the residual stream in all that is asked through this handle.
    intervention: Option<Arc<Intervention>>,
}

/// Opens a model: fetches its file if need be, and loads it on a thread of its own.
///
/// # Errors
/// Where the weights cannot be fetched, the file cannot be used, or the model does not fit into memory.
pub async fn open(
    source: &ModelSource,
    settings: LocalSettings,
    progress: &dyn Progress,
) -> Result<LocalModel, LocalError> {
    let (path, sha256) = match source {
        ModelSource::Known(model) => {
            (weights::fetch(model, &settings.weights, progress).await?, Some(model.sha256.to_owned()))
        }
        ModelSource::File(path) => (path.clone(), None),
        ModelSource::Hub(model) => {
            let (path, commit) = weights::kept(model, &settings.weights).map_err(WeightsError::from)?;
            if commit != model.revision {
                progress.note(&format!("{model} is the commit {commit}"));
            }
            (path, None)
        }
    };
    let name = source.name();
    let (sender, receiver) = mpsc::channel(settings.queue.get());
    let (opened, ready) = oneshot::channel();
    std::thread::Builder::new()
        .name("local-model".to_owned())
        .spawn(move || match load(&path, name, sha256, &settings, receiver) {
            Ok((pool, worker, description)) => {
                if opened.send(Ok((description, worker.text()))).is_ok() {
                    pool.install(|| worker.run());
                }
            }
            // The caller may have gone, which is fine.
            Err(error) => drop(opened.send(Err(error.of(&path)))),
        })
        .map_err(|error| LocalError::Thread(error.to_string()))?;
    let ended = || LocalError::Thread("it ended while it was loading the model".to_owned());
    let (description, (vocabulary, template)) = ready.await.map_err(|_| ended())??;
    let no_prompt = Arc::new(Prompt::single(""));
    let description = Arc::new(description);
    Ok(LocalModel { sender, description, vocabulary, template, no_prompt, intervention: None })
}

/// The context length in tokens: what is asked for, or else the model's.
fn context_length(settings: &LocalSettings, most: usize) -> Result<usize, LocalError> {
    match settings.context_length.map(NonZeroUsize::get) {
        None => Ok(most),
        Some(asked) if (LEAST_CONTEXT..=most).contains(&asked) => Ok(asked),
        Some(asked) => Err(LocalError::Context { asked, most }),
    }
}

/// Loads a model file.
fn load(
    path: &Path,
    name: String,
    sha256: Option<String>,
    settings: &LocalSettings,
    receiver: mpsc::Receiver<Job>,
) -> Result<(rayon::ThreadPool, Worker, ModelDescription), LocalError> {
    let checkpoint = Checkpoint::open(path)?;
    let config = checkpoint.config()?;
    let vocabulary = Arc::new(checkpoint.vocabulary(&config)?);
    if vocabulary.len() != config.vocabulary {
        let reason = format!("{} tokens, but weights for {}", vocabulary.len(), config.vocabulary);
        return Err(TokenizerError::Vocabulary(reason).into());
    }
    let template = Arc::new(checkpoint.template()?);
    let (parameters, kind) = decoder::census(checkpoint.tensors());
    let context = context_length(settings, config.context)?;
    let weights = decoder::weight_bytes(checkpoint.tensors(), &config);
    let limit = settings.memory();
    let token_bytes = config.key_value_bytes(settings.key_values);
    let needed = weights.saturating_add(token_bytes.saturating_mul(context as u64));
    if needed > limit {
        return Err(LocalError::Memory { needed, weights, context, limit });
    }
    let sha256 = match sha256 {
        Some(sha256) => sha256,
        None => checkpoint.sha256()?,
    };
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(settings.thread_count().get())
        .thread_name(|index| format!("local-model-{index}"))
        .build()
        .map_err(|error| LocalError::Thread(error.to_string()))?;
    let (layers, width) = (config.layers, config.width);
    let decoder = pool.install(|| decoder::load(checkpoint.tensors(), config))?;
    let description = ModelDescription {
        name,
        file_sha256: sha256,
        architecture: decoder.config().family.name().to_owned(),
        parameters,
        quantisation: format!("{kind:?}"),
        context_length: context,
        layers,
        width,
    };
    let key_value_bytes = limit - weights;
    let limits = Limits {
        context,
        batch_tokens: settings.batch_tokens.get(),
        batch_sequences: settings.batch_sequences.get(),
        key_value_bytes,
        prefix_cache_bytes: settings.prefix_cache_bytes.min(key_value_bytes / 2),
        key_values: settings.key_values,
    };
    let model = format!("{} {}", description.name, description.quantisation);
    let mut worker = Worker::new(decoder, vocabulary, template, model, limits, receiver);
    if let Some(folder) = &settings.context_folder {
        worker
            .keep_on_disk(folder, settings.context_folder_bytes, &description.file_sha256)
            .map_err(|source| LocalError::ContextFolder { path: folder.clone(), source })?;
    }
    Ok((pool, worker, description))
}

impl LocalModel {
    /// What is known of the model.
    pub fn description(&self) -> &ModelDescription {
        &self.description
    }

    /// The same model, loaded once, with its residual stream changed in all that is asked through the new handle: it
    /// replies with what the change came to. Requests under different interventions share a context's keys and values
    /// where these are the same, and only there.
    ///
    /// # Errors
    /// Where the model has no such index, or a residual stream of another width.
    pub fn with_intervention(&self, intervention: Intervention) -> Result<Self, InterventionError> {
        intervention.check(self.description.layers, self.description.width)?;
        Ok(Self { intervention: Some(Arc::new(intervention)), ..self.clone() })
    }

    /// Reads the residual stream at chosen tokens of a prompt and a given answer, which is made tokens apart from the
    /// prompt and may be empty. The end of the assistant's turn is not part of the answer. Under an intervention, what
    /// is read is what the next block sees.
    ///
    /// # Errors
    /// For an index that the model does not have, or where prompt and answer are too long.
    pub async fn hidden_states(
        &self,
        prompt: &Arc<Prompt>,
        continuation: &Arc<str>,
        taps: &Arc<[Tap]>,
    ) -> Result<HiddenStates, ModelError> {
        self.ask(prompt, |reply| Work::Read {
            continuation: Arc::clone(continuation),
            taps: Arc::clone(taps),
            reply,
        })
        .await
    }

    /// The number of tokens of a text, special tokens in it being plain text. 0 where it cannot be encoded.
    pub fn count_tokens(&self, text: &str) -> usize {
        self.vocabulary.encode(text).map_or(0, |tokens| tokens.len())
    }

    async fn ask<T>(
        &self,
        prompt: &Arc<Prompt>,
        work: impl FnOnce(Reply<T>) -> Work,
    ) -> Result<T, ModelError> {
        let ended = || local("the model's thread has ended, which is a defect; start the program again");
        let (reply, answer) = oneshot::channel();
        let (prompt, intervention) = (Arc::clone(prompt), self.intervention.clone());
        self.sender.send(Job { prompt, intervention, work: work(reply) }).await.map_err(|_| ended())?;
        answer.await.map_err(|_| ended())?
    }
}

#[async_trait]
impl ChatModel for LocalModel {
    async fn chat(&self, request: &ChatRequest) -> Result<ChatResponse, ModelError> {
        self.ask(&request.prompt, |reply| Work::Chat { sampling: request.sampling.clone(), reply }).await.map(
            |mut response| {
                let (reasoning, text) = Thoughts::split(&response.text);
                if reasoning.is_some() {
                    response.reasoning = reasoning;
                    response.text = text;
                }
                response
            },
        )
    }

    fn can_score(&self) -> bool {
        true
    }

    async fn score(&self, request: &ScoreRequest) -> Result<TextScore, ModelError> {
        let continuation = Arc::clone(&request.continuation);
        self.ask(&request.prompt, |reply| Work::Score { continuation, reply }).await
    }
}

#[cfg(test)]
mod tests;
