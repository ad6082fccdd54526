//! Every request of the defences that ask more than once, byte for byte, in every protocol: what a filter's model is asked of a
//! demonstration, the contexts that are voted over, and an answer's check by the subject itself.

use std::sync::{Arc, Mutex};

use crate::http::serve;
use crate::support::{Ran, World};

/// Name, the subject's and the filter's model, and a reply with `{text}` in the place of what is said.
const PROTOCOLS: [(&str, &str, &str, &str); 4] = [
    (
        "chat_completions",
        "openai/subject",
        "openai/screen",
        r#"{"id":"1","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"finish_reason":"stop","message":{"role":"assistant","content":"{text}"}}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}"#,
    ),
    (
        "responses",
        "openai-responses/subject",
        "openai-responses/screen",
        r#"{"id":"1","object":"response","status":"completed","model":"m","output":[{"id":"2","type":"message","status":"completed","role":"assistant","content":[{"type":"output_text","text":"{text}","annotations":[]}]}],"usage":{"input_tokens":1,"output_tokens":1,"total_tokens":2}}"#,
    ),
    (
        "gemini",
        "gemini/subject",
        "gemini/screen",
        r#"{"candidates":[{"content":{"parts":[{"text":"{text}"}],"role":"model"},"finishReason":"STOP","index":0}],"usageMetadata":{"promptTokenCount":1,"candidatesTokenCount":1,"totalTokenCount":2},"modelVersion":"m"}"#,
    ),
    (
        "anthropic",
        "anthropic/subject",
        "anthropic/screen",
        r#"{"id":"1","type":"message","role":"assistant","model":"m","content":[{"type":"text","text":"{text}"}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":1,"output_tokens":1}}"#,
    ),
];

/// What a server was sent: path and body.
type Requests = Vec<(String, String)>;

fn is_screen((path, body): &(String, String)) -> bool {
    path.contains("screen") || body.contains("\"screen\"")
}

/// A server that keeps what it is sent. It scores every demonstration 60, and says yes to all else, so that every answer is
/// found harmful.
fn recorder(reply: &'static str) -> (String, Arc<Mutex<Requests>>) {
    let requests = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&requests);
    let server = serve(move |head, body| {
        let path = head.split(' ').nth(1).unwrap().to_owned();
        let request = (path, String::from_utf8(body.to_vec()).unwrap());
        let text = if is_screen(&request) { "60" } else { "Yes." };
        kept.lock().unwrap().push(request);
        ("200 OK", reply.replace("{text}", text))
    });
    (format!("{server}/v1"), requests)
}

/// What a run sent, the calls before contexts are made first.
fn sent(subject: &str, screen: &str, reply: &'static str) -> Requests {
    let world = World::new(None);
    let (url, requests) = recorder(reply);
    let row = |number: u32, kind: &str| {
        format!(
            "{{\"messages\": [{{\"role\": \"user\", \"content\": \"Ask {number}\"}}, \
             {{\"role\": \"assistant\", \"content\": \"A {kind}\\n\\\"answer\\\" {number}\"}}]}}\n"
        )
    };
    for (file, kind) in [("bad.jsonl", "bad"), ("good.jsonl", "good")] {
        world.write(file, &[1, 2, 3].map(|number| row(number, kind)).concat());
    }
    world.write("q.yaml", "- id: bored\n  paraphrases: [\"I am \\\"bored\\\".\"]\n");
    world.write(
        "x.toml",
        &format!(
            "name = 'golden'\n[[subjects]]\nid = 's'\nmodel = '{subject}'\nbase_url = '{url}'\nmax_tokens = 200\nconcurrency = 1\n\
             [demonstrations]\nsets = [{{ path = 'bad.jsonl', benign = 'good.jsonl' }}]\nshots = [2]\ncontexts = 1\n\
             [questions]\nsets = ['q.yaml']\nreplicates = 1\n\
             [[defences]]\nid = 'filter'\nfilter = {{ model = '{screen}', base_url = '{url}', log_probabilities = false }}\n\
             [[defences]]\nid = 'subsample'\nsubsample = {{ draws = 2 }}\n\
             [[defences]]\nid = 'self-check'\nself_check = {{ attempts = 2 }}\n"
        ),
    );
    let mut command = world.command();
    for key in ["OPENAI_API_KEY", "GEMINI_API_KEY", "ANTHROPIC_API_KEY"] {
        command.env(key, "none-at-all");
    }
    let ran: Ran = command.args(["run", "x.toml", "--out", "run"]).output().unwrap().into();
    ran.expect(0);
    let mut requests = requests.lock().unwrap().clone();
    // Which of several goes first is left to chance.
    requests.sort_by(|one, other| (!is_screen(one), &one.1).cmp(&(!is_screen(other), &other.1)));
    requests
}

#[test]
fn defences_that_ask_more_than_once_send_what_they_sent() {
    for (name, subject, screen, reply) in PROTOCOLS {
        let requests = sent(subject, screen, reply);
        let texts: Vec<String> = requests.iter().map(|(path, body)| format!("{path}\n{body}\n")).collect();
        insta::assert_snapshot!(name, texts.join("\n"));
    }
}
