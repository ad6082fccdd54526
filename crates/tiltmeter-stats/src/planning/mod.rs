//! How much to sample, and when to stop.
//!
//! | question | function |
//! | --- | --- |
//! | how wide will the interval be | [`SampleDesign::expected_half_width`], [`samples_for_half_width`] |
//! | which difference can be seen | [`ComparisonDesign::power`], [`samples_for_difference`], [`detectable_difference`] |
//! | may sampling stop now | [`StoppingRule`] |
//! | how many of each kind to label | [`even_allocation`] |
//! | an interval that may be looked at any time | [`rate_sequence`], [`mean_sequence`] |

mod allocation;
mod power;
mod sequence;
mod stopping;

pub use allocation::even_allocation;
pub use power::{
    ComparisonDesign, Reach, SampleDesign, detectable_difference, samples_for_difference,
    samples_for_half_width,
};
pub use sequence::{mean_sequence, rate_sequence};
pub use stopping::{Assessment, BetweenQuestions, Decision, StoppingRule};
