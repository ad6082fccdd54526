//! Tests, and a writer of small files for other modules' tests.

use super::*;

/// Writes GGUF files, right or wrong ones.
#[derive(Clone, Debug, Default)]
pub(crate) struct Writer {
    entries: Vec<u8>,
    entry_count: u64,
    tensors: Vec<u8>,
    tensor_count: u64,
    data: Vec<u8>,
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

impl Writer {
    /// Adds an entry with its kind and bytes.
    pub(crate) fn raw(mut self, key: &str, kind: u32, value: &[u8]) -> Self {
        text(&mut self.entries, key);
        self.entries.extend(kind.to_le_bytes());
        self.entries.extend(value);
        self.entry_count += 1;
        self
    }

    pub(crate) fn text(self, key: &str, value: &str) -> Self {
        let mut bytes = Vec::new();
        text(&mut bytes, value);
        self.raw(key, 8, &bytes)
    }

    pub(crate) fn integer(self, key: &str, value: u32) -> Self {
        self.raw(key, 4, &value.to_le_bytes())
    }

    pub(crate) fn number(self, key: &str, value: f32) -> Self {
        self.raw(key, 6, &value.to_le_bytes())
    }

    pub(crate) fn texts(self, key: &str, values: &[&str]) -> Self {
        let mut bytes = 8_u32.to_le_bytes().to_vec();
        bytes.extend((values.len() as u64).to_le_bytes());
        for value in values {
            text(&mut bytes, value);
        }
        self.raw(key, 9, &bytes)
    }

    pub(crate) fn integers(self, key: &str, values: &[i32]) -> Self {
        let mut bytes = 5_u32.to_le_bytes().to_vec();
        bytes.extend((values.len() as u64).to_le_bytes());
        bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        self.raw(key, 9, &bytes)
    }

    /// Adds a tensor's description and data.
    pub(crate) fn tensor_raw(
        mut self,
        name: &str,
        shape: &[u64],
        kind: u32,
        offset: u64,
        data: &[u8],
    ) -> Self {
        text(&mut self.tensors, name);
        self.tensors.extend(u32::try_from(shape.len()).unwrap().to_le_bytes());
        self.tensors.extend(shape.iter().flat_map(|size| size.to_le_bytes()));
        self.tensors.extend(kind.to_le_bytes());
        self.tensors.extend(offset.to_le_bytes());
        self.tensor_count += 1;
        self.data.extend(data);
        self.data.resize(self.data.len().next_multiple_of(32), 0);
        self
    }

    pub(crate) fn tensor(self, name: &str, shape: &[u64], values: &[f32]) -> Self {
        let offset = self.data.len() as u64;
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.tensor_raw(name, shape, 0, offset, &bytes)
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = b"GGUF".to_vec();
        bytes.extend(3_u32.to_le_bytes());
        bytes.extend(self.tensor_count.to_le_bytes());
        bytes.extend(self.entry_count.to_le_bytes());
        bytes.extend(&self.entries);
        bytes.extend(&self.tensors);
        bytes.resize(bytes.len().next_multiple_of(32), 0);
        bytes.extend(&self.data);
        bytes
    }

    pub(crate) fn open(&self) -> Result<Gguf, GgufError> {
        open(&self.bytes()).map(|(_, gguf)| gguf)
    }

    /// Opens it, keeping the file while the folder lives.
    pub(crate) fn open_in(&self, folder: &tempfile::TempDir) -> Gguf {
        let path = folder.path().join("model.gguf");
        fs_err::write(&path, self.bytes()).unwrap();
        Gguf::open(&path).unwrap()
    }
}

fn open(bytes: &[u8]) -> Result<(tempfile::TempDir, Gguf), GgufError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    fs_err::write(&path, bytes).unwrap();
    Gguf::open(&path).map(|gguf| (folder, gguf))
}

