//! The question that an answer is judged by: what the last message of the user's says, without the examples in it.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};

use crate::conversation::{Protocol, RequestView};
use crate::inspect::split;

/// A question that is being read from a request, apart from it; or none.
#[derive(Clone, Debug)]
pub struct Question(Shared<BoxFuture<'static, Option<Arc<str>>>>);

impl Question {
    /// There is none.
    pub fn none() -> Self {
        Self(std::future::ready(None).boxed().shared())
    }

    /// Begins to read it, from the request where that was read already. The body is let go once it is read.
    pub(crate) fn of(protocol: Protocol, body: Bytes, view: Option<Arc<RequestView>>) -> Self {
        let reading = tokio::task::spawn_blocking(move || {
            let view = match view {
                Some(view) => view,
                None => Arc::new(RequestView::read(protocol, body).ok()?),
            };
            let question = split(&view).question;
            (!question.trim().is_empty()).then(|| Arc::from(question))
        });
        Self(async move { reading.await.ok().flatten() }.boxed().shared())
    }

    /// The question; `None` where there is none, or it cannot be read.
    pub async fn text(&self) -> Option<Arc<str>> {
        self.0.clone().await
    }
}
