//! Every request of the defences that ask more than once, byte for byte, in every protocol: what a filter's model is asked of a
//! demonstration, the contexts that are voted over, and an answer's check by the subject itself.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::support::World;

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

/// A server that keeps what it is sent: path and body. It scores every demonstration 60, and says yes to all else, so that
/// every answer is found harmful.
struct Recorder {
    url: String,
    requests: Arc<Mutex<Vec<(String, String)>>>,
}

impl Recorder {
    fn start(reply: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&requests);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let kept = Arc::clone(&kept);
                thread::spawn(move || serve(stream.unwrap(), reply, &kept));
            }
        });
        Self { url, requests }
    }
}

/// Answers all requests of one connection.
fn serve(stream: TcpStream, reply: &str, kept: &Mutex<Vec<(String, String)>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut stream = stream;
    loop {
        let (mut first, mut length) = (String::new(), 0);
        if reader.read_line(&mut first).unwrap_or(0) == 0 {
            return;
        }
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            if line.trim().is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let path = first.split(' ').nth(1).unwrap().to_owned();
        let body = String::from_utf8(body).unwrap();
        let is_screen = path.contains("screen") || body.contains("\"screen\"");
        kept.lock().unwrap().push((path, body));
        let reply = reply.replace("{text}", if is_screen { "60" } else { "Yes." });
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            reply.len()
        );
        stream.write_all((head + &reply).as_bytes()).unwrap();
    }
}

/// What a run sent, the calls before contexts are made first.
fn sent(subject: &str, screen: &str, reply: &'static str) -> Vec<(String, String)> {
    let world = World::new(None);
    let server = Recorder::start(reply);
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
    let url = &server.url;
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
    let ran: crate::support::Ran = command.args(["run", "x.toml", "--out", "run"]).output().unwrap().into();
    ran.expect(0);
    let mut requests = server.requests.lock().unwrap().clone();
    let is_screen = |(path, body): &(String, String)| path.contains("screen") || body.contains("\"screen\"");
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
