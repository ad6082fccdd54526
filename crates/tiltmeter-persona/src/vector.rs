//! Vector files: safetensors with one tensor `vectors` (indices of the residual stream × its width, single precision)
//! and all provenance as one JSON document in the metadata.

use std::collections::HashMap;
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize};
use serde::{Deserialize, Serialize};
use tiltmeter_core::id::{ContentId, bytes_hash};

use crate::random::random_directions;

/// The one key of the metadata: with several, their order in the file would be random.
const KEY: &str = "tiltmeter";
const TENSOR: &str = "vectors";
/// Version of the document in the metadata.
const SCHEMA: &str = "tiltmeter.persona-vector/1";

/// A vector file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum VectorError {
    /// It cannot be read or written.
    #[error(transparent)]
    File(#[from] std::io::Error),
    /// It is no safetensors file.
    #[error("not a safetensors file: {0}")]
    Format(String),
    /// It is not one of `tiltmeter persona extract`.
    #[error("not a persona vector of `tiltmeter persona extract`: {0}")]
    Content(String),
    /// There is no such index.
    #[error("there is no vector of layer {layer}: the file has 0 to {most}")]
    Layer {
        /// The index asked for.
        layer: usize,
        /// The last one.
        most: usize,
    },
    /// No layer was asked for, and none was chosen.
    #[error(
        "no layer of the vector `{name}` is chosen, since its extraction had too few answers to compare layers on \
         held-out questions: name one of 1 to {most} (`--layer`, or `layer` beside `vector` in a file), or extract the \
         vector again with more questions and rollouts"
    )]
    NoneChosen {
        /// The trait.
        name: String,
        /// The last index.
        most: usize,
    },
    /// It was extracted from another model.
    #[error(
        "the vector `{name}` was extracted from {theirs} (SHA-256 {theirs_sha256}), and cannot be used with {ours} \
         (SHA-256 {ours_sha256}): extract one from this model with `tiltmeter persona extract`"
    )]
    Model {
        /// The trait.
        name: String,
        /// The vector's model.
        theirs: String,
        /// SHA-256 of that model's file.
        theirs_sha256: String,
        /// The model in use.
        ours: String,
        /// SHA-256 of its file.
        ours_sha256: String,
    },
}

/// The model that a vector belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelRecord {
    /// Its short name.
    pub name: String,
    /// SHA-256 of its file, in hexadecimal.
    pub file_sha256: String,
    /// The kind of number that most weights are stored as.
    pub quantisation: String,
    /// Blocks.
    pub layers: usize,
    /// Numbers of the residual stream at each token.
    pub width: usize,
}

/// How rollouts were drawn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SettingsRecord {
    /// Pairs of instructions that were used.
    pub pairs: usize,
    /// Questions that were asked under each instruction.
    pub questions: usize,
    /// Answers to each question under each instruction.
    pub rollouts: u32,
    /// Softmax temperature.
    pub temperature: f64,
    /// The most tokens of an answer.
    pub max_tokens: u32,
    /// Seed of all draws.
    pub seed: u64,
    /// Parts that the questions were split into, each held out once.
    pub folds: usize,
    /// Parts that the pairs of instructions were split into, each held out once, crossed with the questions'. 1: pairs
    /// were not held out, as in files of earlier versions.
    #[serde(default = "one")]
    pub pair_folds: usize,
    /// Resamples of the bootstrap over questions that the intervals were made by; 0 in files of earlier versions, which
    /// have no intervals.
    #[serde(default)]
    pub resamples: u32,
}

fn one() -> usize {
    1
}

/// Who rated the rollouts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JudgeRecord {
    /// The model, as `provider/model`.
    pub model: String,
    /// Hash of the judge's settings and both prompts.
    pub hash: String,
}

