//! Keys and values of what the model has read, as a tree of segments.
//!
//! A segment holds the tokens that follow some number of its parent's. A question that is put behind a shared
//! context is a child of the context's segment, and an answer a child of the question's: nothing is ever copied to
//! fork. A segment is freed when its owner has released it and it has no children.

use std::io::{Error, Read, Write};

use super::config::Config;
use super::key_values::{BLOCK, Head, KeyValuePrecision};

/// Names a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentId(usize);

#[derive(Debug)]
struct Segment {
    parent: Option<(SegmentId, usize)>,
    /// Position of the first token.
    start: usize,
    length: usize,
    /// By layer, then head.
    heads: Vec<Head>,
    children: usize,
    is_released: bool,
}

/// All segments.
#[derive(Debug)]
pub(crate) struct Cache {
    segments: Vec<Option<Segment>>,
    layers: usize,
    heads: usize,
    panels: usize,
    precision: KeyValuePrecision,
    /// The most places for tokens that there were at any time, to test that memory is kept to.
    #[cfg(test)]
    pub(crate) most_places: usize,
}

impl Cache {
    pub(crate) fn new(config: &Config, precision: KeyValuePrecision) -> Self {
        Self {
            segments: Vec::new(),
            layers: config.layers,
            heads: config.key_value_heads,
            panels: config.head_panels(),
            precision,
            #[cfg(test)]
            most_places: 0,
        }
    }

    /// Without any token.
    fn no_heads(&self) -> Vec<Head> {
        vec![Head::new(self.panels, self.precision); self.layers * self.heads]
    }

    fn segment(&self, id: SegmentId) -> Option<&Segment> {
        self.segments.get(id.0).and_then(Option::as_ref)
    }

    fn segment_mut(&mut self, id: SegmentId) -> Option<&mut Segment> {
        self.segments.get_mut(id.0).and_then(Option::as_mut)
    }

    fn insert(&mut self, segment: Segment) -> SegmentId {
        if let Some(free) = self.segments.iter().position(Option::is_none) {
            self.segments[free] = Some(segment);
            return SegmentId(free);
        }
        self.segments.push(Some(segment));
        SegmentId(self.segments.len() - 1)
    }

    /// An empty segment at position 0.
    pub(crate) fn root(&mut self) -> SegmentId {
        let heads = self.no_heads();
        self.insert(Segment { parent: None, start: 0, length: 0, heads, children: 0, is_released: false })
    }

    /// An empty segment that follows the first `visible` tokens of its parent.
    pub(crate) fn child(&mut self, parent: SegmentId, visible: usize) -> SegmentId {
        let start = self.start(parent) + visible;
        if let Some(parent) = self.segment_mut(parent) {
            parent.children += 1;
        }
        let heads = self.no_heads();
        let parent = Some((parent, visible));
        self.insert(Segment { parent, start, length: 0, heads, children: 0, is_released: false })
    }

    /// A root segment that holds a copy of the first `length` tokens of another.
    pub(crate) fn copy(&mut self, from: SegmentId, length: usize) -> SegmentId {
        let copy = |head: &Head| head.first(length.div_ceil(BLOCK));
        let heads =
            self.segment(from).map_or_else(Vec::new, |segment| segment.heads.iter().map(copy).collect());
        self.insert(Segment { parent: None, start: 0, length, heads, children: 0, is_released: false })
    }

    /// Writes keys and values of the first `length` tokens of a segment.
    pub(crate) fn write_to(&self, id: SegmentId, length: usize, out: &mut impl Write) -> Result<(), Error> {
        let heads = self.segment(id).map_or(&[][..], |segment| &segment.heads);
        heads.iter().try_for_each(|head| head.write_to(length.div_ceil(BLOCK), out))
    }

