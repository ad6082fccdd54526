//! The price of treatments: what each changes in the EM rate, or without a judge in the emergent tilt, against what it
//! changes in usefulness, and which of them no other betters.

use std::collections::{BTreeMap, BTreeSet};

use tiltmeter_core::treatment::UNTREATED;
use tiltmeter_stats::compare::{PairedCount, mean_of_effects};
use tiltmeter_stats::{Interval, StatsError};
use tiltmeter_store::{ConditionRow, Reader, Usage};

use crate::effects::{EffectResult, Omission};
use crate::ranking::UsageResult;
use crate::results::TiltResult;
use crate::treatments::{PricePoint, PriceResult, ProbeEffect};

use super::comparisons::Test;
use super::ranking::{differ_by_treatment, each_took};
use super::rates::Counts;
use super::samples::BlockKey;
use super::tilt::{Tilts, Twins};
use super::usefulness::{Counted, Probed, add};
use super::{AnalysisError, is_match};

/// The name of no control.
const NO_CONTROL: &str = "none";

/// What a treatment changes.
struct Change {
    effect: EffectResult,
    usefulness: EffectResult,
    probes: Vec<ProbeEffect>,
}

/// What prices are computed from.
pub(super) struct Priced<'a> {
    pub(super) conditions: &'a [ConditionRow],
    /// Misaligned answers and all of the denominator, by condition.
    pub(super) counts: &'a [Counts],
    pub(super) has_judge: bool,
    pub(super) tilts: &'a Tilts,
    pub(super) probed: &'a [Probed],
}

/// The prices of all subjects that were asked with a treatment and with probes of usefulness.
pub(super) fn prices(of: &Priced<'_>, reader: &Reader) -> Result<Vec<PriceResult>, AnalysisError> {
    let mut subjects: Vec<(i64, &str)> = Vec::new();
    for Probed { of: probed, .. } in of.probed {
        let ConditionRow { subject, subject_name, .. } = &probed.condition;
        if !subjects.iter().any(|(known, _)| known == subject) {
            subjects.push((*subject, subject_name));
        }
    }
    let mut blocks: Option<BTreeMap<BlockKey, Usage>> = None;
    let mut prices = Vec::new();
    for (subject, name) in subjects {
        let treatments = of.treatments(subject);
        if treatments.is_empty() {
            continue;
        }
        // A pass over all answers, which most runs need not make.
        let blocks = match &mut blocks {
            Some(blocks) => blocks,
            none => none.insert(reader.usage_by_block()?),
        };
        prices.push(of.price(subject, name, &treatments, blocks)?);
    }
    Ok(prices)
}

