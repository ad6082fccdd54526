//! What holds for every protocol.

use std::sync::Arc;
use std::time::Duration;

use tiltmeter_core::prompt::{Placement, Prompt, QuestionFormat, RenderedContext, Role, Turn};
use tiltmeter_models::{
    Anthropic, Api, ChatRequest, Endpoint, ErrorKind, Gemini, OpenAiCompatible, OpenAiResponses, RateLimit,
};

use crate::server::{Answer, Server};
use crate::{KEY, endpoint, open, request, streamed};

/// A protocol, a reply in it, a streamed one, and the path and the key's header that it is asked with.
type Protocol = (Api, &'static str, &'static str, &'static str, &'static str);

const PROTOCOLS: [Protocol; 4] = [
    (
        Api::ChatCompletions,
        include_str!("../fixtures/openai_compatible/openai.json"),
        include_str!("../fixtures/openai_compatible/openai.sse"),
        "/v1/chat/completions",
        "authorization: Bearer sk-test-key\r\n",
    ),
    (
        Api::Responses,
        include_str!("../fixtures/openai_responses/reply.json"),
        include_str!("../fixtures/openai_responses/stream.sse"),
        "/v1/responses",
        "authorization: Bearer sk-test-key\r\n",
    ),
    (
        Api::Gemini,
        include_str!("../fixtures/gemini/reply.json"),
        include_str!("../fixtures/gemini/stream.sse"),
        "/v1/models/model-1:generateContent",
        "x-goog-api-key: sk-test-key\r\n",
    ),
    (
        Api::Anthropic,
        include_str!("../fixtures/anthropic/reply.json"),
        include_str!("../fixtures/anthropic/stream.sse"),
        "/v1/messages",
        "x-api-key: sk-test-key\r\n",
    ),
];

#[tokio::test]
async fn the_key_goes_in_its_header_and_nowhere_else() {
    for (api, reply, _, path, header) in PROTOCOLS {
        let server = Server::start(vec![Answer::json(200, reply)]).await;
        open(api, endpoint(&server)).chat(&request()).await.unwrap();
        let received = &server.received()[0];
        assert!(received.head.starts_with(&format!("POST {path} HTTP/1.1\r\n")), "{}", received.head);
        assert!(received.head.contains(header), "{}", received.head);
        assert_eq!(received.head.matches(KEY).count(), 1, "{}", received.head);
        assert!(!String::from_utf8_lossy(&received.body).contains(KEY));

        // A server that repeats the key, whatever it answers.
        let repeats =
            format!("{{\"error\":{{\"message\":\"no {KEY}\",\"details\":[{{\"reason\":\"{KEY}\"}}]}}}}");
        for answer in [
            Answer::json(200, &repeats),
            Answer::json(400, &repeats),
            Answer::json(200, KEY),
            Answer::events(&format!("event: error\ndata: {repeats}\n\n")),
            Answer::events(&format!("data: {KEY}\n\n")),
        ] {
            let server = Server::start(vec![answer]).await;
            let error = open(api, streamed(&server)).chat(&request()).await.unwrap_err();
            assert!(!format!("{error} {error:?}").contains(KEY), "{error:?}");
        }
    }
}

#[tokio::test]
async fn a_server_may_stream_or_not_whatever_was_asked_for() {
    for (api, reply, stream, ..) in PROTOCOLS {
        let whole = open(api, endpoint(&Server::start(vec![Answer::json(200, reply)]).await));
        let whole = whole.chat(&request()).await.unwrap();
        let streamed_anyway = open(api, endpoint(&Server::start(vec![Answer::events(stream)]).await));
        let streamed_anyway = streamed_anyway.chat(&request()).await.unwrap();
        assert_eq!(streamed_anyway.text, "Café\n☕", "{api:?}");
        let asked = open(api, streamed(&Server::start(vec![Answer::json(200, reply)]).await));
        assert_eq!(asked.chat(&request()).await.unwrap(), whole, "{api:?}");
        // A proxy that lost the content type.
        let lost = Answer::new(200, &[("content-type", "text/plain")], stream.as_bytes());
        let asked = open(api, streamed(&Server::start(vec![lost]).await));
        assert_eq!(asked.chat(&request()).await.unwrap(), streamed_anyway, "{api:?}");
    }
}

#[tokio::test]
async fn a_reply_that_breaks_off_is_no_answer() {
    for (api, reply, stream, ..) in PROTOCOLS {
        for answer in [
            Answer::json(200, reply).cut(3),
            Answer::events(stream).cut(stream.len() / 2),
            Answer::Bytes(b"HTTP/1.1 200 OK\r\ncontent-le".to_vec()),
            Answer::Bytes(Vec::new()),
        ] {
            let server = Server::start(vec![answer]).await;
            let error = open(api, streamed(&server)).chat(&request()).await.unwrap_err();
            assert_eq!(error.kind, ErrorKind::Interrupted, "{api:?}: {error}");
        }
    }
}

