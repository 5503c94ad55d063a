//! A lobby as axum's chat example has it: one broadcast channel, two tasks a connection, options left
//! at their defaults.

use std::env;

use axum::Router;
use axum::extract::State;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use axum::routing::get;
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpListener;
use tokio::sync::broadcast::{self, Sender, error::RecvError};

/// Messages that a slow connection may be behind before it loses some.
const CAPACITY: usize = 1024;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let port: u16 = env::var("PORT")?.parse()?;
    let router =
        Router::new().route("/ws", get(upgrade)).with_state(broadcast::channel(CAPACITY).0);
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    axum::serve(listener, router).await?;
    Ok(())
}

async fn upgrade(upgrade: WebSocketUpgrade, State(lobby): State<Sender<Message>>) -> Response {
    upgrade.on_upgrade(|socket| relay(socket, lobby))
}

async fn relay(socket: WebSocket, lobby: Sender<Message>) {
    let (mut sink, mut stream) = socket.split();
    let mut messages = lobby.subscribe();
    let mut writing = tokio::spawn(async move {
        loop {
            match messages.recv().await {
                Ok(message) => {
                    if sink.send(message).await.is_err() {
                        return;
                    }
                }
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            }
        }
    });
    let reading = async {
        while let Some(Ok(message)) = stream.next().await {
            if let Message::Text(_) | Message::Binary(_) = message {
                // It fails only without receivers, and this connection is one.
                drop(lobby.send(message));
            }
        }
    };
    tokio::select! {
        () = reading => {}
        _ = &mut writing => {}
    }
    writing.abort();
}
