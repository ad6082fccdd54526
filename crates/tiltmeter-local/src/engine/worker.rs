//! The thread that owns a model: gathers requests that share a context, reads the context once, and serves them.

use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::sync::Arc;

use tiltmeter_core::id::ContentId;
use tiltmeter_core::prompt::Prompt;
use tiltmeter_models::{ErrorKind, ModelError, Reasoning};
use tokio::sync::mpsc;

use super::direct::template_error;
use super::disk::Disk;
use super::echo::Kept;
use super::generation::Generation;
use super::job::{ChatWork, GroupKey, Job, ReadWork, Ready, ScoreWork, Shared, Taken, WatchWork, Work};
use super::placing::{self, Placed};
use super::prefix::{Prefixes, Start, common};
use crate::compute::{Panels, WIDTH};
use crate::decoder::{Cache, Decoder, Hooks, KeyValuePrecision, Purpose, Run, Scratch, SegmentId};
use crate::taps::{Intervention, Role};
use crate::text::{ChatTemplate, Thinking, Vocabulary};

/// Prompts whose tokens are remembered; six answers of a question share one.
const REMEMBERED_PROMPTS: usize = 512;

/// What the worker needs to know of the settings.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Tokens of a prompt and its answer.
    pub(super) context: usize,
    pub(super) batch_tokens: usize,
    pub(super) batch_sequences: usize,
    /// Bytes of keys and values, kept contexts included.
    pub(super) key_value_bytes: u64,
    pub(super) prefix_cache_bytes: u64,
    pub(super) key_values: KeyValuePrecision,
}

/// The model and its state.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) decoder: Decoder,
    pub(super) cache: Cache,
    scratch: Scratch,
    pub(super) vocabulary: Arc<Vocabulary>,
    template: Arc<ChatTemplate>,
    pub(super) model: String,
    pub(super) limits: Limits,
    receiver: mpsc::Receiver<Job>,
    waiting: VecDeque<Job>,
    prefixes: Prefixes,
    disk: Option<Disk>,
    remembered: HashMap<(ContentId, Thinking), Arc<[u32]>>,
    /// The text whose tokens were asked about last.
    pub(super) echo: Option<Kept>,
    /// Tokens that went through the model, to test what is computed once only.
    #[cfg(test)]
    pub(super) computed: usize,
}

/// The context that a group of requests shares.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) segment: SegmentId,
    pub(super) tokens: Vec<u32>,
    /// Tokens that were there before; told to the first request, which is charged for the others.
    reused: Option<usize>,
}

impl Group {
    /// How many tokens of the shared context start a prompt. At least one token is left over to be computed, as
    /// what follows the prompt is predicted from it.
    pub(super) fn visible(&self, prompt: &[u32]) -> usize {
        common(&self.tokens, prompt).min(prompt.len().saturating_sub(1))
    }

    /// How many tokens of a prompt count as cached.
    pub(super) fn cached(&mut self, visible: usize) -> u64 {
        self.reused.take().map_or(visible, |reused| reused.min(visible)) as u64
    }
}

/// A failure inside the model or this crate.
pub(super) fn local(message: impl Into<String>) -> ModelError {
    ModelError::new(ErrorKind::Local, message)
}

impl Worker {
    pub(super) fn new(
        decoder: Decoder,
        vocabulary: Arc<Vocabulary>,
        template: Arc<ChatTemplate>,
        model: String,
        limits: Limits,
        receiver: mpsc::Receiver<Job>,
    ) -> Self {
        let token_bytes = decoder.config().key_value_bytes(limits.key_values);
        Self {
            cache: Cache::new(decoder.config(), limits.key_values),
            decoder,
            scratch: Scratch::default(),
            vocabulary,
            template,
            model,
            limits,
            receiver,
            waiting: VecDeque::new(),
            prefixes: Prefixes::new(limits.prefix_cache_bytes, token_bytes),
            disk: None,
            remembered: HashMap::new(),
            echo: None,
            #[cfg(test)]
            computed: 0,
        }
    }

    /// What texts become tokens by.
    pub(super) fn text(&self) -> (Arc<Vocabulary>, Arc<ChatTemplate>) {
        (Arc::clone(&self.vocabulary), Arc::clone(&self.template))
    }

