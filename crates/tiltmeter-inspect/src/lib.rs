//! Inspect's log format, as `inspect-ai` 0.3 reads and writes it: `.eval`, a zip archive with one member for each
//! sample, and `.json`, one document. Both are read; `.eval` is written.
//!
//! This crate knows the format and nothing of experiments. Members that it has no use for (events, stores) are passed
//! over as they are read. Logs are foreign text: sizes are bounded, and nothing in them is run or followed.

mod error;
mod python_json;
mod read;
mod write;

pub use error::InspectError;
pub use python_json::without_bare_words;
pub use read::{
    Log, LogHeader, MessageContent, ReadChoice, ReadMessage, ReadOutput, ReadSample, ReadScore, ReadUsage,
    is_json_log,
};
pub use write::{
    Choice, Content, ContentPart, Dataset, EvalSpec, LogWriter, Message, Metric, Output, Results, Sample,
    SampleError, Score, ScoreSummary, Usage, Viewer, indexed,
};