#[tokio::test]
async fn the_servers_limits_are_told_with_replies_and_errors() {
    for (api, reply, ..) in PROTOCOLS {
        let limits = [
            ("content-type", "application/json"),
            ("x-ratelimit-limit-requests", "500"),
            ("x-ratelimit-remaining-requests", "0"),
            ("x-ratelimit-reset-requests", "12ms"),
        ];
        let server = Server::start(vec![
            Answer::new(200, &limits, reply.as_bytes()),
            Answer::new(429, &limits, b"{}"),
            Answer::new(200, &limits, b"[]"),
            Answer::json(200, reply),
        ])
        .await;
        let model = open(api, endpoint(&server));
        let expected =
            RateLimit { limit: Some(500), remaining: Some(0), reset: Some(Duration::from_millis(12)) };
        let answered = model.chat(&request()).await.unwrap();
        assert_eq!(answered.rate_limits.unwrap().requests, expected);
        let refused = model.chat(&request()).await.unwrap_err();
        assert_eq!((refused.kind, refused.retry_after), (ErrorKind::RateLimited, expected.reset));
        assert_eq!(refused.rate_limits.unwrap().requests, expected);
        let malformed = model.chat(&request()).await.unwrap_err();
        assert_eq!(malformed.kind, ErrorKind::MalformedReply);
        assert_eq!(malformed.rate_limits.unwrap().requests, expected);
        assert_eq!(model.chat(&request()).await.unwrap().rate_limits, None);
    }
}

#[tokio::test]
async fn a_long_context_arrives_whole_and_with_its_length() {
    let pairs = (0..1024).map(|_| ("How do I \"save\"?", "Put it all on one horse.\n☕ And again."));
    for (api, reply, ..) in PROTOCOLS {
        for placement in [Placement::FirstUser, Placement::ChatTurns, Placement::System] {
            let context: Arc<_> =
                RenderedContext::render(pairs.clone(), placement, QuestionFormat::Header).into();
            let server = Server::start(vec![Answer::json(200, reply)]).await;
            let model = open(api, endpoint(&server));
            for question in ["I am bored.", "What now?"] {
                let context = Arc::clone(&context);
                let prompt = Prompt::new(context, None, question);
                model.chat(&ChatRequest { prompt: prompt.into(), ..request() }).await.unwrap();
            }
            for (received, question) in server.received().iter().zip(["I am bored.", "What now?"]) {
                assert!(!received.head.contains("transfer-encoding"), "{}", received.head);
                let shown = received.json().to_string();
                assert!(shown.contains(question));
                let times = shown.matches("Put it all on one horse.\\n☕ And again.").count();
                assert_eq!(times, 1024, "{api:?} {placement:?}");
            }
        }
    }
}

#[tokio::test]
async fn extra_fields_that_would_make_another_request_are_refused() {
    let server = Server::start(vec![Answer::json(500, "{}")]).await;
    for (api, field) in [
        (Api::ChatCompletions, "messages"),
        (Api::Responses, "input"),
        (Api::Gemini, "contents"),
        (Api::Gemini, "system_instruction"),
        (Api::Anthropic, "system"),
    ] {
        let mut extra = Endpoint { ..endpoint(&server) };
        extra.extra_body.insert(field.to_owned(), "x".into());
        let error = api.open(extra).map(drop).unwrap_err();
        assert_eq!(error.kind, ErrorKind::BadRequest, "{api:?} {field}");
    }
}

#[tokio::test]
async fn credentials_in_the_address_are_never_shown() {
    let server = Server::start(vec![Answer::json(500, r#"{"error":{"message":"no"}}"#)]).await;
    let address = server.base_url.replace("http://", "http://me:hunter2@") + "?token=hunter2";
    let given = || Endpoint { api_key: Some(KEY.into()), ..Endpoint::new(address.parse().unwrap(), "m") };
    let shown = format!(
        "{:?} {:?} {:?} {:?}",
        OpenAiCompatible::new(given()).unwrap(),
        OpenAiResponses::new(given()).unwrap(),
        Gemini::new(given()).unwrap(),
        Anthropic::new(given()).unwrap()
    );
    assert!(!shown.contains("hunter2") && !shown.contains(KEY), "{shown}");
    for (index, (api, ..)) in PROTOCOLS.into_iter().enumerate() {
        let error = open(api, given()).chat(&request()).await.unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("hunter2") && !shown.contains(KEY), "{shown}");
        let head = &server.received()[index].head;
        assert!(head.contains("?token=hunter2 ") && !head.contains("hunter2@"), "{head}");
    }
}

#[tokio::test]
async fn a_turn_of_the_systems_is_refused_where_it_has_no_place() {
    let turns = [Turn { role: Role::System, text: "Be kind.".into() }];
    let context =
        RenderedContext::from_parts(Placement::ChatTurns, QuestionFormat::Plain, "".into(), turns.into());
    let prompt = Prompt::new(context.into(), None, "I am bored.");
    let asked = ChatRequest { prompt: prompt.into(), ..request() };
    for (api, reply, ..) in PROTOCOLS {
        let server = Server::start(vec![Answer::json(200, reply)]).await;
        let outcome = open(api, endpoint(&server)).chat(&asked).await.map_err(|error| error.kind);
        match api {
            Api::Gemini | Api::Anthropic => assert_eq!(outcome, Err(ErrorKind::BadRequest), "{api:?}"),
            Api::ChatCompletions | Api::Responses => {
                outcome.unwrap();
                let sent = server.received()[0].json();
                let messages = sent.get("messages").or(sent.get("input")).unwrap();
                assert_eq!(messages.as_array().unwrap().len(), 2, "{sent}");
            }
        }
    }
}
