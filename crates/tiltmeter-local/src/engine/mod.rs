//! A model that is open: one thread owns it, requests reach it through a bounded channel.

mod disk;
mod generation;
mod job;
mod prefix;
mod sampler;
mod scoring;
mod worker;

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use serde::Serialize;
use tiltmeter_models::{ChatModel, ChatRequest, ChatResponse, ModelError, ScoreRequest, TextScore};
use tokio::sync::{mpsc, oneshot};

use crate::decoder::{self, Config};
use crate::error::LocalError;
use crate::gguf::Gguf;
use crate::settings::LocalSettings;
use crate::source::ModelSource;
use crate::text::{ChatTemplate, TokenizerError, Vocabulary};
use crate::weights::{self, Progress};
use job::{Job, Reply, Work};
use worker::{Limits, Worker, local};

/// What is known of an open model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ModelDescription {
    /// The known name, or the file's name without its ending.
    pub name: String,
    /// SHA-256 of the file, in hexadecimal.
    pub file_sha256: String,
    /// The architecture, such as `llama`.
    pub architecture: String,
    /// The number of weights.
    pub parameters: u64,
    /// The kind of number that most weights are stored as, such as `Q4_1`.
    pub quantisation: String,
    /// The most tokens of a prompt and its answer.
    pub context_length: usize,
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
/// - Special tokens in prompts and texts are plain text.
#[derive(Clone, Debug)]
pub struct LocalModel {
    sender: mpsc::Sender<Job>,
    description: Arc<ModelDescription>,
    vocabulary: Arc<Vocabulary>,
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
    };
    let name = source.name();
    let (sender, receiver) = mpsc::channel(settings.queue.get());
    let (opened, ready) = oneshot::channel();
    std::thread::Builder::new()
        .name("local-model".to_owned())
        .spawn(move || match load(&path, name, sha256, &settings, receiver) {
            Ok((pool, worker, description)) => {
                if opened.send(Ok((description, Arc::clone(&worker.vocabulary)))).is_ok() {
                    pool.install(|| worker.run());
                }
            }
            // The caller may have gone, which is fine.
            Err(error) => drop(opened.send(Err(error))),
        })
        .map_err(|error| LocalError::Thread(error.to_string()))?;
    let ended = || LocalError::Thread("it ended while it was loading the model".to_owned());
    let (description, vocabulary) = ready.await.map_err(|_| ended())??;
    Ok(LocalModel { sender, description: Arc::new(description), vocabulary })
}

/// Loads a model file.
fn load(
    path: &Path,
    name: String,
    sha256: Option<String>,
    settings: &LocalSettings,
    receiver: mpsc::Receiver<Job>,
) -> Result<(rayon::ThreadPool, Worker, ModelDescription), LocalError> {
    let gguf = Gguf::open(path)?;
    let config = Config::from_gguf(&gguf)?;
    let vocabulary = Arc::new(Vocabulary::from_gguf(&gguf)?);
    if vocabulary.len() != config.vocabulary {
        let reason = format!("{} tokens, but weights for {}", vocabulary.len(), config.vocabulary);
        return Err(TokenizerError::Vocabulary(reason).into());
    }
    let template = ChatTemplate::from_gguf(&gguf)?;
    let (parameters, kind) = decoder::census(&gguf);
    let context = settings.context_length.map_or(config.context, |asked| asked.get().min(config.context));
    let weights = decoder::weight_bytes(&gguf, &config);
    let limit = settings.memory();
    let token_bytes = config.key_value_bytes(settings.key_values);
    let needed = weights.saturating_add(token_bytes.saturating_mul(context as u64));
    if needed > limit {
        return Err(LocalError::Memory { needed, weights, context, limit });
    }
    let sha256 = match sha256 {
        Some(sha256) => sha256,
        None => weights::sha256_of(path)
            .map_err(|source| crate::gguf::GgufError::Read { path: path.to_owned(), source })?,
    };
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(settings.thread_count().get())
        .thread_name(|index| format!("local-model-{index}"))
        .build()
        .map_err(|error| LocalError::Thread(error.to_string()))?;
    let decoder = pool.install(|| decoder::load(&gguf, config))?;
    let description = ModelDescription {
        name,
        file_sha256: sha256,
        architecture: "llama".to_owned(),
        parameters,
        quantisation: format!("{kind:?}"),
        context_length: context,
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

    /// The number of tokens of a text, special tokens in it being plain text. 0 where it cannot be encoded.
    pub fn count_tokens(&self, text: &str) -> usize {
        self.vocabulary.encode(text).map_or(0, |tokens| tokens.len())
    }

    async fn ask<T>(&self, job: impl FnOnce(Reply<T>) -> Job) -> Result<T, ModelError> {
        let ended = || local("the model's thread has ended, which is a defect; start the program again");
        let (reply, answer) = oneshot::channel();
        self.sender.send(job(reply)).await.map_err(|_| ended())?;
        answer.await.map_err(|_| ended())?
    }
}

#[async_trait]
impl ChatModel for LocalModel {
    async fn chat(&self, request: &ChatRequest) -> Result<ChatResponse, ModelError> {
        self.ask(|reply| Job {
            prompt: Arc::clone(&request.prompt),
            work: Work::Chat { sampling: request.sampling.clone(), reply },
        })
        .await
    }

    fn can_score(&self) -> bool {
        true
    }

    async fn score(&self, request: &ScoreRequest) -> Result<TextScore, ModelError> {
        self.ask(|reply| Job {
            prompt: Arc::clone(&request.prompt),
            work: Work::Score { continuation: Arc::clone(&request.continuation), reply },
        })
        .await
    }
}

#[cfg(test)]
mod tests;
