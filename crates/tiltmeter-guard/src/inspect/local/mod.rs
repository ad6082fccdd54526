//! What a context does to a model on this machine, or to any that gives log-probabilities of given texts: its tilt, and
//! its projection onto a persona vector.
//!
//! The context's demonstrations are shown in one form, whatever form they came in, and the same prompt without any is taken
//! off: what is left is the demonstrations' doing, not the form's. A long context shifts a model in many ways, harmless
//! ones too, so that thresholds must come from measured contexts of like length.

mod persona;
mod tilt;

use std::sync::Arc;

use tiltmeter_core::id::{Canonical, ContentId};
use tiltmeter_core::prompt::{Placement, QuestionFormat, RenderedContext};

pub use persona::{PersonaDetector, PersonaSettings};
pub use tilt::{AnswerPairs, TiltDetector, TiltSettings};

use super::detector::{DetectorError, Finding, Verdict};
use super::example::Example;
use super::split::Split;

/// The demonstrations of a context, the last ones of them: at most so many, and so many bytes. `None` where there are none.
///
/// # Errors
/// Where the last one alone is too large: what is not shown is not clean.
fn demonstrations(
    split: &Split,
    most: usize,
    most_bytes: usize,
) -> Result<Option<Arc<RenderedContext>>, DetectorError> {
    let demonstrations = split.examples.iter().rev().filter(|example| example.kind.is_demonstration());
    let Some(last) = demonstrations.clone().next() else { return Ok(None) };
    let mut bytes = 0;
    let mut chosen: Vec<&Example> = demonstrations
        .take(most)
        .take_while(|example| {
            bytes += example.content.len();
            bytes <= most_bytes
        })
        .collect();
    if chosen.is_empty() {
        return Err(DetectorError::TooLarge { bytes: last.content.len() });
    }
    chosen.reverse();
    let pairs = chosen.iter().map(|example| (&*example.content.prompt, &*example.content.response));
    Ok(Some(RenderedContext::render(pairs, Placement::FirstUser, QuestionFormat::Header).into()))
}

/// The key of a detector's verdict on what is shown of a context.
fn key(
    name: &str,
    identity: &ContentId,
    shown: &Result<Option<Arc<RenderedContext>>, DetectorError>,
) -> ContentId {
    let canonical = Canonical::new(name).id(identity);
    match shown {
        Ok(Some(context)) => canonical.id(&context.id),
        Ok(None) => canonical,
        // Never the key of a context without demonstrations, which is clean.
        Err(_) => canonical.text("too large"),
    }
    .finish()
}

/// The same form without demonstrations.
fn without() -> Arc<RenderedContext> {
    RenderedContext::render([], Placement::FirstUser, QuestionFormat::Header).into()
}

/// A shift as a score: 0 for none or one to the good side, 0.5 at the threshold, towards 1 beyond.
fn verdict(code: &'static str, shift: f64, threshold: f64) -> Verdict {
    let score = 1.0 - (-(shift / threshold).max(0.0)).exp2();
    let is_flagged = shift >= threshold;
    let findings = if is_flagged { vec![Finding { code: code.into(), score }] } else { Vec::new() };
    Verdict { score, is_flagged, findings }
}

#[cfg(test)]
mod tests;
