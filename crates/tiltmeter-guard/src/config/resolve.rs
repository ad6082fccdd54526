//! Looks names up, reads keys, refuses contradictions.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use secrecy::SecretString;
use tiltmeter_core::experiment::{ConfigError, Step, locate, suggestion};
use tiltmeter_core::guarding::SAFETY_INSTRUCTION;

use super::file::{
    Action, AuditFile, GuardFile, OnFailure, RouteFile, ServerFile, Uninspected, UpstreamFile,
};
use super::models::ModelTable;
use super::settings::{
    AuditSettings, Detector, Limits, OutputSettings, Redaction, Route, Settings, Upstream,
};
use crate::inspection::Inspector;
use crate::output::OutputCheck;

/// Gives the value of an environment variable.
pub type Environment<'a> = dyn Fn(&str) -> Option<String> + Sync + 'a;

/// Makes something of a kind with its settings. The error says what is wrong with either.
pub type Maker<'a, T> = dyn Fn(&str, &toml::Table) -> Result<Arc<T>, String> + 'a;

/// What a configuration is resolved with.
pub struct Sources<'a> {
    /// Environment variables, which hold the keys.
    pub environment: &'a Environment<'a>,
    /// The folder that paths are relative to.
    pub folder: &'a Path,
    /// Makes a detector.
    pub inspector: &'a Maker<'a, dyn Inspector>,
    /// Makes a check of answers.
    pub output_check: &'a Maker<'a, dyn OutputCheck>,
}

pub(super) struct Resolver<'a> {
    name: &'a str,
    text: &'a str,
    pub(super) sources: &'a Sources<'a>,
}

pub(super) type Resolved<T> = Result<T, ConfigError>;

/// Resolves a configuration.
///
/// # Errors
/// Where a name, a key or an address is missing or wrong, or settings contradict one another.
pub fn resolve(name: &str, text: &str, file: &GuardFile, sources: &Sources<'_>) -> Resolved<Settings> {
    let resolver = Resolver { name, text, sources };
    let listen = resolver.address(&file.server.listen, "listen")?;
    let admin = match &file.server.admin {
        Some(admin) => Some(resolver.address(admin, "admin")?),
        None => None,
    };
    let admin_token = resolver.admin_token(&file.server, admin)?;
    let client_keys = resolver.client_keys(&file.server)?;
    let limits = resolver.limits(&file.server)?;
    let (upstreams, upstream_of, default_upstream) = resolver.upstreams(&file.upstreams)?;
    resolver.check_keys(file, listen, client_keys.is_some())?;
    let (routes, route_of) = resolver.routes(file)?;
    for (index, route) in file.routes.iter().enumerate() {
        if let Some(model) = &route.fallback_model
            && upstream_of.find(model).or(default_upstream).is_none()
        {
            let path = [Step::Key("routes"), Step::Index(index), Step::Key("fallback_model")];
            return Err(resolver.error(&path, format!("no upstream has the model `{model}`")));
        }
    }
    if file.inspection.concurrent == 0 {
        let path = [Step::Key("inspection"), Step::Key("concurrent")];
        return Err(resolver.error(&path, "at least 1 request must be inspected at a time"));
    }
    let audit = file.audit.as_ref().map(|audit| resolver.audit(audit)).transpose()?;
    Ok(Settings {
        listen,
        admin,
        admin_token,
        client_keys,
        uninspected: file.server.uninspected.unwrap_or_else(|| {
            let fails_closed = |detector: &Arc<Detector>| detector.on_failure == OnFailure::Closed;
            let is_strict = routes.iter().flat_map(|route| &route.detectors).any(fails_closed);
            if is_strict { Uninspected::Read } else { Uninspected::Pass }
        }),
        limits,
        upstreams,
        concurrent_inspections: file.inspection.concurrent,
        inspected_bytes: file.inspection.body_bytes,
        audit,
        upstream_of,
        default_upstream,
        routes,
        route_of,
    })
}