/// What became of the rollouts of one side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SideCounts {
    /// Answers drawn.
    pub drawn: u64,
    /// Kept for the vector.
    pub kept: u64,
    /// Dropped: without a token.
    pub empty: u64,
    /// Dropped: the judge saw the trait where it should not be, or not where it should.
    pub wrong_trait: u64,
    /// Dropped: rated below 50 for coherence.
    pub incoherent: u64,
    /// Dropped: without both ratings, because the judge declined or wrote no number, or called the answer a refusal.
    pub unrated: u64,
    /// Of those kept, cut off by the limit on tokens.
    pub truncated: u64,
}

/// What became of all rollouts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Those that should show the trait.
    pub positive: SideCounts,
    /// Those that should show its opposite.
    pub negative: SideCounts,
}

/// One index of the residual stream.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LayerRecord {
    /// The index: 0 is the embedding, L the stream after L blocks.
    pub layer: usize,
    /// Length of the vector.
    pub norm: f64,
    /// Area under the ROC curve of held-out response means, positive against negative: each is projected onto the
    /// direction of those that share neither its fold of questions nor its fold of pairs, from the middle between their
    /// two means. Absent where no fold of questions holds two of each side. In files of earlier versions: the mean of
    /// the areas of the folds of questions.
    pub auroc: Option<f64>,
    /// Its 95 % bootstrap interval over questions, the directions being what they are; absent with fewer than three.
    #[serde(default)]
    pub auroc_interval: Option<[f64; 2]>,
    /// Difference of the means of the two sides over their pooled standard deviation (Cohen's d), of the same
    /// projections.
    pub standardised_difference: Option<f64>,
    /// Its 95 % bootstrap interval over questions.
    #[serde(default)]
    pub standardised_difference_interval: Option<[f64; 2]>,
}

/// Where a vector comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VectorRecord {
    /// Version of this document.
    pub schema: String,
    /// The trait's short name.
    #[serde(rename = "trait")]
    pub name: String,
    /// Hash of the trait file's text.
    pub trait_hash: String,
    /// What the trait file says it is for.
    pub purpose: Option<String>,
    /// The model.
    pub model: ModelRecord,
    /// How rollouts were drawn.
    pub settings: SettingsRecord,
    /// Who rated them; absent: nobody, and all rollouts that have a token were kept.
    pub judge: Option<JudgeRecord>,
    /// What became of them.
    pub counts: Counts,
    /// All layers.
    pub layers: Vec<LayerRecord>,
    /// The index between embedding and last block whose held-out standardised difference is the largest. As the best of
    /// many, it looks better than it will be on new questions, and its interval is for a layer that was named beforehand.
    /// Absent where no layer's difference has an interval.
    pub chosen_layer: Option<usize>,
    /// Version of the program.
    pub software: String,
}

impl VectorRecord {
    /// The chosen layer, if its separation was measured: earlier versions wrote 1 where none was.
    pub fn chosen(&self) -> Option<usize> {
        self.chosen_layer.filter(|&chosen| {
            self.layers.iter().any(|layer| layer.layer == chosen && layer.standardised_difference.is_some())
        })
    }
}

/// A trait's vectors, one for each index of the residual stream.
#[derive(Clone, Debug, PartialEq)]
pub struct PersonaVector {
    /// Where they come from.
    pub record: VectorRecord,
    vectors: Vec<Vec<f32>>,
    /// Of the file's bytes.
    hash: ContentId,
}

impl PersonaVector {
    pub(crate) fn new(mut record: VectorRecord, vectors: Vec<Vec<f32>>) -> Result<Self, VectorError> {
        SCHEMA.clone_into(&mut record.schema);
        let mut vector = Self { record, vectors, hash: bytes_hash(&[]) };
        vector.hash = bytes_hash(&vector.to_bytes()?);
        Ok(vector)
    }

    /// Hash of the bytes of its file, by which experiments and runs name it.
    pub fn hash(&self) -> ContentId {
        self.hash
    }

