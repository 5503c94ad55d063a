//! The server under load, as the command line names it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs as _};

use anyhow::{Context as _, ensure};
use clap::Args;
use http::Uri;

/// Loopback addresses to connect from, unless it is said otherwise: ports suffice for many connections.
const ADDRESSES: u8 = 32;

/// Which server, and which cores.
#[derive(Debug, Clone, Args)]
pub(crate) struct Target {
    /// Where the server is.
    #[arg(long, default_value = "ws://127.0.0.1:8080/ws")]
    url: Uri,
    /// Starts the server with this command (settings first: `PORT=9000 target/release/realtime`), waits
    /// until it listens at the URL, and ends it afterwards. Split at spaces; no shell reads it.
    #[arg(long)]
    pub(crate) spawn: Option<String>,
    /// The process of a server that runs already, to read what it uses.
    #[arg(long, conflicts_with = "spawn")]
    pub(crate) pid: Option<u32>,
    /// What the result calls the server; else its URL.
    #[arg(long)]
    name: Option<String>,
    /// The core of the server, if this program starts it. Linux only.
    #[arg(long, requires = "spawn")]
    pub(crate) server_core: Option<usize>,
    /// The core of the load. Linux only.
    #[arg(long)]
    pub(crate) load_core: Option<usize>,
    /// A header of the upgrade, such as `Authorization: Bearer …`. May be given more than once.
    #[arg(long)]
    header: Vec<String>,
    /// Loopback addresses to connect from, so that ports suffice for many connections.
    #[arg(long, default_value_t = ADDRESSES, value_parser = clap::value_parser!(u8).range(1..=250))]
    addresses: u8,
}

/// Where to connect, how, and from where.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    /// The server's.
    pub(crate) address: SocketAddr,
    /// For the `Host` header.
    pub(crate) host: String,
    /// The request's path.
    pub(crate) path: String,
    /// Further header lines.
    pub(crate) headers: Vec<String>,
    /// Addresses to connect from: 127.0.0.2 and following. 0: the system chooses.
    sources: u8,
}

impl Target {
    /// The name of the server in the results.
    pub(crate) fn name(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.url.to_string())
    }

    /// Where the URL leads.
    ///
    /// # Errors
    /// If it is no `ws://` URL or its host is not known.
    pub(crate) fn endpoint(&self) -> anyhow::Result<Endpoint> {
        ensure!(self.url.scheme_str() == Some("ws"), "the URL must begin with ws://");
        let authority = self.url.authority().context("the URL needs a host")?;
        let port = authority.port_u16().unwrap_or(80);
        let mut addresses = (authority.host().trim_matches(['[', ']']), port).to_socket_addrs()?;
        let address = addresses.next().context("the URL's host has no address")?;
        // Only there may a client bind any address of 127.0.0.0/8.
        let many = cfg!(target_os = "linux") && address.ip() == Ipv4Addr::LOCALHOST;
        Ok(Endpoint {
            address,
            host: authority.to_string(),
            path: self.url.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
            headers: self.header.clone(),
            sources: if many { self.addresses } else { 0 },
        })
    }
}

impl Endpoint {
    /// A node of this machine, with header lines.
    pub(crate) fn local(port: u16, headers: Vec<String>) -> Self {
        Self {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            host: format!("127.0.0.1:{port}"),
            path: "/ws".to_owned(),
            headers,
            sources: if cfg!(target_os = "linux") { ADDRESSES } else { 0 },
        }
    }

    /// The address that a client connects from, if it is to be chosen.
    pub(crate) fn source(&self, client: usize) -> Option<SocketAddr> {
        let turn = client.checked_rem(usize::from(self.sources))?;
        let last = u8::try_from(turn).ok()? + 2;
        Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, last)), 0))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        target: Target,
    }

    fn endpoint(url: &str) -> anyhow::Result<Endpoint> {
        Line::parse_from(["bench", "--addresses", "3", "--url", url]).target.endpoint()
    }

    #[test]
    fn a_url_tells_address_host_and_path() {
        let endpoint = endpoint("ws://127.0.0.1:9000/chat?room=a").unwrap();
        assert_eq!(endpoint.address, "127.0.0.1:9000".parse().unwrap());
        assert_eq!((&*endpoint.host, &*endpoint.path), ("127.0.0.1:9000", "/chat?room=a"));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn clients_of_this_machine_take_turns_with_addresses() {
        let endpoint = endpoint("ws://127.0.0.1:9000/").unwrap();
        let sources = [0, 1, 2, 3].map(|client| endpoint.source(client).unwrap().ip().to_string());
        assert_eq!(sources, ["127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.2"]);
    }

    #[test]
    fn elsewhere_the_system_chooses_the_address() {
        assert_eq!(endpoint("ws://192.0.2.1/ws").unwrap().source(1), None);
    }

    #[test]
    fn other_schemes_are_refused() {
        assert!(endpoint("wss://127.0.0.1/ws").is_err());
        assert!(endpoint("http://127.0.0.1/ws").is_err());
    }
}
