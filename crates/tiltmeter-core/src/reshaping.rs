//! What a treatment does to the demonstrations themselves, before a context is made of them.

use std::collections::HashMap;
use std::sync::Arc;

use crate::experiment::Judge;
use crate::guarding::Guarding;
use crate::id::{Canonical, ContentId};

/// What is done to the demonstrations of a context, in the order of the fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reshaping {
    /// Those that a model takes for harmful are left out.
    pub filter: Option<Filter>,
    /// So many further demonstrations with benign answers stand behind the others.
    pub append_benign: u32,
    /// They are shown as quoted data, introduced by this text.
    pub quote: Option<Arc<str>>,
    /// A guard looks at the context, and something is done by what it finds.
    pub guard: Option<Guarding>,
}

/// Which demonstrations are left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// Index of the screen in the experiment.
    pub screen: usize,
    /// A demonstration is kept where its score is at least this, 0 to 100.
    pub keep_from: u8,
}

/// A model that scores demonstrations one by one, and how it is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Screen {
    /// The model, asked as a judge is.
    pub model: Judge,
    /// What it is asked, with `{question}` and `{answer}` in the place of a demonstration's prompt and answer.
    pub prompt: Arc<str>,
    /// What it said, by [`demonstration_id`]; `None` before it was asked.
    pub verdicts: Option<HashMap<ContentId, Screened>>,
}

impl Screen {
    /// Whether two screens give the same scores.
    pub fn is_same_as(&self, other: &Self) -> bool {
        (self.model.hash, &self.prompt) == (other.model.hash, &other.prompt)
    }

    /// Hash of the score of a demonstration: of the demonstration, the model's settings and the prompt.
    pub fn screening_id(&self, demonstration: &ContentId) -> ContentId {
        Canonical::new("tiltmeter.screening/1")
            .id(demonstration)
            .id(&self.model.hash)
            .text(&self.prompt)
            .finish()
    }
}

/// What a screen said of a demonstration.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Screened {
    /// A score, 0 to 100.
    Score(f64),
    /// The reply holds no score.
    NoScore,
}

/// Hash of a demonstration's text.
pub fn demonstration_id(prompt: &str, response: &str) -> ContentId {
    Canonical::new("tiltmeter.demonstration/1").text(prompt).text(response).finish()
}
