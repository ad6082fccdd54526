//! Keys and values of what the model has read, as a tree of segments.
//!
//! A segment holds the tokens that follow some number of its parent's. A question that is put behind a shared
//! context is a child of the context's segment, and an answer a child of the question's: nothing is ever copied to
//! fork. A segment is freed when its owner has released it and it has no children.

use super::config::Config;
use crate::compute::{WIDTH, unpack_columns, unpack_runs};

/// Tokens of one block of keys and values.
const BLOCK: usize = WIDTH;
/// Blocks by which a segment that grows token by token is enlarged.
const GROWTH: usize = 4;

/// Names a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentId(usize);

/// How keys and values are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum KeyValuePrecision {
    /// Sixteen bits: whole numbers from −32,767 to 32,767, and a scale for each 32 values of a token's key or value. An
    /// error is at most 1/65,534 of the largest of the 32, where half precision has up to 1/2,048 of the number itself.
    #[default]
    Sixteen,
    /// Single precision: as they were computed.
    Single,
}

impl KeyValuePrecision {
    /// Bytes of a run of 32 values.
    pub(crate) fn run_bytes(self) -> u64 {
        match self {
            Self::Sixteen => (WIDTH * size_of::<i16>() + size_of::<f32>()) as u64,
            Self::Single => (WIDTH * size_of::<f32>()) as u64,
        }
    }
}

/// Blocks of keys or of values.
#[derive(Clone, Debug)]
enum Stored {
    Single(Vec<f32>),
    /// The scales, by block: for each panel of the head's width, those of 32 tokens.
    Sixteen { integers: Vec<i16>, scales: Vec<f32> },
}

/// The largest integer of sixteen bits whose negative is one too.
const LARGEST: f32 = 32_767.0;

/// A run's scale, and what its values are multiplied by to be rounded. What is not finite makes the whole run so, and
/// an error of what is computed from it.
fn scales_of(run: &[f32]) -> (f32, f32) {
    let largest = run.iter().fold(0.0_f32, |largest, value| if value.abs() > largest { value.abs() } else { largest });
    if !run.iter().all(|value| value.is_finite()) {
        return (f32::NAN, 0.0);
    }
    let scale = largest / LARGEST;
    // The quotient of the smallest numbers is infinite.
    let inverse = LARGEST / largest;
    if inverse.is_finite() { (scale, inverse) } else { (0.0, 0.0) }
}

/// The nearest integer of sixteen bits.
#[expect(clippy::cast_possible_truncation, reason = "the product is at most 32,767, but for a rounding")]
fn nearest(value: f32, inverse: f32) -> i16 {
    (value * inverse).round_ties_even() as i16
}

impl Stored {
    fn new(precision: KeyValuePrecision) -> Self {
        match precision {
            KeyValuePrecision::Single => Self::Single(Vec::new()),
            KeyValuePrecision::Sixteen => Self::Sixteen { integers: Vec::new(), scales: Vec::new() },
        }
    }

    /// Makes room for so many blocks of so many panels.
    fn enlarge(&mut self, blocks: usize, panels: usize) {
        fn to<T: Clone + Default>(data: &mut Vec<T>, blocks: usize, block: usize) {
            if data.len() < blocks * block {
                if data.capacity() < blocks * block {
                    data.reserve_exact((blocks + GROWTH) * block - data.len());
                }
                data.resize(blocks * block, T::default());
            }
        }
        match self {
            Self::Single(values) => to(values, blocks, panels * WIDTH * BLOCK),
            Self::Sixteen { integers, scales } => {
                to(integers, blocks, panels * WIDTH * BLOCK);
                to(scales, blocks, panels * BLOCK);
            }
        }
    }

    /// A copy of the first blocks.
    fn first(&self, blocks: usize, panels: usize) -> Self {
        let values = blocks * panels * WIDTH * BLOCK;
        match self {
            Self::Single(all) => Self::Single(all[..values].to_vec()),
            Self::Sixteen { integers, scales } => Self::Sixteen {
                integers: integers[..values].to_vec(),
                scales: scales[..blocks * panels * BLOCK].to_vec(),
            },
        }
    }

