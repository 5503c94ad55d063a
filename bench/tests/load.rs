//! The load tool, as it is called, against a real node.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use realtime::{Node, Process, Settings};
use serde_json::Value;
use shared::front::Front;
use shared::settings::{Http, Reader};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::time::timeout;

/// The longest run, on a slow machine under load.
const PATIENCE: Duration = Duration::from_mins(2);

/// Starts a node; its URL.
async fn node() -> String {
    let limits = [("LIMIT_MESSAGES", "off"), ("LIMIT_BYTES", "off")];
    let mut reader = Reader::from_pairs(limits);
    let front = Front::new(Http::read(&mut reader, "off"));
    let settings = Settings::read(&mut reader, Process::Local);
    reader.finish().unwrap();
    let node = Node::start(settings, Arc::clone(&front), None).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/ws", listener.local_addr().unwrap());
    let router = front.layer(node.router());
    tokio::spawn(async move { realtime::serve(vec![listener], router, &node).await });
    url
}

/// What a run says of a fresh node, once it has ended well.
async fn figures(arguments: &str) -> Value {
    let url = node().await;
    let mut command = Command::new(env!("CARGO_BIN_EXE_keywire-bench"));
    command.args(arguments.split(' ')).args(["--url", &url, "--name", "node"]);
    // The node is in this process.
    command.args(["--pid", &std::process::id().to_string()]);
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = timeout(PATIENCE, command.output()).await.expect("the run ends").unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}", output.status);
    let line: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(line["figures"]["server"], "node");
    line["figures"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn paced_fanout_delivers_all_once() {
    let arguments = "fanout --clients 10 --rate 100 --seconds 1 --warm-up 0";
    let figures = figures(arguments).await;
    let messages = figures["messages"].as_u64().unwrap();
    assert!(messages > 0, "{figures}");
    let clean = serde_json::json!({"delivered": 10 * messages, "doubled": 0, "late": 0});
    assert_eq!((&figures["deliveries"], &figures["lost"]), (&clean, &0.into()), "{figures}");
    assert_eq!(figures["latency_ms"]["count"], 10 * messages);
    assert!(figures["cost"]["server_us_per_delivery"].is_number(), "{figures}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_loop_and_bursts_deliver_all_once() {
    for arguments in [
        "fanout --clients 10 --senders 2 --in-flight 4 --seconds 1 --warm-up 0",
        "chat --clients 10 --burst 100 --seconds 1",
    ] {
        let figures = figures(arguments).await;
        let delivered = &figures["deliveries"]["delivered"];
        assert!(delivered.as_u64() > Some(0), "{figures}");
        assert_eq!((&figures["lost"], &figures["latency_ms"]["count"]), (&0.into(), delivered));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_clients_hear_a_burst_and_others_come_and_go() {
    let arguments = "idle --clients 10 --seconds 0 --settle 0 --burst 5 --churn 50";
    let figures = figures(arguments).await;
    assert_eq!(figures["lost"], 0, "{figures}");
    assert_eq!(figures["burst_ms"]["count"], 50);
    assert_eq!(figures["connecting_ms"]["count"], 61);
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_stall_are_not_counted_as_loss() {
    let arguments = "stall --clients 10 --stalled 5 --rate 50 --seconds 1 --warm-up 0";
    let figures = figures(arguments).await;
    assert_eq!((&figures["lost"], &figures["readers_cut"]), (&0.into(), &0.into()), "{figures}");
    let stalled = &figures["some_stalled"];
    assert_eq!(
        stalled["deliveries"]["delivered"].as_u64(),
        stalled["messages"].as_u64().map(|messages| 5 * messages),
        "{figures}"
    );
}
