//! What the guard finds in a prompt of this project, and what is left of its context: for experiments that measure the
//! guard without a gateway in between.

use std::sync::Arc;

use tiltmeter_core::guarding::{GuardFinding, GuardRisk};
use tiltmeter_core::prompt::Prompt;

use super::example::Content;
use super::inspector::ContextInspector;
use super::transform::{PromptAction, request_of, transform};
use crate::conversation::ConversationError;
use crate::inspection::{Inspection, Inspector, RiskLevel};

/// Looks at a prompt as the gateway looks at the request that it makes. `demonstrations` are those of its context in order,
/// prompt and response, of which the finding tells the flagged ones by their place.
///
/// # Errors
/// Never, unless the program is defective.
pub async fn inspect_prompt(
    inspector: &ContextInspector,
    prompt: &Prompt,
    demonstrations: &[(Arc<str>, Arc<str>)],
) -> Result<(Inspection, GuardFinding), ConversationError> {
    let inspection = inspector.inspect(&request_of(prompt)?).await;
    let changed = transform(prompt, &inspection, &[PromptAction::Quarantine]);
    let left = (changed.context.id != prompt.context.id).then(|| changed.context.clone());
    let is_flagged = |(prompt, response): &(Arc<str>, Arc<str>)| {
        let id = Content { prompt: prompt.to_string(), response: response.to_string() }.id();
        inspection.flagged.iter().any(|flagged| flagged.id == id)
    };
    let flagged = (0..).zip(demonstrations).filter(|(_, one)| is_flagged(one)).map(|(place, _)| place);
    let risk = match inspection.risk.level {
        RiskLevel::None => GuardRisk::None,
        RiskLevel::Low => GuardRisk::Low,
        RiskLevel::High => GuardRisk::High,
    };
    let finding = GuardFinding { risk, score: inspection.risk.clamped(), left, flagged: flagged.collect() };
    Ok((inspection, finding))
}
