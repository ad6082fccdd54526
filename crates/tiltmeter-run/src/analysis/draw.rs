//! Draws the answers that people are to label, so that rare verdicts are met and every probability is known.

use std::collections::BTreeMap;

use tiltmeter_core::id::Canonical;
use tiltmeter_core::plan::draw_rows;
use tiltmeter_stats::planning::even_allocation;
use tiltmeter_store::{DrawnAnswer, LabelDraw, LabelStratum, Reader, ResponseOutcome, StoreError};

use super::judges::rating;
use super::samples::Members;

/// Answers outside the denominator tell nothing of the rate; this part of the sample at most goes to them.
const PART_OUTSIDE: u64 = 5;

/// The answers to be labelled cannot be drawn.
#[derive(Debug, thiserror::Error)]
pub enum LabelDrawError {
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is nothing to label.
    #[error("the run holds no answers to label; run it first")]
    NoAnswers,
    /// Some kind of answer would never be shown.
    #[error("{count} answers are too few to show each verdict; ask for at least {needed}")]
    TooFew {
        /// What was asked for.
        count: u64,
        /// The least that will do.
        needed: u64,
    },
}

/// What the judge made of answers, the rarer and more telling first.
const VERDICTS: [&str; 3] = ["misaligned", "not_misaligned", "outside"];

/// The answers of a kind, by the place of the first condition that they serve.
type Kind = BTreeMap<usize, Vec<i64>>;

/// Draws `count` answers of the experiment that was run last, or all if there are fewer: as many that the judge's verdicts
/// count as misaligned as of those that they do not, a fifth of the sample at most from outside the denominator, each
/// spread evenly over the conditions. Where a kind's share is less than one for each condition, its conditions are drawn
/// from together. The same store and seed give the same draw.
///
/// # Errors
/// If the store cannot be read, or `count` does not reach round.
pub fn draw_labels(reader: &Reader, count: u64, seed: u64, now: String) -> Result<LabelDraw, LabelDrawError> {
    let experiment = reader.experiment()?;
    let conditions = reader.conditions(experiment.id)?;
    let failures = reader.failures()?;
    let failed = experiment.judge_failed(&failures);
    let members = Members::new(&conditions);
    let mut kinds: [Kind; 3] = Default::default();
    let mut last_response = 0;
    reader.for_each_sample(&experiment, |row| {
        let Some(condition) = members.of(&row).next() else { return };
        if row.outcome != ResponseOutcome::Answer {
            return;
        }
        last_response = last_response.max(row.response);
        let verdict = row.verdict(experiment.judge.is_some(), failed.contains(&row.response));
        let counted = rating(&row, verdict, experiment.definition).and_then(|rating| rating.counted);
        let kind = match counted {
            Some(true) => 0,
            Some(false) => 1,
            None => 2,
        };
        kinds[kind].entry(condition).or_default().push(row.response);
    })?;
    let sizes = kinds.each_ref().map(|kind| kind.values().map(|answers| answers.len() as u64).sum::<u64>());
    if sizes.iter().sum::<u64>() == 0 {
        return Err(LabelDrawError::NoAnswers);
    }
    let shares = shares(sizes, count);
    let needed = sizes.iter().filter(|&&size| size > 0).count() as u64;
    if shares.iter().zip(sizes).any(|(&share, size)| share == 0 && size > 0) {
        return Err(LabelDrawError::TooFew { count, needed });
    }
    let mut draw = LabelDraw {
        experiment: experiment.id,
        seed,
        last_response,
        created_at: now,
        strata: Vec::new(),
        answers: Vec::new(),
    };
    for ((kind, share), verdict) in kinds.into_iter().zip(shares).zip(VERDICTS) {
        for (condition, answers, drawn) in strata(kind, share) {
            let stratum = draw.strata.len();
            let inclusion = drawn as f64 / answers.len() as f64;
            for place in chosen(seed, stratum as u64, answers.len(), drawn) {
                draw.answers.push(DrawnAnswer { response: answers[place], stratum, inclusion });
            }
            draw.strata.push(LabelStratum {
                verdict: verdict.to_owned(),
                condition: condition.map(|place| conditions[place].id),
                answers: answers.len() as u64,
                drawn,
            });
        }
    }
    // The order must not tell the strata apart.
    let all = draw.answers.len();
    draw.answers = chosen(seed, u64::MAX, all, all as u64).map(|place| draw.answers[place]).collect();
    Ok(draw)
}

/// How much of the sample each kind of verdict gets.
fn shares([misaligned, other, outside]: [u64; 3], count: u64) -> [u64; 3] {
    let reserved = outside.min((count / PART_OUTSIDE).max(1)).min(count);
    let inside = even_allocation(&[misaligned, other], count - reserved);
    let (misaligned, other) = (inside[0], inside[1]);
    [misaligned, other, outside.min(count - misaligned - other)]
}

/// The strata of a kind: a place of a condition, its answers, and how many are drawn.
fn strata(kind: Kind, share: u64) -> Vec<(Option<usize>, Vec<i64>, u64)> {
    if share < kind.len() as u64 {
        let mut together: Vec<i64> = kind.into_values().flatten().collect();
        together.sort_unstable();
        return vec![(None, together, share)];
    }
    let sizes: Vec<u64> = kind.values().map(|answers| answers.len() as u64).collect();
    let drawn = even_allocation(&sizes, share);
    kind.into_iter()
        .zip(drawn)
        .map(|((condition, answers), drawn)| (Some(condition), answers, drawn))
        .collect()
}

/// A draw without replacement, in random order.
fn chosen(seed: u64, stratum: u64, answers: usize, drawn: u64) -> impl Iterator<Item = usize> {
    let of = Canonical::new("tiltmeter.labels/1").integer(stratum).finish();
    draw_rows(seed, of, 0, None, answers, usize::try_from(drawn).unwrap_or(usize::MAX)).into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rare_verdicts_are_taken_whole_and_the_outside_gets_a_fifth() {
        assert_eq!(shares([7, 900, 300], 100), [7, 73, 20]);
        assert_eq!(shares([700, 900, 300], 100), [40, 40, 20]);
        assert_eq!(shares([700, 900, 3], 100), [48, 49, 3]);
        assert_eq!(shares([0, 10, 300], 100), [0, 10, 90]);
        assert_eq!(shares([0, 0, 300], 100), [0, 0, 100]);
        assert_eq!(shares([4, 5, 6], 100), [4, 5, 6]);
    }

    #[test]
    fn conditions_share_evenly_or_are_drawn_from_together() {
        let kind = |sizes: &[i64]| -> Kind {
            sizes.iter().enumerate().map(|(place, &size)| (place, (0..size).collect())).collect()
        };
        let drawn = |sizes: &[i64], share| -> Vec<(Option<usize>, u64)> {
            strata(kind(sizes), share).into_iter().map(|(place, _, drawn)| (place, drawn)).collect()
        };
        assert_eq!(drawn(&[3, 50, 50], 41), [(Some(0), 3), (Some(1), 19), (Some(2), 19)]);
        assert_eq!(drawn(&[3, 50, 50], 2), [(None, 2)]);
        assert_eq!(drawn(&[], 0), []);
    }
}
