//! A gateway on this machine, and a client that sends what it is told to, byte for byte.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tiltmeter_guard::Gateway;
use tiltmeter_guard::config::{self, Settings, Sources};
use tiltmeter_guard::inspection::Inspector;
use tiltmeter_guard::output::OutputCheck;
use tiltmeter_guard::telemetry::Telemetry;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use crate::upstream::{parse_head, read_chunk, read_head};

/// Nothing on one machine takes so long.
const PATIENCE: Duration = Duration::from_mins(1);

/// What a gateway is made of.
#[derive(Default)]
pub(crate) struct Plan {
    /// GUARD.toml without its `[server]` table.
    pub(crate) config: String,
    /// Further lines of the `[server]` table.
    pub(crate) server: String,
    pub(crate) environment: BTreeMap<&'static str, &'static str>,
    pub(crate) inspectors: BTreeMap<&'static str, Arc<dyn Inspector>>,
    pub(crate) checks: BTreeMap<&'static str, Arc<dyn OutputCheck>>,
    pub(crate) telemetry: Option<Arc<dyn Telemetry>>,
}

impl Plan {
    pub(crate) fn new(config: impl Into<String>) -> Self {
        Self { config: config.into(), ..Self::default() }
    }

    /// One upstream for everything.
    pub(crate) fn to(base_url: &str) -> Self {
        Self::new(format!("[[upstreams]]\nname = 'up'\nbase_url = '{base_url}'\ndefault = true\n"))
    }

    /// Adds to the configuration.
    pub(crate) fn with(mut self, config: &str) -> Self {
        self.config.push_str(config);
        self.config.push('\n');
        self
    }

    pub(crate) fn server(mut self, lines: &str) -> Self {
        self.server.push_str(lines);
        self.server.push('\n');
        self
    }

    pub(crate) fn key(mut self, variable: &'static str, value: &'static str) -> Self {
        self.environment.insert(variable, value);
        self
    }

    pub(crate) fn inspector(mut self, kind: &'static str, inspector: impl Inspector + 'static) -> Self {
        self.inspectors.insert(kind, Arc::new(inspector));
        self
    }

    pub(crate) fn check(mut self, kind: &'static str, check: impl OutputCheck + 'static) -> Self {
        self.checks.insert(kind, Arc::new(check));
        self
    }

    pub(crate) fn text(&self) -> String {
        format!("[server]\nlisten = '127.0.0.1:0'\n{}\n{}", self.server, self.config)
    }

    pub(crate) fn settings(&self, folder: &std::path::Path) -> Result<Settings, String> {
        let sources = Sources {
            environment: &|name| self.environment.get(name).map(|value| (*value).to_owned()),
            folder,
            inspector: &|kind, _| {
                self.inspectors.get(kind).cloned().ok_or_else(|| format!("unknown kind `{kind}`"))
            },
            output_check: &|kind, _| {
                self.checks.get(kind).cloned().ok_or_else(|| format!("unknown kind `{kind}`"))
            },
        };
        config::read("GUARD.toml", &self.text(), &sources).map_err(|error| error.to_string())
    }

    pub(crate) fn start(self) -> Guard {
        let folder = TempDir::new().unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let settings =
            self.settings(folder.path()).unwrap_or_else(|error| panic!("{error}\n{}", self.text()));
        let (stop, stopped) = oneshot::channel::<()>();
        let (gateway, address, admin, task) = runtime.block_on(async {
            let admin = match settings.admin {
                Some(address) => Some(TcpListener::bind(address).await.unwrap()),
                None => None,
            };
            let admin_address = admin.as_ref().map(|listener| listener.local_addr().unwrap());
            let gateway = Gateway::telling(settings, self.telemetry.clone()).unwrap();
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            let address = listener.local_addr().unwrap();
            let serving = gateway.clone();
            let task = tokio::spawn(async move {
                let stop = async {
                    let _ = stopped.await;
                };
                serving.serve(listener, admin, stop).await.unwrap();
            });
            (gateway, address, admin_address, task)
        });
        Guard { address, admin, gateway, stop: Some(stop), task: Some(task), plan: self, folder, runtime }
    }
}

/// A gateway that serves.
pub(crate) struct Guard {
    pub(crate) address: SocketAddr,
    admin: Option<SocketAddr>,
    pub(crate) gateway: Gateway,
    stop: Option<oneshot::Sender<()>>,
    task: Option<tokio::task::JoinHandle<()>>,
    pub(crate) plan: Plan,
    pub(crate) folder: TempDir,
    runtime: Runtime,
}

