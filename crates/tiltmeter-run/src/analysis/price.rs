//! The price of treatments: what each changes in the EM rate, or without a judge in the emergent tilt, against what it
//! changes in usefulness, and which of them no other betters.

use std::collections::{BTreeMap, HashMap};

use tiltmeter_stats::compare::{PairedCount, mean_of_effects};
use tiltmeter_stats::{Interval, StatsError};
use tiltmeter_store::{ConditionRow, Reader, StoreError};

use crate::effects::{EffectResult, Omission};
use crate::results::TiltResult;
use crate::treatments::{AnswerCost, PricePoint, PriceResult, ProbeEffect};

use super::comparisons::{Against, Test};
use super::rates::Counts;
use super::samples::Members;
use super::tilt::{Tilts, Twins};
use super::usefulness::{Counted, Probed, add};
use super::{AnalysisError, is_benign_twin};

/// The treatment that is none.
const NONE: &str = "none";

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
    let mut costs: Option<HashMap<(i64, String), Spent>> = None;
    let mut prices = Vec::new();
    for (subject, name) in subjects {
        let treatments = of.treatments(subject);
        if treatments.is_empty() {
            continue;
        }
        let costs = match &mut costs {
            Some(costs) => costs,
            none => none.insert(of.spent(reader)?),
        };
        let cost =
            |treatment: &str| costs.get(&(subject, treatment.to_owned())).copied().unwrap_or_default().cost();
        prices.push(of.price(subject, name, &treatments, cost)?);
    }
    Ok(prices)
}

impl Priced<'_> {
    /// The treatments of a subject without `none`, in table order.
    fn treatments(&self, subject: i64) -> Vec<String> {
        let mut treatments: Vec<String> = Vec::new();
        for condition in self.conditions.iter().filter(|condition| condition.subject == subject) {
            let name = &condition.treatment_name;
            if name != NONE && !treatments.contains(name) {
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
        cost: impl Fn(&str) -> AnswerCost,
    ) -> Result<PriceResult, AnalysisError> {
        let unchanged = EffectResult { estimate: 0.0, low: Some(0.0), high: Some(0.0), method: "baseline" };
        let mut points = vec![PricePoint {
            treatment: NONE.to_owned(),
            effect: unchanged,
            usefulness: unchanged,
            probes: Vec::new(),
            on_front: false,
            dominated_by: Vec::new(),
            cost: cost(NONE),
        }];
        let mut omitted = Vec::new();
        for treatment in treatments {
            match self.point(subject, treatment)? {
                Ok((effect, usefulness, probes)) => points.push(PricePoint {
                    treatment: treatment.clone(),
                    effect,
                    usefulness,
                    probes,
                    on_front: false,
                    dominated_by: Vec::new(),
                    cost: cost(treatment),
                }),
                Err(why) => omitted.push(Omission::new(treatment.clone(), why)),
            }
        }
        place(&mut points);
        let measure = if self.has_judge { "em_rate" } else { "emergent_tilt" };
        Ok(PriceResult { subject: name.to_owned(), measure, points, omitted })
    }

    /// What a treatment changes, or why that is not known.
    fn point(
        &self,
        subject: i64,
        treatment: &str,
    ) -> Result<Result<(EffectResult, EffectResult, Vec<ProbeEffect>), String>, AnalysisError> {
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
            (Ok(effect), Ok((usefulness, probes))) => Ok((effect, usefulness, probes)),
            (Err(why), _) | (_, Err(why)) => Err(why),
        })
    }

    /// The conditions with a treatment that show misaligned demonstrations, and the place of each without it.
    fn pairs(&self, subject: i64, treatment: &str) -> Vec<(usize, usize)> {
        let conditions = self.conditions.iter().enumerate();
        let treated = conditions.filter(|(_, condition)| {
            condition.subject == subject && condition.treatment_name == treatment && condition.shots > 0
        });
        treated
            .filter_map(|(place, condition)| {
                let mut others = self.conditions.iter();
                Some((place, others.position(|other| Against::Untreated.holds(condition, other))?))
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
            Some(Twins { own, benign: self.conditions.iter().find(|other| is_benign_twin(own, other))? })
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
                Err("there is neither a judge nor an emergent tilt, which takes the benign control"
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
            let Some(second) = self.probed.iter().find(|other| other.is_untreated(first)) else {
                continue;
            };
            let known =
                probes.iter_mut().find(|(probe, _)| probe.of.condition.demonstrations == row.demonstrations);
            let pairs = match known {
                Some((_, pairs)) => pairs,
                None => {
                    probes.push((first, [BTreeMap::new(), BTreeMap::new()]));
                    let Some((_, pairs)) = probes.last_mut() else { continue };
                    pairs
                }
            };
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

    /// What answers behind misaligned demonstrations cost, by subject and treatment.
    fn spent(&self, reader: &Reader) -> Result<HashMap<(i64, String), Spent>, StoreError> {
        let shown: Vec<ConditionRow> = self
            .conditions
            .iter()
            .filter(|condition| condition.control == NONE && condition.shots > 0)
            .cloned()
            .collect();
        let members = Members::new(&shown);
        let mut spent: HashMap<(i64, String), Spent> = HashMap::new();
        reader.for_each_usage(|row| {
            let block = (row.subject, row.context, row.treatment);
            // An answer that serves several treatments was paid for once, but would cost as much under each of them.
            let mut names: Vec<&str> = members
                .places(block, row.question, row.replicate)
                .map(|place| shown[place].treatment_name.as_str())
                .collect();
            names.sort_unstable();
            names.dedup();
            for name in names {
                let of = spent.entry((row.subject, name.to_owned())).or_default();
                of.answers += 1;
                of.priced += u64::from(row.cost_usd.is_some());
                of.usd += row.cost_usd.unwrap_or(0.0);
                of.input += row.input_tokens;
                of.output += row.output_tokens;
            }
        })?;
        Ok(spent)
    }
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

/// What answers cost so far.
#[derive(Clone, Copy, Default)]
struct Spent {
    answers: u64,
    /// Those whose cost is known.
    priced: u64,
    usd: f64,
    input: u64,
    output: u64,
}

impl Spent {
    fn cost(self) -> AnswerCost {
        let mean = |sum: f64| (self.answers > 0).then(|| sum / self.answers as f64);
        AnswerCost {
            answers: self.answers,
            calls_per_answer: 1.0,
            input_tokens: mean(self.input as f64),
            output_tokens: mean(self.output as f64),
            usd_per_1000: mean(self.usd * 1000.0).filter(|_| self.priced == self.answers),
        }
    }
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
            cost: AnswerCost::default(),
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

    #[test]
    fn cost_is_of_one_answer_and_unknown_unless_all_is_known() {
        let spent = Spent { answers: 4, priced: 4, usd: 0.02, input: 4000, output: 200 };
        let cost = spent.cost();
        assert_eq!((cost.input_tokens, cost.output_tokens), (Some(1000.0), Some(50.0)));
        assert!((cost.usd_per_1000.unwrap() - 5.0).abs() < 1e-12);
        assert_eq!(Spent { priced: 3, ..spent }.cost().usd_per_1000, None);
        assert_eq!(Spent::default().cost().input_tokens, None);
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
