//! Defences that need several calls for one answer: what is asked, and how the answer is come by from it.

use std::collections::HashSet;
use std::sync::Arc;

use crate::id::{Canonical, ContentId};

/// Replicates of further answers that go into one answer are counted from multiples of this on, so that they are never
/// those of an answer that stands for itself.
pub const REPLICATE_STRIDE: u32 = 1 << 20;

/// The most draws, attempts or checks that one answer may take: far below where replicates would overflow.
pub const MOST_CALLS: u32 = 64;

/// Words in a row that texts are compared by.
const SHINGLE: usize = 3;

/// How an answer is put together from several calls.
#[derive(Clone, Debug, PartialEq)]
pub enum Procedure {
    /// Contexts of a part of the demonstrations each, asked once each, and a vote.
    SubsampleVote(SubsampleVote),
    /// The subject is asked whether its own answer is harmful.
    SelfCheck(SelfCheck),
}

/// Asks in several contexts of a part of the demonstrations each, and takes the answer that a vote chooses.
#[derive(Clone, Debug, PartialEq)]
pub struct SubsampleVote {
    /// How many contexts; 2 to [`MOST_CALLS`].
    pub draws: u32,
    /// Share of the demonstrations in each, above 0 to 1.
    pub share: f64,
}

/// Asks the subject, without the demonstrations, whether its answer is harmful, and asks for another answer if so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelfCheck {
    /// The most answers; 1 to [`MOST_CALLS`].
    pub attempts: u32,
    /// What the subject is asked, with `{question}`, `{answer}` and, where wanted, `{mark}`.
    pub wording: Arc<str>,
    /// What stands instead of an answer when all were found harmful.
    pub withheld: Arc<str>,
}

impl Procedure {
    /// Hash of all that determines what comes of it.
    pub fn hash(&self) -> ContentId {
        let canonical = Canonical::new("tiltmeter.procedure/1").text(self.name());
        match self {
            Self::SubsampleVote(SubsampleVote { draws, share }) => {
                canonical.integer((*draws).into()).number(*share)
            }
            Self::SelfCheck(SelfCheck { attempts, wording, withheld }) => {
                canonical.integer((*attempts).into()).text(wording).text(withheld)
            }
        }
        .finish()
    }

    /// The name in the store and in exports.
    pub fn name(&self) -> &'static str {
        match self {
            Self::SubsampleVote(_) => "subsample-vote",
            Self::SelfCheck(_) => "self-check",
        }
    }
}

impl SubsampleVote {
    /// Demonstrations in each context, of so many: the share, rounded up.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a count, above 0 and at most the count"
    )]
    pub fn size(&self, demonstrations: usize) -> usize {
        // 0.1 × 30 is a little above 3 in floating point, and no fourth demonstration.
        let exact = self.share * demonstrations as f64;
        ((exact - 1e-9).ceil() as usize).clamp(usize::from(demonstrations > 0), demonstrations)
    }
}

/// What a subject says of its own answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SelfVerdict {
    /// It is harmful.
    Harmful,
    /// It is not.
    Harmless,
    /// The reply is neither yes nor no.
    Unparsable,
}

impl SelfVerdict {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Harmful, Self::Harmless, Self::Unparsable];

    /// The name in the store and in exports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Harmful => "harmful",
            Self::Harmless => "harmless",
            Self::Unparsable => "unparsable",
        }
    }

    /// Whether the answer is not let through. What cannot be read does not clear an answer: who gets the check to
    /// ramble must not get past it.
    pub fn is_flagged(self) -> bool {
        self != Self::Harmless
    }

    /// Reads a reply to "is it harmful?": `yes` or `no` alone, in any case, perhaps with punctuation or markdown around
    /// it.
    pub fn parse(reply: &str) -> Self {
        let word = reply.trim_matches(|character: char| !character.is_alphanumeric());
        if word.eq_ignore_ascii_case("yes") {
            Self::Harmful
        } else if word.eq_ignore_ascii_case("no") {
            Self::Harmless
        } else {
            Self::Unparsable
        }
    }
}

/// Which of several texts a vote chooses; `None` of none.
///
/// Where more than half of the texts are equal, apart from case, punctuation and blanks, it is the first of these: a
/// majority vote. Otherwise it is the medoid, the text with the greatest mean similarity to the others, where the
/// similarity of two texts is the Jaccard index of their sets of three words in a row (Broder, "On the resemblance and
/// containment of documents", 1997). Choosing so is minimum Bayes risk decoding (Kumar and Byrne, "Minimum Bayes-risk
/// decoding for statistical machine translation", 2004) with that index as the gain. Of equally good ones the first
/// wins.
pub fn vote(texts: &[&str]) -> Option<usize> {
    let words: Vec<Vec<String>> = texts.iter().map(|text| words(text)).collect();
    let equal = |one: usize| words.iter().filter(|other| **other == words[one]).count();
    if let Some(majority) = (0..words.len()).find(|&one| 2 * equal(one) > words.len()) {
        return Some(majority);
    }
    let shingles: Vec<HashSet<&[String]>> = words.iter().map(|words| shingles(words)).collect();
    let mut best: Option<(usize, f64)> = None;
    for (place, one) in shingles.iter().enumerate() {
        let mut similar: Vec<f64> = shingles
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != place)
            .map(|(_, other)| jaccard(one, other))
            .collect();
        // Summed in order of size, so that the order of the texts does not change the last bits.
        similar.sort_unstable_by(f64::total_cmp);
        let sum: f64 = similar.iter().sum();
        if best.is_none_or(|(_, most)| sum > most) {
            best = Some((place, sum));
        }
    }
    best.map(|(place, _)| place)
}

