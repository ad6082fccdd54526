//! Whole and streamed replies.

use tiltmeter_models::{
    ChatModel, ChatResponse, FinishReason, ModelError, TokenAlternatives, TokenLogProbability, Usage,
};

use crate::server::{Answer, Server};
use crate::{endpoint, model, request, streamed};

const EVENTS: &str = include_str!("../../fixtures/openai_compatible/openai.sse");

fn token(token: &str, log_probability: f64) -> TokenLogProbability {
    TokenLogProbability { token: token.to_owned(), log_probability }
}

fn empty() -> ChatResponse {
    ChatResponse { finish: FinishReason::Stop, ..ChatResponse::default() }
}

fn of_events() -> ChatResponse {
    ChatResponse {
        text: "Café\n☕".to_owned(),
        reasoning: Some("Hm. ".to_owned()),
        usage: Usage { input_tokens: 7, cached_input_tokens: 2, output_tokens: 3, ..Usage::default() },
        model: Some("gpt-4o-2024-08-06".to_owned()),
        response_id: Some("chatcmpl-3".to_owned()),
        log_probabilities: Some(vec![
            TokenAlternatives { chosen: token("Caf", -0.5), top: Vec::new() },
            TokenAlternatives { chosen: token("é", -0.25), top: vec![token("e", -1.5)] },
        ]),
        ..empty()
    }
}

async fn ask(answer: Answer) -> Result<ChatResponse, ModelError> {
    let server = Server::start(vec![answer]).await;
    let mut request = request();
    request.sampling.top_log_probabilities = Some(5);
    model(streamed(&server)).chat(&request).await
}

#[tokio::test]
async fn whole_replies() {
    let cases = [
        (
            include_str!("../../fixtures/openai_compatible/openai.json"),
            ChatResponse {
                text: "8".to_owned(),
                usage: Usage {
                    input_tokens: 1200,
                    cached_input_tokens: 1024,
                    output_tokens: 1,
                    ..Usage::default()
                },
                model: Some("gpt-4o-2024-08-06".to_owned()),
                response_id: Some("chatcmpl-1".to_owned()),
                log_probabilities: Some(vec![TokenAlternatives {
                    chosen: token("8", -0.25),
                    top: vec![token("8", -0.25), token("9", -1.75)],
                }]),
                ..empty()
            },
        ),
        (
            include_str!("../../fixtures/openai_compatible/reasoning.json"),
            ChatResponse {
                text: "Save a little.".to_owned(),
                reasoning: Some("They ask about money.".to_owned()),
                finish: FinishReason::Length,
                usage: Usage {
                    input_tokens: 10,
                    cached_input_tokens: 4,
                    output_tokens: 30,
                    reasoning_tokens: 25,
                    ..Usage::default()
                },
                model: Some("deepseek-reasoner".to_owned()),
                response_id: Some("gen-2".to_owned()),
                ..empty()
            },
        ),
        (
            include_str!("../../fixtures/openai_compatible/parts.json"),
            ChatResponse {
                text: "One, two.".to_owned(),
                reasoning: Some("Hm.".to_owned()),
                finish: FinishReason::Other,
                ..empty()
            },
        ),
        (
            include_str!("../../fixtures/openai_compatible/refused.json"),
            ChatResponse { refusal: Some("I can't help with that.".to_owned()), ..empty() },
        ),
        (
            include_str!("../../fixtures/openai_compatible/openrouter.json"),
            ChatResponse {
                text: "Well.".to_owned(),
                reasoning: Some("They are bored.".to_owned()),
                usage: Usage {
                    input_tokens: 2112,
                    cached_input_tokens: 2000,
                    cache_write_tokens: 100,
                    output_tokens: 40,
                    reasoning_tokens: 30,
                    cost_usd: Some(0.00175),
                },
                model: Some("anthropic/claude-sonnet-4.5".to_owned()),
                response_id: Some("gen-4".to_owned()),
                ..empty()
            },
        ),
        (
            include_str!("../../fixtures/openai_compatible/filtered.json"),
            ChatResponse {
                finish: FinishReason::ContentFilter,
                response_id: Some("f".to_owned()),
                ..empty()
            },
        ),
    ];
    for (body, expected) in cases {
        // A server that ignores `stream` answers in one piece.
        assert_eq!(ask(Answer::json(200, body)).await.unwrap(), expected, "{body}");
    }
}

#[tokio::test]
async fn log_probabilities_that_nobody_asked_for_are_not_given() {
    let body = include_str!("../../fixtures/openai_compatible/openai.json");
    let server = Server::start(vec![Answer::json(200, body)]).await;
    let response = model(endpoint(&server)).chat(&request()).await.unwrap();
    assert_eq!(response.log_probabilities, None);
}

#[tokio::test]
async fn streamed_replies() {
    let crlf = EVENTS.replace('\n', "\r\n");
    let cases = [
        Answer::events(EVENTS),
        Answer::events(&crlf),
        // A proxy that lost the content type.
        Answer::new(200, &[("content-type", "text/plain")], EVENTS.as_bytes()),
    ];
    for answer in cases {
        assert_eq!(ask(answer).await.unwrap(), of_events());
    }
}

#[tokio::test]
async fn a_stream_that_breaks_off_is_an_error_until_the_answer_is_whole() {
    let finish = EVENTS.len() - EVENTS.find(r#""finish_reason":"stop""#).unwrap();
    for missing in [1, 20, 200, finish - 20, finish, finish + 40, EVENTS.len() - 5] {
        let outcome = ask(Answer::events(EVENTS).cut(missing)).await;
        if missing < finish - 24 {
            assert_eq!(outcome.unwrap().text, of_events().text, "{missing}");
        } else {
            assert_eq!(outcome.unwrap_err().kind.name(), "interrupted", "{missing}");
        }
    }
}
