//! The vectors, and how well they separate what they were not made from.

use tiltmeter_stats::agreement::auroc;
use tiltmeter_stats::{BootstrapSettings, Confidence, Interval, clustered_statistic};

use crate::rollouts::Side;

/// The response means of a rollout: one for each index of the residual stream.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    pub(crate) side: Side,
    pub(crate) pair: usize,
    pub(crate) question: usize,
    pub(crate) means: Vec<Vec<f32>>,
}

/// What is held out in turn, and how the intervals are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HoldOut {
    /// Parts that the questions are split into.
    pub(crate) questions: usize,
    /// Parts that the pairs of instructions are split into; 1: none is held out.
    pub(crate) pairs: usize,
    /// Resamples of the bootstrap over questions.
    pub(crate) resamples: u32,
    /// Seed of the bootstrap.
    pub(crate) seed: u64,
}

/// A figure and its ends, where it has some.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Figure {
    pub(crate) estimate: f64,
    pub(crate) interval: Option<Interval>,
}

/// How one layer separates what was held out.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Separation {
    pub(crate) auroc: Option<Figure>,
    pub(crate) standardised_difference: Option<Figure>,
}

/// The number of a fold. Questions and pairs go round, so that neighbours, which are often alike, are apart.
fn fold(number: usize, folds: usize) -> usize {
    number % folds.max(1)
}

/// The means of both sides at a layer: positive, negative. `None` where one side has none.
fn means<'a>(responses: impl Iterator<Item = &'a Response>, layer: usize) -> Option<[Vec<f64>; 2]> {
    let mut sides = [(0.0, Vec::new()), (0.0, Vec::new())];
    for response in responses {
        let (count, sums) = &mut sides[usize::from(response.side == Side::Negative)];
        let row = &response.means[layer];
        sums.resize(row.len(), 0.0);
        sums.iter_mut().zip(row).for_each(|(sum, &value)| *sum += f64::from(value));
        *count += 1.0;
    }
    sides
        .iter()
        .all(|(count, _)| *count > 0.0)
        .then(|| sides.map(|(count, sums)| sums.into_iter().map(|sum| sum / count).collect()))
}

/// The mean of the positive responses minus that of the negative ones. `None` where one side has none.
pub(crate) fn difference<'a>(
    responses: impl Iterator<Item = &'a Response>,
    layer: usize,
) -> Option<Vec<f64>> {
    let [positive, negative] = means(responses, layer)?;
    Some(positive.into_iter().zip(negative).map(|(positive, negative)| positive - negative).collect())
}

/// What held-out responses are projected onto: the direction of a training set, from the middle between its two means.
/// Scores of several training sets are thereby on one scale.
struct Axis {
    direction: Vec<f64>,
    middle: f64,
}

impl Axis {
    fn new<'a>(training: impl Iterator<Item = &'a Response>, layer: usize) -> Option<Self> {
        let [positive, negative] = means(training, layer)?;
        let mut direction: Vec<f64> =
            positive.iter().zip(&negative).map(|(positive, negative)| positive - negative).collect();
        let length = direction.iter().map(|value| value * value).sum::<f64>().sqrt();
        if !(length > 0.0 && length.is_finite()) {
            return None;
        }
        for value in &mut direction {
            *value /= length;
        }
        let along = |mean: &[f64]| mean.iter().zip(&direction).map(|(a, b)| a * b).sum::<f64>();
        let middle = f64::midpoint(along(&positive), along(&negative));
        Some(Self { direction, middle })
    }

    fn score(&self, row: &[f32]) -> f64 {
        row.iter().zip(&self.direction).map(|(&a, &b)| f64::from(a) * b).sum::<f64>() - self.middle
    }
}

/// The score of each response along the axis of those that share neither its fold of questions nor its fold of pairs;
/// `None` where these are of one side only.
fn held_out_scores(responses: &[Response], layer: usize, hold_out: HoldOut) -> Vec<Option<f64>> {
    let cell = |one: &Response| (fold(one.question, hold_out.questions), fold(one.pair, hold_out.pairs));
    let mut scores = vec![None; responses.len()];
    for questions in 0..hold_out.questions {
        for pairs in 0..hold_out.pairs {
            let is_training = |one: &&Response| {
                let (question, pair) = cell(one);
                question != questions && (pair != pairs || hold_out.pairs == 1)
            };
            let Some(axis) = Axis::new(responses.iter().filter(is_training), layer) else { continue };
            for (score, one) in scores.iter_mut().zip(responses) {
                if cell(one) == (questions, pairs) {
                    *score = Some(axis.score(&one.means[layer]));
                }
            }
        }
    }
    scores
}

