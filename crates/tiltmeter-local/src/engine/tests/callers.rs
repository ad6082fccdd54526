//! Callers who go away, and a thread that does.

use super::*;

/// A model whose greedy answers go on for tens of thousands of tokens.
fn endless() -> Tiny {
    let shape = Shape { output: Output::Printable, layers: 1, context: 40_000, ..Shape::default() };
    Tiny::new(shape, 12)
}

fn chat(question: &str, max_tokens: u32) -> (Job, oneshot::Receiver<Result<ChatResponse, ModelError>>) {
    let (job, awaited) = Ask::Chat(prompt(&context(2), question), greedy(max_tokens)).job();
    match awaited {
        Awaited::Chat(receiver) => (job, receiver),
        other => panic!("{other:?}"),
    }
}

#[test]
fn nothing_is_computed_for_callers_who_have_gone() {
    let mut bench = Bench::new(&TINY, &settings());
    let gone = |text| Ask::Score(prompt(&context(2), "x"), text).job().0;
    let jobs = vec![gone("a"), chat("y", 5).0, gone("b")];
    assert_eq!(bench.computed(|bench| bench.serve(jobs)), 0);
    // One who stays gets no more than their own work done.
    let alone = bench.computed(|bench| drop(bench.score(&prompt(&context(1), "x"), "abc")));
    let mut bench = Bench::new(&TINY, &settings());
    let (stays, mut awaited) = Ask::Score(prompt(&context(1), "x"), "abc").job();
    let jobs = vec![Ask::Chat(prompt(&context(1), "y"), sampling()).job().0, stays, chat("z", 9).0];
    assert_eq!(bench.computed(|bench| bench.serve(jobs)), alone);
    let Awaited::Score(receiver) = &mut awaited else { panic!("a chat") };
    assert!(receiver.try_recv().unwrap().is_ok());
}

#[test]
fn an_answer_under_way_ends_when_its_caller_goes() {
    let mut bench = Bench::new(&endless(), &settings());
    let (long, long_reply) = chat("long", 30_000);
    let (short, short_reply) = chat("short", 2);
    let bench = std::thread::spawn(move || {
        bench.serve(vec![long, short]);
        bench
    });
    // Once the short answer is there, the long one is being drawn.
    short_reply.blocking_recv().unwrap().unwrap();
    drop(long_reply);
    let bench = bench.join().unwrap();
    assert!(bench.worker.computed < 29_000, "{}", bench.worker.computed);
    assert_eq!(bench.worker.cache.held(), 1, "the kept context");
}

#[test]
fn requests_that_come_in_join_the_answers_under_way() {
    let mut bench = Bench::new(&TINY, &settings());
    let (first, mut first_reply) = chat("first", 30);
    let (late, mut late_reply) = chat("late", 3);
    // It is in the channel when the first group is served, which takes it along.
    bench.sender.try_send(late).unwrap();
    bench.worker.enqueue([first]);
    bench.pool.install(|| bench.worker.serve_group());
    assert!(first_reply.try_recv().unwrap().is_ok() && late_reply.try_recv().unwrap().is_ok());
}

#[tokio::test]
async fn a_panic_of_the_thread_is_an_error_of_all_callers() {
    let (folder, _) = endless().open();
    let source = ModelSource::File(folder.path().join("model.gguf"));
    let model = open(&source, settings(), &()).await.unwrap();
    let ask = |context: usize, max_tokens| {
        let model = model.clone();
        let request =
            ChatRequest { prompt: prompt(&self::context(context), "x"), sampling: greedy(max_tokens) };
        tokio::spawn(async move { model.chat(&request).await })
    };
    // One answer is under way, one of another context waits for it to end.
    let running = ask(2, 30_000);
    assert!(ask(2, 1).await.unwrap().is_ok());
    let waiting = ask(1, 1);
    let panic = Job { prompt: prompt(&context(2), "x"), intervention: None, work: Work::Panic };
    model.sender.send(panic).await.unwrap();
    let errors = [running.await.unwrap(), waiting.await.unwrap(), ask(2, 1).await.unwrap()];
    for error in errors {
        let error = error.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Local);
        assert!(error.message.contains("thread has ended"), "{error}");
    }
}

#[tokio::test]
async fn a_model_that_cannot_be_loaded_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    let source = ModelSource::File(path.clone());
    assert!(matches!(open(&source, settings(), &()).await, Err(LocalError::File(_))));
    let text = TINY.header().bytes();
    fs_err::write(&path, text).unwrap();
    let names_the_file = |error: &LocalError, reason: &str| {
        let text = error.to_string();
        assert!(text.starts_with(&format!("{}: ", path.display())) && text.contains(reason), "{text}");
        assert!(error.is_configuration());
    };
    names_the_file(&open(&source, settings(), &()).await.unwrap_err(), "token_embd.weight");
    let layers = TINY.header().bytes();
    let at = layers.windows(17).position(|part| part == b"llama.block_count").unwrap() + 17 + 4;
    fs_err::write(&path, [&layers[..at], &[0; 4], &layers[at + 4..]].concat()).unwrap();
    names_the_file(&open(&source, settings(), &()).await.unwrap_err(), "`llama.block_count` is 0");
}

#[tokio::test]
async fn an_open_model_describes_itself() {
    let (folder, _) = TINY.open();
    let path = folder.path().join("model.gguf");
    let model = open(&ModelSource::File(path.clone()), settings(), &()).await.unwrap();
    let description = model.description();
    assert_eq!(description.name, "model");
    assert_eq!(description.file_sha256, weights::sha256_of(&path).unwrap());
    assert_eq!(description.parameters, TINY.weights.values().map(|values| values.len() as u64).sum::<u64>());
    assert_eq!((description.quantisation.as_str(), description.context_length), ("F32", 1024));
    assert_eq!(model.count_tokens("the <|im_end|>"), 13);
    // The longest token is `<|im_start|>`, of twelve bytes.
    assert!(model.check_bytes(12 * 1024 + 11).is_ok());
    let error = model.check_bytes(12 * 1025).unwrap_err();
    assert_eq!((error.kind, error.context_limit), (ErrorKind::ContextTooLong, Some(1024)));
    assert!(model.can_score());
}