    /// Writes 32 values of a token: `at` is the place of the first, the others follow `stride` apart, and `scale_at` is
    /// the place of their scale.
    fn write(&mut self, run: &[f32], at: usize, stride: usize, scale_at: usize) {
        match self {
            Self::Single(values) => {
                values[at..].iter_mut().step_by(stride).zip(run).for_each(|(slot, &value)| *slot = value);
            }
            Self::Sixteen { integers, scales } => {
                let (scale, inverse) = scales_of(run);
                scales[scale_at] = scale;
                let slots = integers[at..].iter_mut().step_by(stride);
                slots.zip(run).for_each(|(slot, &value)| *slot = nearest(value, inverse));
            }
        }
    }
}

/// Keys and values of one layer and head, in blocks of 32 tokens.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    panels: usize,
    /// By block: for each panel of the head's width, 32 tokens × 32 values.
    keys: Stored,
    /// By block: for each value of the head, those of 32 tokens. Zero where there is no token yet.
    values: Stored,
}

impl Head {
    fn new(panels: usize, precision: KeyValuePrecision) -> Self {
        Self { panels, keys: Stored::new(precision), values: Stored::new(precision) }
    }

    fn enlarge(&mut self, blocks: usize) {
        self.keys.enlarge(blocks, self.panels);
        self.values.enlarge(blocks, self.panels);
    }

    /// The keys of a block: panels × 32 tokens × 32. `scratch` has room for them.
    pub(crate) fn keys<'a>(&'a self, block: usize, scratch: &'a mut [f32]) -> &'a [f32] {
        let size = self.panels * WIDTH * BLOCK;
        match &self.keys {
            Stored::Single(values) => &values[block * size..][..size],
            Stored::Sixteen { integers, scales } => {
                let scales = &scales[block * size / WIDTH..][..size / WIDTH];
                unpack_runs(&integers[block * size..][..size], scales, scratch);
                scratch
            }
        }
    }

    /// The values of a block: head width × 32 tokens. `scratch` has room for them.
    pub(crate) fn values<'a>(&'a self, block: usize, scratch: &'a mut [f32]) -> &'a [f32] {
        let size = self.panels * WIDTH * BLOCK;
        match &self.values {
            Stored::Single(values) => &values[block * size..][..size],
            Stored::Sixteen { integers, scales } => {
                let panels = integers[block * size..][..size].chunks_exact(WIDTH * BLOCK);
                let scales = scales[block * size / WIDTH..][..size / WIDTH].chunks_exact(BLOCK);
                for ((integers, scales), out) in panels.zip(scales).zip(scratch.chunks_exact_mut(WIDTH * BLOCK)) {
                    unpack_columns(integers, scales, out);
                }
                scratch
            }
        }
    }

    /// Writes a token's key and value, given panel by panel.
    pub(crate) fn write<'a>(
        &mut self,
        token: usize,
        key: impl Iterator<Item = &'a [f32]>,
        value: impl Iterator<Item = &'a [f32]>,
    ) {
        let first = token / BLOCK * self.panels;
        let place = token % BLOCK;
        for (panel, run) in (first..).zip(key) {
            self.keys.write(run, (panel * BLOCK + place) * WIDTH, 1, panel * BLOCK + place);
        }
        for (panel, run) in (first..).zip(value) {
            self.values.write(run, panel * WIDTH * BLOCK + place, BLOCK, panel * BLOCK + place);
        }
    }
}

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
        let (blocks, panels) = (length.div_ceil(BLOCK), self.panels);
        let copy = |head: &Head| Head {
            panels,
            keys: head.keys.first(blocks, panels),
            values: head.values.first(blocks, panels),
        };
        let heads = self.segment(from).map_or_else(Vec::new, |segment| segment.heads.iter().map(copy).collect());
        self.insert(Segment { parent: None, start: 0, length, heads, children: 0, is_released: false })
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
    #[cfg(test)]
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
