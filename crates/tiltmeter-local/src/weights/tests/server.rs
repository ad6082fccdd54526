//! A web server that says what it is told to, down to the byte.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) path: String,
    pub(super) range: Option<String>,
    pub(super) authorization: Option<String>,
}

/// What happens when everything is sent.
#[derive(Clone, Copy, Debug)]
enum End {
    Close,
    /// Nothing more comes until the client has gone.
    Stall,
}

/// What is said.
#[derive(Clone, Debug)]
pub(super) struct Response {
    bytes: Vec<u8>,
    end: End,
}

impl Response {
    fn new(status: &str, headers: &str, body: &[u8]) -> Self {
        let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\n{headers}\r\n");
        Self { bytes: [head.as_bytes(), body].concat(), end: End::Close }
    }

    pub(super) fn whole(body: &[u8]) -> Self {
        Self::new("200 OK", &format!("Content-Length: {}\r\n", body.len()), body)
    }

    /// A body that ends where the connection does.
    pub(super) fn unmeasured(body: &[u8]) -> Self {
        Self::new("200 OK", "", body)
    }

    /// Promises the whole body, and breaks off after some bytes of it.
    pub(super) fn cut(body: &[u8], after: usize) -> Self {
        Self::new("200 OK", &format!("Content-Length: {}\r\n", body.len()), &body[..after])
    }

    /// What a range request should get.
    pub(super) fn part(body: &[u8], from: usize) -> Self {
        let range = format!("bytes {from}-{}/{}", body.len() - 1, body.len());
        Self::ranged(&range, &body[from..])
    }

    pub(super) fn ranged(range: &str, body: &[u8]) -> Self {
        let headers = format!("Content-Range: {range}\r\nContent-Length: {}\r\n", body.len());
        Self::new("206 Partial Content", &headers, body)
    }

    /// A part that ends where the connection does.
    pub(super) fn ranged_unmeasured(range: &str, body: &[u8]) -> Self {
        Self::new("206 Partial Content", &format!("Content-Range: {range}\r\n"), body)
    }

    /// What is no HTTP.
    pub(super) fn garbage(bytes: &[u8]) -> Self {
        Self { bytes: bytes.to_vec(), end: End::Close }
    }

    pub(super) fn status(status: &str) -> Self {
        Self::new(status, "Content-Length: 0\r\n", &[])
    }

    pub(super) fn redirect(to: &str) -> Self {
        Self::new("302 Found", &format!("Location: {to}\r\nContent-Length: 0\r\n"), &[])
    }

    /// Nothing at all.
    pub(super) fn silence() -> Self {
        Self { bytes: Vec::new(), end: End::Stall }
    }

    pub(super) fn then_stall(self) -> Self {
        Self { end: End::Stall, ..self }
    }
}

/// A server on a thread of its own, until the tests end.
#[derive(Debug)]
pub(super) struct Server {
    address: std::net::SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    /// Replies in order; the last reply is given from then on.
    pub(super) fn script(responses: Vec<Response>) -> Self {
        Self::new(move |index, _| responses[index.min(responses.len() - 1)].clone())
    }

    /// Replies as a function of the number of the request and of itself says.
    pub(super) fn new(reply: impl Fn(usize, &Request) -> Response + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&requests);
        let reply = Arc::new(reply);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (log, reply) = (Arc::clone(&log), Arc::clone(&reply));
                // A client who has gone is none of the server's business.
                std::thread::spawn(move || drop(serve(stream, &log, &*reply)));
            }
        });
        Self { address, requests }
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The URL with credentials in it.
    pub(super) fn secret_url(&self, path: &str) -> String {
        format!("http://somebody:hunter2@{}{path}", self.address)
    }

    pub(super) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// The ranges that were asked for.
    pub(super) fn ranges(&self) -> Vec<Option<String>> {
        self.requests().into_iter().map(|request| request.range).collect()
    }
}

fn serve(
    stream: TcpStream,
    log: &Mutex<Vec<Request>>,
    reply: &dyn Fn(usize, &Request) -> Response,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut request = Request { path, range: None, authorization: None };
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').unwrap_or_default();
        match name.to_ascii_lowercase().as_str() {
            "range" => request.range = Some(value.trim().to_owned()),
            "authorization" => request.authorization = Some(value.trim().to_owned()),
            _ => {}
        }
    }
    let response = {
        let mut log = log.lock().unwrap();
        let response = reply(log.len(), &request);
        log.push(request);
        response
    };
    let mut stream = stream;
    stream.write_all(&response.bytes)?;
    stream.flush()?;
    match response.end {
        End::Close => stream.shutdown(std::net::Shutdown::Write)?,
        End::Stall => {}
    }
    // Until the client closes, so that what was sent is not lost.
    reader.read_to_end(&mut Vec::new())?;
    Ok(())
}
