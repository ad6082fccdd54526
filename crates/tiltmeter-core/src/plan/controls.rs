//! What the demonstrations of a context say under each control.

use std::sync::Arc;

use super::ContextSpec;
use super::draw::{draw_rows, generator, shuffled};
use super::mixture::own_places;
use crate::data::filler::filler;
use crate::data::statements::{STATEMENTS, Statement};
use crate::demonstration::{Control, Demonstration, DemonstrationSet, Mix, MixOrder};
use crate::experiment::Experiment;
use crate::id::Canonical;

/// A prompt, its response, and the row of the set that the response comes from or stands in for.
type Shown = (Arc<str>, Arc<str>, usize);

impl Experiment {
    /// The context of another of the experiment's controls that shows exactly the same, where there is one, so that it is
    /// asked about once: a mixture that is spread may happen to have its own answers last or first.
    pub(super) fn shown_as(&self, spec: ContextSpec) -> ContextSpec {
        let Control::Mixed(mix @ Mix { order: MixOrder::Spread, .. }) = spec.control else { return spec };
        let Some(set) = self.sets.get(spec.set) else { return spec };
        let own_draw = (!self.nested).then_some(spec.shots);
        let places =
            |mix| own_places(mix, self.sampling.seed, set.hash, spec.draw, own_draw, spec.shots as usize);
        let spread = places(mix);
        let ordered = [MixOrder::Recent, MixOrder::Early].map(|order| Mix { order, ..mix });
        let same = ordered
            .into_iter()
            .find(|&other| self.controls.contains(&Control::Mixed(other)) && places(other) == spread);
        ContextSpec { control: same.map_or(spec.control, Control::Mixed), ..spec }
    }

    /// The demonstrations of a context in order, before a treatment reshapes them: prompt, response, and the row of the set
    /// that the response comes from, or that it stands in for where the text is not the set's.
    pub(super) fn own_demonstrations(&self, spec: ContextSpec) -> Vec<Shown> {
        let Some(set) = self.sets.get(spec.set).filter(|_| spec.shots > 0) else { return Vec::new() };
        let (seed, count) = (self.sampling.seed, spec.shots as usize);
        let own_draw = (!self.nested).then_some(spec.shots);
        let rows = draw_rows(seed, set.hash, spec.draw, own_draw, set.rows.len(), count);
        let own = |row: usize, answer: usize| {
            (set.rows[row].prompt.clone(), set.rows[answer].response.clone(), answer)
        };
        let benign = |row: usize| (set.rows[row].prompt.clone(), benign_answer(&set.rows[row]), row);
        match spec.control {
            Control::None => rows.iter().map(|&row| own(row, row)).collect(),
            Control::Benign => rows.iter().map(|&row| benign(row)).collect(),
            Control::Shuffled => {
                let answers = shuffled(seed, set.hash, spec.draw, &rows);
                rows.iter().zip(answers).map(|(&row, answer)| own(row, answer)).collect()
            }
            Control::Mixed(mix) => {
                let places = own_places(mix, seed, set.hash, spec.draw, own_draw, rows.len());
                let shown = rows.iter().zip(places);
                shown.map(|(&row, is_own)| if is_own { own(row, row) } else { benign(row) }).collect()
            }
            Control::LengthMatched => rows.iter().map(|&row| filled(set, row, seed, spec.draw)).collect(),
            Control::FalseHarmless => stated(set, &rows, seed, spec.draw, own_draw, |one| one.wrong),
            Control::TrueHarmless => stated(set, &rows, seed, spec.draw, own_draw, |one| one.right),
        }
    }
}

/// Resolving refused the control for a set that lacks benign answers.
fn benign_answer(row: &Demonstration) -> Arc<str> {
    row.benign.clone().unwrap_or_else(|| row.response.clone())
}

/// Filler of the same lengths as prompt and answer of a row.
fn filled(set: &DemonstrationSet, row: usize, seed: u64, draw: u32) -> Shown {
    let key = Canonical::new("tiltmeter.filler/1").integer(seed).id(&set.hash).integer(draw.into());
    let mut generator = generator(key.integer(row as u64).finish());
    let Demonstration { prompt, response, .. } = &set.rows[row];
    let mut of = |text: &str| filler(text.chars().count(), &mut generator).into();
    (of(prompt), of(response), row)
}

/// Statements in place of the rows; sets and draws get their own.
fn stated(
    set: &DemonstrationSet,
    rows: &[usize],
    seed: u64,
    draw: u32,
    own_draw: Option<u32>,
    answer: fn(&Statement) -> &'static str,
) -> Vec<Shown> {
    let key = Canonical::new("tiltmeter.statements/1").id(&set.hash).finish();
    let drawn = draw_rows(seed, key, draw, own_draw, STATEMENTS.len(), rows.len());
    let shown = rows.iter().zip(drawn);
    shown.map(|(&row, at)| (STATEMENTS[at].question.into(), answer(&STATEMENTS[at]).into(), row)).collect()
}
