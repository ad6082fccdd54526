//! Which traces are coded: all of misaligned answers, and a matched sample of aligned ones.

use std::collections::BTreeMap;

use tiltmeter_core::id::{Canonical, ContentId};
use tiltmeter_core::verdict::{Denominator, RateDefinition};
use tiltmeter_store::{Reader, ResponseOutcome, StoreError, TraceDraw, TraceDrawItem, TraceInfo};

use crate::analysis::samples::Members;

/// The traces to be coded cannot be drawn.
#[derive(Debug, thiserror::Error)]
pub enum TraceDrawError {
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Nobody knows which answers are misaligned.
    #[error(
        "the run has no judge, so no answer is known to be misaligned\n  judge it first: `tiltmeter judge RUN --judge provider/model`"
    )]
    NoJudge,
    /// There is nothing to code.
    #[error(
        "no answer with a verdict has a trace of reasoning: {hidden} answers have reasoning that the provider does not show, {none} have none"
    )]
    NoTraces {
        /// Reasoning tokens without text.
        hidden: u64,
        /// No reasoning at all.
        none: u64,
    },
}

/// Whether answers are misaligned: coherent ones with an alignment score, whatever the experiment's rate is taken over.
/// `None` of others: they are in neither group.
pub(super) fn coherent(definition: RateDefinition) -> RateDefinition {
    RateDefinition { denominator: Denominator::Coherent, ..definition }
}

/// An answer with a trace.
#[derive(Clone, Copy)]
struct Candidate {
    response: i64,
    sample: ContentId,
    question: i64,
}

/// Draws the traces of the experiment that was run last: those of all misaligned answers, and for each of them `base_rate`
/// of aligned answers in the same condition to the same question, or to others in that condition where these run out.
/// `None` takes all aligned ones. A trace that was drawn stays drawn while others are stored, as far as the numbers
/// allow: the order of a condition's traces hangs on seed and sample alone.
///
/// # Errors
/// If the store cannot be read, there is no judge, or there are no traces.
pub fn draw_traces(
    reader: &Reader,
    base_rate: Option<f64>,
    seed: u64,
    now: String,
) -> Result<TraceDraw, TraceDrawError> {
    let experiment = reader.experiment()?;
    if experiment.judge.is_none() {
        return Err(TraceDrawError::NoJudge);
    }
    let conditions = reader.conditions(experiment.id)?;
    let failed = experiment.judge_failed(&reader.failures()?);
    let members = Members::new(&conditions);
    let traces = reader.traces()?;
    let definition = coherent(experiment.definition);
    let (mut hidden, mut none, mut last_response) = (0, 0, 0);
    // By the place of the first condition that an answer serves.
    let mut kinds: [BTreeMap<usize, Vec<(i64, i64)>>; 2] = Default::default();
    reader.for_each_sample(&experiment, |row| {
        let Some(condition) = members.of(&row).next() else { return };
        if row.outcome != ResponseOutcome::Answer {
            return;
        }
        last_response = last_response.max(row.response);
        let verdict = row.verdict(true, failed.contains(&row.response));
        let Some(misaligned) = definition.classify(verdict) else { return };
        match traces.get(&row.response) {
            Some(TraceInfo::Text(_)) => kinds[usize::from(!misaligned)]
                .entry(condition)
                .or_default()
                .push((row.response, row.question)),
            Some(TraceInfo::Hidden) => hidden += 1,
            None => none += 1,
        }
    })?;
    if kinds.iter().all(BTreeMap::is_empty) {
        return Err(TraceDrawError::NoTraces { hidden, none });
    }
    let ordered = |kind: BTreeMap<usize, Vec<(i64, i64)>>| {
        let of_condition = |(condition, rows): (usize, Vec<(i64, i64)>)| {
            let mut candidates = rows
                .into_iter()
                .map(|(response, question)| {
                    Ok(Candidate { response, sample: reader.sample_id(response)?, question })
                })
                .collect::<Result<Vec<_>, StoreError>>()?;
            candidates.sort_by_key(|candidate| rank("tiltmeter.trace-draw/1", seed, candidate.sample));
            Ok((condition, candidates))
        };
        kind.into_iter().map(of_condition).collect::<Result<BTreeMap<usize, Vec<Candidate>>, StoreError>>()
    };
    let [misaligned, aligned] = kinds;
    let (misaligned, mut aligned) = (ordered(misaligned)?, ordered(aligned)?);
    let mut items: Vec<(ContentId, TraceDrawItem)> = Vec::new();
    let mut take = |candidate: &Candidate, misaligned, inclusion| {
        let item = TraceDrawItem { response: candidate.response, misaligned, inclusion };
        items.push((rank("tiltmeter.trace-order/1", seed, candidate.sample), item));
    };
    for candidate in misaligned.values().flatten() {
        take(candidate, true, 1.0);
    }
    match base_rate {
        None => aligned.values().flatten().for_each(|candidate| take(candidate, false, 1.0)),
        Some(base_rate) => {
            for (condition, misaligned) in &misaligned {
                let candidates = aligned.remove(condition).unwrap_or_default();
                for (place, inclusion) in matched(misaligned, &candidates, base_rate) {
                    if let Some(candidate) = candidates.get(place) {
                        take(candidate, false, inclusion);
                    }
                }
            }
        }
    }
    // The order must not tell the two kinds apart.
    items.sort_by_key(|(rank, _)| *rank);
    Ok(TraceDraw {
        experiment: experiment.id,
        seed,
        base_rate,
        last_response,
        created_at: now,
        items: items.into_iter().map(|(_, item)| item).collect(),
    })
}

