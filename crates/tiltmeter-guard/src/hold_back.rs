//! An answer that streams and is checked while it does: events wait, in order and up to a bounded number of bytes, until
//! the check lets them go.

mod checking;

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame};

use crate::config::file::OnFailure;
use crate::relay::{Done, Ended, Leaving, Outcome, RelayError, Source};

pub(crate) use self::checking::{Acting, Checking, TOO_MUCH, UNREADABLE};

/// The body of such an answer.
pub(crate) struct HoldBack {
    source: Option<Source>,
    checking: Checking,
    leaving: Leaving,
    done: Option<Done>,
    /// Whether the upstream has said all.
    is_over: bool,
    /// How it ended, once nothing more comes.
    ended: Option<Ended>,
    /// What goes wrong after all that is ready has been given.
    error: Option<RelayError>,
}

impl HoldBack {
    pub(crate) fn new(source: Source, checking: Checking, leaving: Leaving, done: Done) -> Self {
        let (source, done) = (Some(source), Some(done));
        Self { source, checking, leaving, done, is_over: false, ended: None, error: None }
    }

    fn finish(&mut self, ended: Ended) {
        self.ended = Some(ended);
        // Dropping the source closes the connection, if it has not ended: the model need not go on.
        let (Some(source), Some(done)) = (self.source.take(), self.done.take()) else { return };
        let outcome = outcome(&source, &self.checking, ended);
        self.checking.conclude(outcome, &self.leaving.tasks, done);
    }

    /// Ends where the check has cut the answer, or all of it is there and let go.
    fn settle(&mut self) {
        if self.checking.is_cut {
            self.finish(Ended::Cut);
        } else if self.is_over && self.checking.asking.is_none() {
            self.finish(Ended::Complete);
        }
    }
}

fn outcome(source: &Source, checking: &Checking, ended: Ended) -> Outcome {
    let mut outcome = source.outcome(ended, checking.unchecked);
    outcome.cut_by.clone_from(&checking.cut_by);
    outcome.held_back = checking.held_back;
    outcome.judgements.clone_from(&checking.judgements);
    outcome
}

impl Body for HoldBack {
    type Data = Bytes;
    type Error = RelayError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RelayError>>> {
        let held = self.get_mut();
        loop {
            if let Some(bytes) = held.checking.ready.pop_front() {
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            if held.ended.is_some() {
                return Poll::Ready(held.error.take().map(Err));
            }
            if let Some(asking) = &mut held.checking.asking {
                // The upstream waits meanwhile: no more is read than is held back.
                let asked = ready!(asking.as_mut().poll(context));
                held.checking.answered(asked);
                if held.is_over {
                    held.checking.end();
                } else {
                    held.checking.go_on();
                }
                held.settle();
                continue;
            }
            let Some(source) = &mut held.source else { return Poll::Ready(None) };
            match ready!(source.poll(context)) {
                Some(Ok(frame)) => {
                    if let Some(piece) = frame.data_ref() {
                        held.checking.piece(piece);
                    }
                    held.settle();
                }
                Some(Err(error)) => {
                    let ended = source.ended().unwrap_or(Ended::BrokenOff);
                    // What is held was not let go, and never will be.
                    if held.checking.on_failure == OnFailure::Open {
                        held.checking.fail(UNREADABLE);
                    }
                    held.error = Some(error);
                    held.finish(ended);
                }
                None => {
                    held.is_over = true;
                    held.checking.end();
                    held.settle();
                }
            }
        }
    }
}

impl Drop for HoldBack {
    fn drop(&mut self) {
        let (Some(source), Some(done)) = (self.source.take(), self.done.take()) else { return };
        if self.checking.asking.take().is_some() {
            self.checking.judgements.extend(self.checking.watch.give_up());
        }
        let ended = outcome(&source, &self.checking, Ended::ClientLeft);
        self.leaving.leave(source, ended, done);
    }
}