    /// The vector of a layer, or of the chosen one.
    ///
    /// # Errors
    /// Where there is no such layer, or none is asked for and none is chosen.
    pub fn layer(&self, layer: Option<usize>) -> Result<(usize, &[f32]), VectorError> {
        let most = self.vectors.len().saturating_sub(1);
        let layer = layer
            .or_else(|| self.record.chosen())
            .ok_or_else(|| VectorError::NoneChosen { name: self.record.name.clone(), most })?;
        self.vectors
            .get(layer)
            .map(|vector| (layer, vector.as_slice()))
            .ok_or(VectorError::Layer { layer, most })
    }

    /// The control of this vector: at each layer a random direction of the same length. It says so in its name, and has
    /// a hash of its own; the rest of its record, the choice of the layer included, is this vector's.
    ///
    /// # Errors
    /// As [`PersonaVector::to_bytes`].
    pub fn randomised(&self, seed: u64) -> Result<Self, VectorError> {
        let mut record = self.record.clone();
        record.name = format!("random {seed} for {}", record.name);
        let lengths = self.vectors.iter().map(|vector| length(vector));
        let vectors = random_directions(self.record.model.width, seed)
            .zip(lengths)
            .map(|(direction, length)| direction.into_iter().map(|value| single(value * length)).collect())
            .collect();
        Self::new(record, vectors)
    }

    /// Checks that a model is the one that the vectors were extracted from.
    ///
    /// # Errors
    /// Where it is another one, or stored in other numbers: the file's hash decides.
    pub fn check_model(&self, name: &str, file_sha256: &str) -> Result<(), VectorError> {
        let theirs = &self.record.model;
        if theirs.file_sha256 == file_sha256 {
            return Ok(());
        }
        Err(VectorError::Model {
            name: self.record.name.clone(),
            theirs: theirs.name.clone(),
            theirs_sha256: theirs.file_sha256.clone(),
            ours: name.to_owned(),
            ours_sha256: file_sha256.to_owned(),
        })
    }

    /// The bytes of the file. The same vector has the same bytes.
    ///
    /// # Errors
    /// If it cannot be written as safetensors.
    pub fn to_bytes(&self) -> Result<Vec<u8>, VectorError> {
        let format = |error: &dyn std::fmt::Display| VectorError::Format(error.to_string());
        let bytes: Vec<u8> = self.vectors.iter().flatten().flat_map(|value| value.to_le_bytes()).collect();
        let shape = vec![self.vectors.len(), self.vectors.first().map_or(0, Vec::len)];
        let view = TensorView::new(Dtype::F32, shape, &bytes).map_err(|error| format(&error))?;
        let record = serde_json::to_string(&self.record).map_err(|error| format(&error))?;
        let metadata = HashMap::from([(KEY.to_owned(), record)]);
        serialize([(TENSOR, view)], Some(metadata)).map_err(|error| format(&error))
    }

