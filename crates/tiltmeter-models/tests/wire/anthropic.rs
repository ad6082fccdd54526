//! Anthropic's messages API.

use serde_json::{Value, json};
use tiltmeter_core::prompt::Placement;
use tiltmeter_core::treatment::ReasoningKind;
use tiltmeter_models::{
    Anthropic, Api, ChatModel, ChatResponse, Endpoint, ErrorKind, FinishReason, ModelError, Reasoning, Usage,
    provider,
};

use crate::server::{Answer, Server};
use crate::{KEY, check_failures, endpoint, request, streamed, with_context};

const OK: &str = include_str!("../fixtures/anthropic/reply.json");
const EVENTS: &str = include_str!("../fixtures/anthropic/stream.sse");

/// As the preset sets it up.
fn named(server: &Server, model: &str) -> Anthropic {
    let preset = Endpoint::of_provider(provider("anthropic").unwrap(), model).unwrap();
    let base_url = server.base_url.parse().unwrap();
    Anthropic::new(Endpoint { base_url, api_key: Some(KEY.into()), ..preset }).unwrap()
}

async fn ask(answer: Answer) -> Result<ChatResponse, ModelError> {
    let server = Server::start(vec![answer]).await;
    Anthropic::new(streamed(&server)).unwrap().chat(&request()).await
}

#[tokio::test]
async fn what_the_server_says_when_it_fails() {
    check_failures(Api::Anthropic, include_str!("../fixtures/anthropic/errors.json")).await;
}

#[tokio::test]
async fn the_smallest_request() {
    let server = Server::start(vec![Answer::json(200, OK)]).await;
    let response = named(&server, "claude-opus-4-7").chat(&request()).await.unwrap();
    assert_eq!(response.dropped_parameters, Vec::<&str>::new());
    let received = &server.received()[0];
    assert!(received.head.contains("anthropic-version: 2023-06-01\r\n"), "{}", received.head);
    assert_eq!(
        received.json(),
        json!({
            "model": "claude-opus-4-7",
            "max_tokens": 500,
            "messages": [{"role": "user", "content": [{"type": "text", "text": "I am bored."}]}]
        })
    );
}

#[tokio::test]
async fn the_shared_context_ends_at_a_breakpoint() {
    let server = Server::start(vec![Answer::json(200, OK)]).await;
    let text = |text: &str| json!({"type": "text", "text": text});
    let cached = |text: &str| json!({"type": "text", "text": text, "cache_control": {"type": "ephemeral"}});
    let demonstrations = "### Prompt: a \"quoted\"\tprompt\u{2028}\n### Response: an answer\u{1}\n\n\
                          ### Prompt: b\n### Response: ☕";
    let turn = |role: &str, content: Value| json!({"role": role, "content": [content]});
    let cases = [
        (
            Placement::FirstUser,
            json!([text("Be kind.")]),
            json!([{"role": "user", "content": [
                cached(&format!("{demonstrations}\n\n")),
                text("### Prompt: I am bored.\n### Response:")
            ]}]),
        ),
        (
            Placement::System,
            json!([cached(&format!("Be kind.\n\n{demonstrations}"))]),
            json!([turn("user", text("I am bored."))]),
        ),
        (
            Placement::ChatTurns,
            json!([text("Be kind.")]),
            json!([
                turn("user", text("a \"quoted\"\tprompt\u{2028}")),
                turn("assistant", text("an answer\u{1}")),
                turn("user", text("b")),
                turn("assistant", cached("☕")),
                turn("user", text("I am bored."))
            ]),
        ),
    ];
    for (index, (placement, system, messages)) in cases.into_iter().enumerate() {
        named(&server, "claude-sonnet-4-5").chat(&with_context(placement)).await.unwrap();
        let sent = server.received()[index].json();
        assert_eq!((&sent["system"], &sent["messages"]), (&system, &messages), "{placement:?}");
    }
}

