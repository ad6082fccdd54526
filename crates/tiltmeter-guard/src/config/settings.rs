//! What is left of GUARD.toml once it is resolved.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use secrecy::SecretString;

use super::file::{Action, AuditFailure, AuditWhen, ClientLeaves, KeyHeader, OnFailure, Uninspected};
use super::models::ModelTable;
use crate::drift::DriftSettings;
use crate::inspection::{Inspector, RiskLevel};
use crate::judging::{AnswerJudge, SamplingSettings};
use crate::output::OutputCheck;

/// A gateway's settings. They are swapped as a whole when they are read anew; a request keeps those that it began with.
#[derive(Clone)]
pub struct Settings {
    /// Where clients come to.
    pub listen: SocketAddr,
    /// Where figures are served, if not there too.
    pub admin: Option<SocketAddr>,
    /// BLAKE3 hash of the token that lets a browser see the live page; there is none without it.
    pub admin_token: Option<blake3::Hash>,
    /// BLAKE3 hashes of the keys that clients must give one of.
    pub client_keys: Option<Vec<blake3::Hash>>,
    /// Which requests are forwarded that no detector is for.
    pub uninspected: Uninspected,
    /// Limits.
    pub limits: Limits,
    /// Servers.
    pub upstreams: Vec<Arc<Upstream>>,
    /// Requests that are inspected at a time.
    pub concurrent_inspections: usize,
    /// Bytes of a body that are inspected.
    pub inspected_bytes: usize,
    /// The audit log.
    pub audit: Option<AuditSettings>,
    pub(super) upstream_of: ModelTable,
    pub(super) default_upstream: Option<usize>,
    pub(super) routes: Vec<Arc<Route>>,
    pub(super) route_of: ModelTable,
}

impl Settings {
    /// The server of a model, by its place in [`Settings::upstreams`]; the default one where no model is named, or none
    /// has it.
    pub fn upstream(&self, model: Option<&str>) -> Option<usize> {
        model.and_then(|model| self.upstream_of.find(model)).or(self.default_upstream)
    }

    /// What is done with requests for a model.
    pub fn route(&self, model: &str) -> Option<&Arc<Route>> {
        self.route_of.find(model).and_then(|index| self.routes.get(index))
    }

    /// What is done with requests, in the order of the configuration.
    pub fn routes(&self) -> &[Arc<Route>] {
        &self.routes
    }

    /// All detectors that a route uses, each once.
    pub fn detectors(&self) -> Vec<Arc<Detector>> {
        let mut all: Vec<Arc<Detector>> = Vec::new();
        for detector in self.routes.iter().flat_map(|route| &route.detectors) {
            if !all.iter().any(|known| known.name == detector.name) {
                all.push(Arc::clone(detector));
            }
        }
        all
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Settings").field("listen", &self.listen).finish_non_exhaustive()
    }
}

/// Limits of what clients may send.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at a time.
    pub connections: usize,
    /// Bytes of a request's line and headers.
    pub head_bytes: usize,
    /// Headers of a request.
    pub headers: usize,
    /// Bytes of a body.
    pub body_bytes: usize,
    /// Time for a request's line and headers.
    pub head_time: Duration,
    /// Time for a body.
    pub body_time: Duration,
    /// Time for requests in flight once the gateway stops.
    pub grace: Duration,
}

/// A server of models.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// Its name.
    pub name: String,
    /// Its address; the path has no slash at its end.
    pub base: Uri,
    /// Its key; what the client sends is passed through without one.
    pub key: Option<SecretString>,
    /// How it wants the key.
    pub key_header: KeyHeader,
    /// Time for a connection to be made.
    pub connect_time: Duration,
    /// Time until an answer begins.
    pub answer_time: Duration,
    /// Time between two pieces of an answer.
    pub idle_time: Duration,
}

