//! What an operator writes: GUARD.toml, field by field.

mod audit;

use schemars::JsonSchema;
use serde::Deserialize;

pub use self::audit::{AuditFailure, AuditFile, AuditWhen};
use crate::drift::DriftSettings;
use crate::inspection::RiskLevel;
use crate::judging::AnswerJudgeFile;

/// A gateway's configuration.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GuardFile {
    /// Where the gateway listens, and its limits.
    pub server: ServerFile,
    /// The servers of models behind it. Requests reach these and no others.
    pub upstreams: Vec<UpstreamFile>,
    /// What looks at contexts.
    #[serde(default)]
    pub detectors: Vec<DetectorFile>,
    /// Models that judge answers.
    #[serde(default)]
    pub judges: Vec<AnswerJudgeFile>,
    /// What looks at answers.
    #[serde(default)]
    pub output_checks: Vec<OutputCheckFile>,
    /// What is done with requests, by the model that they ask for. A request that no route is for is forwarded as it is.
    #[serde(default)]
    pub routes: Vec<RouteFile>,
    /// How much inspection is done at a time.
    #[serde(default)]
    pub inspection: InspectionFile,
    /// The audit log; none is kept without this table.
    pub audit: Option<AuditFile>,
}

/// Where the gateway listens, and its limits.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServerFile {
    /// Address and port, such as `127.0.0.1:8088`; port 0 takes one that is free.
    pub listen: String,
    /// A second address for `/metrics`, `/healthz` and `/readyz`; with it, the first serves none of them but the last two.
    pub admin: Option<String>,
    /// The environment variable with the token that lets a browser see the live page, at `/` of `admin`, which must be an
    /// address of this machine then. Without it there is no page.
    pub admin_token_env: Option<String>,
    /// The environment variable with the keys that clients must give, separated by commas. Without it, whoever reaches the
    /// gateway may use it.
    pub client_keys_env: Option<String>,
    /// Which requests below `/v1` are forwarded to the default upstream that no detector is for: uploads of files, batches,
    /// stored conversations, lists of models, and whatever else the gateway does not know. Default: `read` where a detector
    /// of some route fails closed, as contexts would get past it otherwise; `pass` where none does.
    pub uninspected: Option<Uninspected>,
    /// Limits.
    #[serde(default)]
    pub limits: LimitsFile,
}

/// Which requests are forwarded that no detector is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Uninspected {
    /// All of them. Those that bring something are counted and recorded as unchecked.
    Pass,
    /// Those that bring nothing: GET, HEAD, OPTIONS and DELETE.
    Read,
    /// None.
    Refuse,
}

impl Uninspected {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Read => "read",
            Self::Refuse => "refuse",
        }
    }
}

/// Limits of what clients may send. Whatever exceeds one is refused.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsFile {
    /// Connections at a time; further ones wait to be accepted.
    pub connections: usize,
    /// Bytes of a request's line and headers, from 8192.
    pub head_bytes: usize,
    /// Headers of a request.
    pub headers: usize,
    /// Bytes of a request's body.
    pub body_bytes: usize,
    /// Seconds for a request's line and headers to arrive, also between two requests of a connection.
    pub head_seconds: f64,
    /// Seconds for a request's body to arrive.
    pub body_seconds: f64,
    /// Seconds that requests in flight may go on once the gateway is told to stop.
    pub grace_seconds: f64,
}

impl Default for LimitsFile {
    fn default() -> Self {
        Self {
            connections: 4096,
            head_bytes: 64 << 10,
            headers: 100,
            body_bytes: 64 << 20,
            head_seconds: 60.0,
            body_seconds: 120.0,
            grace_seconds: 30.0,
        }
    }
}

/// A server of models.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpstreamFile {
    /// Its name in logs and figures.
    pub name: String,
    /// Its address up to and with `/v1`, or what it has in that place.
    pub base_url: String,
    /// The models that it serves: names, or beginnings of names such as `gpt-4*`. The longest that fits counts.
    #[serde(default)]
    pub models: Vec<String>,
    /// Whether requests go here whose model no upstream names, and those that name none.
    #[serde(default)]
    pub default: bool,
    /// The environment variable with the server's key. Without it, what the client sends is passed through.
    pub api_key_env: Option<String>,
    /// How the server wants the key of `api_key_env`.
    #[serde(default)]
    pub key_header: KeyHeader,
    /// Seconds for a connection to be made.
    #[serde(default = "connect_seconds")]
    pub connect_seconds: f64,
    /// Seconds until an answer begins.
    #[serde(default = "answer_seconds")]
    pub answer_seconds: f64,
    /// Seconds between two pieces of an answer.
    #[serde(default = "idle_seconds")]
    pub idle_seconds: f64,
}

/// How a server wants its key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum KeyHeader {
    /// `Authorization: Bearer …`.
    #[default]
    Authorization,
    /// `x-api-key: …`, as Anthropic's.
    XApiKey,
}

/// What a failure of a check means for the request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// It goes on unchecked, and is counted and recorded as such.
    #[default]
    Open,
    /// It is refused.
    Closed,
}

impl OnFailure {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
        }
    }
}

