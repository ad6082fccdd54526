//! The project's own client gets what the model itself gives.

use tiltmeter_models::{
    ChatModel, ChatRequest, Endpoint, ErrorKind, OpenAiCompatible, Reasoning, Sampling, ScoreRequest,
    Scoring, TokenAlternatives,
};

use super::*;

impl Place {
    fn endpoint(&self) -> Endpoint {
        let mut endpoint = Endpoint::new(format!("{}/v1", self.base).parse().unwrap(), NAME);
        endpoint.send_stop = true;
        endpoint
    }
}

fn sampling(seed: u32) -> Sampling {
    Sampling {
        temperature: 1.0,
        max_tokens: 40,
        seed: Some(seed),
        stop: vec!["th".to_owned(), "### Prompt:".to_owned()],
        top_log_probabilities: Some(3),
        reasoning: Reasoning::Default,
    }
}

#[tokio::test]
async fn answers_are_the_models_own() {
    let place = Place::new().await;
    for stream in [false, true] {
        let mut endpoint = place.endpoint();
        endpoint.stream = stream;
        let client = OpenAiCompatible::new(endpoint).unwrap();
        for placement in Placement::ALL {
            for seed in 0..6 {
                let request = ChatRequest { prompt: prompt(placement, "hello?"), sampling: sampling(seed) };
                let (own, served) =
                    (place.model.chat(&request).await.unwrap(), client.chat(&request).await.unwrap());
                assert_eq!((&served.text, served.finish), (&own.text, own.finish), "{placement:?} {seed}");
                // The client leaves out what stands behind the answer's end.
                let (own_tokens, tokens) =
                    (own.log_probabilities.unwrap(), served.log_probabilities.unwrap());
                assert!(!own_tokens.is_empty());
                assert_eq!(tokens.len(), own_tokens.len());
                for (served, own) in tokens.iter().zip(&own_tokens) {
                    let all = |place: &TokenAlternatives| [&[place.chosen.clone()][..], &place.top].concat();
                    for (served, own) in all(served).iter().zip(all(own)) {
                        assert_eq!(served.token, own.token);
                        // Numbers are written exactly, and read to within a unit in the last place.
                        assert!((served.log_probability - own.log_probability).abs() < 1e-12);
                    }
                }
                assert_eq!(served.usage.input_tokens, own.usage.input_tokens);
                assert_eq!(served.usage.output_tokens, own.usage.output_tokens);
                assert_eq!(served.dropped_parameters, Vec::<&str>::new());
            }
        }
    }
}

#[tokio::test]
async fn scores_are_the_models_own() {
    let place = Place::new().await;
    let mut endpoint = place.endpoint();
    endpoint.scoring = Scoring::VllmTokens;
    let client = OpenAiCompatible::new(endpoint).unwrap();
    for placement in [Placement::FirstUser, Placement::ChatTurns, Placement::ToolOutput] {
        for text in [" the other", "in\nthe <|im_end|> morning é日本", "x"] {
            let request = ScoreRequest { prompt: prompt(placement, "and then?"), continuation: text.into() };
            let (own, served) =
                (place.model.score(&request).await.unwrap(), client.score(&request).await.unwrap());
            assert_eq!(served, own, "{text:?}");
        }
    }
}

#[tokio::test]
async fn plain_text_is_scored_by_echo() {
    let place = Place::new().await;
    let mut endpoint = place.endpoint();
    endpoint.scoring = Scoring::EchoPlainText;
    let client = OpenAiCompatible::new(endpoint).unwrap();
    for text in [" the other", " in the morning é日本 x", " x"] {
        let prompt = prompt(Placement::FirstUser, "and then?");
        let plain: Vec<String> = prompt.messages().map(|message| message.text()).collect();
        let before = place.model.text_tokens(&plain.join("\n\n")).unwrap();
        let all = place.model.text_tokens(&format!("{}{text}", plain.join("\n\n"))).unwrap();
        assert!(all.starts_with(&before));
        let own = place.model.echo(all.into(), 0).await.unwrap();
        let own: Vec<f64> = own[before.len()..].iter().map(|token| token.log_probability.unwrap()).collect();
        let served = client.score(&ScoreRequest { prompt, continuation: text.into() }).await.unwrap();
        assert_eq!(served.prompt_tokens, before.len() as u64);
        let served: Vec<f64> = served.token_log_probabilities.into_iter().map(f64::from).collect();
        assert_eq!(served.len(), own.len());
        for (served, own) in served.into_iter().zip(own) {
            assert!((served - own).abs() < 1e-6, "{served} {own}");
        }
    }
}

#[tokio::test]
async fn echoes_are_the_models_own_scores() {
    // An echo that goes on from the last one gives the same bits as one that starts anew.
    let place = Place::new().await;
    let prompt = prompt(Placement::ChatTurns, "and then?");
    let before = place.model.prompt_tokens(&prompt, tiltmeter_local::Thinking::AsTrained).unwrap();
    for text in ["the other", "the morning", "hello", "the other"] {
        let own = place
            .model
            .score(&ScoreRequest { prompt: Arc::clone(&prompt), continuation: text.into() })
            .await
            .unwrap();
        let tokens = [before.clone(), place.model.text_tokens(text).unwrap()].concat();
        let echoed = place.model.echo(tokens.into(), 2).await.unwrap();
        let echoed: Vec<f32> = echoed[before.len()..]
            .iter()
            .map(|token| {
                assert!(token.likeliest[0].1 >= token.likeliest[1].1);
                #[expect(clippy::cast_possible_truncation, reason = "as scores are")]
                let value = token.log_probability.unwrap() as f32;
                value
            })
            .collect();
        assert_eq!(echoed, own.token_log_probabilities);
    }
}

#[tokio::test]
async fn refusals_are_of_the_right_kind() {
    let place = Place::new().await;
    let client = OpenAiCompatible::new(place.endpoint()).unwrap();
    let long = "in the morning ".repeat(400);
    let request = ChatRequest { prompt: prompt(Placement::FirstUser, &long), sampling: sampling(1) };
    let error = client.chat(&request).await.unwrap_err();
    assert_eq!((error.kind, error.context_limit), (ErrorKind::ContextTooLong, Some(512)), "{error}");
    let mut endpoint = place.endpoint();
    endpoint.model = "another".to_owned();
    let error = OpenAiCompatible::new(endpoint).unwrap().chat(&request).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotFound, "{error}");
}
