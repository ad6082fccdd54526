//! What is sent, and what is left out when a server refuses it.

use std::time::Duration;

use serde_json::{Value, json};
use tiltmeter_core::prompt::Placement;
use tiltmeter_models::{
    ChatModel, ContextCaching, Dialect, Endpoint, ErrorKind, OpenAiCompatible, Reasoning, TemperatureField,
    TokenField, provider,
};

use crate::server::{Answer, Server};
use crate::{endpoint, model, request, streamed, with_context};

const OK: &str = r#"{"choices":[{"index":0,"message":{"content":"Hello."},"finish_reason":"stop"}]}"#;

#[tokio::test]
async fn the_smallest_and_the_largest_request() {
    let server = Server::start(vec![Answer::json(200, OK)]).await;
    model(endpoint(&server)).chat(&request()).await.unwrap();

    let mut full = with_context(Placement::FirstUser);
    full.sampling.temperature = 0.5;
    full.sampling.seed = Some(7);
    full.sampling.stop = (1..=5).map(|n| n.to_string()).collect();
    full.sampling.top_log_probabilities = Some(20);
    full.sampling.reasoning = Reasoning::Off;
    let extra = json!({"top_k": 40, "temperature": 0.75});
    let everything = Endpoint {
        send_stop: true,
        extra_body: extra.as_object().unwrap().clone(),
        token_field: TokenField::MaxCompletionTokens,
        ..streamed(&server)
    };
    model(everything).chat(&full).await.unwrap();

    let mut terse = request();
    terse.sampling.reasoning = Reasoning::High;
    model(Endpoint { temperature_field: TemperatureField::UnlessOne, ..endpoint(&server) })
        .chat(&terse)
        .await
        .unwrap();

    let received = server.received();
    assert!(received[0].head.starts_with("POST /v1/chat/completions HTTP/1.1\r\n"), "{}", received[0].head);
    assert!(received[0].head.contains("authorization: Bearer sk-test-key\r\n"), "{}", received[0].head);
    assert_eq!(
        received[0].json(),
        json!({
            "model": "model-1",
            "messages": [{"role": "user", "content": "I am bored."}],
            "temperature": 1.0,
            "max_tokens": 500
        })
    );
    let messages: Vec<Value> =
        full.prompt.messages().map(|it| json!({"role": it.role.name(), "content": it.text()})).collect();
    assert_eq!(
        received[1].json(),
        json!({
            "model": "model-1",
            "messages": messages,
            "max_completion_tokens": 500,
            "seed": 7,
            "logprobs": true,
            "top_logprobs": 20,
            "reasoning_effort": "none",
            "stop": ["1", "2", "3", "4"],
            "stream": true,
            "stream_options": {"include_usage": true},
            "top_k": 40,
            "temperature": 0.75
        })
    );
    assert_eq!(
        received[2].json(),
        json!({
            "model": "model-1",
            "messages": [{"role": "user", "content": "I am bored."}],
            "max_tokens": 500,
            "reasoning_effort": "high"
        })
    );
}

#[tokio::test]
async fn refused_parameters_are_left_out_and_named() {
    let refuses = |text: &str| Answer::json(400, &json!({"error": {"message": text}}).to_string());
    let server = Server::start(vec![
        refuses("seed: Extra inputs are not permitted"),
        refuses("Unsupported value: 'temperature' does not support 0.5"),
        refuses("'max_tokens' is not supported, use 'max_completion_tokens'"),
        refuses("top_logprobs must be at most 5"),
        Answer::json(200, OK),
    ])
    .await;
    let model = model(endpoint(&server));
    let mut asked = request();
    asked.sampling.temperature = 0.5;
    asked.sampling.seed = Some(7);
    asked.sampling.top_log_probabilities = Some(20);
    let response = model.chat(&asked).await.unwrap();
    assert_eq!(response.dropped_parameters, ["seed", "temperature"]);
    let expected = json!({
        "model": "model-1",
        "messages": [{"role": "user", "content": "I am bored."}],
        "max_completion_tokens": 500,
        "logprobs": true,
        "top_logprobs": 5
    });
    assert_eq!(server.received().len(), 5);
    assert_eq!(server.received()[4].json(), expected);

    // What was learnt is kept, and only what was asked for is named.
    asked.sampling.seed = None;
    let response = model.chat(&asked).await.unwrap();
    assert_eq!(response.dropped_parameters, ["temperature"]);
    assert_eq!(server.received().len(), 6);
    assert_eq!(server.received()[5].json(), expected);
}

