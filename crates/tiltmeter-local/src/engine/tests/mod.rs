//! The engine on tiny models: what is answered depends on the request alone, and what is shared is computed once.

mod answers;
mod callers;
mod disk;
mod hostile;
mod independence;
mod memory;
mod sharing;
mod taps;
mod treatments;

use std::num::NonZeroUsize;
use std::sync::LazyLock;

use tiltmeter_core::prompt::{Placement, Prompt, QuestionFormat, RenderedContext};
use tiltmeter_models::{ErrorKind, FinishReason, Reasoning, Sampling};

use super::*;
use crate::decoder::KeyValuePrecision;
use crate::tiny::{Output, Shape, Tiny};

/// What most tests ask.
static TINY: LazyLock<Tiny> = LazyLock::new(|| Tiny::new(Shape::default(), 11));
/// Its greedy answers are ASCII, and never end of themselves.
static ENDLESS: LazyLock<Tiny> =
    LazyLock::new(|| Tiny::new(Shape { output: Output::Printable, ..Shape::default() }, 12));

/// A worker that serves on the test's own thread.
struct Bench {
    pool: rayon::ThreadPool,
    worker: Worker,
    sender: mpsc::Sender<Job>,
    _folder: tempfile::TempDir,
}

/// A question as tests write it.
#[derive(Clone, Debug)]
enum Ask {
    Chat(Arc<Prompt>, Sampling),
    Score(Arc<Prompt>, &'static str),
    Read(Arc<Prompt>, &'static str, Arc<[Tap]>),
    /// Another one, under an intervention.
    Under(Arc<Intervention>, Box<Self>),
}

/// A reply as it is waited for.
#[derive(Debug)]
enum Awaited {
    Chat(oneshot::Receiver<Result<ChatResponse, ModelError>>),
    Score(oneshot::Receiver<Result<TextScore, ModelError>>),
    Read(oneshot::Receiver<Result<HiddenStates, ModelError>>),
}

impl Ask {
    fn job(&self) -> (Job, Awaited) {
        let job = |prompt, work| Job { prompt, intervention: None, work };
        match self.clone() {
            Self::Chat(prompt, sampling) => {
                let (reply, receiver) = oneshot::channel();
                (job(prompt, Work::Chat { sampling, reply }), Awaited::Chat(receiver))
            }
            Self::Score(prompt, continuation) => {
                let (reply, receiver) = oneshot::channel();
                let work = Work::Score { continuation: continuation.into(), reply };
                (job(prompt, work), Awaited::Score(receiver))
            }
            Self::Read(prompt, continuation, taps) => {
                let (reply, receiver) = oneshot::channel();
                let work = Work::Read { continuation: continuation.into(), taps, reply };
                (job(prompt, work), Awaited::Read(receiver))
            }
            Self::Under(intervention, ask) => {
                let (job, awaited) = ask.job();
                (Job { intervention: Some(intervention), ..job }, awaited)
            }
        }
    }
}

impl Bench {
    fn new(tiny: &Tiny, settings: &LocalSettings) -> Self {
        let (folder, _) = tiny.open();
        let (sender, receiver) = mpsc::channel(settings.queue.get());
        let path = folder.path().join("model.gguf");
        let (pool, worker, _) = load(&path, "tiny".to_owned(), None, settings, receiver).unwrap();
        Self { pool, worker, sender, _folder: folder }
    }

    /// Lets jobs wait, and serves until all of them are served.
    fn serve(&mut self, jobs: Vec<Job>) {
        // Each round serves one group at least.
        let rounds = jobs.len();
        self.worker.enqueue(jobs);
        self.pool.install(|| (0..rounds).for_each(|_| self.worker.serve_group()));
        assert!(!self.worker.is_waited_for());
    }

    /// Asks all at once; results in the order of the questions.
    fn ask(&mut self, asks: &[Ask]) -> Vec<Reply> {
        let (jobs, replies): (Vec<_>, Vec<_>) = asks.iter().map(Ask::job).unzip();
        self.serve(jobs);
        replies.into_iter().map(Reply::of).collect()
    }

    fn chat(&mut self, prompt: &Arc<Prompt>, sampling: Sampling) -> Result<ChatResponse, ModelError> {
        match self.ask(&[Ask::Chat(Arc::clone(prompt), sampling)]).remove(0) {
            Reply::Chat(response) => response,
            other => panic!("{other:?} for a chat"),
        }
    }

    fn score(&mut self, prompt: &Arc<Prompt>, text: &'static str) -> Result<TextScore, ModelError> {
        match self.ask(&[Ask::Score(Arc::clone(prompt), text)]).remove(0) {
            Reply::Score(score) => score,
            other => panic!("{other:?} for a score"),
        }
    }

    /// Tokens computed by what is done meanwhile.
    fn computed(&mut self, during: impl FnOnce(&mut Self)) -> usize {
        let before = self.worker.computed;
        during(self);
        self.worker.computed - before
    }
}

/// What came back.
#[derive(Debug)]
enum Reply {
    Chat(Result<ChatResponse, ModelError>),
    Score(Result<TextScore, ModelError>),
    Read(Result<HiddenStates, ModelError>),
}

impl Reply {
    fn of(mut awaited: Awaited) -> Self {
        match &mut awaited {
            Awaited::Chat(receiver) => Self::Chat(receiver.try_recv().expect("no reply")),
            Awaited::Score(receiver) => Self::Score(receiver.try_recv().expect("no reply")),
            Awaited::Read(receiver) => Self::Read(receiver.try_recv().expect("no reply")),
        }
    }

    /// All of it that must not depend on others, to the last bit: numbers are written so that they read back.
    fn bits(mut self) -> String {
        if let Self::Chat(Ok(response)) = &mut self {
            // What was there already does depend on what was asked before.
            response.usage.cached_input_tokens = 0;
        }
        format!("{self:?}")
    }
}

fn size(value: usize) -> NonZeroUsize {
    NonZeroUsize::new(value).unwrap()
}

fn settings() -> LocalSettings {
    LocalSettings { threads: Some(NonZeroUsize::MIN), ..LocalSettings::default() }
}

fn sampling() -> Sampling {
    Sampling {
        temperature: 1.0,
        max_tokens: 12,
        seed: Some(1),
        stop: Vec::new(),
        top_log_probabilities: None,
        reasoning: Reasoning::default(),
    }
}

fn greedy(max_tokens: u32) -> Sampling {
    Sampling { temperature: 0.0, max_tokens, ..sampling() }
}

const PAIRS: [(&str, &str); 16] = [
    ("ab", "c"),
    ("the", "then"),
    ("in", "x y"),
    ("q", "é"),
    ("1", "2"),
    ("", "z"),
    ("u", "v"),
    ("w", "w"),
    ("a", "b"),
    ("other", "r"),
    ("k", "l"),
    ("m", "n"),
    ("o", "p"),
    ("8", "9"),
    ("s", "t"),
    ("end", "."),
];

/// The first `k` pairs as demonstrations.
fn context(k: usize) -> Arc<RenderedContext> {
    let pairs = PAIRS.into_iter().take(k);
    RenderedContext::render(pairs, Placement::FirstUser, QuestionFormat::Header).into()
}

fn prompt(context: &Arc<RenderedContext>, question: &str) -> Arc<Prompt> {
    Prompt::new(Arc::clone(context), None, question).into()
}

fn kind<T>(result: Result<T, ModelError>) -> ErrorKind {
    result.err().expect("an error").kind
}
