//! The one writer: a thread that takes records from a bounded queue and commits them in groups.
//!
//! While one commit waits for the disk, further records gather and go into the next, so that many small
//! writes cost few syncs. A record is acknowledged after the commit that holds it.

use std::sync::Arc;
use std::thread::JoinHandle;

use rusqlite::Connection;
use tiltmeter_core::id::ContentId;
use tiltmeter_core::prompt::RenderedContext;
use tokio::sync::{mpsc, oneshot};

use crate::batches::BatchRecord;
use crate::coding::CodingRecord;
use crate::directory::RunDirectory;
use crate::error::StoreError;
use crate::guarding::InspectionRecord;
use crate::parts::{ComposedRecord, SelfCheckRecord};
use crate::register::write_context;
use crate::rows::{
    AdaptiveRecord, FailedAttempt, FailureRecord, JudgementRecord, ResponseRecord, ScoreRecord,
    write_attempts,
};
use crate::schema::open_for_writing;
use crate::screening::ScreeningRecord;

/// Records that may wait before senders wait too.
const QUEUE: usize = 1024;
/// The most records in one commit.
const GROUP: usize = 512;

enum Record {
    Response(ResponseRecord),
    Composed(ComposedRecord),
    SelfCheck(SelfCheckRecord),
    Context(Arc<RenderedContext>),
    Judgement(JudgementRecord),
    Coding(CodingRecord),
    Score(ScoreRecord),
    Failure(FailureRecord),
    Adaptive(AdaptiveRecord),
    Batch(BatchRecord),
    Screening(ScreeningRecord),
    Inspection(InspectionRecord),
    Attempts(ContentId, Vec<FailedAttempt>),
}

impl Record {
    fn write(&self, connection: &Connection) -> Result<i64, StoreError> {
        match self {
            Self::Response(record) => record.write(connection),
            Self::Composed(record) => record.write(connection),
            Self::SelfCheck(record) => record.write(connection),
            Self::Context(context) => write_context(connection, context),
            Self::Judgement(record) => record.write(connection),
            Self::Coding(record) => record.write(connection),
            Self::Score(record) => record.write(connection),
            Self::Failure(record) => record.write(connection),
            Self::Adaptive(record) => record.write(connection),
            Self::Batch(record) => record.write(connection),
            Self::Screening(record) => record.write(connection),
            Self::Inspection(record) => record.write(connection),
            Self::Attempts(hash, attempts) => write_attempts(connection, *hash, attempts).map(|()| 0),
        }
    }
}

struct Request {
    record: Box<Record>,
    done: oneshot::Sender<Result<i64, StoreError>>,
}

/// The writing end of a store. Clones send to the same writer.
#[derive(Clone)]
pub struct Writer {
    sender: mpsc::Sender<Request>,
}

