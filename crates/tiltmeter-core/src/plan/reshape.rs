//! Demonstrations as a treatment leaves them, and the contexts that are made of them.

use std::collections::HashMap;
use std::sync::Arc;

use indexmap::IndexMap;

use super::{Condition, ContextSpec, Plan, draw_rows};
use crate::demonstration::Control;
use crate::experiment::Experiment;
use crate::id::{Canonical, ContentId};
use crate::prompt::RenderedContext;
use crate::reshaping::{Filter, Reshaping, Screened, demonstration_id};

/// A demonstration as it is shown: prompt, response, and the row of the set that the response comes from.
pub(super) type Shown = (Arc<str>, Arc<str>, usize);

/// What became of the demonstrations of one context.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReshapingCounts {
    /// Demonstrations before anything was done to them: k.
    pub of: u32,
    /// Of these left out by a filter.
    pub dropped: u32,
    /// Of these kept although the filter's model gave no score.
    pub without_score: u32,
    /// Benign ones put behind them.
    pub appended: u32,
}

impl Experiment {
    /// What a context's treatment does to its demonstrations.
    fn reshaping(&self, spec: ContextSpec) -> Option<&Reshaping> {
        self.treatments.get(spec.reshaped_by).map(|treatment| &treatment.reshaping)
    }

    /// Renders a context.
    pub fn render(&self, spec: ContextSpec) -> RenderedContext {
        let context = self.render_shown(spec, &self.reshaped(spec));
        self.guarded(spec, context)
    }

    /// Renders a context that shows these demonstrations, such as a part of its own.
    pub(super) fn render_shown(&self, spec: ContextSpec, shown: &[Shown]) -> RenderedContext {
        let context = RenderedContext::render(
            shown.iter().map(|(prompt, response, _)| (&**prompt, &**response)),
            spec.placement,
            self.question_format,
        );
        match self.reshaping(spec).and_then(|reshaping| reshaping.quote.as_deref()) {
            Some(introduction) => context.quoted(introduction, self.quotation_key(spec)),
            None => context,
        }
    }

    /// The demonstrations of a context in order, as its treatment leaves them: prompt, response, and the row of the
    /// set that the response comes from.
    pub fn demonstrations(&self, spec: ContextSpec) -> Vec<Shown> {
        self.cut_by_guard(spec, self.reshaped(spec))
    }

    /// The same before a guard looks at them.
    fn reshaped(&self, spec: ContextSpec) -> Vec<Shown> {
        let mut shown = self.own_demonstrations(spec);
        let Some(reshaping) = self.reshaping(spec).filter(|_| spec.shots > 0) else { return shown };
        if let Some(filter) = &reshaping.filter {
            shown.retain(|(prompt, response, _)| !self.drops(filter, prompt, response));
        }
        shown.extend(self.benign_ones(spec, reshaping.append_benign));
        shown
    }

    /// Of what the fence of a quotation is made: of all that may stand in it, so that nobody who writes a demonstration
    /// can foresee it, and the same at every k, so that a larger context still begins as a smaller one does.
    fn quotation_key(&self, spec: ContextSpec) -> ContentId {
        let mut key = Canonical::new("tiltmeter.quotation/1").integer(self.sampling.seed);
        for set in &self.sets {
            key = key.id(&set.hash);
        }
        key.integer(spec.draw.into()).finish()
    }

    /// Benign demonstrations from rows that the context does not show: the last of the order of which it shows the
    /// first. They are the same at every k of a draw, and few are the beginning of many.
    fn benign_ones(&self, spec: ContextSpec, count: u32) -> Vec<Shown> {
        let Some(set) = self.sets.get(spec.set).filter(|_| count > 0) else { return Vec::new() };
        let own_draw = (!self.nested).then_some(spec.shots);
        let rows = set.rows.len();
        let order = draw_rows(self.sampling.seed, set.hash, spec.draw, own_draw, rows, rows);
        let behind = order.get(spec.shots as usize..).unwrap_or_default();
        // The demonstrations of a probe of usefulness are harmless themselves.
        let is_probe = spec.set >= self.measured_sets().len();
        let benign = |&row: &usize| {
            let of_row = &set.rows[row];
            // Resolving refused it for a set that lacks a benign answer.
            let answer = if is_probe { of_row.response.clone() } else { of_row.benign.clone()? };
            Some((of_row.prompt.clone(), answer, row))
        };
        behind.iter().rev().take(count as usize).filter_map(benign).collect()
    }

    fn screened(&self, filter: &Filter, prompt: &str, response: &str) -> Option<Screened> {
        let verdicts = self.screens.get(filter.screen)?.verdicts.as_ref()?;
        verdicts.get(&demonstration_id(prompt, response)).copied()
    }

    fn drops(&self, filter: &Filter, prompt: &str, response: &str) -> bool {
        let screened = self.screened(filter, prompt, response);
        matches!(screened, Some(Screened::Score(score)) if score < f64::from(filter.keep_from))
    }