    /// Reads the bytes of a file.
    ///
    /// # Errors
    /// Where they are no vector file, or hold what cannot be.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, VectorError> {
        let format = |error: safetensors::SafeTensorError| VectorError::Format(error.to_string());
        let content = |reason: String| VectorError::Content(reason);
        let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(format)?;
        let document = metadata
            .metadata()
            .as_ref()
            .and_then(|metadata| metadata.get(KEY))
            .ok_or_else(|| content(format!("its metadata has no `{KEY}`")))?;
        let record: VectorRecord =
            serde_json::from_str(document).map_err(|error| content(format!("its metadata: {error}")))?;
        if record.schema != SCHEMA {
            return Err(content(format!(
                "it is of schema {}, and this version reads {SCHEMA}",
                record.schema
            )));
        }
        let tensors = SafeTensors::deserialize(bytes).map_err(format)?;
        let tensor = tensors.tensor(TENSOR).map_err(format)?;
        let expected = [record.model.layers.saturating_add(1), record.model.width];
        if tensor.dtype() != Dtype::F32 || tensor.shape() != expected || expected[1] == 0 {
            let found = format!("{:?} {:?}", tensor.dtype(), tensor.shape());
            return Err(content(format!("`{TENSOR}` is {found}, and should be F32 {expected:?}")));
        }
        let (numbers, _) = tensor.data().as_chunks::<4>();
        let numbers: Vec<f32> = numbers.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
        if !numbers.iter().all(|value| value.is_finite()) {
            return Err(content("it holds values that are not numbers".to_owned()));
        }
        if let Some(chosen) = record.chosen_layer.filter(|&chosen| chosen > record.model.layers) {
            return Err(content(format!("its chosen layer is {chosen}")));
        }
        let vectors = numbers.chunks_exact(expected[1]).map(<[f32]>::to_vec).collect();
        Ok(Self { record, vectors, hash: bytes_hash(bytes) })
    }

    /// Reads a file.
    ///
    /// # Errors
    /// As [`PersonaVector::from_bytes`].
    pub fn open(path: &Path) -> Result<Self, VectorError> {
        Self::from_bytes(&fs_err::read(path)?)
    }

    /// Writes a file, whole or not at all.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), VectorError> {
        let bytes = self.to_bytes()?;
        let mut unfinished = path.as_os_str().to_owned();
        unfinished.push(".part");
        fs_err::write(&unfinished, bytes)?;
        fs_err::rename(&unfinished, path)?;
        Ok(())
    }
}

/// The length of a vector (Euclidean norm).
pub fn length(vector: &[f32]) -> f64 {
    vector.iter().map(|&value| f64::from(value) * f64::from(value)).sum::<f64>().sqrt()
}