    /// Keeps contexts in a folder.
    pub(super) fn keep_on_disk(
        &mut self,
        folder: &Path,
        most_bytes: u64,
        model: &str,
    ) -> std::io::Result<()> {
        self.disk = Some(Disk::open(folder, most_bytes, model, &self.cache, self.limits.context)?);
        Ok(())
    }

    /// Serves requests until all callers have gone for good.
    pub(super) fn run(mut self) {
        loop {
            self.collect();
            if self.waiting.is_empty() {
                match self.receiver.blocking_recv() {
                    Some(job) => self.waiting.push_back(job),
                    None => return,
                }
                self.collect();
            }
            self.serve_group();
        }
    }

    /// Takes what has come in meanwhile.
    fn collect(&mut self) {
        while let Ok(job) = self.receiver.try_recv() {
            self.waiting.push_back(job);
        }
    }

    /// Serves the oldest request and all that share its context, those included that come in meanwhile.
    pub(super) fn serve_group(&mut self) {
        self.waiting.retain(|job| !job.work.is_abandoned());
        if let Some(Job { work: Work::Echo(work), .. }) =
            self.waiting.pop_front_if(|job| matches!(job.work, Work::Echo(_)))
        {
            self.serve_echo(work);
            return;
        }
        let Some(key) = self.waiting.front().map(Job::key) else { return };
        let mut taken = self.take(&key);
        let Some(mut group) = self.read_context(&taken, &key) else { return };
        let mut generation = Generation::default();
        // Others wait while newcomers are let in, so these are limited while there are others.
        let mut let_in = 0;
        loop {
            let Taken { scores, chats, reads } = std::mem::take(&mut taken);
            self.score(&group, scores, generation.bytes());
            self.read(&group, reads, generation.bytes());
            generation.queue(chats);
            generation.step(self, &mut group);
            if generation.is_empty() {
                return;
            }
            self.collect();
            let others_wait = self.waiting.iter().any(|job| job.key() != key);
            if !others_wait || let_in < 4 * self.limits.batch_sequences {
                taken = self.take(&key);
                let_in += taken.len();
            }
        }
    }

    /// Takes the waiting requests of a group, with their tokens; replies to those that cannot be served.
    fn take(&mut self, key: &GroupKey) -> Taken {
        let mut taken = Taken::default();
        for job in std::mem::take(&mut self.waiting) {
            if job.key() != *key {
                self.waiting.push_back(job);
                continue;
            }
            if job.work.is_abandoned() {
                continue;
            }
            let tokens = match &job.work {
                Work::Watch(work) => self.check_tokens(&work.tokens).map(|()| Arc::clone(&work.tokens)),
                Work::Chat { sampling, .. } if sampling.reasoning == Reasoning::Off => {
                    self.tokens(&job.prompt, Thinking::Off)
                }
                _ => self.tokens(&job.prompt, Thinking::AsTrained),
            };
            let intervention = job.intervention;
            match (tokens, job.work) {
                (Err(error), work) => work.fail(error),
                (Ok(tokens), Work::Score { continuation, reply }) => {
                    match self.check_score(&tokens, &continuation) {
                        Ok(continuation) => {
                            let work = ScoreWork { continuation, reply };
                            taken.scores.push(Ready { tokens, intervention, work });
                        }
                        Err(error) => drop(reply.send(Err(error))),
                    }
                }
                (Ok(tokens), Work::Read { continuation, taps, reply }) => {
                    match self.check_read(&tokens, &continuation, &taps) {
                        Ok(continuation) => {
                            let work = ReadWork { continuation, taps, reply };
                            taken.reads.push(Ready { tokens, intervention, work });
                        }
                        Err(error) => drop(reply.send(Err(error))),
                    }
                }
                (Ok(tokens), Work::Chat { sampling, reply }) => match self.check_chat(&tokens, &sampling) {
                    Ok(room) => {
                        // Without a seed the prompt stands in, so that the same request has the same answer.
                        let seed = sampling.seed.map_or_else(|| job.prompt.id().generator_seed(), u64::from);
                        let work = ChatWork { sampling, seed, room, pieces: None, reply };
                        taken.chats.push(Ready { tokens, intervention, work });
                    }
                    Err(error) => drop(reply.send(Err(error))),
                },
                (Ok(tokens), Work::Watch(work)) => match self.check_chat(&tokens, &work.sampling) {
                    Ok(room) => {
                        let WatchWork { sampling, seed, pieces, reply, .. } = *work;
                        let work = ChatWork { sampling, seed, room, pieces, reply };
                        taken.chats.push(Ready { tokens, intervention, work });
                    }
                    Err(error) => drop(work.reply.send(Err(error))),
                },
                // Of no group.
                (Ok(_), Work::Echo(work)) => self.serve_echo(work),
                #[cfg(test)]
                (Ok(_), Work::Panic) => panic!("asked to"),
            }
        }
        taken
    }

