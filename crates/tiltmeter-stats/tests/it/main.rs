//! Tests against other statistics packages, invariants, and simulated coverage.

#![expect(clippy::unwrap_used, reason = "helpers of tests are not seen as tests")]

mod agreement;
mod bootstrap;
mod compare;
mod correct;
mod coverage;
mod dose;
mod invariants;
mod oracle;
mod planning;
mod pooled;
mod rates;
mod support;
