//! The port: the one asked for, or a free one near 8080.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::{Context as _, bail};
use tokio::net::TcpListener;

/// The port when none is asked for.
const PORT: u16 = 8080;

/// The last port that is tried then.
const LAST_PORT: u16 = 8089;

/// Attempts to find one port free on both addresses when the system chooses (`PORT=0`).
const CHOICES: usize = 10;

/// Bound to this machine's own addresses; connections wait until they are served.
#[derive(Debug)]
pub(crate) struct Listening {
    /// On 127.0.0.1, and on `::1` where the machine has IPv6.
    pub(crate) listeners: Vec<TcpListener>,
    /// The port, the same on both.
    pub(crate) port: u16,
}

/// Binds the port asked for; else the first free one of 8080 to 8089.
///
/// # Errors
/// If the port asked for, or all of those, cannot be used.
pub(crate) fn bind(asked: Option<u16>) -> anyhow::Result<Listening> {
    if let Some(port) = asked {
        let bound = if port == 0 { any() } else { both(port) };
        return bound.with_context(|| format!("port {port} (from PORT) cannot be used"));
    }
    for port in PORT..=LAST_PORT {
        match both(port) {
            Ok(listening) => return Ok(listening),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            Err(error) => return Err(error).with_context(|| format!("port {port} cannot be used")),
        }
    }
    bail!("ports {PORT} to {LAST_PORT} are all taken; set PORT to another one")
}

/// Whether another port than the usual one was taken because that one was in use.
pub(crate) fn moved(asked: Option<u16>, port: u16) -> bool {
    asked.is_none() && port != PORT
}

fn both(port: u16) -> io::Result<Listening> {
    let v4 = realtime::serve::listen((Ipv4Addr::LOCALHOST, port).into())?;
    let port = v4.local_addr()?.port();
    let mut listeners = vec![v4];
    match realtime::serve::listen((Ipv6Addr::LOCALHOST, port).into()) {
        Ok(v6) => listeners.push(v6),
        // Another program on the port would get the browser's `localhost`: the port is taken.
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(error),
        Err(error) => tracing::debug!(%error, "no IPv6 here"),
    }
    Ok(Listening { listeners, port })
}

fn any() -> io::Result<Listening> {
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in 0..CHOICES {
        match both(0) {
            Ok(listening) => return Ok(listening),
            Err(error) => last = error,
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_asked_for_and_taken_is_an_error_that_names_it() {
        let first = bind(Some(0)).unwrap();
        let error = format!("{:#}", bind(Some(first.port)).unwrap_err());
        let expected = format!("port {} (from PORT) cannot be used: ", first.port);
        assert!(error.starts_with(&expected), "{error}");
    }

    #[test]
    fn only_a_port_that_nobody_asked_for_has_moved() {
        assert!(moved(None, 8081));
        assert!(!moved(None, PORT) && !moved(Some(9000), 9000));
    }
}
