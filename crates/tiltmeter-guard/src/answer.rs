//! Bodies of answers.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;

use crate::hold_back::HoldBack;
use crate::relay::{Relay, RelayError};

/// The body of an answer.
pub(crate) enum Answer {
    /// The gateway's own.
    Full(Full<Bytes>),
    /// The upstream's, as it comes.
    Relay(Box<Relay>),
    /// The upstream's, held back until it is checked.
    HeldBack(Box<HoldBack>),
}

impl Answer {
    pub(crate) fn text(text: impl Into<Bytes>) -> Self {
        Self::Full(Full::new(text.into()))
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = RelayError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RelayError>>> {
        match self.get_mut() {
            Self::Full(body) => Pin::new(body).poll_frame(context).map_err(|never| match never {}),
            Self::Relay(relay) => Pin::new(relay).poll_frame(context),
            Self::HeldBack(held) => Pin::new(held).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Full(body) => body.is_end_stream(),
            Self::Relay(relay) => relay.is_end_stream(),
            Self::HeldBack(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Full(body) => body.size_hint(),
            Self::Relay(relay) => relay.size_hint(),
            Self::HeldBack(_) => SizeHint::default(),
        }
    }
}
