//! The realtime node: real sockets, real Redis, real time.

mod arbitrary;
mod auth;
mod back_pressure;
mod contract;
mod drain;
mod framing;
mod heartbeat;
mod limits;
mod redis;
mod relay;
mod shards;
pub(crate) mod test_node;
mod upgrade;
pub(crate) mod v1;
