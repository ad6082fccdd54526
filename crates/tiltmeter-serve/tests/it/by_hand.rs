//! The protocol, field by field.

use super::*;

#[tokio::test]
async fn chats_have_all_fields() {
    let place = Place::new().await;
    let settings = json!({"seed": 3, "max_tokens": 6, "logprobs": true, "top_logprobs": 2, "n": 2, "top_p": 1, "user": "me"});
    let (status, reply) = place.post("/v1/chat/completions", &chat("hello", settings.clone())).await;
    assert_eq!(status, 200, "{reply}");
    assert_eq!((&reply["object"], &reply["model"]), (&json!("chat.completion"), &json!(NAME)));
    let choices = reply["choices"].as_array().unwrap();
    assert_eq!(choices.len(), 2);
    assert_ne!(choices[0]["message"]["content"], choices[1]["message"]["content"]);
    for (index, choice) in choices.iter().enumerate() {
        assert_eq!((&choice["index"], &choice["message"]["role"]), (&json!(index), &json!("assistant")));
        for token in choice["logprobs"]["content"].as_array().unwrap() {
            assert_eq!(token["top_logprobs"].as_array().unwrap().len(), 2);
            assert!(token["logprob"].as_f64().unwrap() <= 0.0);
        }
    }
    let usage = &reply["usage"];
    assert_eq!(
        usage["prompt_tokens"].as_u64().unwrap() + usage["completion_tokens"].as_u64().unwrap(),
        usage["total_tokens"].as_u64().unwrap()
    );
    // The first of several is what one alone would be, and what was read is there the next time.
    let mut alone = settings;
    alone["n"] = 1.into();
    let (_, again) = place.post("/v1/chat/completions", &chat("hello", alone.clone())).await;
    assert_eq!(again["choices"][0]["message"], choices[0]["message"]);
    assert!(again["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap() > 0);
    // The same in pieces.
    alone["n"] = 2.into();
    alone["stream"] = true.into();
    alone["stream_options"] = json!({"include_usage": true});
    let events = place.events("/v1/chat/completions", &chat("hello", alone)).await;
    let mut texts = [String::new(), String::new()];
    let mut tokens = [0, 0];
    for event in &events {
        assert_eq!(event["object"], "chat.completion.chunk");
        for choice in event["choices"].as_array().unwrap() {
            let index = usize::try_from(choice["index"].as_u64().unwrap()).unwrap();
            texts[index].push_str(choice["delta"]["content"].as_str().unwrap_or(""));
            tokens[index] += choice["logprobs"]["content"].as_array().map_or(0, Vec::len);
        }
    }
    for index in 0..2 {
        assert_eq!(choices[index]["message"]["content"], texts[index].as_str());
        assert_eq!(choices[index]["logprobs"]["content"].as_array().unwrap().len(), tokens[index]);
    }
    let last = events.last().unwrap();
    assert_eq!(last["choices"], json!([]));
    assert_eq!(last["usage"]["completion_tokens"], usage["completion_tokens"]);
    let reasons: Vec<&Value> =
        events.iter().map(|event| &event["choices"][0]["finish_reason"]).filter(|it| !it.is_null()).collect();
    assert_eq!(reasons.len(), 2);
}

#[tokio::test]
async fn completions_echo() {
    let place = Place::new().await;
    let body = json!({"model": NAME, "prompt": ["hello there é日", "the"], "max_tokens": 3, "seed": 1, "echo": true, "logprobs": 1});
    let (status, reply) = place.post("/v1/completions", &body).await;
    assert_eq!(status, 200, "{reply}");
    let choice = &reply["choices"][0];
    let text = choice["text"].as_str().unwrap();
    assert!(text.starts_with("hello there é日"), "{text}");
    let logprobs = &choice["logprobs"];
    let tokens = logprobs["tokens"].as_array().unwrap();
    for list in ["token_logprobs", "top_logprobs", "text_offset"] {
        assert_eq!(logprobs[list].as_array().unwrap().len(), tokens.len());
    }
    assert_eq!((&logprobs["token_logprobs"][0], &logprobs["top_logprobs"][0]), (&Value::Null, &Value::Null));
    // Tokens stand where it is said, but for parts of characters.
    let characters: Vec<char> = text.chars().collect();
    let prompt_length = "hello there é日".chars().count();
    for (token, offset) in tokens.iter().zip(logprobs["text_offset"].as_array().unwrap()) {
        let (token, offset) = (token.as_str().unwrap(), usize::try_from(offset.as_u64().unwrap()).unwrap());
        if offset < prompt_length && !token.contains('\u{fffd}') {
            assert!(
                characters[offset..].iter().collect::<String>().starts_with(token),
                "{token} at {offset}"
            );
        }
    }
    assert_eq!(reply["choices"].as_array().unwrap().len(), 2);
    // Nothing but the prompt, and the same values for its tokens.
    let none =
        json!({"model": NAME, "prompt": "hello there é日", "max_tokens": 0, "echo": true, "logprobs": 1});
    let (_, only) = place.post("/v1/completions", &none).await;
    assert_eq!(only["choices"][0]["text"], "hello there é日");
    let values = only["choices"][0]["logprobs"]["token_logprobs"].as_array().unwrap();
    assert_eq!(values[..], logprobs["token_logprobs"].as_array().unwrap()[..values.len()]);
    // In pieces.
    let mut streamed = body.clone();
    streamed["prompt"] = "hello there é日".into();
    streamed["stream"] = true.into();
    let events = place.events("/v1/completions", &streamed).await;
    let pieces: String =
        events.iter().map(|event| event["choices"][0]["text"].as_str().unwrap_or("")).collect();
    assert_eq!(pieces, text);
    // Tokens instead of text.
    let (_, tokenized) = place.post("/tokenize", &json!({"model": NAME, "prompt": "hello there é日"})).await;
    let mut by_tokens = body;
    by_tokens["prompt"] = tokenized["tokens"].clone();
    let (_, same) = place.post("/v1/completions", &by_tokens).await;
    assert_eq!(same["choices"][0]["text"], text);
    let (_, back) = place.post("/detokenize", &json!({"tokens": tokenized["tokens"]})).await;
    assert_eq!(back["prompt"], "hello there é日");
}

#[tokio::test]
async fn wrong_requests_are_refused_in_the_protocols_form() {
    let place = Place::new().await;
    let chats = "/v1/chat/completions";
    let system = json!([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]);
    let image = json!([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]);
    let cases = [
        (chats, json!({"model": NAME}), 400, "messages"),
        (chats, json!([1]), 400, "cannot be read"),
        (chats, chat("a", json!({"model": "x"})), 404, "does not exist"),
        (chats, chat("a", json!({"messages": []})), 400, "empty"),
        (chats, chat("a", json!({"messages": system})), 400, "last message"),
        (chats, chat("a", json!({"messages": image})), 400, "other than text"),
        (chats, chat("a", json!({"messages": [{"role": "tool", "content": "x"}]})), 400, "tool"),
        (chats, chat("a", json!({"n": 0})), 400, "`n` is 0"),
        (chats, chat("a", json!({"n": 1_000_000})), 400, "`n` is"),
        (chats, chat("a", json!({"temperature": -1})), 400, "temperature"),
        (chats, chat("a", json!({"top_p": 0.9})), 400, "top_p"),
        (chats, chat("a", json!({"tools": [{}]})), 400, "tools"),
        (chats, chat("a", json!({"never_heard_of": 1})), 400, "never_heard_of"),
        (chats, chat("a", json!({"logprobs": true, "top_logprobs": 21})), 400, "`top_logprobs` is 21"),
        (chats, chat("a", json!({"top_logprobs": 2})), 400, "needs `logprobs`"),
        (chats, chat("a", json!({"stop": vec!["x"; 17]})), 400, "17 texts"),
        (chats, chat(&"the ".repeat(600), json!({})), 400, "maximum context length is 512"),
        (chats, chat(&"the ".repeat(600), json!({"stream": true})), 400, "maximum context length is 512"),
        (chats, chat(&"the ".repeat(1 << 18), json!({})), 400, "maximum context length is 512"),
        (
            "/v1/completions",
            json!({"model": NAME, "prompt": "the ".repeat(1 << 18)}),
            400,
            "maximum context length is 512",
        ),
        ("/v1/completions", json!({"model": NAME, "prompt": ""}), 400, "`prompt` is"),
        ("/v1/completions", json!({"model": NAME, "prompt": [4_000_000]}), 400, "there is no token"),
        (
            "/v1/completions",
            json!({"model": NAME, "prompt": [4_000_000], "echo": true, "logprobs": 0}),
            400,
            "there is no token",
        ),
        ("/v1/completions", json!({"model": NAME, "prompt": "a", "max_tokens": 0}), 400, "max_tokens"),
        ("/v1/completions", json!({"model": NAME, "prompt": "a", "logprobs": 99}), 400, "`logprobs` is 99"),
        (
            "/v1/completions",
            json!({"model": NAME, "prompt": "a", "prompt_logprobs": 99}),
            400,
            "`prompt_logprobs` is 99",
        ),
        ("/v1/completions", json!({"model": NAME, "prompt": [-1]}), 400, "`prompt` is a text, a list of"),
        ("/v1/completions", json!({"model": NAME, "prompt": ["a", 1]}), 400, "`prompt` is a text, a list of"),
        ("/v1/completions", json!({"model": NAME, "prompt": "a", "suffix": "b"}), 400, "suffix"),
        ("/tokenize", json!({"model": NAME}), 400, "either"),
        ("/v1/embeddings", json!({}), 404, "nothing at this address"),
        ("/v1/models", json!({}), 405, "another method"),
    ];
    for (path, body, expected, text) in cases {
        let (status, reply) = place.post(path, &body).await;
        let message = reply["error"]["message"].as_str().unwrap_or_default();
        assert!(status == expected && message.contains(text), "{path} {body}: {status} {reply}");
        assert_eq!(reply["error"]["type"], "invalid_request_error");
    }
}

#[tokio::test]
async fn only_programs_on_this_machine_are_served() {
    let place = Place::with(|settings| settings.body_limit = 1_000).await;
    let url = format!("{}/v1/chat/completions", place.base);
    let body = chat("hello", json!({"max_tokens": 1})).to_string();
    let send = |host: Option<&str>, kind: &str, body: String| {
        let mut request = place.client.post(&url).header("content-type", kind).body(body);
        if let Some(host) = host {
            request = request.header("host", host);
        }
        async move { request.send().await.unwrap().status().as_u16() }
    };
    assert_eq!(send(None, "application/json; charset=utf-8", body.clone()).await, 200);
    assert_eq!(send(Some("localhost:8000"), "application/json", body.clone()).await, 200);
    assert_eq!(send(Some("[::1]:1"), "application/json", body.clone()).await, 200);
    assert_eq!(send(Some("attacker.example"), "application/json", body.clone()).await, 403);
    assert_eq!(send(Some("127.0.0.1.attacker.example"), "application/json", body.clone()).await, 403);
    assert_eq!(send(None, "text/plain", body).await, 415);
    assert_eq!(send(None, "application/json", "x".repeat(1_001)).await, 413);
}

#[tokio::test]
async fn the_server_stops_when_told_so() {
    let mut place = Place::with(|settings| settings.grace = std::time::Duration::ZERO).await;
    let (status, models) = {
        let response = place.client.get(format!("{}/v1/models", place.base)).send().await.unwrap();
        (response.status(), response.json::<Value>().await.unwrap())
    };
    assert_eq!((status.as_u16(), &models["data"][0]["id"]), (200, &json!(NAME)));
    // A request in flight does not keep it from stopping.
    let body = chat("hello", json!({"stream": true, "logprobs": true, "max_tokens": 400, "temperature": 0}));
    let mut response =
        place.client.post(format!("{}/v1/chat/completions", place.base)).json(&body).send().await.unwrap();
    assert!(response.chunk().await.unwrap().is_some());
    place.stop.take().unwrap().send(()).unwrap();
    (&mut place.server).await.unwrap().unwrap();
    drop(response);
    // The model itself is free.
    assert!(place.model.echo(Arc::from([1, 2]), 0).await.is_ok());
}