impl Resolver<'_> {
    pub(super) fn error(&self, path: &[Step], message: impl Into<String>) -> ConfigError {
        ConfigError::new(self.name, message).at(locate(self.text, path))
    }

    fn address(&self, text: &str, key: &'static str) -> Resolved<SocketAddr> {
        text.parse().map_err(|_| {
            self.error(
                &[Step::Key("server"), Step::Key(key)],
                format!("`{text}` is not an address with a port"),
            )
            .hint("write it as in `127.0.0.1:8088` or `[::1]:8088`")
        })
    }

    /// The value of a variable that the configuration names.
    fn variable(&self, variable: &str, path: &[Step]) -> Resolved<SecretString> {
        match (self.sources.environment)(variable).map(|value| value.trim().to_owned()) {
            Some(value) if !value.is_empty() => Ok(SecretString::from(value)),
            _ => Err(self
                .error(path, format!("the environment variable `{variable}` is not set, or empty"))
                .hint("it holds the key; keys do not stand in this file")),
        }
    }

    /// The page shows what contexts hold: it is for who is on this machine and has the token.
    fn admin_token(&self, server: &ServerFile, admin: Option<SocketAddr>) -> Resolved<Option<blake3::Hash>> {
        use secrecy::ExposeSecret as _;
        let Some(variable) = &server.admin_token_env else { return Ok(None) };
        let path = [Step::Key("server"), Step::Key("admin_token_env")];
        let token = self.variable(variable, &path)?;
        if token.expose_secret().len() < 16 {
            return Err(self.error(&path, format!("`{variable}` needs a token of at least 16 characters")));
        }
        match admin {
            Some(address) if address.ip().is_loopback() => {
                Ok(Some(blake3::hash(token.expose_secret().as_bytes())))
            }
            Some(address) => Err(self
                .error(
                    &[Step::Key("server"), Step::Key("admin")],
                    format!("whoever reaches {address} could ask for the live page"),
                )
                .hint("listen on 127.0.0.1, and reach it through a tunnel; or leave `admin_token_env` out")),
            None => Err(self
                .error(&path, "the live page is served at `server.admin`, which is missing")
                .hint("write it as in `admin = \"127.0.0.1:9088\"`")),
        }
    }

    fn client_keys(&self, server: &ServerFile) -> Resolved<Option<Vec<blake3::Hash>>> {
        use secrecy::ExposeSecret as _;
        let Some(variable) = &server.client_keys_env else { return Ok(None) };
        let path = [Step::Key("server"), Step::Key("client_keys_env")];
        let keys = self.variable(variable, &path)?;
        let keys: Vec<&str> =
            keys.expose_secret().split(',').map(str::trim).filter(|key| !key.is_empty()).collect();
        if keys.is_empty() || keys.iter().any(|key| key.len() < 16) {
            return Err(self.error(
                &path,
                format!("`{variable}` needs keys of at least 16 characters, separated by commas"),
            ));
        }
        Ok(Some(keys.into_iter().map(|key| blake3::hash(key.as_bytes())).collect()))
    }

    fn limits(&self, server: &ServerFile) -> Resolved<Limits> {
        let limits = &server.limits;
        let wrong = |key: &'static str, message: &str| {
            self.error(&[Step::Key("server"), Step::Key("limits"), Step::Key(key)], message)
        };
        let time = |key: &'static str, value: f64| {
            seconds(value).ok_or_else(|| wrong(key, "a number of seconds is from 0.001 to 86400"))
        };
        if limits.head_bytes < 8192 || limits.head_bytes > 1 << 20 {
            return Err(wrong("head_bytes", "the limit of a head is from 8192 to 1048576 bytes"));
        }
        if limits.connections == 0 || limits.headers == 0 || limits.body_bytes == 0 {
            let key = if limits.connections == 0 {
                "connections"
            } else if limits.headers == 0 {
                "headers"
            } else {
                "body_bytes"
            };
            return Err(wrong(key, "a limit of 0 refuses everything"));
        }
        Ok(Limits {
            connections: limits.connections,
            head_bytes: limits.head_bytes,
            headers: limits.headers,
            body_bytes: limits.body_bytes,
            head_time: time("head_seconds", limits.head_seconds)?,
            body_time: time("body_seconds", limits.body_seconds)?,
            grace: time("grace_seconds", limits.grace_seconds)?,
        })
    }

    fn upstreams(&self, files: &[UpstreamFile]) -> Resolved<(Vec<Arc<Upstream>>, ModelTable, Option<usize>)> {
        let mut table = ModelTable::default();
        let mut default = None;
        let mut upstreams: Vec<Arc<Upstream>> = Vec::new();
        if files.is_empty() {
            return Err(self.error(&[Step::Key("upstreams")], "there is no upstream to forward requests to"));
        }
        for (index, file) in files.iter().enumerate() {
            let at = |key| [Step::Key("upstreams"), Step::Index(index), Step::Key(key)];
            if upstreams.iter().any(|known| known.name == file.name) {
                return Err(self.error(&at("name"), format!("two upstreams are named `{}`", file.name)));
            }
            for (pattern, model) in file.models.iter().enumerate() {
                let path =
                    [Step::Key("upstreams"), Step::Index(index), Step::Key("models"), Step::Index(pattern)];
                self.pattern(&mut table, model, index, &path)?;
            }
            if file.default && default.replace(index).is_some() {
                return Err(self.error(&at("default"), "a second upstream is the default"));
            }
            if !file.default && file.models.is_empty() {
                return Err(self
                    .error(&at("name"), format!("nothing reaches the upstream `{}`", file.name))
                    .hint("name its `models`, or make it the `default`"));
            }
            let time = |key, value| {
                seconds(value)
                    .ok_or_else(|| self.error(&at(key), "a number of seconds is from 0.001 to 86400"))
            };
            let key = match &file.api_key_env {
                Some(variable) => Some(self.key(variable, &at("api_key_env"))?),
                None => None,
            };
            upstreams.push(Arc::new(Upstream {
                name: file.name.clone(),
                base: base(&file.base_url).map_err(|message| self.error(&at("base_url"), message))?,
                key,
                key_header: file.key_header,
                connect_time: time("connect_seconds", file.connect_seconds)?,
                answer_time: time("answer_seconds", file.answer_seconds)?,
                idle_time: time("idle_seconds", file.idle_seconds)?,
            }));
        }
        Ok((upstreams, table, default))
    }

    fn key(&self, variable: &str, path: &[Step]) -> Resolved<SecretString> {
        use secrecy::ExposeSecret as _;
        let key = self.variable(variable, path)?;
        if http::HeaderValue::from_str(key.expose_secret()).is_err() {
            return Err(self.error(path, format!("the key in `{variable}` cannot be sent in a header")));
        }
        Ok(key)
    }

    fn pattern(&self, table: &mut ModelTable, pattern: &str, index: usize, path: &[Step]) -> Resolved<()> {
        if pattern.is_empty() || pattern.strip_suffix('*').unwrap_or(pattern).contains('*') {
            return Err(self
                .error(path, format!("`{pattern}` is neither a model nor a beginning"))
                .hint("a star may stand at the end only"));
        }
        table.add(pattern, index).map_err(|_| self.error(path, format!("`{pattern}` stands here twice")))
    }

    /// Whoever reaches a gateway with keys of its own spends them.
    fn check_keys(&self, file: &GuardFile, listen: SocketAddr, has_client_keys: bool) -> Resolved<()> {
        if has_client_keys || listen.ip().is_loopback() {
            return Ok(());
        }
        let Some(index) = file.upstreams.iter().position(|upstream| upstream.api_key_env.is_some()) else {
            return Ok(());
        };
        let path = [Step::Key("upstreams"), Step::Index(index), Step::Key("api_key_env")];
        Err(self
            .error(&path, format!("whoever reaches {listen} could spend this key"))
            .hint("let clients give keys of their own by `server.client_keys_env`, or listen on 127.0.0.1"))
    }

    fn detectors(&self, file: &GuardFile) -> Resolved<BTreeMap<String, Arc<Detector>>> {
        let mut detectors = BTreeMap::new();
        for (index, detector) in file.detectors.iter().enumerate() {
            let at = |key| [Step::Key("detectors"), Step::Index(index), Step::Key(key)];
            let inspector = (self.sources.inspector)(&detector.kind, &detector.settings)
                .map_err(|message| self.error(&at("kind"), message))?;
            let resolved = Detector {
                name: detector.name.clone(),
                inspector,
                time: Duration::from_millis(detector.timeout_ms),
                on_failure: detector.on_failure,
                rest_after: detector.rest_after,
                rest: seconds(detector.rest_seconds).ok_or_else(|| {
                    self.error(&at("rest_seconds"), "a number of seconds is from 0.001 to 86400")
                })?,
                rank: detector.rank,
            };
            if detectors.insert(detector.name.clone(), Arc::new(resolved)).is_some() {
                return Err(self.error(&at("name"), format!("two detectors are named `{}`", detector.name)));
            }
        }
        Ok(detectors)
    }

    fn routes(&self, file: &GuardFile) -> Resolved<(Vec<Arc<Route>>, ModelTable)> {
        let detectors = self.detectors(file)?;
        let judges = self.judges(file)?;
        let checks = self.output_checks(file, &judges)?;
        let mut table = ModelTable::default();
        let mut routes: Vec<Arc<Route>> = Vec::new();
        for (index, route) in file.routes.iter().enumerate() {
            let at = |key| [Step::Key("routes"), Step::Index(index), Step::Key(key)];
            if routes.iter().any(|known| known.name == route.name) {
                return Err(self.error(&at("name"), format!("two routes are named `{}`", route.name)));
            }
            if route.models.is_empty() {
                return Err(self.error(&at("models"), "the route is for no model; `*` is for all"));
            }
            for (pattern, model) in route.models.iter().enumerate() {
                let path =
                    [Step::Key("routes"), Step::Index(index), Step::Key("models"), Step::Index(pattern)];
                self.pattern(&mut table, model, index, &path)?;
            }
            let mut chosen: Vec<Arc<Detector>> = Vec::new();
            for (position, name) in route.detectors.iter().enumerate() {
                let path =
                    [Step::Key("routes"), Step::Index(index), Step::Key("detectors"), Step::Index(position)];
                let detector = detectors
                    .get(name)
                    .ok_or_else(|| self.unknown(&path, "detector", name, detectors.keys()))?;
                if !chosen.iter().any(|known| known.name == *name) {
                    chosen.push(Arc::clone(detector));
                }
            }
            // The sort is stable: of one rank, the first stays first.
            chosen.sort_by_key(|detector| std::cmp::Reverse(detector.rank));
            let output = match &route.output {
                Some(output) => {
                    let path =
                        [Step::Key("routes"), Step::Index(index), Step::Key("output"), Step::Key("check")];
                    let check = checks
                        .get(&output.check)
                        .ok_or_else(|| self.unknown(&path, "output check", &output.check, checks.keys()))?;
                    Some(OutputSettings {
                        name: output.check.clone(),
                        check: Arc::clone(check),
                        from: output.from,
                        hold_back: output.hold_back_bytes,
                        on_failure: output.on_failure,
                    })
                }
                None => None,
            };
            let actions = self.actions(route, index)?;
            routes.push(Arc::new(Route {
                name: route.name.clone(),
                detectors: chosen,
                actions,
                dry_run: route.dry_run,
                instruction: route.instruction.clone().unwrap_or_else(|| SAFETY_INSTRUCTION.to_owned()),
                fallback_model: route.fallback_model.clone(),
                client_leaves: route.client_leaves,
                output,
                judging: self.judging(route, index, &judges)?,
            }));
        }
        Ok((routes, table))
    }

    pub(super) fn unknown<'b>(
        &self,
        path: &[Step],
        what: &str,
        name: &str,
        known: impl Iterator<Item = &'b String>,
    ) -> ConfigError {
        let known: Vec<&str> = known.map(String::as_str).collect();
        let hint = if known.is_empty() { format!("there is no {what}") } else { suggestion(name, &known) };
        self.error(path, format!("unknown {what} `{name}`")).hint(hint)
    }

    fn actions(&self, route: &RouteFile, index: usize) -> Resolved<[Vec<Action>; 3]> {
        let lists = [("on_none", &route.on_none), ("on_low", &route.on_low), ("on_high", &route.on_high)];
        for (key, list) in lists {
            let error = |message: &str| {
                Err(self.error(&[Step::Key("routes"), Step::Index(index), Step::Key(key)], message))
            };
            if list.contains(&Action::Fallback) && route.fallback_model.is_none() {
                return error("`fallback` needs the route's `fallback_model`");
            }
            if list.contains(&Action::Block)
                && list
                    .iter()
                    .any(|action| matches!(action, Action::Instruct | Action::Quarantine | Action::Fallback))
            {
                return error("a request that is blocked cannot be changed as well");
            }
        }
        Ok(lists.map(|(_, list)| {
            let mut list = list.clone();
            list.sort_unstable();
            list.dedup();
            list
        }))
    }

    fn audit(&self, file: &AuditFile) -> Resolved<AuditSettings> {
        let at = |key| [Step::Key("audit"), Step::Key(key)];
        if file.queue == 0 {
            return Err(self.error(&at("queue"), "at least 1 record must be able to wait"));
        }
        if file.file_bytes < 1 << 16 {
            return Err(self.error(&at("file_bytes"), "a file holds at least 65536 bytes"));
        }
        if file.keep_files == Some(0) {
            return Err(self.error(&at("keep_files"), "at least 1 file must be kept"));
        }
        let key = match &file.key_env {
            Some(variable) => Some(self.variable(variable, &at("key_env"))?),
            None => None,
        };
        let redaction = Redaction::new(&file.redact).map_err(|(index, error)| {
            self.error(&[Step::Key("audit"), Step::Key("redact"), Step::Index(index)], error.to_string())
        })?;
        Ok(AuditSettings {
            folder: self.sources.folder.join(&file.folder),
            when: file.when,
            on_failure: file.on_failure,
            queue: file.queue,
            file_bytes: file.file_bytes,
            keep_files: file.keep_files,
            key,
            content: file.content.then_some(redaction),
        })
    }
}

fn seconds(value: f64) -> Option<Duration> {
    (0.001..=86_400.0).contains(&value).then(|| Duration::from_secs_f64(value))
}

/// An address without what could surprise. The text is not repeated in errors, as it may hold credentials.
fn base(text: &str) -> Result<Uri, String> {
    let example = "write it as in `https://api.openai.com/v1`";
    let uri: Uri = text.parse().map_err(|_| format!("the address cannot be read; {example}"))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(format!("the address must start with `http://` or `https://`; {example}"));
    }
    if uri.authority().is_none_or(|authority| authority.as_str().contains('@')) {
        return Err("credentials do not stand in an address; name a variable by `api_key_env`".to_owned());
    }
    if uri.query().is_some() {
        return Err("the address must have no `?`".to_owned());
    }
    let mut parts = uri.into_parts();
    let path = parts.path_and_query.as_ref().map_or("", |path| path.path()).trim_end_matches('/').to_owned();
    // A path of a slash alone is joined as an empty one.
    let path = if path.is_empty() { "/".to_owned() } else { path };
    parts.path_and_query = Some(path.parse().map_err(|_| format!("the address cannot be read; {example}"))?);
    Uri::from_parts(parts).map_err(|_| format!("the address cannot be read; {example}"))
}
