//! Sends a request to its server, beside the record of what was decided.

use std::sync::Arc;
use std::time::Instant;

use http::header::ACCEPT_ENCODING;
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response};
use http_body_util::{Either, Full};

use crate::answer::Answer;
use crate::audit::Entry;
use crate::client::{Outgoing, Server};
use crate::config::OutputSettings;
use crate::finish::Finish;
use crate::head;
use crate::hold_back::{Acting, Checking};
use crate::inspection::RiskLevel;
use crate::judging::Question;
use crate::names::RISK_HEADER;
use crate::output::AnswerTo;
use crate::refusal::Refusal;
use crate::relay::Leaving;

use super::{Exchange, WantedBody};

/// A request that is to be sent.
pub(super) struct Sending {
    pub(super) exchange: Arc<Exchange>,
    pub(super) server: usize,
    pub(super) output: Option<(OutputSettings, Acting)>,
    pub(super) question: Question,
    pub(super) tag: Option<RiskLevel>,
    pub(super) leaving: Leaving,
    pub(super) finish: Finish,
}

impl Sending {
    pub(super) async fn run(
        mut self,
        parts: Parts,
        body: WantedBody,
        entry: Option<Entry>,
    ) -> Result<Response<Answer>, Refusal> {
        match self.try_run(parts, body, entry).await {
            Ok(response) => Ok(response),
            Err(refusal) => {
                self.finish.refuse(&refusal);
                Err(refusal)
            }
        }
    }

    async fn try_run(
        &mut self,
        parts: Parts,
        body: WantedBody,
        entry: Option<Entry>,
    ) -> Result<Response<Answer>, Refusal> {
        let exchange = Arc::clone(&self.exchange);
        let server = exchange.live.servers.get(self.server).ok_or_else(Refusal::no_upstream)?;
        let is_head = parts.method == Method::HEAD;
        let request = self.outgoing(server, parts, body)?;
        // The record is written while the model's server works: an answer waits for whichever is later.
        let recorded = async {
            let result = exchange.record(entry).await;
            (result, Instant::now())
        };
        let sent = async {
            let result = server.send(request).await;
            (result, Instant::now())
        };
        let ((recorded, recorded_at), (answer, answered_at)) = tokio::join!(recorded, sent);
        exchange.shared.metrics.overhead("record", recorded_at.saturating_duration_since(answered_at));
        recorded?;
        let (mut head, body) = answer?.into_parts();
        head::incoming(&mut head.headers);
        // The client's connection has a version of its own.
        head.version = http::Version::HTTP_11;
        if let Some(level) = self.tag {
            head.headers.insert(RISK_HEADER, HeaderValue::from_static(level.name()));
        }
        self.finish.status = Some(head.status.as_u16());
        let checking = self.output.take().filter(|_| head.status.is_success() && !is_head);
        let to = AnswerTo { protocol: exchange.protocol, question: self.question.clone() };
        let checking =
            checking.map(|(output, acting)| (Checking::new(&output, &to, acting), output.hold_back));
        let source = self.finish.source(&head, exchange.protocol, body, server.upstream.idle_time);
        self.finish.take().answer(head, source, checking, self.leaving.clone()).await
    }

    fn outgoing(
        &self,
        server: &Server,
        parts: Parts,
        body: WantedBody,
    ) -> Result<Request<Outgoing>, Refusal> {
        let mut request = Request::new(match body {
            WantedBody::Read(body) => Either::Left(Full::new(body)),
            WantedBody::PassedThrough(body) => Either::Right(body),
        });
        *request.method_mut() = parts.method;
        *request.uri_mut() = server.address(&parts.uri).ok_or_else(Refusal::odd_path)?;
        *request.headers_mut() = head::outgoing(parts.headers, &server.upstream);
        if self.output.is_some() || self.finish.sampled.is_some() {
            // What is compressed cannot be checked.
            request.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        Ok(request)
    }
}