    /// Reads a root segment of `length` tokens, as [`Cache::write_to`] writes them.
    pub(crate) fn read_from(&mut self, length: usize, input: &mut impl Read) -> Result<SegmentId, Error> {
        let mut heads = self.no_heads();
        heads.iter_mut().try_for_each(|head| head.read_from(length.div_ceil(BLOCK), input))?;
        Ok(self.insert(Segment { parent: None, start: 0, length, heads, children: 0, is_released: false }))
    }

    /// Bytes that [`Cache::write_to`] writes for so many tokens.
    pub(crate) fn written_bytes(&self, length: usize) -> u64 {
        let runs = 2 * self.layers * self.heads * self.panels * length.next_multiple_of(BLOCK);
        runs as u64 * self.precision.run_bytes()
    }

    /// What the layout of keys and values depends on.
    pub(crate) fn layout(&self) -> [u32; 4] {
        let size = |size: usize| u32::try_from(size).unwrap_or(u32::MAX);
        [size(self.layers), size(self.heads), size(self.panels), self.precision.number()]
    }

    /// Tells that nobody will name this segment again. It is freed once its last child is.
    pub(crate) fn release(&mut self, id: SegmentId) {
        if let Some(segment) = self.segment_mut(id) {
            segment.is_released = true;
        }
        let mut next = Some(id);
        while let Some(id) = next.take() {
            let is_done =
                self.segment(id).is_some_and(|segment| segment.is_released && segment.children == 0);
            if is_done && let Some(parent) = self.segments[id.0].take().and_then(|segment| segment.parent) {
                if let Some(parent) = self.segment_mut(parent.0) {
                    parent.children -= 1;
                }
                next = Some(parent.0);
            }
        }
    }

    /// Forgets the tokens from `length` on. There must be no child that sees them.
    pub(crate) fn truncate(&mut self, id: SegmentId, length: usize) {
        if let Some(segment) = self.segment_mut(id) {
            segment.length = segment.length.min(length);
        }
    }

    /// Makes room for tokens at the end of a segment; returns the place of the first.
    pub(crate) fn grow(&mut self, id: SegmentId, tokens: usize) -> usize {
        let Some(segment) = self.segment_mut(id) else { return 0 };
        let first = segment.length;
        segment.length += tokens;
        let blocks = segment.length.div_ceil(BLOCK);
        segment.heads.iter_mut().for_each(|head| head.enlarge(blocks));
        #[cfg(test)]
        {
            let places = |segment: &Segment| segment.length.next_multiple_of(BLOCK);
            self.most_places = self.most_places.max(self.segments.iter().flatten().map(places).sum());
        }
        first
    }

    /// Position of the first token of a segment.
    pub(crate) fn start(&self, id: SegmentId) -> usize {
        self.segment(id).map_or(0, |segment| segment.start)
    }

    /// Tokens in a segment.
    pub(crate) fn length(&self, id: SegmentId) -> usize {
        self.segment(id).map_or(0, |segment| segment.length)
    }

    /// The ancestors of a segment with the number of their tokens that it sees, from the root on.
    pub(crate) fn ancestors(&self, id: SegmentId) -> Vec<(SegmentId, usize)> {
        let mut chain = Vec::new();
        let mut next = self.segment(id).and_then(|segment| segment.parent);
        while let Some((id, visible)) = next {
            if visible > 0 {
                chain.push((id, visible));
            }
            next = self.segment(id).and_then(|segment| segment.parent);
        }
        chain.reverse();
        chain
    }

    /// Keys and values of a segment.
    pub(crate) fn head(&self, id: SegmentId, layer: usize, head: usize) -> Option<&Head> {
        self.segment(id)?.heads.get(layer * self.heads + head)
    }

    /// The heads of a segment's layer, to be written.
    pub(crate) fn layer_mut(&mut self, id: SegmentId, layer: usize) -> &mut [Head] {
        let heads = self.heads;
        self.segment_mut(id).map_or(&mut [], |segment| &mut segment.heads[layer * heads..][..heads])
    }

    /// Segments that are held.
    #[cfg(test)]
    pub(crate) fn held(&self) -> usize {
        self.segments.iter().flatten().count()
    }
}