#[tokio::test]
async fn each_preset_asks_in_its_own_way() {
    let server = Server::start(vec![Answer::json(200, OK)]).await;
    let cases = [
        ("openai", "gpt-4o", json!({"reasoning_effort": "low", "temperature": 1.0})),
        ("openrouter", "m", json!({"reasoning": {"effort": "low"}, "usage": {"include": true}})),
        ("moonshot", "kimi-k2.6", json!({"thinking": {"type": "enabled"}, "temperature": null})),
        ("moonshot", "moonshot-v1-8k", json!({"thinking": {"type": "enabled"}, "temperature": 1.0})),
        ("dashscope", "qwen3-32b", json!({"enable_thinking": true, "thinking_budget": 1024, "stream": true})),
        ("together", "m", json!({"reasoning": {"enabled": true}, "reasoning_effort": "low", "stop": null})),
        ("fireworks", "m", json!({"reasoning_effort": "low", "usage": null})),
        ("xai", "grok-4", json!({"reasoning_effort": "low"})),
        (
            "vllm",
            "m",
            json!({
                "chat_template_kwargs": {"enable_thinking": true, "thinking": true},
                "reasoning_effort": "low"
            }),
        ),
        (
            "llamacpp",
            "m",
            json!({"chat_template_kwargs": {"enable_thinking": true, "reasoning_effort": "low"}}),
        ),
        ("ollama", "m", json!({"reasoning_effort": "low"})),
        ("lmstudio", "m", json!({"reasoning_effort": "low"})),
        (
            "anthropic-openai",
            "claude-sonnet-4-5",
            json!({"thinking": {"type": "enabled", "budget_tokens": 1024}, "reasoning_effort": null}),
        ),
        ("gemini-openai", "gemini-2.5-pro", json!({"reasoning_effort": "low"})),
    ];
    let mut asked = request();
    asked.sampling.max_tokens = 5000;
    asked.sampling.reasoning = Reasoning::Low;
    asked.sampling.stop = vec!["x".to_owned()];
    for (index, (name, model, expected)) in cases.into_iter().enumerate() {
        let preset = Endpoint::of_provider(provider(name).unwrap(), model).unwrap();
        let base_url = server.base_url.parse().unwrap();
        OpenAiCompatible::new(Endpoint { base_url, ..preset }).unwrap().chat(&asked).await.unwrap();
        let sent = server.received()[index].json();
        for (field, value) in expected.as_object().unwrap() {
            assert_eq!(&sent[field], value, "{name}/{model}: {field}");
        }
    }
}

#[tokio::test]
async fn a_parameter_may_be_refused_by_another_name() {
    let refusal = json!({
        "code": "invalid-argument",
        "error": "Model grok-4 does not support parameter reasoningEffort."
    });
    let server = Server::start(vec![Answer::json(400, &refusal.to_string()), Answer::json(200, OK)]).await;
    let mut asked = request();
    asked.sampling.reasoning = Reasoning::Low;
    let response = model(endpoint(&server)).chat(&asked).await.unwrap();
    assert_eq!(response.dropped_parameters, ["reasoning"]);
}

