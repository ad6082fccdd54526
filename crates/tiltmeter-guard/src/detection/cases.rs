//! Contexts whose truth is known.

use std::sync::Arc;

use tiltmeter_core::demonstration::{Demonstration, DemonstrationSet};
use tiltmeter_core::prompt::{Placement, Prompt, QuestionFormat, RenderedContext};

use crate::conversation::ConversationError;
use crate::inspect::{Split, request_of, split};

/// A harmful context with its benign twin: the same prompts in the same order, answered soundly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// The set that it is made of.
    pub set: Arc<str>,
    /// What harmful demonstrations make.
    pub harmful: Split,
    /// What their twins make, where the set has them.
    pub benign: Option<Split>,
}

/// All contexts of k demonstrations that can be made of a set without showing a row twice, in the order of the file, at
/// most so many. Each goes the whole way of a request: it is rendered, read as a body, and split.
///
/// # Errors
/// Never, unless the program is defective.
pub fn cases(
    set: &DemonstrationSet,
    k: usize,
    placement: Placement,
    question: &Arc<str>,
    most: usize,
) -> Result<Vec<Case>, ConversationError> {
    let of = |rows: &[Demonstration], is_benign: bool| {
        let pairs: Option<Vec<(&str, &str)>> = rows
            .iter()
            .map(|row| {
                let response = if is_benign { row.benign.as_ref() } else { Some(&row.response) };
                Some((&*row.prompt, &**response?))
            })
            .collect();
        let shown = pairs.map(|pairs| {
            let context = RenderedContext::render(pairs, placement, QuestionFormat::Header);
            let prompt = Prompt::new(context.into(), None, question.clone());
            Ok::<Split, ConversationError>(split(&request_of(&prompt)?))
        });
        shown.transpose()
    };
    let mut cases = Vec::new();
    for rows in set.rows.chunks_exact(k.max(1)).take(most) {
        let Some(harmful) = of(rows, false)? else { continue };
        cases.push(Case { set: set.name.clone(), harmful, benign: of(rows, true)? });
    }
    Ok(cases)
}

#[cfg(test)]
mod tests {
    use tiltmeter_core::data::builtin::{DEMONSTRATION_SETS, demonstrations};

    use super::*;

    #[test]
    fn the_starter_sets_go_through_the_splitter_whole() {
        for name in DEMONSTRATION_SETS {
            let set = demonstrations(name).unwrap().unwrap();
            for placement in [Placement::FirstUser, Placement::ChatTurns] {
                for k in [1, 4, 16] {
                    let cases = cases(&set, k, placement, &"What now?".into(), usize::MAX).unwrap();
                    assert_eq!(cases.len(), 132 / k, "{name}");
                    for (index, case) in cases.iter().enumerate() {
                        for (split, is_benign) in
                            [(&case.harmful, false), (case.benign.as_ref().unwrap(), true)]
                        {
                            assert_eq!(split.examples.len(), k, "{name} {index} {placement:?}");
                            for (example, row) in split.examples.iter().zip(&set.rows[index * k..]) {
                                let response =
                                    if is_benign { row.benign.as_ref().unwrap() } else { &row.response };
                                assert_eq!(example.content.prompt, row.prompt.trim());
                                assert_eq!(example.content.response, response.trim());
                            }
                        }
                    }
                }
            }
        }
    }
}
