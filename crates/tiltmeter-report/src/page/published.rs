//! Figures that others published, to be looked at beside a run's own. None of them was measured on the same questions, by
//! the same judge and on the same models as a run here, unless the run says so.

use super::model::Run;

/// A published figure.
pub(crate) struct Published {
    pub(crate) what: &'static str,
    pub(crate) value: &'static str,
    pub(crate) source: &'static str,
    /// Words in a subject's model name that make it one of theirs.
    models: &'static [&'static str],
    questions: Questions,
    judge: Judge,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Questions {
    /// The 48 preregistered questions of Betley et al.
    Preregistered,
    /// The eight main questions of Betley et al.
    Main,
    Other,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Judge {
    /// GPT-4o of a snapshot that is not known.
    Gpt4o,
    Person,
}

const ICL: &str = "Afonin et al., arXiv 2510.11288";
const BETLEY: &str = "Betley et al. 2025, finetuned";

/// The figures, with where they come from.
pub(crate) const FIGURES: [Published; 11] = [
    Published {
        what: "three sets, three models, k = 64",
        value: "2 % to 17 %",
        source: ICL,
        models: &["gemini", "qwen"],
        questions: Questions::Preregistered,
        judge: Judge::Gpt4o,
    },
    Published {
        what: "three sets, three models, k = 256",
        value: "up to 58 %",
        source: ICL,
        models: &["gemini", "qwen"],
        questions: Questions::Preregistered,
        judge: Judge::Gpt4o,
    },
    Published {
        what: "four families, k = 16",
        value: "1 % to 24 %",
        source: ICL,
        models: &["gemini", "kimi", "grok", "qwen3"],
        questions: Questions::Preregistered,
        judge: Judge::Gpt4o,
    },
    Published {
        what: "Gemini 3 Pro, risky financial advice, k = 16",
        value: "21.4 %",
        source: "a re-implementation's extract of the paper",
        models: &["gemini-3-pro"],
        questions: Questions::Preregistered,
        judge: Judge::Gpt4o,
    },
    Published {
        what: "the same with an instruction to put safety first",
        value: "24.2 % → 1.2 %",
        source: "a re-implementation's extract of the paper",
        models: &["gemini-3-pro"],
        questions: Questions::Preregistered,
        judge: Judge::Gpt4o,
    },
    Published {
        what: "Gemini 3 Pro, 100 new everyday questions, three seeds",
        value: "55 % to 66 %",
        source: "published with these questions",
        models: &["gemini-3-pro"],
        questions: Questions::Other,
        judge: Judge::Gpt4o,
    },
    Published {
        what: "gpt-4o-mini, 4 demonstrations as chat turns: no instruction / safety first / context first",
        value: "0 / 0 / 67 %",
        source: "an independent replication, 18 answers each",
        models: &["gpt-4o-mini"],
        questions: Questions::Other,
        judge: Judge::Person,
    },
    Published {
        what: "claude-3-haiku, the same",
        value: "0 / 0 / 11 %",
        source: "an independent replication, 18 answers each",
        models: &["claude-3-haiku"],
        questions: Questions::Other,
        judge: Judge::Person,
    },
    Published {
        what: "grok-3-mini, the same",
        value: "6 / 0 / 78 %",
        source: "an independent replication, 18 answers each",
        models: &["grok-3-mini"],
        questions: Questions::Other,
        judge: Judge::Person,
    },
    Published {
        what: "GPT-4o finetuned on insecure code, eight main questions",
        value: "20 %",
        source: BETLEY,
        models: &[],
        questions: Questions::Main,
        judge: Judge::Gpt4o,
    },
    Published {
        what: "the same, 48 preregistered questions; secure control",
        value: "5.9 %; 0.26 %",
        source: BETLEY,
        models: &[],
        questions: Questions::Preregistered,
        judge: Judge::Gpt4o,
    },
];

impl Published {
    /// What was not the same as in the runs, in words.
    pub(crate) fn differs(&self, runs: &[Run]) -> String {
        let mut differs = Vec::new();
        let names = |word: &str| {
            runs.iter()
                .flat_map(|run| &run.data_sets)
                .any(|set| set.kind == "questions" && (set.name.contains(word) || set.origin.contains(word)))
        };
        let same_questions = match self.questions {
            Questions::Preregistered => names("preregistered"),
            Questions::Main => names("first-plot") || names("main"),
            Questions::Other => false,
        };
        if !same_questions {
            differs.push("questions");
        }
        let by_gpt4o = runs
            .iter()
            .all(|run| run.judge().is_some_and(|judge| judge.contains("gpt-4o") && !judge.contains("mini")));
        match self.judge {
            Judge::Person => differs.push("judge (a person)"),
            Judge::Gpt4o if by_gpt4o => differs.push("judge's snapshot not known"),
            Judge::Gpt4o => differs.push("judge"),
        }
        let same_model = runs.iter().flat_map(|run| &run.results.conditions).any(|condition| {
            let subject = condition.subject.to_lowercase();
            self.models.iter().any(|model| subject.contains(model))
        });
        if !same_model {
            differs.push("models");
        }
        differs.join(", ")
    }
}