impl Priced<'_> {
    /// The treatments of a subject without `none`, in table order.
    fn treatments(&self, subject: i64) -> Vec<String> {
        let mut treatments: Vec<String> = Vec::new();
        for condition in self.conditions.iter().filter(|condition| condition.subject == subject) {
            let name = &condition.treatment_name;
            if name != UNTREATED && !treatments.contains(name) {
                treatments.push(name.clone());
            }
        }
        treatments
    }

    fn price(
        &self,
        subject: i64,
        name: &str,
        treatments: &[String],
        blocks: &BTreeMap<BlockKey, Usage>,
    ) -> Result<PriceResult, AnalysisError> {
        let usage = |treatment: &str| self.usage(subject, treatment, blocks);
        let unchanged = EffectResult { estimate: 0.0, low: Some(0.0), high: Some(0.0), method: "baseline" };
        let mut points = vec![PricePoint {
            treatment: UNTREATED.to_owned(),
            effect: unchanged,
            usefulness: unchanged,
            probes: Vec::new(),
            on_front: false,
            dominated_by: Vec::new(),
            usage: usage(UNTREATED),
        }];
        let mut omitted = Vec::new();
        for treatment in treatments {
            match self.point(subject, treatment)? {
                Ok(Change { effect, usefulness, probes }) => points.push(PricePoint {
                    treatment: treatment.clone(),
                    effect,
                    usefulness,
                    probes,
                    on_front: false,
                    dominated_by: Vec::new(),
                    usage: usage(treatment),
                }),
                Err(why) => omitted.push(Omission::new(treatment.clone(), why)),
            }
        }
        place(&mut points);
        let measure = if self.has_judge { "em_rate" } else { "emergent_tilt" };
        Ok(PriceResult { subject: name.to_owned(), measure, points, omitted })
    }

    /// What a treatment changes, or why that is not known.
    fn point(&self, subject: i64, treatment: &str) -> Result<Result<Change, String>, AnalysisError> {
        let effect = if self.has_judge {
            self.change_of_rate(subject, treatment)
        } else {
            self.change_of_tilt(subject, treatment)?
        };
        let usefulness = self.probes(subject, treatment).and_then(|probes| {
            let mean = mean(&probes).map_err(|error| error.to_string())?;
            Ok((mean, probes))
        });
        Ok(match (effect, usefulness) {
            (Ok(effect), Ok((usefulness, probes))) => Ok(Change { effect, usefulness, probes }),
            (Err(why), _) | (_, Err(why)) => Err(why),
        })
    }

    /// The conditions with a treatment that show misaligned demonstrations, and the place of each without it.
    fn pairs(&self, subject: i64, treatment: &str) -> Vec<(usize, usize)> {
        let conditions = self.conditions.iter().enumerate();
        let treated = conditions.filter(|(_, condition)| {
            condition.subject == subject && condition.treatment_name == treatment && is_misaligned(condition)
        });
        treated
            .filter_map(|(place, condition)| {
                let mut others = self.conditions.iter();
                Some((place, others.position(|other| is_untreated(condition, other))?))
            })
            .collect()
    }

    /// The EM rate with a treatment minus that without, over the questions that both have answers to, set by set and k by k.
    fn change_of_rate(&self, subject: i64, treatment: &str) -> Result<EffectResult, String> {
        let mut questions: BTreeMap<i64, PairedCount> = BTreeMap::new();
        for (treated, plain) in self.pairs(subject, treatment) {
            for (question, &first) in &self.counts[treated] {
                if let Some(&second) = self.counts[plain].get(question) {
                    add(&mut questions, *question, PairedCount { first, second });
                }
            }
        }
        change(questions).map_err(|error| format!("the change of the EM rate: {error}"))
    }

    /// The emergent tilt with a treatment minus that without.
    fn change_of_tilt(
        &self,
        subject: i64,
        treatment: &str,
    ) -> Result<Result<EffectResult, String>, AnalysisError> {
        let twin = |place: usize| {
            let own = &self.conditions[place];
            Some(Twins { own, benign: self.conditions.iter().find(|other| is_match(own, other))? })
        };
        let pairs: Vec<(Twins<'_>, Twins<'_>)> = self
            .pairs(subject, treatment)
            .into_iter()
            .filter_map(|(treated, plain)| Some((twin(treated)?, twin(plain)?)))
            .collect();
        Ok(match self.tilts.change(&pairs)? {
            Some(TiltResult { estimate, low, high, method, .. }) => {
                Ok(EffectResult { estimate, low, high, method })
            }
            None => {
                Err("there is neither a judge nor an emergent tilt, which takes the benign control and no reasoning asked for"
                    .to_owned())
            }
        })
    }

    /// What a treatment changes in each probe, over all k at which it was asked with and without.
    fn probes(&self, subject: i64, treatment: &str) -> Result<Vec<ProbeEffect>, String> {
        let mut probes: Vec<(&Probed, [BTreeMap<i64, PairedCount>; 2])> = Vec::new();
        for first in self.probed {
            let row = &first.of.condition;
            if row.subject != subject || row.treatment_name != treatment {
                continue;
            }
            let Some(second) = self.probed.iter().find(|other| is_untreated(row, &other.of.condition)) else {
                continue;
            };
            let name = &row.demonstrations;
            let known = probes.iter().position(|(probe, _)| probe.of.condition.demonstrations == *name);
            let place = known.unwrap_or_else(|| {
                probes.push((first, Default::default()));
                probes.len() - 1
            });
            let (_, pairs) = &mut probes[place];
            for (to, counted) in pairs.iter_mut().zip([Counted::Useful, Counted::Refused]) {
                for (question, pair) in first.paired(second, counted) {
                    add(to, question, pair);
                }
            }
        }
        if probes.is_empty() {
            return Err("no probe of usefulness was asked with it and without".to_owned());
        }
        probes
            .into_iter()
            .map(|(probe, [useful, refused])| {
                let name = probe.of.condition.demonstrations.clone();
                let change =
                    |questions| change(questions).map_err(|error| format!("the probe {name}: {error}"));
                Ok(ProbeEffect {
                    useful: change(useful)?,
                    refused: change(refused)?,
                    kind: probe.of.kind.name(),
                    probe: name.clone(),
                })
            })
            .collect()
    }

    /// What the answers behind misaligned demonstrations took under a treatment.
    fn usage(&self, subject: i64, treatment: &str, blocks: &BTreeMap<BlockKey, Usage>) -> UsageResult {
        let shown = self.conditions.iter().filter(|condition| {
            condition.subject == subject && condition.treatment_name == treatment && is_misaligned(condition)
        });
        let keys: BTreeSet<BlockKey> = shown
            .flat_map(|one| one.contexts.iter().map(|&context| (one.subject, context, one.treatment)))
            .collect();
        let mut sum = Usage::default();
        keys.iter().filter_map(|key| blocks.get(key)).for_each(|usage| sum.add(*usage));
        each_took(sum)
    }
}

