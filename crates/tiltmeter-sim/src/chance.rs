//! Draws that are functions of a request: no generator, no state.

use tiltmeter_core::id::{Canonical, ContentId};

/// What draws hang on, hashed once: a model's name, its messages and the seed, for instance.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chance(ContentId);

impl Chance {
    pub(crate) fn of(id: ContentId) -> Self {
        Self(id)
    }

    fn bits(self, purpose: &str, index: u64) -> u64 {
        Canonical::new("tiltmeter.sim.draw/1")
            .id(&self.0)
            .text(purpose)
            .integer(index)
            .finish()
            .generator_seed()
    }

    /// A number from 0 (included) to 1 (excluded). Draws for different purposes are independent.
    pub(crate) fn uniform(self, purpose: &str) -> f64 {
        self.numbered(purpose, 0)
    }

    fn numbered(self, purpose: &str, index: u64) -> f64 {
        (self.bits(purpose, index) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Whether an event of a probability happens.
    pub(crate) fn happens(self, purpose: &str, probability: f64) -> bool {
        self.uniform(purpose) < probability
    }

    /// A standard normal number, nearly: the sum of twelve uniform ones, which is the same on every machine.
    pub(crate) fn normal(self, purpose: &str) -> f64 {
        (0..12).map(|index| self.numbered(purpose, index)).sum::<f64>() - 6.0
    }

    /// One of several things.
    pub(crate) fn pick<'a, T>(self, purpose: &str, things: &'a [T]) -> &'a T {
        let index = self.bits(purpose, 0) % things.len() as u64;
        &things[usize::try_from(index).unwrap_or(0)]
    }
}
