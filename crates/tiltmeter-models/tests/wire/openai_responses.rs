//! OpenAI's Responses API.

use serde_json::{Value, json};
use tiltmeter_core::prompt::Placement;
use tiltmeter_core::treatment::ReasoningKind;
use tiltmeter_models::{
    Api, ChatModel, ChatResponse, Endpoint, ErrorKind, FinishReason, ModelError, OpenAiResponses, Reasoning,
    TemperatureField, TokenAlternatives, TokenLogProbability, Usage,
};

use crate::server::{Answer, Server};
use crate::{check_failures, endpoint, request, streamed, with_context};

const OK: &str = include_str!("../fixtures/openai_responses/reply.json");
const EVENTS: &str = include_str!("../fixtures/openai_responses/stream.sse");

async fn ask(answer: Answer) -> Result<ChatResponse, ModelError> {
    let server = Server::start(vec![answer]).await;
    let mut request = request();
    request.sampling.top_log_probabilities = Some(5);
    OpenAiResponses::new(streamed(&server)).unwrap().chat(&request).await
}

#[tokio::test]
async fn what_the_server_says_when_it_fails() {
    check_failures(Api::Responses, include_str!("../fixtures/openai_responses/errors.json")).await;
}

#[tokio::test]
async fn the_smallest_and_the_largest_request() {
    let server = Server::start(vec![Answer::json(200, OK)]).await;
    OpenAiResponses::new(endpoint(&server)).unwrap().chat(&request()).await.unwrap();

    let mut full = with_context(Placement::ChatTurns);
    full.sampling.temperature = 0.5;
    full.sampling.seed = Some(7);
    full.sampling.stop = vec!["x".to_owned()];
    full.sampling.top_log_probabilities = Some(20);
    full.sampling.reasoning = Reasoning::High;
    let extra = json!({"service_tier": "flex"});
    let everything =
        Endpoint { extra_body: extra.as_object().unwrap().clone(), send_stop: true, ..streamed(&server) };
    let response = OpenAiResponses::new(everything).unwrap().chat(&full).await.unwrap();
    assert_eq!(response.dropped_parameters, ["seed"]);

    // A reasoning model shows a summary even where nothing is said of how much it thinks.
    let reasoning = Endpoint {
        model: "gpt-5-mini".to_owned(),
        temperature_field: TemperatureField::UnlessOne,
        ..endpoint(&server)
    };
    let reasoning = OpenAiResponses::new(reasoning).unwrap();
    reasoning.chat(&request()).await.unwrap();
    let mut off = request();
    off.sampling.reasoning = Reasoning::Off;
    reasoning.chat(&off).await.unwrap();

    let received: Vec<Value> = server.received().iter().map(crate::server::Received::json).collect();
    let asked = json!([{"role": "user", "content": "I am bored."}]);
    assert_eq!(
        received[0],
        json!({"model": "model-1", "input": asked, "store": false, "max_output_tokens": 500, "temperature": 1.0})
    );
    let messages: Vec<Value> =
        full.prompt.messages().map(|it| json!({"role": it.role.name(), "content": it.text()})).collect();
    assert_eq!(
        received[1],
        json!({
            "model": "model-1",
            "input": messages,
            "store": false,
            "max_output_tokens": 500,
            "temperature": 0.5,
            "include": ["message.output_text.logprobs"],
            "top_logprobs": 20,
            "reasoning": {"effort": "high", "summary": "auto"},
            "stream": true,
            "service_tier": "flex"
        })
    );
    assert_eq!(received[2]["reasoning"], json!({"summary": "auto"}));
    assert_eq!(received[2]["temperature"], json!(null));
    assert_eq!(received[3]["reasoning"], json!({"effort": "none"}));
}

#[tokio::test]
async fn a_summary_that_is_refused_does_not_take_the_effort_with_it() {
    let refusal = json!({"error": {
        "message": "Your organization must be verified to generate reasoning summaries.",
        "param": "reasoning.summary",
        "code": "unsupported_value"
    }});
    let server = Server::start(vec![Answer::json(400, &refusal.to_string()), Answer::json(200, OK)]).await;
    let mut asked = request();
    asked.sampling.reasoning = Reasoning::Low;
    let response = OpenAiResponses::new(endpoint(&server)).unwrap().chat(&asked).await.unwrap();
    assert_eq!(response.dropped_parameters, Vec::<&str>::new());
    assert_eq!(server.received()[1].json()["reasoning"], json!({"effort": "low"}));
}

#[tokio::test]
async fn fewer_tokens_than_the_protocol_gives_are_refused_before_they_are_asked_for() {
    let server = Server::start(vec![Answer::json(200, OK)]).await;
    let mut asked = request();
    asked.sampling.max_tokens = 1;
    let error = OpenAiResponses::new(endpoint(&server)).unwrap().chat(&asked).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::BadRequest);
    assert_eq!(server.received().len(), 0);
}

