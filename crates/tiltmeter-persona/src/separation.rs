//! The vectors, and how well they separate what they were not made from.

use tiltmeter_stats::Confidence;
use tiltmeter_stats::agreement::auroc;

use crate::rollouts::Side;

/// The response means of a rollout: one for each index of the residual stream.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    pub(crate) side: Side,
    pub(crate) question: usize,
    pub(crate) means: Vec<Vec<f32>>,
}

/// How one layer separates held-out questions.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Separation {
    pub(crate) auroc: Option<f64>,
    pub(crate) standardised_difference: Option<f64>,
}

/// The number of a question's fold. Questions go round, so that neighbours, which are often alike, are apart.
fn fold(question: usize, folds: usize) -> usize {
    question % folds.max(1)
}

/// The mean of the positive responses minus that of the negative ones. `None` where one side has none.
pub(crate) fn difference<'a>(
    responses: &(impl Iterator<Item = &'a Response> + Clone),
    layer: usize,
) -> Option<Vec<f64>> {
    let mean = |side: Side| {
        let mut count = 0.0;
        let mut sums: Vec<f64> = Vec::new();
        for response in responses.clone().filter(|response| response.side == side) {
            let row = &response.means[layer];
            sums.resize(row.len(), 0.0);
            sums.iter_mut().zip(row).for_each(|(sum, &value)| *sum += f64::from(value));
            count += 1.0;
        }
        (count > 0.0).then(|| sums.into_iter().map(|sum| sum / count).collect::<Vec<f64>>())
    };
    let (positive, negative) = (mean(Side::Positive)?, mean(Side::Negative)?);
    Some(positive.into_iter().zip(negative).map(|(positive, negative)| positive - negative).collect())
}

fn dot(row: &[f32], vector: &[f64]) -> f64 {
    row.iter().zip(vector).map(|(&a, &b)| f64::from(a) * b).sum()
}

/// Holds each fold's questions out once.
pub(crate) fn separation(responses: &[Response], layer: usize, folds: usize) -> Separation {
    let (mut areas, mut differences) = (Vec::new(), Vec::new());
    for held_out in 0..folds {
        let train = responses.iter().filter(|response| fold(response.question, folds) != held_out);
        let Some(vector) = difference(&train, layer) else { continue };
        let test = responses.iter().filter(|response| fold(response.question, folds) == held_out);
        let (scores, truths): (Vec<f64>, Vec<bool>) = test
            .map(|response| (dot(&response.means[layer], &vector), response.side == Side::Positive))
            .unzip();
        if let Ok(area) = auroc(&scores, &truths, Confidence::NINETY_FIVE) {
            areas.push(area.interval.estimate);
            differences.extend(standardised_difference(&scores, &truths));
        }
    }
    let mean =
        |values: &[f64]| (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64);
    Separation { auroc: mean(&areas), standardised_difference: mean(&differences) }
}

/// Cohen's d: difference of means over the pooled standard deviation (Cohen, *Statistical Power Analysis*, 1988, §2.2).
fn standardised_difference(scores: &[f64], truths: &[bool]) -> Option<f64> {
    let of = |kind: bool| -> Vec<f64> {
        scores.iter().zip(truths).filter(|&(_, &truth)| truth == kind).map(|(&score, _)| score).collect()
    };
    let (positive, negative) = (of(true), of(false));
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let squares = |values: &[f64]| {
        let mean = mean(values);
        values.iter().map(|value| (value - mean) * (value - mean)).sum::<f64>()
    };
    let freedom = (positive.len() + negative.len()).checked_sub(2).filter(|&freedom| freedom > 0)? as f64;
    let deviation = ((squares(&positive) + squares(&negative)) / freedom).sqrt();
    (deviation > 0.0).then(|| (mean(&positive) - mean(&negative)) / deviation)
}

/// The layer to use: of those between the embedding and the last block, the one of the largest standardised difference.
pub(crate) fn choose(separations: &[Separation]) -> usize {
    let last = separations.len().saturating_sub(1);
    let value = |layer: &usize| separations[*layer].standardised_difference.unwrap_or(f64::NEG_INFINITY);
    // The first of equal ones.
    (1..last.max(2))
        .filter(|layer| *layer <= last)
        .rev()
        .max_by(|a, b| value(a).total_cmp(&value(b)))
        .unwrap_or(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Layer 0 holds noise that depends on the question, layer 1 the side too, layer 2 the side in another direction for
    /// each question.
    fn responses() -> Vec<Response> {
        let mut all = Vec::new();
        for question in 0..8 {
            for (side, sign) in [(Side::Positive, 1.0_f32), (Side::Negative, -1.0)] {
                for number in 0..3 {
                    let noise = ((question * 7 + number * 5) % 11) as f32 / 11.0;
                    let mut private = vec![0.0; 8];
                    private[question] = sign;
                    let means = vec![vec![noise, noise * noise], vec![sign * 2.0 + noise, noise], private];
                    all.push(Response { side, question, means });
                }
            }
        }
        all
    }

    #[test]
    fn only_what_holds_for_other_questions_separates() {
        let responses = responses();
        let of = |layer| separation(&responses, layer, 4);
        let noise = of(0).auroc.unwrap();
        assert!((noise - 0.5).abs() < 0.05, "{noise}");
        assert_eq!(of(1).auroc, Some(1.0));
        assert!(of(1).standardised_difference.unwrap() > 5.0);
        // Split by rollout, this layer would look perfect.
        let private = of(2).auroc.unwrap();
        assert!((private - 0.5).abs() < 0.05, "{private}");
        let vector = difference(&responses.iter(), 1).unwrap();
        assert!((vector[0] - 4.0).abs() < 1e-6 && vector[1].abs() < 1e-6, "{vector:?}");
    }

    #[test]
    fn a_middle_layer_is_chosen() {
        let of = |differences: &[f64]| {
            let separation = |&d: &f64| Separation { auroc: None, standardised_difference: Some(d) };
            choose(&differences.iter().map(separation).collect::<Vec<_>>())
        };
        assert_eq!(of(&[9.0, 1.0, 2.0, 2.0, 9.0]), 2);
        assert_eq!(of(&[9.0, 1.0]), 1);
        assert_eq!(choose(&[Separation::default(); 4]), 1);
    }

    #[test]
    fn one_side_alone_separates_nothing() {
        let positive: Vec<Response> =
            responses().into_iter().filter(|response| response.side == Side::Positive).collect();
        assert_eq!(separation(&positive, 1, 4), Separation::default());
        assert!(difference(&positive.iter(), 1).is_none());
    }
}