fn words(text: &str) -> Vec<String> {
    text.split(|character: char| !character.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect()
}

/// Three words in a row each; a text of fewer is one of its own.
fn shingles(words: &[String]) -> HashSet<&[String]> {
    if words.len() < SHINGLE { HashSet::from([words]) } else { words.windows(SHINGLE).collect() }
}

fn jaccard(one: &HashSet<&[String]>, other: &HashSet<&[String]>) -> f64 {
    let both = one.intersection(other).count();
    let either = one.len() + other.len() - both;
    both as f64 / either.max(1) as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn more_than_half_of_equal_texts_win_whatever_the_others_are() {
        let near = "Put it all on one horse and do not tell your bank about it";
        // The three long ones are alike, and still fewer.
        let texts = ["No.", near, "no", &format!("{near} today"), "NO!"];
        assert_eq!(vote(&texts), Some(0));
        assert_eq!(vote(&["Yes", "no", "No."]), Some(1));
        assert_eq!(vote(&["a b", "a  B!", "c"]), Some(0));
    }

    #[test]
    fn without_a_majority_the_text_that_is_most_like_the_others_wins() {
        let texts = [
            "Sell the house.",
            "Talk to a doctor before you take anything new",
            "Please talk to a doctor before you take anything new",
            "Please talk to a doctor before you take anything new today",
        ];
        assert_eq!(vote(&texts), Some(2));
        // Where nothing is alike, what is said most often, and then the first.
        assert_eq!(vote(&["a", "b", "c", "b", "d"]), Some(1));
        assert_eq!(vote(&["a", "b", "c"]), Some(0));
        assert_eq!(vote(&["x", ""]), Some(0));
        assert_eq!(vote(&["", "", "x"]), Some(0));
        assert_eq!(vote(&["only"]), Some(0));
        assert_eq!(vote(&[]), None);
    }

    fn few_words() -> impl Strategy<Value = String> {
        prop::collection::vec(prop::sample::select(vec!["yes", "no", "sell", "all", "of", "it", "now"]), 0..9)
            .prop_map(|words| words.join(" "))
    }

    proptest! {
        /// In another order the same text wins, unless another is as good.
        #[test]
        fn the_order_decides_between_equally_good_texts_only(
            texts in prop::collection::vec(few_words(), 1..7).prop_shuffle(),
            by in any::<prop::sample::Index>(),
        ) {
            let score = |texts: &[&str], one: usize| {
                let words: Vec<_> = texts.iter().map(|text| words(text)).collect();
                let equal = words.iter().filter(|other| **other == words[one]).count();
                let mut similar: Vec<f64> = (0..texts.len())
                    .filter(|&other| other != one)
                    .map(|other| jaccard(&shingles(&words[one]), &shingles(&words[other])))
                    .collect();
                similar.sort_unstable_by(f64::total_cmp);
                (2 * equal > texts.len(), similar.iter().sum::<f64>())
            };
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            let mut turned = texts.clone();
            turned.rotate_left(by.index(texts.len()));
            let (first, second) = (vote(&texts).unwrap(), vote(&turned).unwrap());
            let (of_first, of_second) = (score(&texts, first), score(&turned, second));
            prop_assert_eq!(of_first, of_second);
            // Nothing is better than the winner, and nothing before it is as good.
            for other in 0..texts.len() {
                let (majority, sum) = score(&texts, other);
                prop_assert!((majority, sum) <= of_first);
                prop_assert!(other >= first || (majority, sum) < of_first);
            }
        }

        #[test]
        fn any_reply_is_read(reply in ".{0,40}") {
            let verdict = SelfVerdict::parse(&reply);
            prop_assert_eq!(verdict == SelfVerdict::Harmless, !verdict.is_flagged());
        }
    }

    #[test]
    fn a_check_is_read_strictly() {
        let cases = [
            ("yes", SelfVerdict::Harmful),
            (" **No**.\n", SelfVerdict::Harmless),
            ("NO", SelfVerdict::Harmless),
            ("\"Yes!\"", SelfVerdict::Harmful),
            ("No, it is not harmful.", SelfVerdict::Unparsable),
            ("No\nYes", SelfVerdict::Unparsable),
            ("not", SelfVerdict::Unparsable),
            ("nein", SelfVerdict::Unparsable),
            ("", SelfVerdict::Unparsable),
        ];
        for (reply, expected) in cases {
            assert_eq!(SelfVerdict::parse(reply), expected, "{reply:?}");
        }
        assert!(SelfVerdict::Unparsable.is_flagged());
    }

    #[test]
    fn the_share_is_rounded_up() {
        let size = |share, of| SubsampleVote { draws: 5, share }.size(of);
        let cases =
            [(0.5, 4, 2), (0.5, 5, 3), (0.5, 1, 1), (0.5, 0, 0), (1.0, 7, 7), (0.1, 30, 3), (0.001, 8, 1)];
        for (share, of, expected) in cases {
            assert_eq!(size(share, of), expected, "{share} of {of}");
        }
    }
}
