//! Contexts as a guard leaves them, and those that it has to look at.

use std::sync::Arc;

use indexmap::IndexMap;

use super::reshape::Shown;
use super::{Condition, ContextSpec, Plan};
use crate::experiment::Experiment;
use crate::guarding::{GuardAction, GuardFinding, GuardRisk, Guarding};
use crate::id::{Canonical, ContentId};
use crate::prompt::{Prompt, RenderedContext};

/// A context that a guard looks at.
#[derive(Clone, Debug)]
pub struct ToInspect {
    /// The context's id.
    pub context: ContentId,
    /// What the guard is shown: the context with the experiment's first question behind it.
    pub prompt: Arc<Prompt>,
    /// The context's demonstrations in order, prompt and response.
    pub demonstrations: Vec<(Arc<str>, Arc<str>)>,
    /// What tells each of them from others.
    pub demonstration_ids: Vec<ContentId>,
}

/// What a guard did with one context of a condition.
#[derive(Clone, Debug, PartialEq)]
pub struct GuardedContext {
    /// The risk.
    pub risk: GuardRisk,
    /// The number that it was taken from, 0 to 1.
    pub score: f64,
    /// Demonstrations that were cut out.
    pub cut: u32,
    /// What was done.
    pub actions: Vec<GuardAction>,
}

impl Experiment {
    /// What a defence does by the word of a guard with the contexts that it reshapes.
    pub(super) fn guarding(&self, spec: ContextSpec) -> Option<&Guarding> {
        let guarding = self.treatments.get(spec.reshaped_by)?.reshaping.guard.as_ref();
        guarding.filter(|_| spec.shots > 0)
    }

    fn finding(&self, guarding: &Guarding, context: &ContentId) -> Option<&GuardFinding> {
        self.guards.get(guarding.guard)?.findings.as_ref()?.get(context)
    }

    /// A context as the guard leaves it; as it is where there is none, or it has not looked yet.
    pub(super) fn guarded(&self, spec: ContextSpec, context: RenderedContext) -> RenderedContext {
        let Some(guarding) = self.guarding(spec) else { return context };
        match self.finding(guarding, &context.id) {
            Some(finding) => guarding.applied(context, finding),
            None => context,
        }
    }

    /// Whether a guard has not looked at anything yet.
    pub(super) fn awaits_guard(&self, spec: ContextSpec) -> bool {
        let guard = self.guarding(spec).and_then(|guarding| self.guards.get(guarding.guard));
        guard.is_some_and(|guard| guard.findings.is_none())
    }

    /// Leaves out the demonstrations that a guard cuts out.
    pub(super) fn cut_by_guard(&self, spec: ContextSpec, shown: Vec<Shown>) -> Vec<Shown> {
        let Some(guarding) = self.guarding(spec) else { return shown };
        let context = self.render_shown(spec, &shown);
        let Some(finding) = self.finding(guarding, &context.id) else { return shown };
        let actions = guarding.actions(finding.risk);
        let cuts = finding.left.is_some()
            && actions.contains(&GuardAction::Quarantine)
            && !actions.contains(&GuardAction::Block);
        if !cuts {
            return shown;
        }
        let is_flagged = |place: u32| finding.flagged.contains(&place);
        (0..).zip(shown).filter(|(place, _)| !is_flagged(*place)).map(|(_, one)| one).collect()
    }

    /// What the guard did with each of a condition's contexts, by draw; nothing where there is none, and at k = 0.
    pub fn guarded_contexts(&self, condition: &Condition) -> Vec<Option<GuardedContext>> {
        let specs = self.context_specs(condition);
        let of = |spec: ContextSpec| {
            let guarding = self.guarding(spec)?;
            let own = self.own_demonstrations(spec);
            let context = self.render_shown(spec, &own);
            let finding = self.finding(guarding, &context.id)?;
            let actions = guarding.actions(finding.risk).to_vec();
            let cut = own.len() - self.cut_by_guard(spec, own.clone()).len();
            let cut = u32::try_from(cut).unwrap_or(u32::MAX);
            Some(GuardedContext { risk: finding.risk, score: finding.score, cut, actions })
        };
        specs.into_iter().map(of).collect()
    }

    /// The contexts that a guard has to look at for a plan, each once, in the order of the plan.
    pub fn to_be_inspected(&self, plan: &Plan, guard: usize) -> Vec<ToInspect> {
        let mut found = IndexMap::new();
        let Some(question) = self.questions.first() else { return Vec::new() };
        let is_used = |condition: &&Condition| !(condition.sampled.is_empty() && condition.scored.is_empty());
        for condition in plan.conditions.iter().filter(is_used) {
            for spec in self.context_specs(condition) {
                if self.guarding(spec).is_none_or(|guarding| guarding.guard != guard) {
                    continue;
                }
                let own = self.own_demonstrations(spec);
                let context = Arc::new(self.render_shown(spec, &own));
                let demonstration_ids: Vec<ContentId> = own
                    .iter()
                    .map(|(prompt, response, row)| {
                        self.told_apart(spec.set, spec.control, prompt, response, *row)
                    })
                    .collect();
                // Contexts of fillers are alike, too.
                let key = demonstration_ids
                    .iter()
                    .fold(Canonical::new("tiltmeter.inspected/1").id(&context.id), |canonical, id| {
                        canonical.id(id)
                    });
                found.entry(key.finish()).or_insert_with(|| ToInspect {
                    context: context.id,
                    prompt: Arc::new(Prompt::new(context, None, question.wording(0).clone())),
                    demonstrations: own.into_iter().map(|(prompt, response, _)| (prompt, response)).collect(),
                    demonstration_ids,
                });
            }
        }
        found.into_values().collect()
    }
}
