//! Bodies of answers.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;

use crate::hold_back::HoldBack;
use crate::relay::{Relay, RelayError};

/// The body of an answer. Where it breaks off, what came before is given to the client first.
pub(crate) struct Answer {
    kind: Kind,
    /// Why it broke off, which is still to be said.
    failure: Option<RelayError>,
}

enum Kind {
    /// The gateway's own.
    Full(Full<Bytes>),
    /// The upstream's, as it comes.
    Relay(Box<Relay>),
    /// The upstream's, held back until it is checked.
    HeldBack(Box<HoldBack>),
}

impl Answer {
    pub(crate) fn text(text: impl Into<Bytes>) -> Self {
        Kind::Full(Full::new(text.into())).into()
    }

    pub(crate) fn relay(relay: Relay) -> Self {
        Kind::Relay(Box::new(relay)).into()
    }

    pub(crate) fn held_back(held: HoldBack) -> Self {
        Kind::HeldBack(Box::new(held)).into()
    }
}

impl From<Kind> for Answer {
    fn from(kind: Kind) -> Self {
        Self { kind, failure: None }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = RelayError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RelayError>>> {
        let answer = self.get_mut();
        if let Some(failure) = answer.failure.take() {
            return Poll::Ready(Some(Err(failure)));
        }
        let polled = match &mut answer.kind {
            Kind::Full(body) => Pin::new(body).poll_frame(context).map_err(|never| match never {}),
            Kind::Relay(relay) => Pin::new(relay).poll_frame(context),
            Kind::HeldBack(held) => Pin::new(held).poll_frame(context),
        };
        let Poll::Ready(Some(Err(failure))) = polled else { return polled };
        // At an error hyper closes the connection with what it has not written yet, the head too. It writes when it
        // has to wait.
        answer.failure = Some(failure);
        context.waker().wake_by_ref();
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            _ if self.failure.is_some() => false,
            Kind::Full(body) => body.is_end_stream(),
            Kind::Relay(relay) => relay.is_end_stream(),
            Kind::HeldBack(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Full(body) => body.size_hint(),
            Kind::Relay(relay) => relay.size_hint(),
            Kind::HeldBack(_) => SizeHint::default(),
        }
    }
}