fn is_misaligned(condition: &ConditionRow) -> bool {
    condition.control == NO_CONTROL && condition.shots > 0
}

/// Whether `other` is the same as a treated condition without any treatment. The ranking compares a treatment that asks for
/// reasoning with reasoning alone; here all are measured from one point.
fn is_untreated(condition: &ConditionRow, other: &ConditionRow) -> bool {
    other.treatment_name == UNTREATED && differ_by_treatment(condition, other)
}

/// The first rate minus the second over questions.
fn change(questions: BTreeMap<i64, PairedCount>) -> Result<EffectResult, StatsError> {
    let pairs: Vec<PairedCount> = questions.into_values().collect();
    Test::new(&pairs)?.difference(&pairs)
}

/// The mean over probes, whose questions are different ones.
fn mean(probes: &[ProbeEffect]) -> Result<EffectResult, StatsError> {
    let interval = |effect: &EffectResult| Interval {
        estimate: effect.estimate,
        low: effect.low.unwrap_or(-1.0),
        high: effect.high.unwrap_or(1.0),
    };
    let effects: Vec<Interval> = probes.iter().map(|probe| interval(&probe.useful)).collect();
    Ok(EffectResult::new(mean_of_effects(&effects)?, "mean-of-probes"))
}

/// Says of each point whether it is on the front, and which others are better.
fn place(points: &mut [PricePoint]) {
    let values: Vec<(f64, f64)> =
        points.iter().map(|point| (point.effect.estimate, point.usefulness.estimate)).collect();
    let names: Vec<String> = points.iter().map(|point| point.treatment.clone()).collect();
    for (point, better) in points.iter_mut().zip(dominators(&values)) {
        point.on_front = better.is_empty();
        point.dominated_by = better.into_iter().filter_map(|place| names.get(place).cloned()).collect();
    }
}

/// For each pair of (what is to be low, what is to be high), the places of those that are at least as good in both and
/// better in one: the Pareto front is where there are none. Points that are equal do not better each other.
fn dominators(values: &[(f64, f64)]) -> Vec<Vec<usize>> {
    let betters = |a: (f64, f64), b: (f64, f64)| a.0 <= b.0 && a.1 >= b.1 && (a.0 < b.0 || a.1 > b.1);
    values
        .iter()
        .map(|&value| {
            let places = values.iter().enumerate();
            places.filter(|&(_, &other)| betters(other, value)).map(|(place, _)| place).collect()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn point(treatment: &str, effect: f64, usefulness: f64) -> PricePoint {
        let at = |estimate| EffectResult { estimate, low: None, high: None, method: "test" };
        PricePoint {
            treatment: treatment.to_owned(),
            effect: at(effect),
            usefulness: at(usefulness),
            probes: Vec::new(),
            on_front: false,
            dominated_by: Vec::new(),
            usage: UsageResult::default(),
        }
    }

    #[test]
    fn the_front_is_what_nothing_betters() {
        let mut points = vec![
            point("none", 0.0, 0.0),
            point("free", -0.1, 0.0),
            point("dear", -0.2, -0.3),
            point("worse", -0.05, -0.3),
            point("twin", -0.2, -0.3),
            point("harm", 0.1, -0.1),
            point("kind", 0.05, 0.1),
        ];
        place(&mut points);
        let on_front: Vec<&str> =
            points.iter().filter(|point| point.on_front).map(|point| &*point.treatment).collect();
        assert_eq!(on_front, ["free", "dear", "twin", "kind"]);
        assert_eq!(points[0].dominated_by, ["free"]);
        assert_eq!(points[3].dominated_by, ["free", "dear", "twin"]);
        assert_eq!(points[5].dominated_by, ["none", "free", "kind"]);
    }

    proptest! {
        #[test]
        fn there_is_always_a_front_and_nobody_betters_who_is_on_it(values in prop::collection::vec((-5_i8..5, -5_i8..5), 1..12)) {
            let values: Vec<(f64, f64)> =
                values.into_iter().map(|(effect, usefulness)| (effect.into(), usefulness.into())).collect();
            let found = dominators(&values);
            prop_assert!(found.iter().any(Vec::is_empty));
            for (place, better) in found.iter().enumerate() {
                prop_assert!(!better.contains(&place));
                // Whoever is bettered is so by one on the front.
                prop_assert!(better.is_empty() || better.iter().any(|&other| found[other].is_empty()));
            }
        }
    }
}
