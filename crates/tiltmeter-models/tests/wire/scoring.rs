//! Log-probabilities of given text.

use std::sync::Arc;

use serde_json::{Value, json};
use tiltmeter_core::prompt::Placement;
use tiltmeter_models::{
    Api, ChatModel, Endpoint, ErrorKind, ModelError, ScoreRequest, Scoring, TextScore, provider,
};

use crate::server::{Answer, Server};
use crate::{endpoint, model, open, request, with_context};

const COMPLETION: &str = include_str!("../fixtures/scoring/completion.json");
const ECHO: &str = include_str!("../fixtures/scoring/echo.json");

fn about(continuation: &str) -> ScoreRequest {
    ScoreRequest { prompt: request().prompt, continuation: continuation.into() }
}

fn tokens(tokens: &[u32]) -> Answer {
    let reply = json!({"count": tokens.len(), "max_model_len": 4096, "tokens": tokens});
    Answer::json(200, &reply.to_string())
}

fn text(text: &str) -> Answer {
    Answer::json(200, &json!({"prompt": text}).to_string())
}

fn scoring(server: &Server, scoring: Scoring) -> Endpoint {
    Endpoint { scoring, ..endpoint(server) }
}

#[tokio::test]
async fn vllm_scores_tokens_in_one_row() {
    let server = Server::start(vec![
        tokens(&[10, 11, 12]),
        tokens(&[21, 22]),
        text("Put it"),
        Answer::json(200, COMPLETION),
    ])
    .await;
    let extra = json!({"chat_template_kwargs": {"enable_thinking": false}, "top_k": 4});
    let given =
        Endpoint { extra_body: extra.as_object().unwrap().clone(), ..scoring(&server, Scoring::VllmTokens) };
    let model = model(given);
    assert!(model.can_score());
    let score = model.score(&about("Put it")).await.unwrap();
    assert_eq!(
        score,
        TextScore { token_log_probabilities: vec![-0.75, -0.25], prompt_tokens: 3, shift: None }
    );

    // Tokens are asked for once.
    assert_eq!(model.score(&about("Put it")).await.unwrap(), score);
    let received = server.received();
    let paths: Vec<_> = received.iter().map(|it| it.head.split(' ').nth(1).unwrap()).collect();
    let expected = ["/tokenize", "/tokenize", "/detokenize", "/v1/completions", "/v1/completions"];
    assert_eq!(paths, expected);
    let bodies: Vec<Value> = received.iter().map(crate::server::Received::json).collect();
    assert_eq!(
        bodies[0],
        json!({
            "model": "model-1",
            "messages": [{"role": "user", "content": "I am bored."}],
            "add_generation_prompt": true,
            "chat_template_kwargs": {"enable_thinking": false}
        })
    );
    assert_eq!(bodies[1], json!({"model": "model-1", "prompt": "Put it", "add_special_tokens": false}));
    assert_eq!(bodies[2], json!({"model": "model-1", "tokens": [21, 22]}));
    assert_eq!(
        bodies[3],
        json!({
            "model": "model-1",
            "prompt": [10, 11, 12, 21, 22],
            "max_tokens": 1,
            "temperature": 0,
            "prompt_logprobs": 1
        })
    );
}

#[tokio::test]
async fn a_row_that_is_not_the_one_asked_about_is_refused() {
    let reply = |change: &dyn Fn(&mut Value)| {
        let mut reply: Value = serde_json::from_str(COMPLETION).unwrap();
        change(&mut reply["choices"][0]);
        Answer::json(200, &reply.to_string())
    };
    let row = |choice: &mut Value, change: &dyn Fn(&mut Vec<Value>)| {
        change(choice["prompt_logprobs"].as_array_mut().unwrap());
    };
    let cases = [
        reply(&|choice| choice["prompt_logprobs"] = Value::Null),
        reply(&|choice| row(choice, &|row| drop(row.pop()))),
        reply(&|choice| row(choice, &|row| row.push(json!({"1": {"logprob": -1.0}})))),
        reply(&|choice| row(choice, &|row| row[3] = json!({"8": {"logprob": -0.5}}))),
        reply(&|choice| row(choice, &|row| row[4] = Value::Null)),
        reply(&|choice| row(choice, &|row| row.truncate(2))),
        Answer::json(200, r#"{"choices": []}"#),
        Answer::json(200, "[]"),
    ];
    for answer in cases {
        let server =
            Server::start(vec![tokens(&[10, 11, 12]), tokens(&[21, 22]), text("Put it"), answer]).await;
        let model = model(scoring(&server, Scoring::VllmTokens));
        let error = model.score(&about("Put it")).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::MalformedReply, "{error}");
    }
}

