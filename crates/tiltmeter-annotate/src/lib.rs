//! Blind labels by people: a page on loopback that shows one answer after the other, and files of labels.
//!
//! Whoever labels sees the question and the answer. Neither the page nor anything that it asks for holds the condition,
//! the context, what the judge said, or the probability with which an answer was drawn: answers go by their place in a
//! random order. Traces of reasoning are labelled likewise, by the labels of a code book. A label is acknowledged when it is on disk.

mod desk;
mod error;
mod file;
mod guard;
mod items;
mod server;
mod token;
mod trace_file;

pub use desk::Desk;
pub use error::AnnotateError;
pub use file::{Imported, RefusedRow, export, export_blank, import};
pub use items::{Item, TraceItem, items, trace_items};
pub use server::serve;
pub use token::Token;
pub use trace_file::{Mapping, Reading, export_blank_traces, export_traces, import_traces};
