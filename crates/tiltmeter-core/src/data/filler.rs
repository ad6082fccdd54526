//! Neutral filler for the control `length-matched`: bland sentences of no domain, put together from parts that were
//! written for this project, to a text of a given length.

use std::sync::LazyLock;

use rand_chacha::ChaCha8Rng;

use crate::plan::below;

const SUBJECTS: [&str; 24] = [
    "The table",
    "A chair",
    "The small box",
    "The grey door",
    "A folder",
    "The window",
    "The long shelf",
    "A plain cup",
    "The second drawer",
    "The carpet",
    "An empty basket",
    "The clock on the wall",
    "The lower step",
    "A sheet of paper",
    "The curtain",
    "The lamp",
    "A wooden frame",
    "The other bench",
    "The corridor",
    "A round stone",
    "The blue bowl",
    "The list of names",
    "A pair of hooks",
    "The label",
];

const PREDICATES: [&str; 20] = [
    "is here",
    "stays where it is",
    "has a flat side",
    "was moved to the left",
    "stands near the wall",
    "is of a common size",
    "can be seen from the hall",
    "has the usual colour",
    "belongs to the set",
    "was there before",
    "is next to another one",
    "looks the same from behind",
    "is listed on the first page",
    "was placed in the middle of the room",
    "has one edge that is longer than the other",
    "fits",
    "is level",
    "came with the rest",
    "faces the entrance",
    "is about as wide as it is high",
];

const TAILS: [&str; 16] = [
    "",
    " today",
    " again",
    ", as usual",
    " in the morning",
    " most of the time",
    ", like the others",
    " and nothing else",
    ", as it was last week",
    " for the time being",
    ", which is how it was described",
    " whenever somebody walks past",
    " until the end of the month",
    ", according to the inventory",
    " on both floors of the building",
    ", and so does the one beside it in the same row",
];

/// For texts that are shorter than a sentence, by length from 1 on.
const PHRASES: [&str; 14] = [
    "A",
    "So",
    "Yes",
    "Well",
    "Quite",
    "Indeed",
    "Perhaps",
    "Possibly",
    "As always",
    "As before.",
    "As usual so",
    "So it stays.",
    "That is that.",
    "So it is here.",
];

/// Sentences by their length in characters.
static SENTENCES: LazyLock<Vec<Vec<String>>> = LazyLock::new(|| {
    let mut by_length: Vec<Vec<String>> = Vec::new();
    for subject in SUBJECTS {
        for predicate in PREDICATES {
            for tail in TAILS {
                let sentence = format!("{subject} {predicate}{tail}.");
                if by_length.len() <= sentence.len() {
                    by_length.resize(sentence.len() + 1, Vec::new());
                }
                if let Some(bucket) = by_length.get_mut(sentence.len()) {
                    bucket.push(sentence);
                }
            }
        }
    }
    by_length
});

/// A text of about `length` characters: of whole sentences, off by a few characters at most, or of a phrase where it is
/// shorter than any sentence. The empty text for 0.
pub(crate) fn filler(length: usize, generator: &mut ChaCha8Rng) -> String {
    let shortest = SENTENCES.iter().position(|bucket| !bucket.is_empty()).unwrap_or(0);
    let longest = SENTENCES.len().saturating_sub(1);
    if length <= PHRASES.len() {
        return length.checked_sub(1).and_then(|index| PHRASES.get(index)).copied().unwrap_or("").to_owned();
    }
    let mut text = String::with_capacity(length + longest);
    loop {
        let left = length.saturating_sub(text.len());
        // The last sentence is as long as what is left; before it there is always room for one.
        let wanted = if left <= longest {
            left
        } else {
            let most = longest.min(left - shortest - 1);
            shortest + below(generator, most - shortest + 1)
        };
        let Some(sentences) = nearest(wanted) else { return text };
        text.push_str(&sentences[below(generator, sentences.len())]);
        if left <= longest {
            return text;
        }
        text.push(' ');
    }
}

/// The sentences whose length is nearest to the one wanted; of two as near, the shorter.
fn nearest(wanted: usize) -> Option<&'static [String]> {
    let lengths = (0..SENTENCES.len()).filter(|&length| !SENTENCES[length].is_empty());
    let length = lengths.min_by_key(|length| (length.abs_diff(wanted), *length))?;
    SENTENCES.get(length).map(Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    #[test]
    fn a_text_is_as_long_as_is_asked() {
        for length in 0..3000 {
            let mut generator = ChaCha8Rng::seed_from_u64(length as u64);
            let text = filler(length, &mut generator);
            assert!(text.is_ascii());
            let allowed = if (15..20).contains(&length) { 3 } else { 2 };
            assert!(text.len().abs_diff(length) <= allowed, "{length}: {} {text:?}", text.len());
        }
    }

    #[test]
    fn sentences_are_many_and_of_nearly_every_length() {
        let sentences: usize = SENTENCES.iter().map(Vec::len).sum();
        assert_eq!(sentences, 24 * 20 * 16);
        let (first, last) = (SENTENCES.iter().position(|one| !one.is_empty()).unwrap(), SENTENCES.len());
        let gaps: Vec<usize> = (first..last).filter(|&length| SENTENCES[length].is_empty()).collect();
        assert!(gaps.len() < 6, "{first} to {last}: {gaps:?}");
    }
}
