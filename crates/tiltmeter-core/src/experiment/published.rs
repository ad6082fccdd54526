//! Published sets, as far as an experiment needs to know them: this crate fetches nothing and knows no catalogue.

use std::sync::Arc;

use crate::demonstration::{Demonstration, DemonstrationSet, Domain, Terms};
use crate::id::text_hash;
use crate::question::{Question, QuestionJudgePrompts, QuestionSet};

/// What a published set is used as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublishedKind {
    /// As demonstrations: `messages` JSON Lines.
    Demonstrations,
    /// As demonstrations: the table of `TruthfulQA`, with false answers and their true twins.
    TruthfulQa,
    /// As evaluation questions: the YAML of Betley et al.
    Questions,
}

impl PublishedKind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Demonstrations | Self::TruthfulQa => "demonstrations",
            Self::Questions => "questions",
        }
    }
}

/// A published set that a name in an experiment file stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// What it is used as.
    pub kind: PublishedKind,
    /// Its narrow domain, where it has one.
    pub domain: Option<Domain>,
    /// What may be done with it.
    pub terms: Terms,
    /// Its text, or what there is instead.
    pub content: PublishedContent,
}

/// The text of a published set, or what there is instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublishedContent {
    /// The text, verified.
    Text(String),
    /// It is not there, and an estimate is all that is wanted: its measures.
    StandIn(StandIn),
    /// It cannot be used.
    Unusable {
        /// Why.
        reason: String,
        /// What to do.
        hint: String,
    },
}

/// The measures of a set that is not there, for estimates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StandIn {
    /// Rows, or questions.
    pub rows: usize,
    /// Mean characters of a prompt.
    pub prompt_characters: usize,
    /// Mean characters of a response; 0 for questions.
    pub response_characters: usize,
    /// Whether the means were measured, or only assumed.
    pub is_measured: bool,
    /// Questions that touch a narrow domain: positions from 0.
    pub in_domain: Vec<(usize, Domain)>,
    /// Whether the set itself holds benign answers.
    pub has_benign: bool,
}

impl StandIn {
    /// What a reader of an estimate should know.
    pub(super) fn note(&self, name: &str) -> String {
        let length = match self.response_characters {
            0 => self.prompt_characters,
            response => self.prompt_characters + response,
        };
        let measured = if self.is_measured { "" } else { ", a length that is assumed and not measured" };
        format!(
            "{name} is not fetched: its part of the estimate takes {} rows of {length} characters from the \
             catalogue{measured}; `tiltmeter data fetch {name}` fetches it",
            self.rows
        )
    }

    /// A set of as many rows of mean length; with benign answers of mean length where a twin is given.
    pub(super) fn demonstrations(
        &self,
        name: &str,
        domain: Option<Domain>,
        origin: &str,
        benign: Option<&Self>,
    ) -> DemonstrationSet {
        let benign = benign.or(self.has_benign.then_some(self));
        let row = Demonstration {
            prompt: filler(self.prompt_characters),
            response: filler(self.response_characters),
            benign: benign.map(|benign| filler(benign.response_characters)),
        };
        let rows = benign.map_or(self.rows, |benign| benign.rows.min(self.rows));
        DemonstrationSet::new(name, domain, origin, vec![row; rows])
    }

    /// As many questions of mean length.
    pub(super) fn questions(&self, name: &str) -> QuestionSet {
        let text = filler(self.prompt_characters);
        let questions = (0..self.rows)
            .map(|position| Question {
                id: format!("{name}-{position}").into(),
                area: None,
                paraphrases: vec![text.clone()],
                system: None,
                domain: self
                    .in_domain
                    .iter()
                    .find(|(touched, _)| *touched == position)
                    .map(|(_, domain)| *domain),
                judge_prompts: QuestionJudgePrompts::default(),
                pairs: Vec::new(),
            })
            .collect();
        QuestionSet { origin: name.to_owned(), hash: text_hash(name), questions, notes: Vec::new() }
    }

    /// The measures of rows that are there, for a set whose twin is not.
    pub(super) fn of(rows: &[Demonstration]) -> Self {
        let mean = |text: fn(&Demonstration) -> &Arc<str>| {
            let sum: usize = rows.iter().map(|row| text(row).chars().count()).sum();
            sum / rows.len().max(1)
        };
        Self {
            rows: rows.len(),
            prompt_characters: mean(|row| &row.prompt),
            response_characters: mean(|row| &row.response),
            is_measured: true,
            in_domain: Vec::new(),
            has_benign: rows.iter().all(|row| row.benign.is_some()),
        }
    }
}

fn filler(characters: usize) -> Arc<str> {
    "x".repeat(characters).into()
}
