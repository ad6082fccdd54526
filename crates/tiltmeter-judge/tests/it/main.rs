//! Judging with a scripted model in memory, replies of many kinds, and published scores worked out again.

#![expect(clippy::expect_used, clippy::unwrap_used, reason = "helpers of tests are not seen as tests")]

mod chat;
mod draws;
mod fake;
mod parse;
mod published;
mod scoring;
