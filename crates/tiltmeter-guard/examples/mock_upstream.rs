//! A server of models that answers at once and always alike: what a gateway adds to it is the gateway's. For benchmarks.
//!
//! `mock_upstream [PORT [DELTAS [MILLISECONDS]]]` prints its address. A request with `"stream":true` in it gets so many
//! pieces of a stream, so far apart.

#![expect(clippy::print_stdout, reason = "a program")]

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response};
use http_body::{Body, Frame};
use http_body_util::{BodyExt as _, Either, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::time::{Interval, MissedTickBehavior, interval};

const ANSWER: &str = r#"{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"mock","choices":[{"index":0,"message":{"role":"assistant","content":"An answer of some length, as models give them."},"finish_reason":"stop"}],"usage":{"prompt_tokens":10,"completion_tokens":10,"total_tokens":20}}"#;
const DELTA: &str = "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"mock\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" word\"},\"finish_reason\":null}]}\n\n";
const DONE: &str = "data: [DONE]\n\n";

/// Pieces, one at each tick.
struct Stream {
    ticks: Interval,
    left: u32,
    is_done: bool,
}

impl Body for Stream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.is_done {
            return Poll::Ready(None);
        }
        if self.ticks.poll_tick(context).is_pending() {
            return Poll::Pending;
        }
        let piece = if self.left > 0 {
            self.left -= 1;
            DELTA
        } else {
            self.is_done = true;
            DONE
        };
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(piece.as_bytes())))))
    }
}

async fn answer(
    request: Request<Incoming>,
    deltas: u32,
    pause: Duration,
) -> Result<Response<Either<Full<Bytes>, Stream>>, hyper::Error> {
    let body = request.into_body().collect().await?.to_bytes();
    let start = body.get(..body.len().min(200)).unwrap_or(&body);
    let is_stream = start.windows(13).any(|window| window == b"\"stream\":true");
    let (kind, body) = if is_stream {
        let mut ticks = interval(pause);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ("text/event-stream", Either::Right(Stream { ticks, left: deltas, is_done: false }))
    } else {
        ("application/json", Either::Left(Full::new(Bytes::from_static(ANSWER.as_bytes()))))
    };
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    Ok(response)
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let arguments: Vec<u32> = std::env::args().skip(1).filter_map(|argument| argument.parse().ok()).collect();
    let port = arguments.first().and_then(|port| u16::try_from(*port).ok()).unwrap_or(0);
    let deltas = arguments.get(1).copied().unwrap_or(64);
    let pause = Duration::from_millis(u64::from(arguments.get(2).copied().unwrap_or(20).max(1)));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    println!("http://{}/v1", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let service = service_fn(move |request| answer(request, deltas, pause));
        // A client that goes away is no concern of the others.
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}
