//! Who looks at the answer to a request: a check before it is given, a judge after.

use std::sync::Arc;

use bytes::Bytes;

use crate::config::{OutputSettings, Route};
use crate::conversation::{Protocol, RequestView};
use crate::hold_back::Acting;
use crate::inspection::RiskLevel;
use crate::judging::{Chosen, Question, Sampled};

/// Who looks at an answer.
#[derive(Debug, Default)]
pub(crate) struct Looks {
    /// The check before it is given, and whether it acts.
    pub(crate) output: Option<(OutputSettings, Acting)>,
    /// The route, where it has answers judged, and whether this one is.
    judging: Option<(Arc<Route>, Chosen)>,
}

impl Looks {
    /// By the route and the risk of the context.
    pub(crate) fn of(route: &Arc<Route>, request: &str, level: RiskLevel) -> Self {
        let acting = if route.dry_run { Acting::DryRun } else { Acting::Really };
        let output = route.output.as_ref().filter(|output| level >= output.from);
        let judging = route
            .judging
            .as_ref()
            .map(|judging| (Arc::clone(route), judging.sampling.choose(request, level)));
        Self { output: output.map(|output| (output.clone(), acting)), judging }
    }

    /// Whether the answer is to be judged, as records tell it; `None` where nothing is judged here.
    pub(crate) fn judging(&self) -> Option<&'static str> {
        self.judging.as_ref().map(|(_, chosen)| chosen.name())
    }

    /// The question, where somebody wants it. `view` is the request where it was read already.
    pub(crate) fn question(
        &self,
        protocol: Protocol,
        body: Option<&Bytes>,
        view: Option<Arc<RequestView>>,
    ) -> Question {
        let is_judged = self.judging.as_ref().is_some_and(|(_, chosen)| *chosen != Chosen::Not);
        let is_wanted = self.output.as_ref().is_some_and(|(output, _)| output.check.wants_question());
        match body {
            Some(body) if is_judged || is_wanted => Question::of(protocol, body.clone(), view),
            _ => Question::none(),
        }
    }

    /// The answer as one that is to be judged, if it is.
    pub(crate) fn sampled(&self, request: &str, question: &Question) -> Option<Sampled> {
        let (route, chosen) = self.judging.as_ref().filter(|(_, chosen)| *chosen != Chosen::Not)?;
        Some(Sampled {
            request: request.to_owned(),
            route: route.name.clone(),
            settings: route.judging.clone()?,
            chosen: *chosen,
            question: question.clone(),
            span: None,
        })
    }
}