/// Something that looks at contexts.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DetectorFile {
    /// Its name in routes, logs and figures.
    pub name: String,
    /// Which detector it is.
    pub kind: String,
    /// Milliseconds that it may take.
    #[serde(default = "timeout_ms")]
    pub timeout_ms: u64,
    /// What happens to a request that it fails for.
    #[serde(default)]
    pub on_failure: OnFailure,
    /// After so many failures in a row it rests, which counts as failing; 0 lets it never rest.
    #[serde(default = "rest_after")]
    pub rest_after: u32,
    /// Seconds that it rests.
    #[serde(default = "rest_seconds")]
    pub rest_seconds: f64,
    /// Where the gateway is too busy, detectors of a lower rank are left out first, those of the highest last; of the same
    /// rank, the last in the file first.
    #[serde(default)]
    pub rank: i32,
    /// Its own settings.
    #[serde(default)]
    #[schemars(with = "std::collections::BTreeMap<String, serde_json::Value>")]
    pub settings: toml::Table,
}

/// Something that looks at answers.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OutputCheckFile {
    /// Its name in routes, logs and figures.
    pub name: String,
    /// Which check it is: `pattern` or `judge`.
    pub kind: String,
    /// Its own settings.
    #[serde(default)]
    #[schemars(with = "std::collections::BTreeMap<String, serde_json::Value>")]
    pub settings: toml::Table,
}

/// What is done with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// A line in the log (`--log`). The audit log has all requests anyway.
    Log,
    /// The answer carries the risk as a header, `x-tiltmeter-risk`.
    Tag,
    /// The safety instruction is put in after the examples, before the last message of the user's.
    Instruct,
    /// Flagged examples are cut out.
    Quarantine,
    /// The route's `fallback_model` answers instead.
    Fallback,
    /// The request is refused.
    Block,
}

/// What becomes of an answer whose client leaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ClientLeaves {
    /// The model is told to stop, by closing the connection.
    #[default]
    Cancel,
    /// The answer is read to its end, for the record.
    Finish,
}

/// What is done with requests for some models.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RouteFile {
    /// Its name in logs and figures.
    pub name: String,
    /// Which models it is for: names, or beginnings of names such as `gpt-4*`, or `*`. The longest that fits counts.
    pub models: Vec<String>,
    /// Names of detectors.
    #[serde(default)]
    pub detectors: Vec<String>,
    /// What is done where nothing is found.
    #[serde(default)]
    pub on_none: Vec<Action>,
    /// What is done at low risk.
    #[serde(default)]
    pub on_low: Vec<Action>,
    /// What is done at high risk.
    #[serde(default)]
    pub on_high: Vec<Action>,
    /// Record what would have been done, and do nothing.
    #[serde(default)]
    pub dry_run: bool,
    /// The safety instruction; default: the gateway's own.
    pub instruction: Option<String>,
    /// The model of `fallback`.
    pub fallback_model: Option<String>,
    /// What becomes of an answer whose client leaves.
    #[serde(default)]
    pub client_leaves: ClientLeaves,
    /// The check of answers, before they are given.
    pub output: Option<RouteOutputFile>,
    /// The judging of sampled answers, after they were given.
    pub judging: Option<RouteJudgingFile>,
}

/// Which answers are judged after they were given.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RouteJudgingFile {
    /// The name of a judge.
    pub judge: String,
    /// The share of answers that are drawn, 0 to 1, by a hash of the request's id.
    #[serde(default = "judging_rate")]
    pub rate: f64,
    /// Answers to contexts of this risk and above are all judged, drawn or not; a risk of `none` is never a reason.
    #[serde(default = "judging_always_from")]
    pub always_from: RiskLevel,
    /// Goes into the draw.
    #[serde(default)]
    pub salt: String,
    /// When the answers of the draw count as having got worse.
    #[serde(default)]
    pub drift: DriftSettings,
}

/// How answers are checked.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RouteOutputFile {
    /// The name of an output check.
    pub check: String,
    /// From which risk of the context on; `none` checks all answers.
    #[serde(default)]
    pub from: RiskLevel,
    /// The most bytes of an answer that are held back until they are checked; of answers that do not stream, the most that
    /// are checked.
    #[serde(default = "hold_back_bytes")]
    pub hold_back_bytes: usize,
    /// What happens where more would have to be held back, or an answer cannot be read.
    #[serde(default)]
    pub on_failure: OnFailure,
}

/// How much inspection is done at a time.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct InspectionFile {
    /// Requests that are inspected at a time. Beyond half of it, detectors are left out by their rank; beyond all of it,
    /// every detector is.
    pub concurrent: usize,
    /// Bytes of a body that are inspected; larger ones are forwarded unchecked, or refused where a detector fails closed.
    pub body_bytes: usize,
}

impl Default for InspectionFile {
    fn default() -> Self {
        Self { concurrent: 256, body_bytes: 16 << 20 }
    }
}

fn connect_seconds() -> f64 {
    10.0
}
fn answer_seconds() -> f64 {
    600.0
}
fn idle_seconds() -> f64 {
    300.0
}
fn timeout_ms() -> u64 {
    200
}
fn rest_after() -> u32 {
    5
}
fn rest_seconds() -> f64 {
    30.0
}
fn hold_back_bytes() -> usize {
    64 << 10
}
fn judging_rate() -> f64 {
    0.01
}
fn judging_always_from() -> RiskLevel {
    RiskLevel::High
}
