//! The library as the command drives it.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "helpers of tests are not seen as tests"
)]

mod formats;
mod judged;
mod labels;
mod rates;
mod store;
mod support;