impl Guard {
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn connect(&self) -> Connection {
        Self::connect_to(self.address)
    }

    /// Sends raw bytes to `server.admin`, which the configuration must have.
    pub(crate) fn admin(&self, bytes: impl AsRef<[u8]>) -> Reply {
        let mut connection = Self::connect_to(self.admin.unwrap());
        connection.send(bytes);
        connection.reply()
    }

    fn connect_to(address: SocketAddr) -> Connection {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Connection { stream, buffer: Vec::new() }
    }

    /// Sends raw bytes on a connection of their own and reads one answer.
    pub(crate) fn raw(&self, bytes: impl AsRef<[u8]>) -> Reply {
        let mut connection = self.connect();
        connection.send(bytes);
        connection.reply()
    }

    pub(crate) fn post(&self, path: &str, body: impl AsRef<[u8]>) -> Reply {
        self.raw(post(path, "", body))
    }

    pub(crate) fn get(&self, path: &str) -> Reply {
        self.raw(format!("GET {path} HTTP/1.1\r\nhost: guard\r\n\r\n"))
    }

    pub(crate) fn reload(&mut self, plan: Plan) {
        let settings = plan.settings(self.folder.path()).unwrap();
        let _inside = self.runtime.enter();
        self.gateway.reload(settings).unwrap();
        self.plan = plan;
    }

    /// Tells it to stop, without waiting.
    pub(crate) fn tell_to_stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }

    /// Waits until it has stopped, with all that it had begun.
    pub(crate) fn stop(&mut self) {
        self.tell_to_stop();
        if let Some(task) = self.task.take() {
            self.runtime.block_on(task).unwrap();
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.tell_to_stop();
    }
}

/// A request with further header lines, each with its line end.
pub(crate) fn post(path: &str, headers: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: guard\r\ncontent-type: application/json\r\ncontent-length: {}\r\n{headers}\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Whether all of it came.
    pub(crate) is_complete: bool,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn refusal(&self) -> &str {
        self.header("x-tiltmeter-refusal").unwrap_or("none")
    }

    #[track_caller]
    pub(crate) fn expect(self, status: u16, refusal: &str) -> Self {
        assert_eq!((self.status, self.refusal()), (status, refusal), "{}", self.text());
        self
    }
}

pub(crate) struct Connection {
    pub(crate) stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        // A gateway that refuses may close before it has read all.
        let _ = self.stream.write_all(bytes.as_ref());
    }

    pub(crate) fn head(&mut self) -> Reply {
        self.try_head().expect("a head")
    }

    pub(crate) fn try_head(&mut self) -> Option<Reply> {
        let head = read_head(&mut self.stream, &mut self.buffer)?;
        let (line, headers) = parse_head(&head);
        let status = line.split(' ').nth(1).unwrap().parse().unwrap();
        Some(Reply { status, headers, body: Vec::new(), is_complete: false })
    }

    /// The next chunk of a chunked answer.
    pub(crate) fn chunk(&mut self) -> Option<Vec<u8>> {
        read_chunk(&mut self.stream, &mut self.buffer).flatten()
    }

    pub(crate) fn reply(&mut self) -> Reply {
        self.try_reply().expect("an answer")
    }

    /// `None` where the connection is closed without a head.
    pub(crate) fn try_reply(&mut self) -> Option<Reply> {
        let mut reply = self.try_head()?;
        if reply.header("transfer-encoding").is_some() {
            loop {
                match read_chunk(&mut self.stream, &mut self.buffer) {
                    Some(Some(chunk)) => reply.body.extend(chunk),
                    Some(None) => {
                        reply.is_complete = true;
                        break;
                    }
                    None => break,
                }
            }
            return Some(reply);
        }
        let length = reply.header("content-length").map(|length| length.parse::<usize>().unwrap());
        reply.body = std::mem::take(&mut self.buffer);
        let mut piece = [0; 16 << 10];
        while length.is_none_or(|length| reply.body.len() < length) {
            match self.stream.read(&mut piece) {
                Ok(0) | Err(_) => break,
                Ok(read) => reply.body.extend_from_slice(&piece[..read]),
            }
        }
        reply.is_complete = length.is_none_or(|length| reply.body.len() == length);
        Some(reply)
    }

    /// Whether the other side has closed.
    pub(crate) fn is_closed(&mut self) -> bool {
        matches!(self.stream.read(&mut [0; 1]), Ok(0) | Err(_))
    }
}
