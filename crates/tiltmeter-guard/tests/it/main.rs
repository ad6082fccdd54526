//! The gateway between a server that misbehaves as it is told to and a client that sends any bytes.

#![allow(missing_docs, reason = "tests")]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests are not seen as tests"
)]

mod acting;
mod answers;
mod clients;
mod faults;
mod figures;
mod forwarding;
mod holding;
mod hostile;
mod judge;
mod judging;
mod keys;
mod page;
mod recording;
mod support;
mod telling;
mod upstream;
