//! Entry points for the fuzz targets in `fuzz/`; there only where they are built.

use bytes::Bytes;

use crate::actions;
use crate::answer_text;
use crate::conversation::{Protocol, RequestView};
use crate::inspection::FlaggedExample;
use crate::sse::Splitter;

/// Gives a stream piece by piece to what splits it into events and reads their texts. Gives back the events' bytes and what
/// was left over, one after the other: those of the stream.
pub fn stream(protocol: Protocol, pieces: &[&[u8]]) -> Vec<u8> {
    let mut splitter = Splitter::default();
    let mut joined = Vec::new();
    for piece in pieces {
        splitter.push(piece);
        while let Some(event) = splitter.next() {
            joined.extend_from_slice(&event.raw);
            if let Some(data) = event.data() {
                let _ = answer_text::of_event(protocol, &data);
                let _ = answer_text::is_last(protocol, &data);
            }
        }
    }
    joined.extend_from_slice(&splitter.rest());
    joined
}

/// Cuts flagged examples out of a request and puts an instruction in; the body after both, where both can be done.
pub fn act(view: &RequestView, flagged: &[FlaggedExample]) -> Option<Bytes> {
    let mut edits = actions::quarantine(view, flagged).edits;
    edits.extend(actions::instruct(view, "be safe")?);
    actions::apply(&view.body, edits)
}