#[tokio::test]
async fn whole_and_streamed_replies() {
    let token =
        |token: &str, log_probability: f64| TokenLogProbability { token: token.to_owned(), log_probability };
    let whole = ChatResponse {
        text: "8".to_owned(),
        reasoning: Some("They ask.\n\nI answer.".to_owned()),
        reasoning_kind: ReasoningKind::Summary,
        finish: FinishReason::Stop,
        usage: Usage {
            input_tokens: 1200,
            cached_input_tokens: 1024,
            output_tokens: 20,
            reasoning_tokens: 19,
            ..Usage::default()
        },
        model: Some("gpt-4o-2024-08-06".to_owned()),
        response_id: Some("resp_2".to_owned()),
        log_probabilities: Some(vec![TokenAlternatives {
            chosen: token("8", -0.25),
            top: vec![token("8", -0.25), token("9", -1.75)],
        }]),
        ..ChatResponse::default()
    };
    assert_eq!(ask(Answer::json(200, OK)).await.unwrap(), whole);
    let of_events = ChatResponse {
        text: "Café\n☕".to_owned(),
        reasoning: Some("They are bored.".to_owned()),
        reasoning_kind: ReasoningKind::Summary,
        usage: Usage {
            input_tokens: 2100,
            cached_input_tokens: 2000,
            output_tokens: 15,
            reasoning_tokens: 9,
            ..Usage::default()
        },
        model: Some("gpt-5-mini-2025-08-07".to_owned()),
        response_id: Some("resp_1".to_owned()),
        log_probabilities: None,
        ..whole
    };
    assert_eq!(ask(Answer::events(EVENTS)).await.unwrap(), of_events);
}

#[tokio::test]
async fn refusals_filters_and_truncation_are_outcomes() {
    let part = |part: Value| json!([{"type": "message", "content": [part]}]);
    let text = part(json!({"type": "output_text", "text": "Well"}));
    let cases = [
        (
            json!({"status": "completed", "output": part(json!({"type": "refusal", "refusal": "I can't."}))}),
            ("", Some("I can't."), FinishReason::Stop),
        ),
        (
            json!({"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}, "output": text}),
            ("Well", None, FinishReason::Length),
        ),
        (
            json!({"status": "incomplete", "incomplete_details": {"reason": "content_filter"}, "output": []}),
            ("", None, FinishReason::ContentFilter),
        ),
        (json!({"status": "incomplete", "output": []}), ("", None, FinishReason::Other)),
        (json!({"status": "completed", "output": []}), ("", None, FinishReason::Stop)),
    ];
    for (reply, expected) in cases {
        let status = reply["status"].as_str().unwrap();
        let event = json!({"type": format!("response.{status}"), "response": reply});
        for answer in [Answer::json(200, &reply.to_string()), Answer::events(&format!("data: {event}\n\n"))] {
            let response = ask(answer).await.unwrap();
            let found = (response.text.as_str(), response.refusal.as_deref(), response.finish);
            assert_eq!(found, expected, "{reply}");
        }
    }
}

#[tokio::test]
async fn reasoning_that_is_shown_itself_is_taken() {
    let reply = json!({"status": "completed", "output": [
        {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm."}]},
        {"type": "message", "content": [{"type": "output_text", "text": "Yes."}]}
    ]});
    let response = ask(Answer::json(200, &reply.to_string())).await.unwrap();
    assert_eq!((response.text.as_str(), response.reasoning.as_deref()), ("Yes.", Some("Hm.")));
}

#[tokio::test]
async fn an_error_within_a_stream_is_one() {
    let (begun, _) = EVENTS.split_once("event: response.completed").unwrap();
    let failed = json!({"type": "response.failed", "response": {
        "status": "failed", "output": [], "error": {"code": "server_error", "message": "No."}
    }});
    let flagged = json!({"type": "response.failed", "response": {
        "status": "failed", "output": [], "error": {"code": "invalid_prompt", "message": "It was flagged."}
    }});
    let error =
        json!({"type": "error", "code": "rate_limit_exceeded", "message": "Slow down.", "param": null});
    for (event, name, expected) in [
        (&failed, "event: response.failed\n", ErrorKind::Overloaded),
        (&failed, "", ErrorKind::Overloaded),
        (&flagged, "", ErrorKind::Filtered),
        (&error, "event: error\n", ErrorKind::RateLimited),
        (&error, "", ErrorKind::RateLimited),
    ] {
        let error = ask(Answer::events(&format!("{begun}{name}data: {event}\n\n"))).await.unwrap_err();
        assert_eq!(error.kind, expected, "{event}: {error}");
    }
}