impl Writer {
    /// Starts the writer of a run directory. The thread ends, and gives the error that stopped it if there
    /// was one, when all clones are dropped.
    ///
    /// # Errors
    /// If the store cannot be opened.
    pub fn start(directory: &RunDirectory) -> Result<(Self, JoinHandle<Result<(), StoreError>>), StoreError> {
        let connection = open_for_writing(&directory.store_path())?;
        let (sender, receiver) = mpsc::channel(QUEUE);
        let thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || write_all(connection, receiver))?;
        Ok((Self { sender }, thread))
    }

    async fn write(&self, record: Record) -> Result<i64, StoreError> {
        let (done, result) = oneshot::channel();
        let request = Request { record: Box::new(record), done };
        self.sender.send(request).await.map_err(|_| StoreError::Stopped)?;
        result.await.map_err(|_| StoreError::Stopped)?
    }

    /// Stores an answer; returns its row once it is on disk.
    ///
    /// # Errors
    /// If it could not be stored.
    pub async fn response(&self, record: ResponseRecord) -> Result<i64, StoreError> {
        self.write(Record::Response(record)).await
    }

    /// Stores an answer that was put together from stored ones; returns its row once it is on disk.
    ///
    /// # Errors
    /// If it could not be stored.
    pub async fn composed(&self, record: ComposedRecord) -> Result<i64, StoreError> {
        self.write(Record::Composed(record)).await
    }

    /// Stores a subject's word on an answer of its own; returns its row once it is on disk.
    ///
    /// # Errors
    /// If it could not be stored.
    pub async fn self_check(&self, record: SelfCheckRecord) -> Result<i64, StoreError> {
        self.write(Record::SelfCheck(record)).await
    }

    /// Stores a context that is not the plan's, unless it is there; returns its row once it is on disk.
    ///
    /// # Errors
    /// If it could not be stored.
    pub async fn context(&self, context: Arc<RenderedContext>) -> Result<i64, StoreError> {
        self.write(Record::Context(context)).await
    }

    /// Stores a score of the judge; returns once it is on disk.
    ///
    /// # Errors
    /// If it could not be stored.
    pub async fn judgement(&self, record: JudgementRecord) -> Result<i64, StoreError> {
        self.write(Record::Judgement(record)).await
    }

    /// Stores a coding of a trace; returns once it is on disk.
    ///
    /// # Errors
    /// If it could not be stored.
    pub async fn coding(&self, record: CodingRecord) -> Result<i64, StoreError> {
        self.write(Record::Coding(record)).await
    }

    /// Stores a filter's score of a demonstration; returns once it is on disk.
    ///
    /// # Errors
    /// If it could not be stored.
    pub async fn screening(&self, record: ScreeningRecord) -> Result<(), StoreError> {
        self.write(Record::Screening(record)).await.map(|_| ())
    }

    /// Stores what a guard found in a context; returns once it is on disk.
    ///
    /// # Errors
    /// If it could not be stored.
    pub async fn inspection(&self, record: InspectionRecord) -> Result<(), StoreError> {
        self.write(Record::Inspection(record)).await.map(|_| ())
    }

    /// Stores the log-probability of a text; returns once it is on disk.
    ///
    /// # Errors
    /// If it could not be stored.
    pub async fn score(&self, record: ScoreRecord) -> Result<(), StoreError> {
        self.write(Record::Score(record)).await.map(|_| ())
    }

    /// Stores what is known of a batch; returns once it is on disk.
    ///
    /// # Errors
    /// If it could not be stored.
    pub async fn batch(&self, record: BatchRecord) -> Result<(), StoreError> {
        self.write(Record::Batch(record)).await.map(|_| ())
    }

    /// Stores how far adaptive sampling has come; returns once it is on disk.
    ///
    /// # Errors
    /// If it could not be stored.
    pub async fn adaptive(&self, record: AdaptiveRecord) -> Result<(), StoreError> {
        self.write(Record::Adaptive(record)).await.map(|_| ())
    }

    /// Stores that a call failed for good; returns once it is on disk.
    ///
    /// # Errors
    /// If it could not be stored.
    pub async fn failure(&self, record: FailureRecord) -> Result<(), StoreError> {
        self.write(Record::Failure(record)).await.map(|_| ())
    }
}

impl Writer {
    /// Stores attempts that failed of a call that was then given up without a result: the run was stopped. Returns
    /// once they are on disk.
    ///
    /// # Errors
    /// If they could not be stored.
    pub async fn attempts(&self, hash: ContentId, attempts: Vec<FailedAttempt>) -> Result<(), StoreError> {
        self.write(Record::Attempts(hash, attempts)).await.map(|_| ())
    }
}

fn write_all(mut connection: Connection, mut receiver: mpsc::Receiver<Request>) -> Result<(), StoreError> {
    let mut group = Vec::with_capacity(GROUP);
    while receiver.blocking_recv_many(&mut group, GROUP) > 0 {
        match commit(&mut connection, &group) {
            Ok(rows) => {
                for (request, row) in group.drain(..).zip(rows) {
                    // Whoever asked may be gone; the record is stored all the same.
                    let _ = request.done.send(Ok(row));
                }
            }
            Err(error) => {
                let full = matches!(error, StoreError::DiskFull);
                for request in group.drain(..) {
                    let answer = if full { StoreError::DiskFull } else { StoreError::Stopped };
                    let _ = request.done.send(Err(answer));
                }
                return Err(error);
            }
        }
    }
    connection.close().map_err(|(_, error)| error)?;
    Ok(())
}

fn commit(connection: &mut Connection, group: &[Request]) -> Result<Vec<i64>, StoreError> {
    let transaction = connection.transaction()?;
    let rows = group.iter().map(|request| request.record.write(&transaction)).collect::<Result<_, _>>()?;
    transaction.commit()?;
    Ok(rows)
}
