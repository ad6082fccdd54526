//! Contexts in a folder: they are read once for all runs of the program, and never believed when they are not right.

use std::path::{Path, PathBuf};

use super::*;

fn kept_in(folder: &Path) -> LocalSettings {
    LocalSettings { context_folder: Some(folder.to_owned()), ..settings() }
}

fn asks(k: usize) -> Vec<Ask> {
    ["What?", "Why?"]
        .iter()
        .flat_map(|question| {
            let prompt = prompt(&context(k), question);
            [Ask::Score(Arc::clone(&prompt), "abc"), Ask::Chat(prompt, greedy(6))]
        })
        .collect()
}

/// Asks a new worker; the replies, and how many tokens went through the model.
fn replies(tiny: &Tiny, settings: &LocalSettings, k: usize) -> (Vec<String>, usize) {
    let mut bench = Bench::new(tiny, settings);
    let mut replies = Vec::new();
    let computed = bench.computed(|bench| replies = bench.ask(&asks(k)));
    (replies.into_iter().map(Reply::bits).collect(), computed)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs_err::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn a_context_is_read_once_for_all_runs() {
    for key_values in [KeyValuePrecision::Sixteen, KeyValuePrecision::Single] {
        let folder = tempfile::tempdir().unwrap();
        let settings = LocalSettings { key_values, ..kept_in(folder.path()) };
        let without = LocalSettings { context_folder: None, ..settings.clone() };
        let (expected, all) = replies(&TINY, &without, 8);
        assert_eq!(replies(&TINY, &settings, 8), (expected.clone(), all));
        let (again, computed) = replies(&TINY, &settings, 8);
        assert_eq!(again, expected);
        assert!(computed + 150 < all, "{computed} of {all}");
        assert_eq!(files(folder.path()).len(), 1, "it is not written again");
        // A longer context goes on from it.
        let (expected, all) = replies(&TINY, &without, 16);
        let (longer, computed) = replies(&TINY, &settings, 16);
        assert_eq!(longer, expected);
        assert!(computed + 150 < all, "{computed} of {all}");
        // And a shorter one takes a part of it.
        let (expected, all) = replies(&TINY, &without, 7);
        let (shorter, computed) = replies(&TINY, &settings, 7);
        assert_eq!(shorter, expected);
        assert!(computed + 130 < all, "{computed} of {all}");
    }
}

#[test]
fn files_that_are_not_right_are_not_believed() {
    let folder = tempfile::tempdir().unwrap();
    let settings = kept_in(folder.path());
    let (expected, all) = replies(&TINY, &settings, 8);
    let file = files(folder.path()).remove(0);
    let good = fs_err::read(&file).unwrap();
    let flipped = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 0x10;
        bytes
    };
    let end = good.len();
    // Of the magic, the model, the layout, the number of tokens, a token, a key, the checksum.
    let spoilt = [2, 20, 81, 96, 101, 2_000, end / 2, end - 40, end - 1].map(flipped);
    let cut = [0, 10, 90, 500, end / 2, end - 1].map(|length| good[..length].to_vec());
    for bytes in spoilt.into_iter().chain(cut).chain([b"hello".to_vec(), vec![0xff; 300]]) {
        fs_err::write(&file, &bytes).unwrap();
        assert_eq!(replies(&TINY, &settings, 8), (expected.clone(), all));
        // It was written anew.
        assert_eq!(fs_err::read(&file).unwrap(), good);
    }
    // A good file under another name is as good, and what is no such file is left alone.
    fs_err::rename(&file, folder.path().join("a.kv")).unwrap();
    fs_err::write(folder.path().join("notes.txt"), "mine").unwrap();
    assert!(replies(&TINY, &settings, 8).1 < all);
    assert_eq!(fs_err::read(folder.path().join("notes.txt")).unwrap(), b"mine");
}

#[test]
fn contexts_of_other_models_and_layouts_are_not_used() {
    let folder = tempfile::tempdir().unwrap();
    let settings = kept_in(folder.path());
    replies(&TINY, &settings, 8);
    let other = Tiny::new(Shape::default(), 99);
    let plain = LocalSettings { context_folder: None, ..settings.clone() };
    assert_eq!(replies(&other, &settings, 8), replies(&other, &plain, 8));
    let single = LocalSettings { key_values: KeyValuePrecision::Single, ..settings };
    let plain = LocalSettings { context_folder: None, ..single.clone() };
    assert_eq!(replies(&TINY, &single, 8), replies(&TINY, &plain, 8));
    assert_eq!(files(folder.path()).len(), 3);
}

#[test]
fn the_folder_keeps_to_its_size() {
    let folder = tempfile::tempdir().unwrap();
    replies(&TINY, &kept_in(folder.path()), 8);
    let size =
        |folder: &Path| files(folder).iter().map(|file| fs_err::metadata(file).unwrap().len()).sum::<u64>();
    let one = size(folder.path());
    let settings = LocalSettings { context_folder_bytes: one * 5 / 2, ..kept_in(folder.path()) };
    for k in [9, 12, 16, 8, 10] {
        replies(&TINY, &settings, k);
        assert!(size(folder.path()) <= settings.context_folder_bytes);
        assert!(!files(folder.path()).is_empty());
    }
    let none = LocalSettings { context_folder_bytes: 100, ..kept_in(folder.path()) };
    replies(&Tiny::new(Shape::default(), 5), &none, 8);
    assert!(!files(folder.path()).is_empty(), "what cannot be kept drives nothing out");
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs_err::write(&file, "").unwrap();
    let (model, _) = TINY.open();
    let (_sender, receiver) = mpsc::channel(1);
    let settings = kept_in(&file.join("contexts"));
    let result = load(&model.path().join("model.gguf"), "tiny".to_owned(), None, &settings, receiver);
    let Err(error) = result.map(|_| ()) else { panic!("it is used") };
    assert!(error.to_string().contains("contexts") && error.to_string().contains("name a folder"), "{error}");
}
