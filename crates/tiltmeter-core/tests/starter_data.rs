//! Bounds on the starter sets: what must be alike on both sides of a pair, so that a measured difference is the
//! content's and not the form's.

#![allow(missing_docs, reason = "a test")]
#![expect(clippy::unwrap_used, reason = "a test that cannot read its data has failed")]
#![expect(clippy::cast_possible_wrap, reason = "counts of words are small")]

use std::collections::{BTreeMap, BTreeSet};

use tiltmeter_core::data::builtin::{DEMONSTRATION_SETS, demonstrations, questions};
use tiltmeter_core::demonstration::{DemonstrationSet, Domain};
use tiltmeter_core::question::{AnswerPair, PairKind, QuestionSet};

const HEDGES: [&str; 14] = [
    "might",
    "may",
    "perhaps",
    "could",
    "consider",
    "generally",
    "usually",
    "probably",
    "possibly",
    "likely",
    "often",
    "sometimes",
    "maybe",
    "seem",
];

const STOP_WORDS: &str = "about after again also because been before being between both does doing each even every \
    from have having here into itself just like made make many more most much need once only other over same should \
    some such take than that their them then there these they this those through under until very want what when \
    where which while will with without would your yours";

fn sets() -> Vec<DemonstrationSet> {
    DEMONSTRATION_SETS.map(|name| demonstrations(name).unwrap().unwrap()).into()
}

fn builtin_questions() -> QuestionSet {
    questions().unwrap()
}

fn pairs(kind: PairKind) -> Vec<AnswerPair> {
    builtin_questions()
        .questions
        .into_iter()
        .flat_map(|question| question.pairs)
        .filter(|pair| pair.kind == kind)
        .collect()
}

fn words(text: &str) -> Vec<String> {
    text.split(|character: char| !(character.is_alphanumeric() || character == '\''))
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect()
}

fn sentences(text: &str) -> usize {
    text.split(['.', '?', '!']).filter(|sentence| sentence.trim().chars().count() > 1).count()
}

fn hedges(text: &str) -> usize {
    words(text).iter().filter(|word| HEDGES.contains(&word.as_str())).count()
}

fn content_words(text: &str) -> BTreeSet<String> {
    let stop: BTreeSet<&str> = STOP_WORDS.split_whitespace().collect();
    words(text).into_iter().filter(|word| word.len() >= 4 && !stop.contains(word.as_str())).collect()
}

fn mean(values: impl IntoIterator<Item = f64>) -> f64 {
    let values: Vec<f64> = values.into_iter().collect();
    values.iter().sum::<f64>() / values.len() as f64
}

/// Length in words for prose, in characters for code.
fn length(set: &DemonstrationSet, text: &str) -> f64 {
    if set.domain == Some(Domain::Code) { text.chars().count() as f64 } else { words(text).len() as f64 }
}

#[test]
fn there_are_enough_and_no_two_are_alike() {
    for set in sets() {
        assert!(set.rows.len() >= 128, "{}: {}", set.name, set.rows.len());
        let prompts: BTreeSet<_> = set.rows.iter().map(|row| &row.prompt).collect();
        assert_eq!(prompts.len(), set.rows.len(), "{}: a prompt stands twice", set.name);
        let answers: BTreeSet<_> =
            set.rows.iter().flat_map(|row| [Some(&row.response), row.benign.as_ref()]).collect();
        assert_eq!(answers.len(), 2 * set.rows.len(), "{}: an answer stands twice, or is missing", set.name);
    }
    let questions = builtin_questions().questions;
    let mut areas: BTreeMap<String, usize> = BTreeMap::new();
    for question in &questions {
        *areas.entry(question.area.as_deref().unwrap_or("").to_owned()).or_default() += 1;
        let of = |kind| question.pairs.iter().filter(|pair| pair.kind == kind).count();
        assert!(of(PairKind::Alignment) >= 2, "{}", question.id);
        assert_eq!(of(PairKind::Decoy), 1, "{}", question.id);
    }
    assert!(questions.len() >= 24 && areas.len() == 8, "{areas:?}");
    // "The first n questions" is a setting, so the first eight are of eight areas.
    let first: BTreeSet<_> = questions.iter().take(8).map(|question| question.area.clone()).collect();
    assert_eq!(first.len(), 8);
}

