//! One tensor: where it lies, and its values.

use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::Path;

use super::blocks::{Kind, Numbers};

/// A tensor that is known to lie inside its file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TensorInfo {
    /// Innermost dimension first, as the format has it.
    pub(crate) shape: Vec<usize>,
    /// How the values are stored.
    pub(crate) kind: Kind,
    offset: u64,
    bytes: usize,
    elements: usize,
}

impl TensorInfo {
    /// Checks a tensor's description against the length of its file.
    pub(crate) fn checked(
        shape: &[u64],
        kind: u32,
        offset: Option<u64>,
        file_length: u64,
    ) -> Result<Self, String> {
        let kind = Kind::from_number(kind).ok_or_else(|| {
            format!("numbers of kind {kind} are not supported; re-quantise it, such as to Q8_0")
        })?;
        Self::of_kind(shape, kind, offset, file_length)
    }

    /// The same for a kind that is known.
    pub(crate) fn of_kind(
        shape: &[u64],
        kind: Kind,
        offset: Option<u64>,
        file_length: u64,
    ) -> Result<Self, String> {
        let too_large = || "it is larger than the file".to_owned();
        let elements = shape.iter().try_fold(1_u64, |product, &size| product.checked_mul(size));
        let elements = elements.filter(|&elements| elements > 0).ok_or("it is empty, or too large")?;
        let block = kind.block_size() as u64;
        // Rows are what a file is cut into, so it is they that must be whole blocks.
        if !shape.first().copied().unwrap_or(1).is_multiple_of(block) {
            return Err(format!("rows of {:?} values are no whole blocks of {block}", shape.first()));
        }
        let bytes = (elements / block).checked_mul(kind.block_bytes() as u64).ok_or_else(too_large)?;
        let offset = offset.ok_or_else(too_large)?;
        if offset.checked_add(bytes).is_none_or(|end| end > file_length) {
            return Err(too_large());
        }
        let size = |size: u64| usize::try_from(size).map_err(|error| error.to_string());
        let shape = shape.iter().map(|&length| size(length)).collect::<Result<_, _>>()?;
        Ok(Self { shape, kind, offset, bytes: size(bytes)?, elements: size(elements)? })
    }

    /// Where it lies in the file, in bytes.
    pub(super) fn place(&self) -> Range<u64> {
        self.offset..self.offset + self.bytes as u64
    }

    /// The number of bytes in the file.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The numbers of a tensor whose shape must be the given one. The error reads after the tensor's name.
    pub(crate) fn checked_numbers(&self, path: &Path, shape: &[usize]) -> Result<Numbers, String> {
        if self.shape != shape {
            return Err(format!("has the shape {:?}; the metadata says {shape:?}", self.shape));
        }
        let numbers = self.read(path)?;
        match numbers.not_finite() {
            0 => Ok(numbers),
            count => {
                Err(format!("holds {count} values that are infinite or not numbers; the file is damaged"))
            }
        }
    }

    /// The number of values.
    pub(crate) fn elements(&self) -> usize {
        self.elements
    }

    /// Reads the numbers. The error says what is wrong, as in "the tensor …".
    fn read(&self, path: &Path) -> Result<Numbers, String> {
        let mut bytes = vec![0; self.bytes];
        let mut file = fs_err::File::open(path).map_err(|error| format!("cannot be read: {error}"))?;
        file.seek(SeekFrom::Start(self.offset))
            .and_then(|_| file.read_exact(&mut bytes))
            .map_err(|error| format!("cannot be read: {error}"))?;
        Ok(self.kind.numbers(&bytes))
    }
}