/// Vectors are kept in single precision.
#[expect(clippy::cast_possible_truncation, reason = "single precision is what is wanted")]
pub(crate) fn single(value: f64) -> f32 {
    value as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> PersonaVector {
        let layer = |layer| LayerRecord {
            layer,
            norm: 1.5,
            auroc: Some(0.75),
            auroc_interval: None,
            standardised_difference: Some(1.25),
            standardised_difference_interval: Some([0.5, 2.0]),
        };
        let record = VectorRecord {
            schema: String::new(),
            name: "loud".to_owned(),
            trait_hash: "00".to_owned(),
            purpose: None,
            model: ModelRecord {
                name: "tiny".to_owned(),
                file_sha256: "ab".to_owned(),
                quantisation: "F32".to_owned(),
                layers: 2,
                width: 3,
            },
            settings: SettingsRecord {
                pairs: 1,
                questions: 2,
                rollouts: 1,
                temperature: 1.0,
                max_tokens: 8,
                seed: 0,
                folds: 2,
                pair_folds: 1,
                resamples: 10,
            },
            judge: None,
            counts: Counts::default(),
            layers: (0..3).map(layer).collect(),
            chosen_layer: Some(1),
            software: "0".to_owned(),
        };
        PersonaVector::new(record, vec![vec![0.0, 1.0, 2.0], vec![-1.0, 0.5, 0.25], vec![3.0, 3.0, 3.0]])
            .unwrap()
    }

    #[test]
    fn a_file_reads_back_and_has_the_same_bytes() {
        let vector = sample();
        let bytes = vector.to_bytes().unwrap();
        assert_eq!(bytes, sample().to_bytes().unwrap());
        let read = PersonaVector::from_bytes(&bytes).unwrap();
        assert_eq!(read, vector);
        assert_eq!(read.hash(), bytes_hash(&bytes));
        assert_eq!(read.layer(None).unwrap(), (1, &[-1.0, 0.5, 0.25][..]));
        assert_eq!(read.layer(Some(2)).unwrap().0, 2);
        assert!(read.layer(Some(3)).unwrap_err().to_string().contains("0 to 2"));
        assert!(read.check_model("tiny", "ab").is_ok());
        let error = read.check_model("other", "cd").unwrap_err().to_string();
        assert!(error.contains("SHA-256 ab") && error.contains("SHA-256 cd"), "{error}");
    }

    #[test]
    fn a_layer_must_be_named_where_none_was_chosen() {
        let mut vector = sample();
        vector.record.chosen_layer = None;
        let read = PersonaVector::from_bytes(&vector.to_bytes().unwrap()).unwrap();
        assert_eq!(read.layer(Some(1)).unwrap().0, 1);
        let error = read.layer(None).unwrap_err().to_string();
        assert!(error.contains("`loud`") && error.contains("1 to 2") && error.contains("--layer"), "{error}");
    }

    /// Without intervals and folds of pairs, and with a layer that is chosen whether or not it was measured.
    #[test]
    fn files_of_earlier_versions_are_read() {
        let earlier = |difference: Option<f64>| {
            let vector = sample();
            let mut record = serde_json::to_value(&vector.record).unwrap();
            for layer in record["layers"].as_array_mut().unwrap() {
                let layer = layer.as_object_mut().unwrap();
                layer.remove("auroc_interval");
                layer.remove("standardised_difference_interval");
                layer.insert("standardised_difference".to_owned(), difference.into());
            }
            let settings = record["settings"].as_object_mut().unwrap();
            settings.remove("pair_folds");
            settings.remove("resamples");
            let bytes: Vec<u8> =
                vector.vectors.iter().flatten().flat_map(|value| value.to_le_bytes()).collect();
            let view = TensorView::new(Dtype::F32, vec![3, 3], &bytes).unwrap();
            let metadata = HashMap::from([(KEY.to_owned(), record.to_string())]);
            PersonaVector::from_bytes(&serialize([(TENSOR, view)], Some(metadata)).unwrap()).unwrap()
        };
        let measured = earlier(Some(1.25));
        assert_eq!((measured.record.settings.pair_folds, measured.record.settings.resamples), (1, 0));
        assert_eq!(measured.layer(None).unwrap().0, 1);
        assert!(matches!(earlier(None).layer(None), Err(VectorError::NoneChosen { .. })));
    }

    #[test]
    fn foreign_and_damaged_files_are_refused() {
        let good = sample().to_bytes().unwrap();
        for length in 0..good.len() {
            assert!(PersonaVector::from_bytes(&good[..length]).is_err(), "{length}");
        }
        for place in 0..good.len().min(1200) {
            let mut spoilt = good.clone();
            spoilt[place] ^= 0x55;
            // Whatever comes of it, it is no panic.
            drop(PersonaVector::from_bytes(&spoilt));
        }
        let mut broken = sample();
        broken.vectors[0][0] = f32::NAN;
        assert!(PersonaVector::from_bytes(&broken.to_bytes().unwrap()).is_err());
        let mut narrow = sample();
        narrow.record.model.width = 4;
        let error = PersonaVector::from_bytes(&narrow.to_bytes().unwrap()).unwrap_err().to_string();
        assert!(error.contains("[3, 4]"), "{error}");
        let view = TensorView::new(Dtype::F32, vec![1], &[0; 4]).unwrap();
        let foreign = serialize([("x", view)], None).unwrap();
        let error = PersonaVector::from_bytes(&foreign).unwrap_err().to_string();
        assert!(error.contains("persona extract"), "{error}");
    }

    #[test]
    fn its_control_has_the_same_lengths_and_another_hash() {
        let vector = sample();
        let control = vector.randomised(7).unwrap();
        for (ours, theirs) in vector.vectors.iter().zip(&control.vectors) {
            assert!((length(ours) - length(theirs)).abs() < 1e-6 * length(ours));
            assert_ne!(ours, theirs);
        }
        assert_eq!((control.layer(None).unwrap().0, control.vectors.len()), (1, 3));
        assert_eq!(control.record.name, "random 7 for loud");
        assert_ne!(control.hash(), vector.hash());
        assert_eq!(control, vector.randomised(7).unwrap());
        assert_ne!(control.vectors, vector.randomised(8).unwrap().vectors);
    }
}