/// A model and its settings; the `thinking`, `output_config` and temperature that are sent; what is dropped.
type Thinking = (&'static str, Reasoning, f64, Value, Value, Value, &'static [&'static str]);

#[tokio::test]
async fn how_much_to_think_and_what_is_dropped_for_it() {
    let server = Server::start(vec![Answer::json(200, OK)]).await;
    let budget = |tokens: u32| json!({"type": "enabled", "budget_tokens": tokens});
    let adaptive = json!({"type": "adaptive", "display": "summarized"});
    let cases: [Thinking; 6] = [
        ("claude-sonnet-4-5", Reasoning::Default, 0.5, json!(null), json!(null), json!(0.5), &[]),
        ("claude-sonnet-4-5", Reasoning::Off, 0.5, json!({"type": "disabled"}), json!(null), json!(0.5), &[]),
        ("claude-sonnet-4-5", Reasoning::Low, 1.0, budget(1024), json!(null), json!(null), &[]),
        ("claude-sonnet-4-5", Reasoning::High, 0.0, budget(4000), json!(null), json!(null), &["temperature"]),
        (
            "claude-opus-4-7",
            Reasoning::High,
            1.0,
            adaptive.clone(),
            json!({"effort": "high"}),
            json!(null),
            &[],
        ),
        (
            "claude-opus-4-7",
            Reasoning::Low,
            0.0,
            adaptive,
            json!({"effort": "low"}),
            json!(null),
            &["temperature"],
        ),
    ];
    for (index, (model, reasoning, temperature, thinking, output, sent_temperature, dropped)) in
        cases.into_iter().enumerate()
    {
        let mut asked = request();
        asked.sampling.max_tokens = 5000;
        asked.sampling.reasoning = reasoning;
        asked.sampling.temperature = temperature;
        let response = named(&server, model).chat(&asked).await.unwrap();
        assert_eq!(response.dropped_parameters, dropped, "{model} {reasoning:?}");
        let sent = server.received()[index].json();
        let found = (&sent["thinking"], &sent["output_config"], &sent["temperature"]);
        assert_eq!(found, (&thinking, &output, &sent_temperature), "{model} {reasoning:?}");
    }
}

#[tokio::test]
async fn settings_that_the_protocol_has_no_field_for_are_named() {
    let server = Server::start(vec![Answer::json(200, OK)]).await;
    let mut asked = request();
    asked.sampling.seed = Some(7);
    asked.sampling.top_log_probabilities = Some(5);
    asked.sampling.stop = vec!["\n### Prompt:".to_owned()];
    let response = named(&server, "claude-sonnet-4-5").chat(&asked).await.unwrap();
    assert_eq!(response.dropped_parameters, ["top_log_probabilities", "seed"]);
    let sent = server.received()[0].json();
    assert_eq!(sent["stop_sequences"], json!(["\n### Prompt:"]));
    assert_eq!(sent.as_object().unwrap().len(), 4, "{sent}");
}

#[tokio::test]
async fn what_would_be_another_request_is_refused_before_it_is_sent() {
    let server = Server::start(vec![Answer::json(200, OK)]).await;
    let model = named(&server, "claude-sonnet-4-5");
    let mut hot = request();
    hot.sampling.temperature = 1.2;
    let error = model.chat(&hot).await.unwrap_err();
    let message = "Anthropic's models take a temperature from 0 to 1, not 1.2: set it to 1 or below";
    assert_eq!((error.kind, error.message.as_str()), (ErrorKind::BadRequest, message));
    let mut short = request();
    short.sampling.reasoning = Reasoning::Low;
    let error = model.chat(&short).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::BadRequest);
    assert!(error.message.contains("`max_tokens` is 500"), "{error}");
    assert_eq!(server.received().len(), 0);
}

#[tokio::test]
async fn a_temperature_that_a_model_refuses_is_dropped() {
    let refusal = json!({"type": "error", "error": {
        "type": "invalid_request_error",
        "message": "`temperature` is deprecated for this model."
    }});
    let server = Server::start(vec![Answer::json(400, &refusal.to_string()), Answer::json(200, OK)]).await;
    let mut asked = request();
    asked.sampling.temperature = 0.0;
    let response = named(&server, "claude-opus-4-7").chat(&asked).await.unwrap();
    assert_eq!(response.dropped_parameters, ["temperature"]);
    assert_eq!(server.received()[1].json()["temperature"], json!(null));
}

#[tokio::test]
async fn whole_and_streamed_replies() {
    let usage = Usage {
        input_tokens: 2112,
        cached_input_tokens: 2000,
        cache_write_tokens: 100,
        output_tokens: 40,
        reasoning_tokens: 30,
        cost_usd: None,
    };
    let whole = ChatResponse {
        text: "Read a book.".to_owned(),
        reasoning: Some("They are bored.\n\n[a thought that the provider withholds]".to_owned()),
        reasoning_kind: ReasoningKind::Summary,
        finish: FinishReason::Length,
        usage,
        model: Some("claude-sonnet-4-5-20250929".to_owned()),
        response_id: Some("msg_2".to_owned()),
        ..ChatResponse::default()
    };
    assert_eq!(ask(Answer::json(200, OK)).await.unwrap(), whole);
    let of_events = ChatResponse {
        text: "Café\n☕".to_owned(),
        finish: FinishReason::Stop,
        usage: Usage { output_tokens: 15, reasoning_tokens: 9, ..usage },
        response_id: Some("msg_1".to_owned()),
        ..whole
    };
    assert_eq!(ask(Answer::events(EVENTS)).await.unwrap(), of_events);
}

#[tokio::test]
async fn why_an_answer_ended() {
    let refused = ask(Answer::json(200, include_str!("../fixtures/anthropic/refused.json"))).await.unwrap();
    assert_eq!(refused.refusal.as_deref(), Some("This cannot be answered."));
    assert_eq!((refused.text.as_str(), refused.finish), ("", FinishReason::ContentFilter));
    for (reason, expected) in [
        ("end_turn", FinishReason::Stop),
        ("stop_sequence", FinishReason::Stop),
        ("max_tokens", FinishReason::Length),
        ("model_context_window_exceeded", FinishReason::Length),
        ("refusal", FinishReason::ContentFilter),
        ("pause_turn", FinishReason::Other),
        ("tool_use", FinishReason::Other),
    ] {
        let whole = OK.replace("\"max_tokens\"", &format!("\"{reason}\""));
        assert_eq!(ask(Answer::json(200, &whole)).await.unwrap().finish, expected, "{reason}");
        let events = EVENTS.replace("\"end_turn\"", &format!("\"{reason}\""));
        assert_eq!(ask(Answer::events(&events)).await.unwrap().finish, expected, "{reason}");
    }
}

#[tokio::test]
async fn an_error_within_a_stream_is_one() {
    let (begun, _) = EVENTS.split_once("event: message_delta").unwrap();
    for (kind, expected) in [
        ("overloaded_error", ErrorKind::Overloaded),
        ("rate_limit_error", ErrorKind::RateLimited),
        ("api_error", ErrorKind::Overloaded),
        ("authentication_error", ErrorKind::Unauthorised),
        ("invalid_request_error", ErrorKind::BadRequest),
    ] {
        let error = json!({"type": "error", "error": {"type": kind, "message": "No."}});
        for name in ["event: error\n", ""] {
            let answer = Answer::events(&format!("{begun}{name}data: {error}\n\n"));
            let error = ask(answer).await.unwrap_err();
            assert_eq!((error.kind, error.message.as_str()), (expected, "No."), "{kind}");
        }
    }
}

#[tokio::test]
async fn extra_fields_replace_ours() {
    let server = Server::start(vec![Answer::json(200, OK)]).await;
    let extra = json!({"thinking": {"type": "adaptive"}, "top_k": 40, "max_tokens": 9});
    let given = Endpoint { extra_body: extra.as_object().unwrap().clone(), ..endpoint(&server) };
    let mut asked = request();
    asked.sampling.reasoning = Reasoning::Off;
    Anthropic::new(given).unwrap().chat(&asked).await.unwrap();
    let sent = server.received()[0].json();
    assert_eq!(sent["thinking"], json!({"type": "adaptive"}));
    assert_eq!((&sent["top_k"], &sent["max_tokens"]), (&json!(40), &json!(9)));
    let body = String::from_utf8(server.received()[0].body.clone()).unwrap();
    assert_eq!(body.matches("\"max_tokens\"").count(), 1, "{body}");
}