    fn tokens(&mut self, prompt: &Prompt, thinking: Thinking) -> Result<Arc<[u32]>, ModelError> {
        let id = (prompt.id(), thinking);
        if let Some(tokens) = self.remembered.get(&id) {
            return Ok(Arc::clone(tokens));
        }
        let tokens = self
            .template
            .encode_thinking(prompt, &self.vocabulary, thinking)
            .map_err(|error| template_error(&error))?;
        if tokens.is_empty() {
            return Err(ModelError::new(ErrorKind::BadRequest, "the prompt is empty"));
        }
        if self.remembered.len() >= REMEMBERED_PROMPTS {
            self.remembered.clear();
        }
        let tokens: Arc<[u32]> = tokens.into();
        self.remembered.insert(id, Arc::clone(&tokens));
        Ok(tokens)
    }

    fn check_score(&self, prompt: &[u32], continuation: &str) -> Result<Vec<u32>, ModelError> {
        let tokens = self.vocabulary.encode(continuation).map_err(|error| local(error.to_string()))?;
        if tokens.is_empty() {
            return Err(ModelError::new(ErrorKind::BadRequest, "the text to score is empty"));
        }
        self.check_length(prompt.len() + tokens.len())?;
        Ok(tokens)
    }

    /// The number of tokens that may be drawn.
    fn check_chat(&self, prompt: &[u32], sampling: &tiltmeter_models::Sampling) -> Result<usize, ModelError> {
        if !(sampling.temperature >= 0.0 && sampling.temperature.is_finite()) {
            let message = format!("the temperature is {}; it must be 0 or above", sampling.temperature);
            return Err(ModelError::new(ErrorKind::BadRequest, message));
        }
        self.check_length(prompt.len() + 1)?;
        Ok((self.limits.context - prompt.len()).min(sampling.max_tokens as usize))
    }

    /// Whether so many tokens fit into the context, and into memory.
    pub(super) fn check_length(&self, tokens: usize) -> Result<(), ModelError> {
        let limit = self.limits.context;
        if tokens > limit {
            let message = format!("the prompt and its answer take {tokens} tokens; the context has {limit}");
            let mut error = ModelError::new(ErrorKind::ContextTooLong, message);
            error.context_limit = Some(limit as u64);
            return Err(error);
        }
        let needed = self.bytes_of(tokens);
        if needed > self.limits.key_value_bytes {
            return Err(local(format!(
                "a context of {tokens} tokens takes {} MiB, and {} MiB are left of the memory limit; raise it, \
                 or use a shorter context",
                needed >> 20,
                self.limits.key_value_bytes >> 20
            )));
        }
        Ok(())
    }

    /// Bytes of keys and values, which come in blocks.
    pub(super) fn bytes_of(&self, tokens: usize) -> u64 {
        let token_bytes = self.decoder.config().key_value_bytes(self.limits.key_values);
        tokens.next_multiple_of(WIDTH) as u64 * token_bytes
    }

    /// Forgets kept contexts, but for the group's own, until so many bytes are left or there is none.
    pub(super) fn make_room(&mut self, group: &Group, bytes: u64) {
        self.forget_echo();
        self.make_room_beside(group.segment, bytes);
    }

    /// The same for a segment that is in use.
    pub(super) fn make_room_beside(&mut self, segment: SegmentId, bytes: u64) {
        let most = self.limits.key_value_bytes.saturating_sub(bytes);
        self.prefixes.shrink(segment, most, &mut self.cache);
    }

    /// Bytes that are left for the answers of a group.
    pub(super) fn free_bytes(&self) -> u64 {
        self.limits.key_value_bytes.saturating_sub(self.prefixes.bytes() + self.echo_bytes())
    }

