//! The gateway as a process: its listeners, its signals.

use std::net::SocketAddr;
use std::path::Path;

use tiltmeter_guard::{Gateway, GuardError};
use tokio::net::TcpListener;

use super::arguments::GuardServeArguments;
use crate::exit::{Exit, Failure};
use crate::log::Log;
use crate::output;

pub(crate) fn serve(arguments: &GuardServeArguments) -> Result<Exit, Failure> {
    // The arguments' parser insists on it.
    let Some(path) = &arguments.config else { return Err(Failure::configuration("`--config` is missing")) };
    let log = Log::start(&arguments.log)?;
    let settings = super::read(path)?;
    let has_page = settings.admin_token.is_some();
    let (listen, admin, audit) = (settings.listen, settings.admin, settings.audit.clone());
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Failure::failed)?;
    runtime.block_on(async {
        let listener = bind(listen).await?;
        let admin = match admin {
            Some(address) => Some(bind(address).await?),
            None => None,
        };
        let gateway = Gateway::telling(settings, log.telemetry()?).map_err(|error| of_gateway(&error))?;
        let address = listener.local_addr().map_err(Failure::failed)?;
        output::result(&format!("guarding at http://{address}/v1\n"));
        if let Some(admin) = &admin {
            let address = admin.local_addr().map_err(Failure::failed)?;
            output::result(&format!("figures at http://{address}/metrics\n"));
            if has_page {
                output::result(&format!("live page at http://{address}/\n"));
            }
        }
        if audit.is_none() {
            output::note("warning: no audit log is kept; `[audit]` in the configuration begins one");
        }
        gateway.serve(listener, admin, signals(&gateway, path)).await.map_err(Failure::failed)?;
        Ok(Exit::Done)
    })
}

async fn bind(address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address)
        .await
        .map_err(|error| Failure::configuration(format!("cannot listen at {address}: {error}")))
}

fn of_gateway(error: &GuardError) -> Failure {
    Failure::configuration(error)
}

/// Reads the configuration again at each SIGHUP, until the process is told to stop.
#[cfg(unix)]
async fn signals(gateway: &Gateway, path: &Path) {
    use tokio::signal::unix::{SignalKind, signal};

    let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
    let [Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)] = kinds.map(signal) else {
        // Without signals it goes on until it is killed.
        return std::future::pending().await;
    };
    loop {
        tokio::select! {
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
            _ = hangup.recv() => reload(gateway, path),
        }
    }
    output::note("stopping");
}

#[cfg(not(unix))]
async fn signals(_gateway: &Gateway, _path: &Path) {
    if tokio::signal::ctrl_c().await.is_err() {
        return std::future::pending().await;
    }
    output::note("stopping");
}

/// A configuration that is wrong leaves the one before in place.
#[cfg(unix)]
fn reload(gateway: &Gateway, path: &Path) {
    let result = super::read(path)
        .map_err(|failure| failure.message)
        .and_then(|settings| gateway.reload(settings).map_err(|error| error.to_string()));
    match result {
        Ok(()) => output::note("the configuration was read again"),
        Err(message) => output::error(&format!("the configuration stays as it was: {message}")),
    }
}