/// Scored responses of the folds of questions that hold two of each side.
struct Scored {
    scores: Vec<f64>,
    truths: Vec<bool>,
    questions: Vec<u32>,
}

impl Scored {
    fn new(responses: &[Response], layer: usize, hold_out: HoldOut) -> Self {
        let scores = held_out_scores(responses, layer, hold_out);
        let scored: Vec<(&Response, f64)> =
            responses.iter().zip(scores).filter_map(|(one, score)| Some((one, score?))).collect();
        let part = |one: &Response| fold(one.question, hold_out.questions);
        let count = |wanted: usize, side: Side| {
            scored.iter().filter(|(one, _)| part(one) == wanted && one.side == side).count()
        };
        let is_full: Vec<bool> = (0..hold_out.questions)
            .map(|part| count(part, Side::Positive) >= 2 && count(part, Side::Negative) >= 2)
            .collect();
        let mut all = Self { scores: Vec::new(), truths: Vec::new(), questions: Vec::new() };
        for (one, score) in scored.iter().filter(|(one, _)| is_full[part(one)]) {
            all.scores.push(*score);
            all.truths.push(one.side == Side::Positive);
            all.questions.push(u32::try_from(one.question).unwrap_or(u32::MAX));
        }
        all
    }

    fn rows(&self, rows: &[usize]) -> (Vec<f64>, Vec<bool>) {
        rows.iter().map(|&row| (self.scores[row], self.truths[row])).unzip()
    }

    /// A statistic of scores and sides with its interval over questions.
    fn figure(
        &self,
        hold_out: HoldOut,
        statistic: impl Fn(&[f64], &[bool]) -> Option<f64>,
    ) -> Option<Figure> {
        let settings = BootstrapSettings {
            resamples: hold_out.resamples,
            seed: hold_out.seed,
            confidence: Confidence::NINETY_FIVE,
        };
        let of = |rows: &[usize]| {
            let (scores, truths) = self.rows(rows);
            statistic(&scores, &truths)
        };
        let (estimate, interval) = clustered_statistic(&self.questions, &settings, of).ok()??;
        Some(Figure { estimate, interval })
    }
}