fn sample() -> Writer {
    Writer::default()
        .text("name", "x")
        .integer("size", 7)
        .number("rate", 0.5)
        .raw("on", 7, &[1])
        .texts("words", &["a", "", "ü"])
        .integers("kinds", &[-1, 2])
        .tensor("a", &[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
        .tensor("b", &[1], &[-0.5])
}

#[test]
fn what_is_written_is_read() {
    let (_folder, gguf) = open(&sample().bytes()).unwrap();
    assert_eq!(gguf.text("name").unwrap(), Some("x"));
    assert_eq!(gguf.size("size").unwrap(), Some(7));
    assert_eq!(gguf.number("rate").unwrap(), Some(0.5));
    assert_eq!(gguf.flag("on").unwrap(), Some(true));
    assert_eq!(gguf.texts("words").unwrap().unwrap(), ["a", "", "ü"]);
    assert_eq!(gguf.integers("kinds").unwrap().unwrap(), [-1, 2]);
    assert_eq!(gguf.text("absent").unwrap(), None);
    assert!(gguf.text("size").is_err() && gguf.size("name").is_err());
    assert_eq!(gguf.read("a", &[2, 3]).unwrap(), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    assert_eq!(gguf.read("b", &[1]).unwrap(), [-0.5]);
    assert!(gguf.read("a", &[3, 2]).is_err() && gguf.read("c", &[1]).is_err());
}

#[test]
fn quantised_tensors_are_dequantised() {
    // One block of Q4_1: d = 0.5 and m = −1 as half floats, then 16 bytes of two 4-bit numbers each.
    let mut block = vec![0x00, 0x38, 0x00, 0xbc];
    block.extend((0..16).map(|i: u8| i | (15 - i) << 4));
    let folder = tempfile::tempdir().unwrap();
    let gguf = Writer::default().tensor_raw("q", &[32], 3, 0, &block).open_in(&folder);
    let expected: Vec<f32> = (0..16).chain((0..16).rev()).map(|i| 0.5 * i as f32 - 1.0).collect();
    assert_eq!(gguf.read("q", &[32]).unwrap(), expected);
}

#[test]
fn hostile_files_are_refused() {
    let huge = u64::MAX.to_le_bytes();
    let list_of = |kind: u32, count: u64| [&kind.to_le_bytes()[..], &count.to_le_bytes()].concat();
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("empty", vec![]),
        ("other format", b"PK\x03\x04 and so on".to_vec()),
        ("old version", [b"GGUF".as_slice(), &1_u32.to_le_bytes(), &[0; 16]].concat()),
        ("big-endian", [b"GGUF".as_slice(), &3_u32.to_be_bytes(), &[0; 16]].concat()),
        ("many tensors", [b"GGUF".as_slice(), &3_u32.to_le_bytes(), &huge, &[0; 8]].concat()),
        ("many entries", [b"GGUF".as_slice(), &3_u32.to_le_bytes(), &[0; 8], &huge].concat()),
        ("long text", Writer::default().raw("k", 8, &huge).bytes()),
        ("long list", Writer::default().raw("k", 9, &list_of(10, u64::MAX / 4)).bytes()),
        ("long list of texts", Writer::default().raw("k", 9, &list_of(8, 1 << 40)).bytes()),
        ("list of lists", Writer::default().raw("k", 9, &list_of(9, 1)).bytes()),
        ("unknown kind", Writer::default().raw("k", 99, &[]).bytes()),
        ("flag", Writer::default().raw("k", 7, &[2]).bytes()),
        ("not UTF-8", Writer::default().raw("k", 8, &[1, 0, 0, 0, 0, 0, 0, 0, 0xff]).bytes()),
        ("twice", Writer::default().integer("k", 1).integer("k", 2).bytes()),
        ("alignment", Writer::default().integer("general.alignment", 0).bytes()),
        ("tensor twice", Writer::default().tensor("a", &[1], &[0.0]).tensor("a", &[1], &[0.0]).bytes()),
        ("tensor past the end", Writer::default().tensor_raw("a", &[9], 0, 0, &[0; 32]).bytes()),
        ("tensor offset", Writer::default().tensor_raw("a", &[1], 0, u64::MAX - 8, &[0; 32]).bytes()),
        ("tensor too large", Writer::default().tensor_raw("a", &[1 << 40, 1 << 40], 0, 0, &[0; 32]).bytes()),
        ("tensor empty", Writer::default().tensor_raw("a", &[0], 0, 0, &[0; 32]).bytes()),
        ("tensor kind", Writer::default().tensor_raw("a", &[1], 77, 0, &[0; 32]).bytes()),
        ("part of a block", Writer::default().tensor_raw("a", &[16, 2], 3, 0, &[0; 32]).bytes()),
        ("dimensions", Writer::default().tensor_raw("a", &[1, 1, 1, 1, 1], 0, 0, &[0; 32]).bytes()),
    ];
    for (what, bytes) in cases {
        assert!(matches!(open(&bytes), Err(GgufError::Format { .. })), "{what}");
    }
}

#[test]
fn tensors_that_lie_askew_or_over_another_are_refused() {
    let two = |offset: u64| {
        Writer::default().tensor("a", &[12], &[1.0; 12]).tensor_raw("b", &[2], 0, offset, &[0; 8]).open()
    };
    assert!(two(64).is_ok());
    for (offset, expected) in [
        (48, "tensor `b`: its offset 48 is no multiple of the alignment 32"),
        (32, "the tensors `a` and `b` overlap"),
        (0, "overlap"),
    ] {
        let error = two(offset).unwrap_err().to_string();
        assert!(error.contains(expected), "{offset}: {error}");
    }
    let fine = Writer::default().integer("general.alignment", 8).tensor_raw("a", &[1], 0, 8, &[0; 32]);
    assert!(fine.open().is_ok());
}

#[test]
fn a_file_that_is_cut_anywhere_is_refused() {
    let bytes = sample().bytes();
    // The last tensor's padding may be missing.
    for length in 0..bytes.len() - 28 {
        assert!(open(&bytes[..length]).is_err(), "{length} of {} bytes", bytes.len());
    }
}