/// Something that looks at contexts.
pub struct Detector {
    /// Its name.
    pub name: String,
    /// What does the work.
    pub inspector: Arc<dyn Inspector>,
    /// The time that it may take.
    pub time: Duration,
    /// What its failure means.
    pub on_failure: OnFailure,
    /// Failures in a row after which it rests; 0 for never.
    pub rest_after: u32,
    /// How long it rests.
    pub rest: Duration,
    /// The lower, the sooner it is left out.
    pub rank: i32,
}

impl fmt::Debug for Detector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Detector").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What is done with requests for some models.
#[derive(Debug)]
pub struct Route {
    /// Its name.
    pub name: String,
    /// What looks at their contexts: what is left out last, first.
    pub detectors: Vec<Arc<Detector>>,
    /// What is done where nothing is found, at low risk, and at high risk: each list in the order of [`Action`].
    pub actions: [Vec<Action>; 3],
    /// Whether it is only recorded what would be done.
    pub dry_run: bool,
    /// The safety instruction.
    pub instruction: String,
    /// The model that answers instead.
    pub fallback_model: Option<String>,
    /// What becomes of an answer whose client leaves.
    pub client_leaves: ClientLeaves,
    /// The check of answers, before they are given.
    pub output: Option<OutputSettings>,
    /// The judging of sampled answers, after they were given.
    pub judging: Option<JudgingSettings>,
}

impl Route {
    /// What is done at a risk.
    pub fn actions(&self, level: RiskLevel) -> &[Action] {
        let [none, low, high] = &self.actions;
        match level {
            RiskLevel::None => none,
            RiskLevel::Low => low,
            RiskLevel::High => high,
        }
    }
}

/// How sampled answers are judged.
#[derive(Clone, Debug)]
pub struct JudgingSettings {
    /// Who judges.
    pub judge: Arc<AnswerJudge>,
    /// Which answers.
    pub sampling: SamplingSettings,
    /// When they count as having got worse.
    pub drift: DriftSettings,
}

/// How answers are checked.
#[derive(Clone)]
pub struct OutputSettings {
    /// The check's name.
    pub name: String,
    /// The check.
    pub check: Arc<dyn OutputCheck>,
    /// From which risk on.
    pub from: RiskLevel,
    /// The most bytes that are held back.
    pub hold_back: usize,
    /// What its failure means.
    pub on_failure: OnFailure,
}

impl fmt::Debug for OutputSettings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("OutputSettings").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The audit log.
#[derive(Clone, Debug)]
pub struct AuditSettings {
    /// The folder of its files.
    pub folder: PathBuf,
    /// Whether an answer waits for its record.
    pub when: AuditWhen,
    /// What happens where it cannot be written.
    pub on_failure: AuditFailure,
    /// Records that may wait.
    pub queue: usize,
    /// Bytes after which a new file is begun.
    pub file_bytes: u64,
    /// Files that are kept.
    pub keep_files: Option<u32>,
    /// What the chain is keyed with.
    pub key: Option<SecretString>,
    /// Whether bodies are kept, and what is blotted out of them.
    pub content: Option<Redaction>,
}

/// A pattern that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the pattern cannot be used: {0}")]
pub struct PatternError(#[from] regex::Error);

/// What is blotted out of texts that are kept.
#[derive(Clone, Debug, Default)]
pub struct Redaction {
    patterns: Vec<regex::bytes::Regex>,
}

impl Redaction {
    /// Takes regular expressions.
    ///
    /// # Errors
    /// Where one is not valid; the index of the first that is not comes with the reason.
    pub fn new(patterns: &[String]) -> Result<Self, (usize, PatternError)> {
        let compile = |(index, pattern): (usize, &String)| {
            regex::bytes::Regex::new(pattern).map_err(|error| (index, PatternError(error)))
        };
        Ok(Self { patterns: patterns.iter().enumerate().map(compile).collect::<Result<_, _>>()? })
    }

    /// The body without what the patterns match.
    pub fn apply(&self, body: &[u8]) -> Vec<u8> {
        let mut body = body.to_vec();
        for pattern in &self.patterns {
            if let std::borrow::Cow::Owned(changed) = pattern.replace_all(&body, &b"[redacted]"[..]) {
                body = changed;
            }
        }
        body
    }
}
