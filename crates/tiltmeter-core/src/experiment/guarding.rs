//! Guards as defences: which detectors look at contexts, and what is done by what they find.

use std::sync::Arc;

use super::error::ConfigError;
use super::file::{ExperimentFile, JudgeFile};
use super::guard_file::GuardFile;
use super::locate::Step;
use super::locate::Step::{Index, Key};
use super::resolve::Resolver;
use super::resolved::Judge;
use super::treatments::is_built_in;
use crate::guarding::{BLOCKED, Guard, Guarding, SAFETY_INSTRUCTION};
use crate::id::{Canonical, bytes_hash, text_hash};
use crate::reshaping::Reshaping;

/// The built-in defence.
pub(super) const GUARD: &str = "guard";

/// Demonstrations in one prompt of a detector's model, and pairs of answers that a tilt is measured on, where settings
/// name none. The guard has the same.
const LIKELY_BATCH: u32 = 8;

impl Resolver<'_> {
    /// The guards of all defences; what defences do by their word is put into `reshapings`, which are theirs in order.
    pub(super) fn guards(
        &self,
        file: &ExperimentFile,
        reshapings: &mut [Reshaping],
    ) -> Result<Vec<Guard>, ConfigError> {
        let mut guards: Vec<Guard> = Vec::new();
        let default = GuardFile::default();
        for (index, (defence, reshaping)) in file.defences.iter().zip(reshapings).enumerate() {
            let by_name = is_built_in(defence) && defence.id == GUARD;
            let Some(table) = defence.guard.as_ref().or(by_name.then_some(&default)) else { continue };
            let at = [Key("defences"), Index(index), Key("guard")];
            let path = |key| [at.as_slice(), &[Key(key)]].concat();
            let is_with = if *reshaping == Reshaping::default() {
                defence.subsample.is_some().then_some("`subsample`")
            } else {
                Some("`filter`, `append_benign` or `quote`")
            };
            if let Some(other) = is_with {
                let message = format!("`guard` cannot stand in one defence with {other}");
                return Err(self.wrong(&at, message).hint("make two defences of it, with ids of their own"));
            }
            if table.on_low.is_empty() && table.on_high.is_empty() {
                return Err(self
                    .wrong(&path("on_high"), "the guard does nothing at any risk")
                    .hint("write for instance `on_high = [\"instruct\"]`"));
            }
            for (key, text) in [("instruction", &table.instruction), ("refusal", &table.refusal)] {
                if text.as_ref().is_some_and(|text| text.trim().is_empty()) {
                    return Err(self.wrong(&path(key), format!("the guard's {key} is empty")));
                }
            }
            let guard = self.guard(&path("detectors"), &path("prices"), table)?;
            let known = guards.iter().position(|other| *other == guard);
            let guard = known.unwrap_or_else(|| {
                guards.push(guard);
                guards.len() - 1
            });
            let text = |own: &Option<String>, usual: &str| Arc::from(own.as_deref().unwrap_or(usual));
            reshaping.guard = Some(Guarding {
                guard,
                on_low: table.on_low.clone(),
                on_high: table.on_high.clone(),
                instruction: text(&table.instruction, SAFETY_INSTRUCTION),
                refusal: text(&table.refusal, BLOCKED),
            });
        }
        Ok(guards)
    }

    fn guard(&self, at: &[Step], prices: &[Step], table: &GuardFile) -> Result<Guard, ConfigError> {
        let detectors = serde_json::Value::Object(table.detectors.clone().into_iter().collect());
        let mut canonical = Canonical::new("tiltmeter.guard/1").text(&detectors.to_string());
        if let Some(path) = detectors.get("rules").and_then(serde_json::Value::as_str) {
            let text = self.source.text(path).map_err(|error| {
                self.wrong(at, format!("cannot read the guard's rules `{path}`: {error}"))
                    .hint("paths are taken from the folder of the experiment file")
            })?;
            canonical = canonical.id(&text_hash(&text));
        }
        let vector = detectors.get("persona").and_then(|persona| persona.get("vector"));
        if let Some(path) = vector.and_then(serde_json::Value::as_str) {
            let bytes = self.source.bytes(path).map_err(|error| {
                self.wrong(at, format!("cannot read the vector file `{path}`: {error}")).hint(
                    "`tiltmeter persona extract` makes one; paths are taken from the folder of the experiment file",
                )
            })?;
            canonical = canonical.id(&bytes_hash(&bytes));
        }
        for name in ["judge", "webhook"] {
            let timing = detectors.get(name).and_then(|detector| detector.get("timing"));
            if timing.and_then(serde_json::Value::as_str) == Some("background") {
                let message = format!("the guard's `{name}` works in the background");
                return Err(self
                    .wrong(at, message)
                    .hint("an experiment waits for what is found: leave `timing` out"));
            }
        }
        for name in table.prices.keys() {
            if !matches!(name.as_str(), "judge" | "tilt") || detectors.get(name).is_none() {
                let message = format!("there is a price for `{name}`, and no such detector asks a model");
                return Err(self
                    .wrong(prices, message)
                    .hint("prices are for the detectors `judge` and `tilt`"));
            }
        }
        let judge = self.detector_model(at, &detectors, table, "judge", "batch")?;
        let tilt = self.detector_model(at, &detectors, table, "tilt", "pairs")?;
        Ok(Guard { hash: canonical.finish(), detectors, judge, tilt, findings: None })
    }

    /// The model that a detector asks, and how much it is asked at once. Settings that are wrong otherwise are told of when
    /// the guard is opened.
    fn detector_model(
        &self,
        at: &[Step],
        detectors: &serde_json::Value,
        table: &GuardFile,
        name: &'static str,
        size: &str,
    ) -> Result<Option<(Judge, u32)>, ConfigError> {
        let Some(detector) = detectors.get(name) else { return Ok(None) };
        let path = [at, &[Key(name)]].concat();
        let text = |key: &str| detector.get(key).and_then(serde_json::Value::as_str).map(str::to_owned);
        let Some(model) = text("model") else {
            return Err(self
                .wrong(&path, format!("the guard's `{name}` needs a model"))
                .hint("write for instance `model = \"provider/model\"`"));
        };
        let judge = JudgeFile {
            base_url: text("base_url"),
            api_key_env: text("api_key_env"),
            price: table.prices.get(name).cloned(),
            ..JudgeFile::of(&model)
        };
        let count = detector.get(size).and_then(serde_json::Value::as_u64);
        let count = count.and_then(|count| u32::try_from(count).ok()).unwrap_or(LIKELY_BATCH);
        Ok(Some((self.judge_at(&path, &judge)?, count.max(1))))
    }
}