#[tokio::test]
async fn a_text_that_its_tokens_do_not_spell_is_refused() {
    let server = Server::start(vec![tokens(&[10]), tokens(&[21]), text("put it")]).await;
    let model = model(scoring(&server, Scoring::VllmTokens));
    let error = model.score(&about("Put it")).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::BadRequest);
    assert!(error.message.starts_with("the model's tokens do not spell the text"), "{error}");
}

#[tokio::test]
async fn a_server_without_the_needed_address_is_named() {
    let server = Server::start(vec![Answer::json(404, r#"{"detail":"Not Found"}"#)]).await;
    let error = model(scoring(&server, Scoring::VllmTokens)).score(&about("x")).await.unwrap_err();
    let message = "the server gives no tokens at /tokenize, which scoring needs: Not Found";
    assert_eq!((error.kind, error.message.as_str()), (ErrorKind::NotFound, message));
}

#[tokio::test]
async fn an_echo_scores_the_text_alone() {
    let server = Server::start(vec![Answer::json(200, ECHO)]).await;
    let model = model(scoring(&server, Scoring::EchoPlainText));
    let expected = TextScore { token_log_probabilities: vec![-0.75, -0.25], prompt_tokens: 4, shift: None };
    assert_eq!(model.score(&about("Put it")).await.unwrap(), expected);
    assert_eq!(
        server.received()[0].json(),
        json!({
            "model": "model-1",
            "prompt": "I am bored. Put it",
            "max_tokens": 1,
            "temperature": 0,
            "echo": true,
            "logprobs": 1
        })
    );
    // No token ends where this text does.
    let error = model.score(&about("Put i")).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::BadRequest);
    // The whole prompt, as text.
    let prompt = with_context(Placement::FirstUser).prompt;
    let _ = model.score(&ScoreRequest { prompt: Arc::clone(&prompt), continuation: "No.".into() }).await;
    let shown: Vec<String> = prompt.messages().map(|message| message.text()).collect();
    let sent = server.received()[2].json();
    assert_eq!(sent["prompt"], format!("{} No.", shown.join("\n\n")));
}

#[tokio::test]
async fn what_cannot_be_scored() {
    let kind = |outcome: Result<TextScore, ModelError>| outcome.unwrap_err().kind;
    let server =
        Server::start(vec![Answer::json(200, r#"{"choices":[{"text":"x","logprobs":null}]}"#)]).await;
    for api in [Api::ChatCompletions, Api::Responses, Api::Gemini, Api::Anthropic] {
        let model = open(api, endpoint(&server));
        assert!(!model.can_score());
        assert_eq!(kind(model.score(&about("x")).await), ErrorKind::Unsupported);
    }
    let echo = model(scoring(&server, Scoring::EchoPlainText));
    assert_eq!(kind(echo.score(&about("")).await), ErrorKind::BadRequest);
    let turns = ScoreRequest { prompt: with_context(Placement::ChatTurns).prompt, continuation: "x".into() };
    assert_eq!(kind(echo.score(&turns).await), ErrorKind::BadRequest);
    assert_eq!(server.received().len(), 0);
    // A server that does not know `echo`.
    assert_eq!(kind(echo.score(&about("x")).await), ErrorKind::Unsupported);
    let failing = Server::start(vec![Answer::json(503, "{}")]).await;
    let echo = model(scoring(&failing, Scoring::EchoPlainText));
    assert_eq!(kind(echo.score(&about("x")).await), ErrorKind::Overloaded);
}

#[test]
fn presets_say_who_scores() {
    for (name, expected) in [
        ("vllm", Scoring::VllmTokens),
        ("openai", Scoring::None),
        ("llamacpp", Scoring::None),
        ("together", Scoring::None),
    ] {
        assert_eq!(Endpoint::of_provider(provider(name).unwrap(), "m").unwrap().scoring, expected, "{name}");
    }
}
