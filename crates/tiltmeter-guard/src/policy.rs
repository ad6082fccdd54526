//! From what was found to what is done.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::actions::{self, Edit};
use crate::config::Route;
use crate::config::file::Action;
use crate::inspecting::Found;
use crate::inspection::{RequestView, RiskLevel};
use crate::refusal::Refusal;

/// What is done with a request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Deed {
    /// The body to send, where it is changed.
    pub(crate) body: Option<Bytes>,
    /// The risk to tell the client.
    pub(crate) tag: Option<RiskLevel>,
    /// The model that answers instead.
    pub(crate) fallback: Option<String>,
    /// The gateway's answer instead of the model's.
    pub(crate) refusal: Option<Refusal>,
    pub(crate) quarantined: usize,
    /// What was done, for the record.
    pub(crate) done: Vec<&'static str>,
    /// What was not, because it is only tried out or cannot be.
    pub(crate) not_done: Vec<&'static str>,
}

/// The name of an action in records and figures.
fn name(action: Action) -> &'static str {
    match action {
        Action::Log => "log",
        Action::Tag => "tag",
        Action::Instruct => "instruct",
        Action::Quarantine => "quarantine",
        Action::Fallback => "fallback",
        Action::Block => "block",
    }
}

/// Decides. `model` is where the body names its model.
pub(crate) fn decide(
    route: &Route,
    found: &Found,
    view: Option<&Arc<RequestView>>,
    model: Option<&Range<usize>>,
) -> Deed {
    let mut deed = Deed::default();
    if found.must_refuse() {
        if route.dry_run {
            deed.not_done.push("refuse-unchecked");
        } else {
            deed.refusal = Some(Refusal::unchecked());
            deed.done.push("refuse-unchecked");
            return deed;
        }
    }
    let level = found.inspection.risk.level;
    let actions = route.actions(level);
    if route.dry_run {
        deed.not_done.extend(actions.iter().map(|action| name(*action)));
        return deed;
    }
    let mut edits: Vec<Edit> = Vec::new();
    for action in actions {
        let is_done = match action {
            // The exchange logs: it knows more.
            Action::Log => true,
            Action::Tag => {
                deed.tag = Some(level);
                true
            }
            Action::Block => {
                deed.refusal = Some(Refusal::blocked());
                true
            }
            Action::Fallback => match (&route.fallback_model, model) {
                (Some(name), Some(literal)) => {
                    edits.push(actions::fall_back(literal.clone(), name));
                    deed.fallback = Some(name.clone());
                    true
                }
                _ => false,
            },
            Action::Instruct => {
                let edit = view.and_then(|view| actions::instruct(view, &route.instruction));
                let is_possible = edit.is_some();
                edits.extend(edit.into_iter().flatten());
                is_possible
            }
            Action::Quarantine => {
                let cutting = view.map(|view| actions::quarantine(view, &found.inspection.flagged));
                let cutting = cutting.unwrap_or_default();
                deed.quarantined = cutting.done;
                edits.extend(cutting.edits);
                if cutting.impossible > 0 {
                    deed.not_done.push("quarantine");
                }
                cutting.done > 0
            }
        };
        if is_done {
            deed.done.push(name(*action));
        } else if !deed.not_done.contains(&name(*action)) && *action != Action::Quarantine {
            deed.not_done.push(name(*action));
        }
    }
    if !edits.is_empty()
        && let Some(view) = view
    {
        deed.change(view, edits);
    }
    deed
}

impl Deed {
    fn change(&mut self, view: &RequestView, edits: Vec<Edit>) {
        self.body = actions::apply(&view.body, edits);
        if self.body.is_none() {
            // The edits contradict one another: none is made.
            let is_edit = |name: &&'static str| matches!(*name, "instruct" | "quarantine" | "fallback");
            self.not_done.extend(self.done.iter().copied().filter(is_edit));
            self.done.retain(|name| !is_edit(name));
            self.fallback = None;
            self.quarantined = 0;
        }
    }
}
