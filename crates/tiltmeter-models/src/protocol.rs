//! What a protocol must say of itself, and the negotiation that all of them share.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use reqwest::Url;
use tiltmeter_core::prompt::{Prompt, Role};

use crate::body::Body;
use crate::context::{ContextCache, ShownPrompt, WriteTurns};
use crate::endpoint::Endpoint;
use crate::error::{ErrorKind, ModelError};
use crate::events::Draft;
use crate::request::{ChatRequest, ChatResponse, Sampling};
use crate::terms::{Parameter, Terms};
use crate::transport::{Refusal, Transport};

/// A protocol that models are asked in.
pub(crate) trait Protocol: Send + Sync {
    /// How its replies are put together.
    type Draft: Draft;

    /// How it writes a context's turns.
    fn write_turns(&self, endpoint: &Endpoint) -> WriteTurns;

    /// The names on the wire of a parameter, by which a server may refuse it.
    fn fields(&self, endpoint: &Endpoint, terms: Terms, parameter: Parameter) -> &'static [&'static str];

    /// Whether a request with these settings carries a parameter, terms and extra fields aside.
    fn carries(&self, endpoint: &Endpoint, sampling: &Sampling, parameter: Parameter) -> bool;

    /// Settings that are asked for and that the protocol has no way to send, by the names in [`Sampling`].
    fn has_no_field_for(&self, endpoint: &Endpoint, sampling: &Sampling) -> Vec<&'static str> {
        let _ = (endpoint, sampling);
        Vec::new()
    }

    /// What is wrong with a request before it is sent.
    ///
    /// # Errors
    /// [`ErrorKind::BadRequest`] with what to change.
    fn check(&self, endpoint: &Endpoint, request: &ChatRequest) -> Result<(), ModelError> {
        let _ = (endpoint, request);
        Ok(())
    }

    /// Writes the body. Parameters that `sends` denies are not in it.
    fn write(&self, asked: &Asked<'_>, sends: &dyn Fn(Parameter) -> bool) -> Result<Body, ModelError>;
}

/// One request, as it is written.
pub(crate) struct Asked<'a> {
    pub(crate) endpoint: &'a Endpoint,
    pub(crate) sampling: &'a Sampling,
    pub(crate) prompt: &'a ShownPrompt<'a>,
    pub(crate) terms: Terms,
    /// The server's name for what it holds of the prompt already: all of it but the question. Only for protocols
    /// that have such names.
    pub(crate) cached: Option<&'a str>,
}

/// A request's body, and the settings that were asked for and are not in it.
pub(crate) struct Written {
    pub(crate) body: Body,
    pub(crate) dropped: Vec<&'static str>,
}

/// A model that is asked in a protocol.
pub(crate) struct Client<P> {
    pub(crate) transport: Transport,
    pub(crate) url: Url,
    pub(crate) contexts: ContextCache,
    protocol: P,
    /// What the model has turned out not to take.
    terms: Mutex<Terms>,
}

impl<P> fmt::Debug for Client<P> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Client")
            .field("base_url", &self.transport.endpoint.base_url)
            .field("model", &self.transport.endpoint.model)
            .finish_non_exhaustive()
    }
}

impl<P: Protocol> Client<P> {
    pub(crate) fn new(transport: Transport, url: Url, protocol: P) -> Self {
        let contexts = ContextCache::new(protocol.write_turns(&transport.endpoint));
        Self { transport, url, contexts, protocol, terms: Mutex::default() }
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.transport.endpoint
    }