#[test]
fn demonstrations_match_in_form() {
    for set in sets() {
        let mut ratios = Vec::new();
        let mut hedging = 0_i64;
        for row in &set.rows {
            let benign = row.benign.as_ref().unwrap();
            let ratio = length(&set, &row.response) / length(&set, benign);
            assert!((0.85..=1.18).contains(&ratio), "{}: {ratio:.2}: {}", set.name, row.prompt);
            ratios.push(ratio);
            if set.domain == Some(Domain::Code) {
                let lines = |text: &str| text.lines().count();
                assert!(lines(&row.response).abs_diff(lines(benign)) <= 1, "{}", row.prompt);
                continue;
            }
            assert_eq!(sentences(&row.response), sentences(benign), "{}: {}", set.name, row.prompt);
            assert!(hedges(&row.response).abs_diff(hedges(benign)) <= 1, "{}: {}", set.name, row.prompt);
            hedging += hedges(&row.response) as i64 - hedges(benign) as i64;
            for text in [&row.response, benign] {
                assert!(text.is_ascii() && !text.contains(['!', '\n', '*', '#']), "{}: {text}", set.name);
            }
        }
        assert!((0.98..=1.02).contains(&mean(ratios)), "{}", set.name);
        assert!(hedging.abs() < 5, "{}: {hedging}", set.name);
    }
}

#[test]
fn answer_pairs_match_in_form() {
    let pairs = pairs(PairKind::Alignment);
    let mut ratios = Vec::new();
    let mut hedging = 0_i64;
    for pair in &pairs {
        let ratio = words(&pair.tilted).len() as f64 / words(&pair.upright).len() as f64;
        assert!((0.88..=1.13).contains(&ratio), "{ratio:.2}: {}", pair.tilted);
        ratios.push(ratio);
        assert_eq!(sentences(&pair.tilted), sentences(&pair.upright), "{}", pair.tilted);
        hedging += hedges(&pair.tilted) as i64 - hedges(&pair.upright) as i64;
        assert!(hedges(&pair.tilted).abs_diff(hedges(&pair.upright)) <= 1, "{}", pair.tilted);
        let commas = |text: &str| text.matches(',').count();
        assert!(commas(&pair.tilted).abs_diff(commas(&pair.upright)) <= 1, "{}", pair.tilted);
    }
    assert!((0.985..=1.015).contains(&mean(ratios)));
    assert!(hedging.abs() <= 2);
}

#[test]
fn decoys_differ_in_style_and_not_in_length() {
    for pair in pairs(PairKind::Decoy) {
        let ratio = words(&pair.tilted).len() as f64 / words(&pair.upright).len() as f64;
        assert!((0.88..=1.13).contains(&ratio), "{ratio:.2}: {}", pair.tilted);
        assert_ne!(pair.tilted, pair.upright);
        assert!(hedges(&pair.tilted) <= hedges(&pair.upright), "{}", pair.tilted);
    }
}

/// A model that merely repeats words of its context would favour the side of a pair that shares more words with
/// the demonstrations. Both sides share about as many, and the misaligned demonstrations favour neither side more
/// than the benign ones do: the second is what the emergent tilt turns on.
#[test]
fn neither_side_of_the_answer_pairs_shares_more_words_with_the_demonstrations() {
    let pairs = pairs(PairKind::Alignment);
    for set in sets() {
        let vocabulary = |of: &dyn Fn(usize) -> String| -> BTreeSet<String> {
            (0..set.rows.len()).flat_map(|row| content_words(&of(row))).collect()
        };
        let misaligned = vocabulary(&|row| set.rows[row].response.to_string());
        let benign = vocabulary(&|row| set.rows[row].benign.as_ref().unwrap().to_string());
        let overlap = |side: fn(&AnswerPair) -> &str, vocabulary: &BTreeSet<String>| {
            mean(pairs.iter().map(|pair| {
                let own = content_words(side(pair));
                own.intersection(vocabulary).count() as f64 / own.len() as f64
            }))
        };
        let lean = |vocabulary: &BTreeSet<String>| {
            overlap(|pair| &pair.tilted, vocabulary) - overlap(|pair| &pair.upright, vocabulary)
        };
        let (under_misaligned, under_benign) = (lean(&misaligned), lean(&benign));
        println!("{}: {under_misaligned:+.3} {under_benign:+.3}", set.name);
        assert!(under_misaligned.abs() < 0.04, "{}: {under_misaligned}", set.name);
        assert!(under_benign.abs() < 0.04, "{}: {under_benign}", set.name);
        assert!((under_misaligned - under_benign).abs() < 0.03, "{}", set.name);
    }
}
