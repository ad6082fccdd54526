//! The header: metadata, and where the tensors are.

use std::io::Read;

use indexmap::IndexMap;

use super::tensor::TensorInfo;

/// More entries than any model has.
const MOST_ENTRIES: u64 = 100_000;
/// Dimensions of a tensor, by the format.
const MOST_DIMENSIONS: u32 = 4;

/// A metadata value. Numbers are widened; lists hold one kind.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Integer(i64),
    Number(f64),
    Flag(bool),
    Text(String),
    Texts(Vec<String>),
    Integers(Vec<i64>),
    Numbers(Vec<f64>),
}

impl Value {
    pub(crate) fn as_text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    pub(crate) fn as_texts(&self) -> Option<&[String]> {
        if let Self::Texts(texts) = self { Some(texts) } else { None }
    }

    pub(crate) fn as_integers(&self) -> Option<&[i64]> {
        if let Self::Integers(integers) = self { Some(integers) } else { None }
    }

    pub(crate) fn as_size(&self) -> Option<usize> {
        if let Self::Integer(integer) = self { usize::try_from(*integer).ok() } else { None }
    }

    pub(crate) fn as_number(&self) -> Option<f64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Integer(integer) => Some(*integer as f64),
            _ => None,
        }
    }

    pub(crate) fn as_flag(&self) -> Option<bool> {
        if let Self::Flag(flag) = self { Some(*flag) } else { None }
    }
}

/// What the header holds.
#[derive(Debug)]
pub(crate) struct Header {
    pub(crate) metadata: IndexMap<String, Value>,
    pub(crate) tensors: IndexMap<String, TensorInfo>,
}

/// Reads the header of a file of the given length. The error is what is wrong with it.
pub(crate) fn read(input: impl Read, length: u64) -> Result<Header, String> {
    let mut reader = Reader { input, position: 0, length };
    if reader.bytes::<4>()? != *b"GGUF" {
        return Err("it does not start with `GGUF`".to_owned());
    }
    let version = reader.u32()?;
    if !matches!(version, 2 | 3) {
        return Err(format!("its format version is {version}; 2 and 3 are supported, little-endian"));
    }
    let tensor_count = reader.count("tensors")?;
    let entry_count = reader.count("metadata entries")?;

    let mut metadata = IndexMap::new();
    for _ in 0..entry_count {
        let key = reader.text()?;
        let kind = reader.u32()?;
        let value = reader.value(kind).map_err(|reason| format!("metadata `{key}`: {reason}"))?;
        if metadata.insert(key.clone(), value).is_some() {
            return Err(format!("metadata `{key}` is there twice"));
        }
    }

    let mut found = Vec::new();
    for _ in 0..tensor_count {
        let name = reader.text()?;
        let dimensions = reader.u32()?;
        if dimensions > MOST_DIMENSIONS {
            return Err(format!("tensor `{name}` has {dimensions} dimensions"));
        }
        let shape: Vec<u64> = (0..dimensions).map(|_| reader.u64()).collect::<Result<_, _>>()?;
        let kind = reader.u32()?;
        let offset = reader.u64()?;
        found.push((name, shape, kind, offset));
    }

    let alignment = match metadata.get("general.alignment") {
        None => 32,
        Some(Value::Integer(alignment @ 1..=1_048_576)) => alignment.unsigned_abs(),
        Some(_) => return Err("metadata `general.alignment` is not a number from 1 to 1,048,576".to_owned()),
    };
    let data = reader.position.next_multiple_of(alignment);
    let mut tensors = IndexMap::new();
    for (name, shape, kind, offset) in found {
        if !offset.is_multiple_of(alignment) {
            return Err(format!(
                "tensor `{name}`: its offset {offset} is no multiple of the alignment {alignment}"
            ));
        }
        let info = TensorInfo::checked(&shape, kind, data.checked_add(offset), length)
            .map_err(|reason| format!("tensor `{name}`: {reason}"))?;
        if tensors.insert(name.clone(), info).is_some() {
            return Err(format!("tensor `{name}` is there twice"));
        }
    }
    refuse_overlaps(&tensors)?;
    Ok(Header { metadata, tensors })
}

