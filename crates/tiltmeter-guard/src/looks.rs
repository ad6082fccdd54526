//! Who looks at the answer to a request: a check before it is given, a judge after.

use bytes::Bytes;

use crate::config::{JudgingSettings, OutputSettings, Route};
use crate::conversation::Protocol;
use crate::hold_back::Acting;
use crate::inspection::RiskLevel;
use crate::judging::{Chosen, Question, Sampled};

/// Who looks at an answer.
#[derive(Debug, Default)]
pub(crate) struct Looks {
    /// The check before it is given, and whether it acts.
    pub(crate) output: Option<(OutputSettings, Acting)>,
    judging: Option<(String, JudgingSettings, Chosen)>,
}

impl Looks {
    /// By the route and the risk of the context.
    pub(crate) fn of(route: &Route, request: &str, level: RiskLevel) -> Self {
        let acting = if route.dry_run { Acting::DryRun } else { Acting::Really };
        let output = route.output.as_ref().filter(|output| level >= output.from);
        let judging = route.judging.as_ref().map(|judging| {
            let chosen = judging.sampling.choose(request, level);
            (route.name.clone(), judging.clone(), chosen)
        });
        Self { output: output.map(|output| (output.clone(), acting)), judging }
    }

    /// Whether the answer is to be judged, as records tell it; `None` where nothing is judged here.
    pub(crate) fn judging(&self) -> Option<&'static str> {
        self.judging.as_ref().map(|(_, _, chosen)| chosen.name())
    }

    /// The question, where somebody wants it.
    pub(crate) fn question(&self, protocol: Protocol, body: Option<&Bytes>) -> Question {
        let is_judged = self.judging.as_ref().is_some_and(|(_, _, chosen)| *chosen != Chosen::Not);
        let is_wanted = self.output.as_ref().is_some_and(|(output, _)| output.check.wants_question());
        match body {
            Some(body) if is_judged || is_wanted => Question::of(protocol, body.clone()),
            _ => Question::none(),
        }
    }

    /// The answer as one that is to be judged, if it is.
    pub(crate) fn sampled(&self, request: &str, question: &Question) -> Option<Sampled> {
        let (route, settings, chosen) = self.judging.as_ref()?;
        (*chosen != Chosen::Not).then(|| Sampled {
            request: request.to_owned(),
            route: route.clone(),
            settings: settings.clone(),
            chosen: *chosen,
            question: question.clone(),
        })
    }
}
