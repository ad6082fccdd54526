//! Labels: the newest counts, none is lost, and a store from before there were any is read and brought up to date.

use tiltmeter_store::{
    DrawnAnswer, LabelDraw, LabelKind, LabelRecord, LabelStratum, LabelWriter, Reader, RunDirectory, Writer,
};

use crate::{NOW, response, run};

fn draw(experiment: i64, responses: &[i64]) -> LabelDraw {
    let drawn = responses.len() as u64;
    LabelDraw {
        experiment,
        // Beyond what SQLite has for a number.
        seed: u64::MAX,
        last_response: 9,
        created_at: NOW.to_owned(),
        strata: vec![LabelStratum {
            verdict: "misaligned".to_owned(),
            condition: None,
            answers: 2 * drawn,
            drawn,
        }],
        answers: responses
            .iter()
            .map(|&response| DrawnAnswer { response, stratum: 0, inclusion: 0.5 })
            .collect(),
    }
}

fn record(item: i64, annotator: &str, kind: Option<LabelKind>) -> LabelRecord {
    LabelRecord {
        item,
        annotator: annotator.to_owned(),
        kind,
        alignment: Some(12.5),
        note: Some("a note".to_owned()),
        origin: "page".to_owned(),
        created_at: NOW.to_owned(),
    }
}

const MISALIGNED: LabelKind = LabelKind::Judged { misaligned: true, coherent: true };

async fn with_answers() -> (tempfile::TempDir, RunDirectory, i64, Vec<i64>) {
    let (folder, directory, rows) = run();
    let (writer, thread) = Writer::start(&directory).unwrap();
    let mut responses = Vec::new();
    for name in ["a", "b"] {
        responses.push(writer.response(response(&rows, name, "an answer")).await.unwrap());
    }
    drop(writer);
    thread.join().unwrap().unwrap();
    (folder, directory, rows.experiment, responses)
}

#[tokio::test]
async fn the_newest_label_of_a_person_counts_unless_it_is_taken_back() {
    let (_folder, directory, experiment, responses) = with_answers().await;
    let reader = Reader::open(directory.path()).unwrap();
    assert_eq!(reader.label_draw().unwrap(), None);
    let written = draw(experiment, &[responses[1], responses[0]]);
    let row = written.write(&directory).unwrap();
    let (found, read) = reader.label_draw().unwrap().unwrap();
    assert_eq!((found, read.seed, &read.strata), (row, u64::MAX, &written.strata));
    let items = reader.label_items(row).unwrap();
    assert_eq!(items.iter().map(|item| item.answer).collect::<Vec<_>>(), written.answers, "in their order");

    let mut writer = LabelWriter::open(&directory).unwrap();
    let (first, second) = (items[0].id, items[1].id);
    writer
        .write(&[
            record(first, "ada", Some(LabelKind::Refusal)),
            record(second, "ada", Some(MISALIGNED)),
            record(first, "grace", Some(LabelKind::CannotTell)),
        ])
        .unwrap();
    writer.write(&[record(first, "ada", Some(MISALIGNED)), record(second, "ada", None)]).unwrap();
    let labels: Vec<(i64, String, LabelKind)> = reader
        .labels(row)
        .unwrap()
        .into_iter()
        .map(|label| (label.item, label.annotator, label.kind))
        .collect();
    let expected =
        [(first, "grace".to_owned(), LabelKind::CannotTell), (first, "ada".to_owned(), MISALIGNED)];
    assert_eq!(labels, expected);
    // All or none: an item that is not there takes the others with it.
    assert!(writer.write(&[record(second, "ada", Some(MISALIGNED)), record(99, "ada", None)]).is_err());
    assert_eq!(reader.labels(row).unwrap().len(), 2);

    // A later draw is the one that counts.
    let later = draw(experiment, &[responses[0]]).write(&directory).unwrap();
    assert_eq!(reader.label_draw().unwrap().unwrap().0, later);
    assert!(reader.labels(later).unwrap().is_empty());
}
