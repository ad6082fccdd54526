//! Gemini's own protocol.

use serde_json::json;
use tiltmeter_core::prompt::Placement;
use tiltmeter_core::treatment::ReasoningKind;
use tiltmeter_models::{
    Api, ChatModel, ChatRequest, ChatResponse, Endpoint, ErrorKind, FinishReason, Gemini, ModelError,
    Reasoning, TemperatureField, TokenAlternatives, TokenLogProbability, Usage,
};

use crate::server::{Answer, Server};
use crate::{check_failures, endpoint, request, streamed, with_context};

const OK: &str = include_str!("../fixtures/gemini/reply.json");
const EVENTS: &str = include_str!("../fixtures/gemini/stream.sse");

fn named(endpoint: Endpoint, model: &str) -> Gemini {
    Gemini::new(Endpoint { model: model.to_owned(), ..endpoint }).unwrap()
}

async fn ask(answer: Answer) -> Result<ChatResponse, ModelError> {
    let server = Server::start(vec![answer]).await;
    let mut request = request();
    request.sampling.top_log_probabilities = Some(5);
    named(streamed(&server), "gemini-2.5-flash").chat(&request).await
}

#[tokio::test]
async fn what_the_server_says_when_it_fails() {
    check_failures(Api::Gemini, include_str!("../fixtures/gemini/errors.json")).await;
}

#[tokio::test]
async fn the_smallest_and_the_largest_request() {
    let server = Server::start(vec![Answer::json(200, OK)]).await;
    let plain = Endpoint { temperature_field: TemperatureField::UnlessOne, ..endpoint(&server) };
    named(plain, "gemini-2.0-flash").chat(&request()).await.unwrap();

    let mut full = with_context(Placement::ChatTurns);
    full.sampling.temperature = 0.5;
    full.sampling.seed = Some(7);
    full.sampling.stop = (1..=6).map(|n| n.to_string()).collect();
    full.sampling.top_log_probabilities = Some(20);
    full.sampling.reasoning = Reasoning::Medium;
    let extra = json!({
        "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}],
        "generationConfig": {"topK": 40, "temperature": 0.75}
    });
    let everything =
        Endpoint { send_stop: true, extra_body: extra.as_object().unwrap().clone(), ..streamed(&server) };
    named(everything, "gemini-2.5-pro").chat(&full).await.unwrap();

    let received = server.received();
    assert!(received[0].head.starts_with("POST /v1/models/gemini-2.0-flash:generateContent HTTP/1.1\r\n"));
    assert_eq!(
        received[0].json(),
        json!({
            "contents": [{"role": "user", "parts": [{"text": "I am bored."}]}],
            "generationConfig": {"maxOutputTokens": 500}
        })
    );
    let head = &received[1].head;
    assert!(head.starts_with("POST /v1/models/gemini-2.5-pro:streamGenerateContent?alt=sse "), "{head}");
    let turn = |role: &str, text: &str| json!({"role": role, "parts": [{"text": text}]});
    assert_eq!(
        received[1].json(),
        json!({
            "systemInstruction": {"parts": [{"text": "Be kind."}]},
            "contents": [
                turn("user", "a \"quoted\"\tprompt\u{2028}"),
                turn("model", "an answer\u{1}"),
                turn("user", "b"),
                turn("model", "☕"),
                turn("user", "I am bored.")
            ],
            "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}],
            "generationConfig": {
                "temperature": 0.75,
                "maxOutputTokens": 500,
                "seed": 7,
                "stopSequences": ["1", "2", "3", "4", "5"],
                "responseLogprobs": true,
                "logprobs": 20,
                "thinkingConfig": {"thinkingBudget": 8192, "includeThoughts": true},
                "topK": 40
            }
        })
    );
}

#[tokio::test]
async fn how_much_to_think() {
    let server = Server::start(vec![Answer::json(200, OK)]).await;
    let cases = [
        ("gemini-2.0-flash", Reasoning::Default, json!(null)),
        ("gemini-2.5-flash", Reasoning::Default, json!({"includeThoughts": true})),
        ("gemini-2.5-flash", Reasoning::Off, json!({"thinkingBudget": 0})),
        ("gemini-2.5-flash", Reasoning::High, json!({"thinkingBudget": 24576, "includeThoughts": true})),
        ("gemini-3-flash-preview", Reasoning::Off, json!({"thinkingLevel": "minimal"})),
        ("gemini-3-pro", Reasoning::Low, json!({"thinkingLevel": "low", "includeThoughts": true})),
    ];
    for (index, (model, reasoning, expected)) in cases.into_iter().enumerate() {
        let mut asked = request();
        asked.sampling.reasoning = reasoning;
        named(endpoint(&server), model).chat(&asked).await.unwrap();
        let sent = server.received()[index].json();
        assert_eq!(sent["generationConfig"]["thinkingConfig"], expected, "{model} {reasoning:?}");
    }
}