    /// Reads what all prompts start with. `None` where all callers went away meanwhile.
    fn read_context(&mut self, taken: &Taken, key: &GroupKey) -> Option<Group> {
        let prompts = taken.prompts();
        let (first, others) = prompts.split_first()?;
        let shared = others.iter().map(|other| common(first, other)).min().unwrap_or(first.len());
        // One token is left to be computed for each prompt.
        let shared = prompts.iter().map(|prompt| prompt.len() - 1).min().map_or(0, |most| shared.min(most));
        let tokens = first[..shared].to_vec();
        let intervention = taken.intervention().filter(|_| key.under.is_some());
        let mut start = self.prefixes.start(&tokens, key.under, &mut self.cache);
        // What is kept on disk was read without an intervention.
        let mut disk = self.disk.as_mut().filter(|_| key.under.is_none());
        let kept = disk.as_mut().and_then(|disk| disk.load(&tokens, start.reused, &mut self.cache));
        if let Some((segment, reused)) = kept {
            self.prefixes.replace(start.segment, segment, &tokens[..reused], &mut self.cache);
            start = Start { segment, reused };
        }
        for chunk in tokens[start.reused..].chunks(self.limits.batch_tokens) {
            if !taken.is_waited_for() {
                return None;
            }
            self.fill(start.segment, chunk, intervention.as_deref());
            self.prefixes.extended(start.segment, chunk);
        }
        if let Some(disk) = self.disk.as_mut().filter(|_| key.under.is_none() && start.reused < tokens.len())
        {
            disk.store(&self.cache, start.segment, &tokens);
        }
        // A kept context may go on with what some later prompt wants as well.
        let tokens = self.prefixes.tokens(start.segment).to_vec();
        Some(Group { segment: start.segment, tokens, reused: Some(start.reused) })
    }

    /// Computes keys and values of a prompt's tokens, its last not among them, at the end of a segment.
    fn fill(&mut self, segment: SegmentId, tokens: &[u32], intervention: Option<&Intervention>) {
        for tokens in tokens.chunks(self.limits.batch_tokens) {
            let mut hooks = Hooks::default();
            if let Some(intervention) = intervention {
                let position = self.cache.start(segment) + self.cache.length(segment);
                let roles = std::iter::repeat_n(Role::Prompt, tokens.len());
                placing::edit(&mut hooks, intervention, Placed { row: 0, position }, &roles, None);
            }
            self.pass(&[Run { segment, tokens }], Purpose::Fill, &mut hooks);
        }
    }

    /// Runs tokens through the model; one row of the residual stream for each.
    pub(super) fn pass(&mut self, runs: &[Run<'_>], purpose: Purpose, hooks: &mut Hooks) -> Panels {
        #[cfg(test)]
        {
            self.computed += runs.iter().map(|run| run.tokens.len()).sum::<usize>();
        }
        self.decoder.pass_with(&mut self.cache, runs, purpose, hooks, &mut self.scratch)
    }

    /// Makes a segment for the end of a prompt, and reads what is too long for one pass. Returns the segment and
    /// the tokens that are left, at least one.
    pub(super) fn branch<'p>(&mut self, group: &Group, shared: &'p Shared) -> (SegmentId, &'p [u32]) {
        let visible = group.visible(&shared.tokens);
        let segment = self.cache.child(group.segment, visible);
        let own = &shared.tokens[visible..];
        let (before, rest) =
            own.split_at((own.len() - 1) / self.limits.batch_tokens * self.limits.batch_tokens);
        self.fill(segment, before, shared.intervention.as_deref());
        (segment, rest)
    }

    /// Adds the edits of the end of a prompt, as [`Worker::branch`] gives it.
    pub(super) fn edit_prompt_end(
        &self,
        hooks: &mut Hooks,
        shared: &Shared,
        row: usize,
        rest: usize,
        owner: usize,
    ) {
        if let Some(intervention) = &shared.intervention {
            let reasons = placing::starts_with_reasoning(&shared.tokens, intervention, &self.vocabulary);
            let placed = Placed { row, position: shared.tokens.len() - rest };
            let roles = placing::prompt_roles(rest, reasons);
            placing::edit(hooks, intervention, placed, &roles, Some(owner));
        }
    }

    /// Adds requests as if they had come in.
    #[cfg(test)]
    pub(super) fn enqueue(&mut self, jobs: impl IntoIterator<Item = Job>) {
        self.waiting.extend(jobs);
    }

    /// Whether there are requests that are not served.
    #[cfg(test)]
    pub(super) fn is_waited_for(&self) -> bool {
        !self.waiting.is_empty()
    }
}