    /// What became of the demonstrations of each of a condition's contexts, by draw.
    pub fn reshaping_counts(&self, condition: &Condition) -> Vec<ReshapingCounts> {
        let reshaping = &self.treatments[condition.treatment].reshaping;
        let count = |spec: ContextSpec| {
            let mut counts = ReshapingCounts { of: spec.shots, ..ReshapingCounts::default() };
            if let Some(filter) = &reshaping.filter {
                for (prompt, response, _) in self.own_demonstrations(spec) {
                    counts.dropped += u32::from(self.drops(filter, &prompt, &response));
                    let screened = self.screened(filter, &prompt, &response);
                    counts.without_score += u32::from(screened == Some(Screened::NoScore));
                }
            }
            if spec.shots > 0 {
                counts.appended = reshaping.append_benign;
            }
            counts
        };
        self.specs_of(condition).into_iter().map(count).collect()
    }

    /// A condition's contexts before those that come to the same are one.
    fn specs_of(&self, condition: &Condition) -> Vec<ContextSpec> {
        self.context_specs(condition)
    }

    /// The demonstrations that a screen has to score for a plan, each once, in the order of the plan: hash, prompt and
    /// response.
    pub fn to_be_screened(&self, plan: &Plan, screen: usize) -> Vec<(ContentId, Arc<str>, Arc<str>)> {
        let mut found = IndexMap::new();
        let is_screened = |condition: &&Condition| {
            let filter = self.treatments[condition.treatment].reshaping.filter.as_ref();
            let is_used = !(condition.sampled.is_empty() && condition.scored.is_empty());
            is_used && filter.is_some_and(|filter| filter.screen == screen)
        };
        for condition in plan.conditions.iter().filter(is_screened) {
            for (prompt, response, row) in
                self.specs_of(condition).into_iter().flat_map(|spec| self.own_demonstrations(spec))
            {
                let id = self.told_apart(condition.set, condition.control, &prompt, &response, row);
                found.entry(id).or_insert((id, prompt, response));
            }
        }
        found.into_values().collect()
    }

    /// What tells a demonstration from others: its hash. All fillers have the same text, and the sets that they stand in
    /// for do not, so that those go by their place.
    pub(super) fn told_apart(
        &self,
        set: usize,
        control: Control,
        prompt: &str,
        response: &str,
        row: usize,
    ) -> ContentId {
        if self.stand_ins.is_empty() {
            return demonstration_id(prompt, response);
        }
        let canonical = Canonical::new("tiltmeter.filler/1").integer(set as u64).text(control.name());
        canonical.integer(row as u64).finish()
    }

    /// Whether what a context shows is not known yet, because its filter's model was not asked, or its guard has
    /// not looked.
    fn is_provisional(&self, spec: ContextSpec) -> bool {
        let filter = self.reshaping(spec).and_then(|reshaping| reshaping.filter.as_ref());
        let screen = filter.and_then(|filter| self.screens.get(filter.screen));
        screen.is_some_and(|screen| screen.verdicts.is_none()) || self.awaits_guard(spec)
    }
}

/// The contexts of a plan, each once. Those that come to the same, as where a filter finds nothing to leave out, are
/// one, so that their answers are asked for once.
pub(super) struct Contexts<'a> {
    experiment: &'a Experiment,
    specs: Vec<ContextSpec>,
    known: HashMap<ContextSpec, usize>,
    /// By what is shown. Absent where nothing is reshaped: then no two come to the same.
    shown: Option<HashMap<ContentId, usize>>,
}

impl<'a> Contexts<'a> {
    pub(super) fn new(experiment: &'a Experiment) -> Self {
        let reshapes = experiment.treatments.iter().any(crate::treatment::Treatment::reshapes);
        Self { experiment, specs: Vec::new(), known: HashMap::new(), shown: reshapes.then(HashMap::new) }
    }

    /// The place of a context.
    pub(super) fn place(&mut self, spec: ContextSpec) -> usize {
        if let Some(&place) = self.known.get(&spec) {
            return place;
        }
        let place = self.find_or_add(spec);
        self.known.insert(spec, place);
        place
    }

    fn find_or_add(&mut self, spec: ContextSpec) -> usize {
        let next = self.specs.len();
        if let Some(shown) = &mut self.shown
            && !self.experiment.is_provisional(spec)
        {
            let context = self.experiment.render(spec);
            let empty = self.experiment.empty_context(spec.placement);
            if context.is_empty() && spec != empty {
                return self.place(empty);
            }
            let place = *shown.entry(context.id).or_insert(next);
            if place != next {
                return place;
            }
        }
        self.specs.push(spec);
        next
    }

    pub(super) fn into_specs(self) -> Vec<ContextSpec> {
        self.specs
    }
}

#[cfg(test)]
#[path = "reshape_tests.rs"]
mod tests;