#[tokio::test]
async fn refused_parameters_are_left_out_and_named() {
    let refuses =
        |text: &str| Answer::json(400, &json!({"error": {"code": 400, "message": text}}).to_string());
    let server = Server::start(vec![
        refuses("Logprobs is not enabled for models/gemini-2.5-pro"),
        refuses("include_thoughts is not supported for this model"),
        refuses("Thinking level MINIMAL is not supported for this model"),
        Answer::json(200, OK),
    ])
    .await;
    let model = named(endpoint(&server), "gemini-3-pro");
    let mut asked = request();
    asked.sampling.reasoning = Reasoning::Low;
    asked.sampling.top_log_probabilities = Some(5);
    let response = model.chat(&asked).await.unwrap();
    assert_eq!(response.dropped_parameters, ["top_log_probabilities", "reasoning"]);
    let received = server.received();
    assert_eq!(received.len(), 4);
    let expected = json!({"temperature": 1.0, "maxOutputTokens": 500});
    assert_eq!(received[3].json()["generationConfig"], expected);
    // What was learnt is kept.
    model.chat(&asked).await.unwrap();
    assert_eq!(server.received().len(), 5);
}

#[tokio::test]
async fn whole_and_streamed_replies() {
    let token =
        |token: &str, log_probability: f64| TokenLogProbability { token: token.to_owned(), log_probability };
    let whole = ChatResponse {
        text: "85".to_owned(),
        reasoning: Some("They ask for a number.".to_owned()),
        reasoning_kind: ReasoningKind::Summary,
        finish: FinishReason::Stop,
        usage: Usage {
            input_tokens: 1200,
            cached_input_tokens: 1024,
            output_tokens: 32,
            reasoning_tokens: 30,
            ..Usage::default()
        },
        model: Some("gemini-2.5-flash".to_owned()),
        response_id: Some("r-2".to_owned()),
        log_probabilities: Some(vec![
            TokenAlternatives { chosen: token("8", -0.25), top: vec![token("8", -0.25), token("9", -1.75)] },
            TokenAlternatives { chosen: token("5", -0.5), top: vec![token("5", -0.5)] },
        ]),
        ..ChatResponse::default()
    };
    assert_eq!(ask(Answer::json(200, OK)).await.unwrap(), whole);
    let of_events = ChatResponse {
        text: "Café\n☕".to_owned(),
        reasoning: Some("They are bored.".to_owned()),
        reasoning_kind: ReasoningKind::Summary,
        finish: FinishReason::Stop,
        usage: Usage {
            input_tokens: 2100,
            cached_input_tokens: 2000,
            output_tokens: 12,
            reasoning_tokens: 9,
            ..Usage::default()
        },
        model: Some("gemini-2.5-flash".to_owned()),
        response_id: Some("r-1".to_owned()),
        ..ChatResponse::default()
    };
    assert_eq!(ask(Answer::events(EVENTS)).await.unwrap(), of_events);
}

#[tokio::test]
async fn filters_and_truncation_are_outcomes() {
    let blocked = include_str!("../fixtures/gemini/blocked.json");
    for answer in
        [Answer::json(200, blocked), Answer::events(&format!("data: {}\n\n", blocked.replace('\n', " ")))]
    {
        let response = ask(answer).await.unwrap();
        assert_eq!((response.text.as_str(), response.finish), ("", FinishReason::ContentFilter));
        assert_eq!((response.usage.input_tokens, response.response_id.as_deref()), (7, Some("r-3")));
    }
    for (reason, expected) in [
        ("STOP", FinishReason::Stop),
        ("MAX_TOKENS", FinishReason::Length),
        ("SAFETY", FinishReason::ContentFilter),
        ("RECITATION", FinishReason::ContentFilter),
        ("PROHIBITED_CONTENT", FinishReason::ContentFilter),
        ("BLOCKLIST", FinishReason::ContentFilter),
        ("SPII", FinishReason::ContentFilter),
        ("LANGUAGE", FinishReason::Other),
        ("OTHER", FinishReason::Other),
        ("SOMETHING_NEW", FinishReason::Other),
    ] {
        // No content at all, as a withheld answer has none.
        let piece = json!({"candidates": [{"finishReason": reason, "index": 0}]}).to_string();
        let response = ask(Answer::events(&format!("data: {piece}\n\n"))).await.unwrap();
        assert_eq!((response.text.as_str(), response.finish), ("", expected), "{reason}");
    }
}

#[tokio::test]
async fn an_error_within_a_stream_is_one() {
    let (first, _) = EVENTS.split_once("\n\n").unwrap();
    let error = r#"{"error":{"code":503,"message":"The model is overloaded.","status":"UNAVAILABLE"}}"#;
    let answer = Answer::events(&format!("{first}\n\ndata: {error}\n\n"));
    let error = ask(answer).await.unwrap_err();
    assert_eq!((error.kind, error.message.as_str()), (ErrorKind::Overloaded, "The model is overloaded."));
}

#[tokio::test]
async fn names_of_models_may_say_what_they_are() {
    let server = Server::start(vec![Answer::json(200, OK)]).await;
    for (index, name) in ["models/gemini-2.5-flash", "tunedModels/mine"].into_iter().enumerate() {
        let request = ChatRequest { ..request() };
        named(endpoint(&server), name).chat(&request).await.unwrap();
        let head = &server.received()[index].head;
        assert!(head.starts_with(&format!("POST /v1/{name}:generateContent ")), "{head}");
    }
}
