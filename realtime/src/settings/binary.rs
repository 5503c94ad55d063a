//! What the `realtime` binary reads beside the node's own settings.

use std::net::IpAddr;

use shared::settings::{self, Reader};

use super::{Plain, Process, Settings};

/// What the `realtime` binary needs beside the node's own settings.
#[derive(Debug, Clone)]
pub struct Binary {
    /// `ADDRESS`: where it listens.
    pub address: IpAddr,
    /// `PORT`: the clients' port.
    pub port: u16,
    /// `ADMIN_PORT`: health and metrics; `None` puts them on the clients' port.
    pub admin_port: Option<u16>,
    /// What holds for every HTTP request.
    pub http: settings::Http,
    /// How Postgres is reached; needed by `REALTIME_PLAIN=auth`.
    pub database: Option<settings::Database>,
    /// What access tokens must say.
    pub tokens: settings::Tokens,
    /// What is logged.
    pub log: settings::Log,
    /// The node's own.
    pub node: Settings,
}

impl Binary {
    /// Reads everything the binary needs.
    pub fn read(reader: &mut Reader) -> Self {
        let node = Settings::read(reader, Process::Node);
        let binary = Self {
            address: reader.get("ADDRESS", "127.0.0.1", "The address a node listens on; `0.0.0.0` or `::` to be reached from elsewhere."),
            port: reader.get("PORT", "8080", "The port for clients."),
            admin_port: reader.optional("ADMIN_PORT", "A port of its own for `/health/*` and `/metrics` of a node; else they are on PORT."),
            http: settings::Http::read(reader, "off"),
            database: (node.plain == Plain::Auth || reader.is_set("DATABASE_URL"))
                .then(|| settings::Database::read(reader)),
            tokens: settings::Tokens::read(reader),
            log: settings::Log::read(reader),
            node,
        };
        if binary.admin_port == Some(binary.port) && binary.port != 0 {
            reader.refuse("ADMIN_PORT must differ from PORT; leave it unset to have both on one");
        }
        binary
    }
}
