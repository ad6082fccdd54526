//! The engine: connects models, asks what is missing, stores what comes back, and computes the results of a
//! run from its store.
//!
//! It decides about retries from the error taxonomy alone and knows no provider's wire format. What it has to
//! say while it works goes to an [`Observer`] as typed [`Event`]s.
//!
//! Where work could be handed to other machines: [`engine`](execute) takes its work from the plan (the work
//! source) and gives results to the store's writer (the result sink), and nothing else passes between them.

mod analysis;
mod connect;
mod engine;
mod event;
mod limits;
mod prices;
mod resolution;
mod results;
mod retry;
mod status;

pub use analysis::{AnalysisError, analyse};
pub use connect::{ConnectError, Connections, Model, connect, gives_log_probabilities};
pub use engine::{EngineError, Outcome, Run, Stop, execute};
pub use event::{CallTarget, Event, Observer};
pub use prices::{context_limit, price_of};
pub use resolution::{HalfWidth, Resolution, resolution};
pub use results::{
    BoundsResult, ConditionResult, FailureCount, RateResult, RunResults, TiltResult, VerdictCounts,
};
pub use retry::RetryPolicy;
pub use status::{ConditionStatus, RunStatus, Tokens, status};