#[tokio::test]
async fn a_field_of_the_users_own_replaces_how_a_preset_says_it() {
    let server = Server::start(vec![Answer::json(200, OK)]).await;
    let preset = Endpoint::of_provider(provider("openrouter").unwrap(), "m").unwrap();
    let extra = json!({"reasoning": {"max_tokens": 7}, "usage": {"include": false}});
    let extra_body = extra.as_object().unwrap().clone();
    let base_url = server.base_url.parse().unwrap();
    let mut asked = request();
    asked.sampling.reasoning = Reasoning::High;
    OpenAiCompatible::new(Endpoint { base_url, extra_body, ..preset }).unwrap().chat(&asked).await.unwrap();
    let body = String::from_utf8(server.received()[0].body.clone()).unwrap();
    assert!(body.contains(r#""reasoning":{"max_tokens":7},"usage":{"include":false}"#), "{body}");
    assert_eq!(body.matches("\"reasoning\"").count(), 1, "{body}");
    assert_eq!(body.matches("\"usage\"").count(), 1, "{body}");
}

#[tokio::test]
async fn a_temperature_above_one_is_not_sent_to_a_server_that_would_cut_it() {
    let server = Server::start(vec![Answer::json(200, OK)]).await;
    let preset = Endpoint::of_provider(provider("anthropic-openai").unwrap(), "claude-sonnet-4-5").unwrap();
    let base_url = server.base_url.parse().unwrap();
    let mut asked = request();
    asked.sampling.temperature = 1.5;
    let model = OpenAiCompatible::new(Endpoint { base_url, ..preset }).unwrap();
    assert_eq!(model.chat(&asked).await.unwrap_err().kind, ErrorKind::BadRequest);
    assert_eq!(server.received().len(), 0);
}

#[tokio::test]
async fn a_server_that_refuses_everything_is_asked_a_bounded_number_of_times() {
    let text =
        "seed, temperature, logprobs, reasoning_effort, max_tokens and max_completion_tokens are unsupported";
    let server = Server::start(vec![Answer::json(400, &json!({"error": text}).to_string())]).await;
    let model = model(endpoint(&server));
    let mut asked = request();
    asked.sampling.seed = Some(7);
    asked.sampling.top_log_probabilities = Some(5);
    asked.sampling.reasoning = Reasoning::Low;
    for round in 1..=2 {
        let error = model.chat(&asked).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::BadRequest);
        // The first time, one each for seed, temperature, log-probabilities and reasoning, and two for the length
        // limit's two names. Nothing is remembered, as the request never succeeded.
        assert_eq!(server.received().len(), 7 * round);
    }
}

#[tokio::test]
async fn credentials_in_the_address_are_sent_and_never_shown() {
    let server = Server::start(vec![Answer::json(500, r#"{"error":{"message":"no"}}"#)]).await;
    let address = server.base_url.replace("http://", "http://me:hunter2@") + "?api-version=hunter2";
    let endpoint = Endpoint::new(address.parse().unwrap(), "m");
    let model = model(endpoint);
    let shown = format!("{:?} {:?} {}", model, model.endpoint(), model.chat(&request()).await.unwrap_err());
    assert!(!shown.contains("hunter2"), "{shown}");
    let head = &server.received()[0].head;
    assert!(head.starts_with("POST /v1/chat/completions?api-version=hunter2 "), "{head}");
    assert!(head.contains("authorization: Basic bWU6aHVudGVyMg==\r\n"), "{head}");
}

#[tokio::test]
async fn what_cannot_be_sent_is_refused_at_once() {
    let server = Server::start(vec![Answer::json(200, OK)]).await;
    let extra = json!({"messages": []}).as_object().unwrap().clone();
    let error = OpenAiCompatible::new(Endpoint { extra_body: extra, ..endpoint(&server) }).unwrap_err();
    assert_eq!(
        (error.kind, error.message.as_str()),
        (ErrorKind::BadRequest, "`messages` cannot be set as an extra field of the request: take it out")
    );
    let key = Some("two\nlines".into());
    let error = OpenAiCompatible::new(Endpoint { api_key: key, ..endpoint(&server) }).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unauthorised);
    assert!(!error.message.contains("lines"));
    // The line's end of a key file is not part of the key.
    let key = Some("sk-test-key\n".into());
    model(Endpoint { api_key: key, ..endpoint(&server) }).chat(&request()).await.unwrap();
    assert!(server.received()[0].head.contains("authorization: Bearer sk-test-key\r\n"));
}

#[test]
fn a_client_for_an_encrypted_address_can_be_made() {
    let endpoint = Endpoint::new("https://example.com/v1".parse().unwrap(), "m");
    let made = OpenAiCompatible::new(endpoint).map(drop).map_err(|error| error.to_string());
    assert_eq!(made, Ok(()));
}

#[tokio::test]
async fn openrouter_is_told_where_the_context_ends() {
    let explicit = ContextCaching::Explicit { time_to_live: Duration::from_mins(5) };
    let mark = json!({"type": "ephemeral"});
    let plain = |text: &str| json!({"type": "text", "text": text});
    let marked = |text: &str| json!({"type": "text", "text": text, "cache_control": mark});
    for (model_name, caching, placement, is_marked) in [
        ("anthropic/claude-sonnet-4.5", ContextCaching::Implicit, Placement::FirstUser, true),
        ("anthropic/claude-sonnet-4.5", ContextCaching::Implicit, Placement::ChatTurns, true),
        ("anthropic/claude-sonnet-4.5", ContextCaching::Implicit, Placement::System, true),
        ("google/gemini-2.5-pro", ContextCaching::Implicit, Placement::ChatTurns, false),
        ("google/gemini-2.5-pro", explicit, Placement::ChatTurns, true),
        ("google/gemini-2.5-pro", explicit, Placement::System, true),
        // The mark would end the message, and make another prompt of it.
        ("google/gemini-2.5-pro", explicit, Placement::FirstUser, false),
        ("openai/gpt-4o", explicit, Placement::ChatTurns, false),
    ] {
        let server = Server::start(vec![Answer::json(200, OK)]).await;
        let asked = Endpoint {
            model: model_name.to_owned(),
            dialect: Dialect::OpenRouter,
            context_caching: caching,
            ..endpoint(&server)
        };
        let request = with_context(placement);
        model(asked).chat(&request).await.unwrap();
        let sent = server.received()[0].json();
        let messages = sent["messages"].as_array().unwrap();
        let marks = sent.to_string().matches("cache_control").count();
        assert_eq!(marks, usize::from(is_marked), "{model_name} {placement:?}");
        // The text is the same, marks or not.
        let expected: Vec<String> = request.prompt.messages().map(|message| message.text()).collect();
        let text = |message: &Value| match &message["content"] {
            Value::String(text) => text.clone(),
            parts => parts.as_array().unwrap().iter().map(|part| part["text"].as_str().unwrap()).collect(),
        };
        assert_eq!(messages.iter().map(text).collect::<Vec<_>>(), expected, "{model_name} {placement:?}");
        if is_marked && placement == Placement::ChatTurns {
            assert_eq!(messages[4]["content"], json!([marked("☕")]));
            assert_eq!(messages[5]["content"], json!([plain("I am bored.")]));
        }
    }
}
