//! Files that were made to harm: whatever is in them, opening and asking end in an answer or an error.

use proptest::prelude::*;

use super::*;

/// How a good file is spoilt.
#[derive(Clone, Debug)]
enum Spoil {
    Byte {
        at: usize,
        value: u8,
    },
    /// A number of eight bytes, where sizes and offsets are.
    Number {
        at: usize,
        value: u64,
    },
    Cut {
        at: usize,
    },
    Doubled {
        at: usize,
        length: usize,
    },
    Removed {
        at: usize,
        length: usize,
    },
}

static SMALL: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let shape = Shape {
        layers: 1,
        width: 8,
        heads: 2,
        key_value_heads: 1,
        head_width: 4,
        rotated: 4,
        feed_forward: 8,
        context: 128,
        has_factors: true,
        ..Shape::default()
    };
    Tiny::new(shape, 0).writer().bytes()
});

/// Where the data of tensors starts.
static HEADER: LazyLock<usize> = LazyLock::new(|| {
    let data: usize = 4 * (2 * 8 * 262 + 8 + 2 * 8 + 2 * 64 + 2 * 32 + 3 * 64 + 2);
    SMALL.len() - data
});

fn spoil() -> impl Strategy<Value = Spoil> {
    let at = prop_oneof![4 => 0..*HEADER, 1 => 0..SMALL.len()];
    // The entries about sizes come first.
    let early = prop_oneof![0_usize..1_200, *HEADER - 1_200..*HEADER];
    let number = prop_oneof![
        Just(u64::MAX),
        Just(u64::MAX / 2),
        Just(1 << 40),
        Just(1 << 31),
        Just(1 << 20),
        0_u64..300,
        any::<u64>()
    ];
    prop_oneof![
        (at.clone(), any::<u8>()).prop_map(|(at, value)| Spoil::Byte { at, value }),
        (early.clone(), any::<u8>()).prop_map(|(at, value)| Spoil::Byte { at, value }),
        (early.clone(), number).prop_map(|(at, value)| Spoil::Number { at, value }),
        at.clone().prop_map(|at| Spoil::Cut { at }),
        (at.clone(), 1_usize..64).prop_map(|(at, length)| Spoil::Doubled { at, length }),
        (at, 1_usize..64).prop_map(|(at, length)| Spoil::Removed { at, length }),
    ]
}

fn spoilt(spoils: &[Spoil]) -> Vec<u8> {
    let mut bytes = SMALL.clone();
    for spoil in spoils {
        let end = bytes.len();
        match *spoil {
            Spoil::Byte { at, value } if at < end => bytes[at] = value,
            Spoil::Number { at, value } if at + 8 <= end => {
                bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
            }
            Spoil::Cut { at } => bytes.truncate(at),
            Spoil::Doubled { at, length } if at + length <= end => {
                let part = bytes[at..at + length].to_vec();
                bytes.splice(at..at, part);
            }
            Spoil::Removed { at, length } if at + length <= end => {
                bytes.drain(at..at + length);
            }
            _ => {}
        }
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn spoilt_files_end_in_an_answer_or_an_error(spoils in prop::collection::vec(spoil(), 1..4)) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.gguf");
        fs_err::write(&path, spoilt(&spoils)).unwrap();
        let (sender, receiver) = mpsc::channel(1);
        let settings = LocalSettings { memory_limit: Some(64 << 20), ..settings() };
        if let Ok((pool, worker, _)) = load(&path, String::new(), None, &settings, receiver) {
            let mut bench = Bench { pool, worker, sender, _folder: folder };
            let prompt = prompt(&context(0), "x");
            bench.ask(&[Ask::Score(Arc::clone(&prompt), "ab"), Ask::Chat(prompt, greedy(2))]);
        }
    }
}

#[test]
fn the_good_file_is_good() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    fs_err::write(&path, &*SMALL).unwrap();
    let (sender, receiver) = mpsc::channel(1);
    let (pool, worker, _) = load(&path, String::new(), None, &settings(), receiver).unwrap();
    let mut bench = Bench { pool, worker, sender, _folder: folder };
    assert!(bench.score(&prompt(&context(0), "x"), "ab").is_ok());
}

#[test]
fn a_vocabulary_that_lacks_bytes_drops_none_silently() {
    let mut tiny = Tiny::new(Shape::default(), 0);
    tiny.lacks = Some(b'x');
    let mut bench = Bench::new(&tiny, &settings());
    let fine = prompt(&context(0), "ok");
    assert!(bench.score(&fine, "ab").is_ok());
    let error = bench.score(&fine, "axb").unwrap_err();
    assert_eq!(error.kind, ErrorKind::Local);
    assert!(error.message.contains("no tokens for 1 of its bytes"), "{error}");
    assert_eq!(kind(bench.chat(&prompt(&context(0), "x"), greedy(1))), ErrorKind::Local);
}