/// How a layer separates responses to questions, and under instructions, that its direction was not made from.
pub(crate) fn separation(responses: &[Response], layer: usize, hold_out: HoldOut) -> Separation {
    let scored = Scored::new(responses, layer, hold_out);
    let area = |scores: &[f64], truths: &[bool]| {
        Some(auroc(scores, truths, Confidence::NINETY_FIVE).ok()?.interval.estimate)
    };
    let within = |figure: Figure| Figure {
        interval: figure.interval.map(|interval| interval.clamped(0.0, 1.0)),
        ..figure
    };
    Separation {
        auroc: scored.figure(hold_out, area).map(within),
        standardised_difference: scored.figure(hold_out, standardised_difference),
    }
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
/// `None` where none of them has one with an interval: whichever was taken, it would be taken at random.
pub(crate) fn choose(separations: &[Separation]) -> Option<usize> {
    let last = separations.len().saturating_sub(1);
    let value = |layer: usize| {
        let figure = separations.get(layer)?.standardised_difference?;
        figure.interval.map(|_| figure.estimate)
    };
    // The first of equal ones.
    (1..last.max(2))
        .filter_map(|layer| Some((layer, value(layer)?)))
        .rev()
        .max_by(|a, b| a.1.total_cmp(&b.1))
        .map(|(layer, _)| layer)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOLD_OUT: HoldOut = HoldOut { questions: 4, pairs: 2, resamples: 200, seed: 0 };

    /// Layer 0 holds noise, the same for both sides, layer 1 the side too, layer 2 the side in another direction for
    /// each question, layer 3 the side in another direction for each pair of instructions.
    fn responses() -> Vec<Response> {
        let mut all = Vec::new();
        for question in 0..8 {
            for (side, sign) in [(Side::Positive, 1.0_f32), (Side::Negative, -1.0)] {
                for number in 0..4 {
                    let pair = number % 2;
                    let noise = ((question * 7 + number * 5) % 11) as f32 / 11.0;
                    let (mut of_question, mut of_pair) = (vec![0.0; 8], vec![0.0; 2]);
                    of_question[question] = sign;
                    of_pair[pair] = sign;
                    let means = vec![
                        vec![noise, noise * noise],
                        vec![sign * 2.0 + noise, noise],
                        of_question,
                        of_pair,
                    ];
                    all.push(Response { side, pair, question, means });
                }
            }
        }
        all
    }

    fn area(layer: usize, hold_out: HoldOut) -> f64 {
        separation(&responses(), layer, hold_out).auroc.unwrap().estimate
    }

    #[test]
    fn only_what_holds_for_other_questions_and_instructions_separates() {
        // Where both sides are alike, there is no direction.
        assert_eq!(separation(&responses(), 0, HOLD_OUT), Separation::default());
        assert!((area(1, HOLD_OUT) - 1.0).abs() < 1e-12);
        let clear = separation(&responses(), 1, HOLD_OUT).standardised_difference.unwrap();
        assert!(clear.estimate > 5.0, "{clear:?}");
        // Split by rollout, layer 2 would look perfect; with all pairs in training, layer 3 does.
        for layer in [2, 3] {
            let private = area(layer, HOLD_OUT);
            assert!((private - 0.5).abs() < 0.05, "{layer}: {private}");
        }
        assert!((area(3, HoldOut { pairs: 1, ..HOLD_OUT }) - 1.0).abs() < 1e-12);
        let vector = difference(responses().iter(), 1).unwrap();
        assert!((vector[0] - 4.0).abs() < 1e-6 && vector[1].abs() < 1e-6, "{vector:?}");
    }

    #[test]
    fn intervals_are_over_questions() {
        let noisy = |copies: usize| -> Vec<Response> {
            let one = |question: usize, side: Side| {
                let sign = if side == Side::Positive { 1.0 } else { -1.0 };
                let noise = ((question * 5) % 12) as f32 / 2.0 - 2.75;
                vec![Response { side, pair: 0, question, means: vec![vec![sign + noise]] }; copies]
            };
            (0..12)
                .flat_map(|question| [one(question, Side::Positive), one(question, Side::Negative)].concat())
                .collect()
        };
        let hold_out = HoldOut { pairs: 1, resamples: 1000, ..HOLD_OUT };
        let of = |copies| separation(&noisy(copies), 0, hold_out);
        let (few, many) = (of(1), of(10));
        for figure in [few.auroc, few.standardised_difference] {
            let Figure { estimate, interval: Some(interval) } = figure.unwrap() else { panic!("{few:?}") };
            assert!(interval.low < estimate && estimate < interval.high, "{few:?}");
            assert!(interval.width() > 0.1, "{few:?}");
        }
        // Ten copies of each answer are no more questions.
        let width = |one: Separation| one.auroc.unwrap().interval.unwrap().width();
        assert!((width(few) - width(many)).abs() < 1e-9, "{few:?} {many:?}");
        let high = few.auroc.unwrap().interval.unwrap().high;
        assert!(high <= 1.0, "{high}");
    }

    #[test]
    fn a_middle_layer_is_chosen() {
        let figure = |estimate| Figure {
            estimate,
            interval: Some(Interval { estimate, low: estimate - 1.0, high: estimate + 1.0 }),
        };
        let of = |differences: &[f64]| {
            let separation = |&d: &f64| Separation { auroc: None, standardised_difference: Some(figure(d)) };
            choose(&differences.iter().map(separation).collect::<Vec<_>>())
        };
        assert_eq!(of(&[9.0, 1.0, 2.0, 2.0, 9.0]), Some(2));
        assert_eq!(of(&[9.0, 1.0]), Some(1));
    }

    #[test]
    fn none_is_chosen_where_nothing_was_measured() {
        assert_eq!(choose(&[Separation::default(); 4]), None);
        let bare = Figure { estimate: 3.0, interval: None };
        let separation = Separation { auroc: Some(bare), standardised_difference: Some(bare) };
        assert_eq!(choose(&[separation; 4]), None);
    }

    #[test]
    fn one_side_alone_separates_nothing() {
        let positive: Vec<Response> =
            responses().into_iter().filter(|response| response.side == Side::Positive).collect();
        assert_eq!(separation(&positive, 1, HOLD_OUT), Separation::default());
        assert!(difference(positive.iter(), 1).is_none());
        // One answer of each side to a part of the questions is too little.
        let few: Vec<Response> =
            responses().into_iter().filter(|response| response.question < 4).step_by(4).collect();
        assert_eq!(few.len(), 8);
        assert_eq!(separation(&few, 1, HoldOut { pairs: 1, ..HOLD_OUT }), Separation::default());
    }
}