fn refuse_overlaps(tensors: &IndexMap<String, TensorInfo>) -> Result<(), String> {
    let mut places: Vec<_> = tensors.iter().map(|(name, info)| (info.place(), name)).collect();
    places.sort_by_key(|(place, _)| place.start);
    match places.windows(2).find(|pair| pair[0].0.end > pair[1].0.start) {
        Some([(_, first), (_, second)]) => Err(format!("the tensors `{first}` and `{second}` overlap")),
        _ => Ok(()),
    }
}

struct Reader<R> {
    input: R,
    position: u64,
    length: u64,
}

impl<R: Read> Reader<R> {
    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), String> {
        self.input
            .read_exact(bytes)
            .map_err(|error| format!("cannot read on after {} bytes: {error}", self.position))?;
        self.position += bytes.len() as u64;
        Ok(())
    }

    fn u32(&mut self) -> Result<u32, String> {
        self.bytes().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, String> {
        self.bytes().map(u64::from_le_bytes)
    }

    /// A number of items in a table of the header.
    fn count(&mut self, what: &str) -> Result<u64, String> {
        match self.u64()? {
            count @ 0..=MOST_ENTRIES => Ok(count),
            count => Err(format!("it claims {count} {what}; the most is {MOST_ENTRIES}")),
        }
    }

    /// A number of items to follow, each of at least so many bytes: no more than the rest of the file holds.
    fn items(&mut self, least_bytes: u64) -> Result<usize, String> {
        let count = self.u64()?;
        let rest = self.length.saturating_sub(self.position);
        match count.checked_mul(least_bytes) {
            Some(bytes) if bytes <= rest => usize::try_from(count).map_err(|error| error.to_string()),
            _ => Err(format!("{count} items do not fit into the {rest} bytes that are left")),
        }
    }

    fn text(&mut self) -> Result<String, String> {
        let length = self.items(1)?;
        let mut bytes = vec![0; length];
        self.fill(&mut bytes)?;
        String::from_utf8(bytes).map_err(|_| format!("the text before byte {} is not UTF-8", self.position))
    }

    fn value(&mut self, kind: u32) -> Result<Value, String> {
        Ok(match kind {
            0..=5 | 10 | 11 => Value::Integer(self.integer(kind)?),
            6 | 12 => Value::Number(self.number(kind)?),
            7 => Value::Flag(self.flag()?),
            8 => Value::Text(self.text()?),
            9 => self.list()?,
            _ => return Err(format!("values of kind {kind} are not known")),
        })
    }

    fn list(&mut self) -> Result<Value, String> {
        let kind = self.u32()?;
        let bytes = match kind {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            8 | 10 | 11 | 12 => 8,
            _ => return Err(format!("lists of values of kind {kind} are not supported")),
        };
        let items = 0..self.items(bytes)?;
        Ok(match kind {
            6 | 12 => Value::Numbers(items.map(|_| self.number(kind)).collect::<Result<_, _>>()?),
            7 => Value::Integers(items.map(|_| self.flag().map(i64::from)).collect::<Result<_, _>>()?),
            8 => Value::Texts(items.map(|_| self.text()).collect::<Result<_, _>>()?),
            _ => Value::Integers(items.map(|_| self.integer(kind)).collect::<Result<_, _>>()?),
        })
    }

    fn integer(&mut self, kind: u32) -> Result<i64, String> {
        Ok(match kind {
            0 => i64::from(self.bytes::<1>()?[0]),
            1 => i64::from(self.bytes().map(i8::from_le_bytes)?),
            2 => i64::from(self.bytes().map(u16::from_le_bytes)?),
            3 => i64::from(self.bytes().map(i16::from_le_bytes)?),
            4 => i64::from(self.u32()?),
            5 => i64::from(self.bytes().map(i32::from_le_bytes)?),
            10 => i64::try_from(self.u64()?).map_err(|_| "the number is too large".to_owned())?,
            _ => self.bytes().map(i64::from_le_bytes)?,
        })
    }

    fn number(&mut self, kind: u32) -> Result<f64, String> {
        Ok(if kind == 6 {
            f64::from(self.bytes().map(f32::from_le_bytes)?)
        } else {
            self.bytes().map(f64::from_le_bytes)?
        })
    }

    fn flag(&mut self) -> Result<bool, String> {
        match self.bytes::<1>()? {
            [0] => Ok(false),
            [1] => Ok(true),
            [other] => Err(format!("{other} is neither 0 nor 1")),
        }
    }
}