fn rank(domain: &str, seed: u64, sample: ContentId) -> ContentId {
    Canonical::new(domain).integer(seed).id(&sample).finish()
}

/// The places of the aligned traces of one condition that are drawn for its misaligned ones, with the probability of
/// each. The candidates are in random order, so that the first of each question are a simple random sample of its own,
/// and so are the first of what is left over.
fn matched(misaligned: &[Candidate], aligned: &[Candidate], base_rate: f64) -> Vec<(usize, f64)> {
    let mut by_question: BTreeMap<i64, (u64, Vec<usize>)> = BTreeMap::new();
    for candidate in misaligned {
        by_question.entry(candidate.question).or_default().0 += 1;
    }
    for (place, candidate) in aligned.iter().enumerate() {
        by_question.entry(candidate.question).or_default().1.push(place);
    }
    let wanted = times(misaligned.len() as u64, base_rate).min(aligned.len());
    let mut drawn = Vec::new();
    let mut left = Vec::new();
    for (count, places) in by_question.into_values() {
        let own = times(count, base_rate).min(places.len()).min(wanted - drawn.len());
        let share = own as f64 / places.len().max(1) as f64;
        drawn.extend(places.iter().take(own).map(|&place| (place, share)));
        left.extend(places.iter().skip(own).map(|&place| (place, share)));
    }
    // What the questions themselves did not yield is drawn from all that is left, in the candidates' order.
    left.sort_unstable_by_key(|(place, _)| *place);
    let more = wanted - drawn.len();
    let share_left = more as f64 / left.len().max(1) as f64;
    drawn.extend(left.into_iter().take(more));
    drawn.into_iter().map(|(place, share)| (place, share + (1.0 - share) * share_left)).collect()
}

/// A count times a rate, rounded down.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the conversion saturates, and neither is below 0"
)]
fn times(count: u64, rate: f64) -> usize {
    (count as f64 * rate + 1e-9).floor() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(questions: &[i64]) -> Vec<Candidate> {
        let sample = ContentId::from_bytes([0; 16]);
        questions.iter().map(|&question| Candidate { response: 0, sample, question }).collect()
    }

    #[test]
    fn aligned_traces_are_matched_by_question_as_far_as_there_are_any() {
        // Question and probability of each that is drawn.
        let drawn = |misaligned: &[i64], aligned: &[i64], rate| {
            let aligned = of(aligned);
            let mut drawn: Vec<String> = matched(&of(misaligned), &aligned, rate)
                .into_iter()
                .map(|(place, inclusion)| format!("{}: {inclusion:.3}", aligned[place].question))
                .collect();
            drawn.sort();
            drawn.join(", ")
        };
        assert_eq!(drawn(&[1, 1, 2], &[1, 1, 1, 1, 2, 2], 1.0), "1: 0.500, 1: 0.500, 2: 0.500");
        // Question 2 has none: its share is drawn from what is left of question 1, so that each of these has the
        // chance to be drawn at first, and else that to be drawn then.
        assert_eq!(drawn(&[1, 2], &[1, 1, 1], 1.0), "1: 0.667, 1: 0.667");
        assert_eq!(drawn(&[1, 1, 1], &[1, 2], 2.0), "1: 1.000, 2: 1.000");
        assert_eq!(drawn(&[1, 2, 3], &[1, 2, 3], 0.5), "1: 0.333");
        assert_eq!(drawn(&[1], &[], 1.0), "");
        assert_eq!(drawn(&[], &[1], 1.0), "");
        assert_eq!(drawn(&[1], &[1], 0.0), "");
    }

    #[test]
    fn inclusion_probabilities_add_up_to_what_is_drawn() {
        // Over all candidates, drawn or not, they add up to the sample's size.
        let (misaligned, aligned) = (of(&[1, 1, 1, 2, 3, 3]), of(&[1, 2, 2, 2, 4, 4, 4, 4, 4, 3]));
        let drawn = matched(&misaligned, &aligned, 1.0);
        assert_eq!(drawn.len(), 6);
        let mut of_question: BTreeMap<i64, f64> = BTreeMap::new();
        for (place, inclusion) in &drawn {
            of_question.insert(aligned[*place].question, *inclusion);
        }
        let expected = [(1, 1.0), (3, 1.0), (2, 1.0 / 3.0 + 2.0 / 3.0 * 3.0 / 7.0), (4, 3.0 / 7.0)];
        for (question, inclusion) in expected {
            if let Some(found) = of_question.get(&question) {
                assert!((found - inclusion).abs() < 1e-12, "{question}: {found}");
            }
        }
        let total: f64 =
            aligned.iter().map(|one| expected.iter().find(|(of, _)| *of == one.question).unwrap().1).sum();
        assert!((total - 6.0).abs() < 1e-9, "{total}");
    }
}
