//! Tests against other statistics packages, invariants, and simulated coverage.

#![expect(clippy::unwrap_used, reason = "helpers of tests are not seen as tests")]

mod agreement;
mod agreement_known;
mod bootstrap;
mod compare;
mod correct;
mod correct_known;
mod coverage;
mod dose;
mod dose_known;
mod invariants;
mod oracle;
mod planning;
mod pooled;
mod rates;
mod rates_known;
mod support;
