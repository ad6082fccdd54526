//! Which rows of a pass an intervention changes, and what it did to them.

use std::ops::Range;
use std::sync::Arc;

use tiltmeter_models::RealisedShift;

use crate::decoder::{Hooks, Realised, RowEdit};
use crate::taps::{Intervention, ReasoningMarks, Role, Span};
use crate::text::Vocabulary;

/// Tokens at the end of a prompt among which reasoning may be opened.
const PROMPT_END: usize = 16;

/// The ranges of consecutive places that are chosen.
pub(super) fn ranges(chosen: impl IntoIterator<Item = bool>) -> Vec<Range<usize>> {
    let mut ranges: Vec<Range<usize>> = Vec::new();
    for (place, _) in chosen.into_iter().enumerate().filter(|(_, is_chosen)| *is_chosen) {
        match ranges.last_mut() {
            Some(last) if last.end == place => last.end += 1,
            _ => ranges.push(place..place + 1),
        }
    }
    ranges
}

/// Whether a prompt ends with what opens reasoning.
pub(super) fn opens_reasoning(prompt: &[u32], marks: &ReasoningMarks, vocabulary: &Vocabulary) -> bool {
    let end = &prompt[prompt.len().saturating_sub(PROMPT_END)..];
    let text: String = end.iter().map(|&token| vocabulary.shown(token)).collect();
    marks.are_opened_by(text.as_bytes())
}

/// By token of an answer: whether what it predicts is reasoning.
pub(super) fn reasoning_of(
    answer: &[u32],
    is_opened_by_prompt: bool,
    marks: &ReasoningMarks,
    vocabulary: &Vocabulary,
) -> Vec<bool> {
    let mut text = Vec::new();
    let mut reasons = |&token: &u32| {
        text.extend_from_slice(vocabulary.bytes(token));
        marks.is_inside(is_opened_by_prompt, &text)
    };
    answer.iter().map(&mut reasons).collect()
}

/// A run of tokens in a pass.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placed {
    /// The row of its first token.
    pub(super) row: usize,
    /// The position of its first token in its sequence.
    pub(super) position: usize,
}

/// Adds the edits of a run whose tokens have these roles. What they do to all tokens but a prompt's first ones is
/// counted for the owner: whether those are computed or were kept depends on what was asked before.
pub(super) fn edit(
    hooks: &mut Hooks,
    intervention: &Intervention,
    placed: Placed,
    roles: &(impl IntoIterator<Item = Role> + Clone),
    owner: Option<usize>,
) {
    for is_counted in [false, true] {
        let chosen = roles.clone().into_iter().enumerate().map(|(index, role)| {
            (role != Role::Prompt) == is_counted && intervention.span().covers(placed.position + index, role)
        });
        for range in ranges(chosen) {
            hooks.edits.push(RowEdit {
                rows: placed.row + range.start..placed.row + range.end,
                edit: Arc::clone(intervention.edit()),
                owner: owner.filter(|_| is_counted),
                realised: Realised::default(),
            });
        }
    }
}

/// The roles of a prompt's last tokens, the very last included.
pub(super) fn prompt_roles(count: usize, reasons: bool) -> impl Iterator<Item = Role> + Clone {
    (1..=count).map(move |place| if place == count { Role::LastOfPrompt { reasons } } else { Role::Prompt })
}

/// The roles of an answer's first tokens. Reasoning is looked for where the intervention asks for it.
pub(super) fn answer_roles(
    answer: &[u32],
    prompt: &[u32],
    intervention: &Intervention,
    vocabulary: &Vocabulary,
) -> Vec<Role> {
    let reasons = match intervention.span() {
        Span::Reasoning(marks) => {
            reasoning_of(answer, opens_reasoning(prompt, marks, vocabulary), marks, vocabulary)
        }
        _ => vec![false; answer.len()],
    };
    reasons.into_iter().map(|reasons| Role::Answer { reasons }).collect()
}

/// Whether an answer to the prompt starts with reasoning, where the intervention asks for that.
pub(super) fn starts_with_reasoning(
    prompt: &[u32],
    intervention: &Intervention,
    vocabulary: &Vocabulary,
) -> bool {
    match intervention.span() {
        Span::Reasoning(marks) => opens_reasoning(prompt, marks, vocabulary),
        _ => false,
    }
}

/// What the edits of a pass did to the sequences that they were counted for: `add` is told the owner.
pub(super) fn credit(hooks: &Hooks, mut add: impl FnMut(usize, Realised)) {
    for edit in &hooks.edits {
        if let Some(owner) = edit.owner {
            add(owner, edit.realised);
        }
    }
}

/// What is told of an intervention; `None` without one.
pub(super) fn shift(intervention: Option<&Arc<Intervention>>, realised: Realised) -> Option<RealisedShift> {
    let mean = |sum: f64| if realised.rows == 0 { 0.0 } else { sum / realised.rows as f64 };
    intervention.map(|_| RealisedShift {
        tokens: realised.rows as u64,
        before: mean(realised.before),
        after: mean(realised.after),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chosen_places_become_ranges() {
        let of = |text: &str| ranges(text.chars().map(|mark| mark == 'x'));
        assert!(of("").is_empty());
        assert_eq!(of(".xx.x"), [1..3, 4..5]);
        assert_eq!(of("xxx.").first(), Some(&(0..3)));
    }
}