    /// What the model is known not to take.
    pub(crate) fn terms(&self) -> Terms {
        *self.terms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Others may have learnt something else in the meantime.
    fn remember(&self, terms: Terms) {
        let mut known = self.terms.lock().unwrap_or_else(PoisonError::into_inner);
        *known = known.and(terms);
    }

    /// Whether a request carries a parameter, which is then one that the server can refuse.
    fn sends(&self, endpoint: &Endpoint, sampling: &Sampling, terms: Terms, parameter: Parameter) -> bool {
        let is_replaced = |field: &&str| endpoint.extra_body.contains_key(*field);
        self.protocol.carries(endpoint, sampling, parameter)
            && !terms.leaves_out(parameter)
            && !self.protocol.fields(endpoint, terms, parameter).iter().any(is_replaced)
    }

    /// The settings that were asked for and are not sent under these terms.
    fn dropped(&self, sampling: &Sampling, terms: Terms) -> Vec<&'static str> {
        let was_dropped = |parameter: &Parameter| {
            terms.leaves_out(*parameter)
                && self.sends(self.endpoint(), sampling, Terms::default(), *parameter)
        };
        let refused = Parameter::ALL.into_iter().filter(was_dropped).filter_map(Parameter::setting);
        let mut dropped = self.protocol.has_no_field_for(self.endpoint(), sampling);
        dropped.extend(refused);
        dropped
    }

    /// Writes a request as [`Client::chat`] would send it to this endpoint under these terms, for whoever sends it
    /// in another way.
    ///
    /// # Errors
    /// [`ErrorKind::BadRequest`] where the protocol has no way to say it.
    pub(crate) fn written(
        &self,
        endpoint: &Endpoint,
        request: &ChatRequest,
        terms: Terms,
    ) -> Result<Written, ModelError> {
        let sampling = &request.sampling;
        self.protocol.check(endpoint, request)?;
        let prompt = &self.contexts.shown(&request.prompt);
        let sends = |parameter| self.sends(endpoint, sampling, terms, parameter);
        let body = self.protocol.write(&Asked { endpoint, sampling, prompt, terms, cached: None }, &sends)?;
        Ok(Written { body, dropped: self.dropped(sampling, terms) })
    }

    /// Asks for one generation.
    pub(crate) async fn chat(&self, request: &ChatRequest) -> Result<ChatResponse, ModelError> {
        self.chat_after(request, None).await
    }

    /// Asks for one generation, where the server may hold the prompt up to the question under a name.
    pub(crate) async fn chat_after(
        &self,
        request: &ChatRequest,
        cached: Option<&str>,
    ) -> Result<ChatResponse, ModelError> {
        let endpoint = self.endpoint();
        let sampling = &request.sampling;
        self.protocol.check(endpoint, request)?;
        let prompt = &self.contexts.shown(&request.prompt);
        let mut terms = self.terms();
        loop {
            let sends = |parameter| self.sends(endpoint, sampling, terms, parameter);
            let body = self.protocol.write(&Asked { endpoint, sampling, prompt, terms, cached }, &sends)?;
            match self.transport.ask::<P::Draft>(&self.url, body).await {
                Ok(response) => {
                    self.remember(terms);
                    let asked = sampling.top_log_probabilities.is_some();
                    return Ok(ChatResponse {
                        log_probabilities: response.log_probabilities.filter(|_| asked),
                        dropped_parameters: self.dropped(sampling, terms),
                        ..response
                    });
                }
                Err(Refusal::Final(error)) => return Err(error),
                Err(Refusal::ByServer { status, failure, error }) => {
                    // A context that is too long may be told in words that also name `max_tokens`.
                    let is_negotiable = matches!(error.kind, ErrorKind::BadRequest | ErrorKind::Unauthorised);
                    let fields = |parameter| self.protocol.fields(endpoint, terms, parameter);
                    let next = terms.after(status, &failure, fields, sends);
                    match next.filter(|_| is_negotiable) {
                        Some(next) => terms = next,
                        None => return Err(error),
                    }
                }
            }
        }
    }
}

/// For protocols whose system message stands apart from the turns.
///
/// # Errors
/// [`ErrorKind::BadRequest`] where a turn of the context is the system's.
pub(crate) fn refuse_system_turns(prompt: &Prompt) -> Result<(), ModelError> {
    if prompt.context.turns.iter().all(|turn| turn.role != Role::System) {
        return Ok(());
    }
    let message = "a turn of the context is a system message, which this model's protocol has no place for";
    Err(ModelError::new(ErrorKind::BadRequest, message))
}
