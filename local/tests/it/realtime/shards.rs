//! Several shards are one node: one order for all, nothing lost between them, one back-pressure.

use std::io::{Read, Write};
use std::sync::Arc;

use futures_util::{SinkExt, StreamExt};
use realtime::broker::memory::Bus;
use tokio_tungstenite::tungstenite::Message;

use super::test_node::*;

/// Clients of each shard that speak.
const SENDERS: usize = 8;
/// Messages of each of them.
const EACH: usize = 200;

/// Bytes of a large message.
const LARGE: usize = 50 * 1024;
/// Large messages of each sender.
const COUNT: usize = 60;

/// Lets every client say its numbers and hear everybody's; what each heard, in order.
async fn everybody_talks(sockets: Vec<Socket>) -> Vec<Vec<String>> {
    let all = sockets.len() * EACH;
    let mut clients = Vec::new();
    for (who, socket) in sockets.into_iter().enumerate() {
        let (mut sink, stream) = socket.split();
        clients.push(tokio::spawn(async move {
            let speaking = async {
                for n in 0..EACH {
                    sink.send(Message::text(format!("{who} {n}"))).await.unwrap();
                }
            };
            let texts = stream.filter_map(|message| async { message.unwrap().into_text().ok() });
            let texts = texts.filter(|text| std::future::ready(!text.is_empty()));
            let hearing = texts.take(all).map(|text| text.to_string()).collect::<Vec<_>>();
            tokio::join!(speaking, hearing).1
        }));
    }
    let mut heard = Vec::new();
    for client in clients {
        heard.push(soon("a client's end", client).await.unwrap());
    }
    heard
}

/// Asserts that a client heard everybody's numbers, each sender's in order.
fn is_whole(heard: &[String]) {
    for who in 0..heard.len() / EACH {
        let said = heard.iter().filter_map(|text| text.strip_prefix(&format!("{who} ")));
        let expected: Vec<_> = (0..EACH).map(|n| n.to_string()).collect();
        assert!(said.eq(expected.iter()), "sender {who}'s numbers");
    }
}

#[tokio::test]
async fn clients_of_all_shards_hear_everything_in_one_order() {
    for shards in ["1", "2", "3", "5"] {
        let node = TestNode::start(&[("SHARDS", shards)]).await;
        let mut sockets = Vec::new();
        for _ in 0..SENDERS {
            sockets.push(node.connect().await);
        }
        let heard = everybody_talks(sockets).await;
        is_whole(&heard[0]);
        for other in &heard[1..] {
            assert!(*other == heard[0], "another order with {shards} shards");
        }
        until("all to be carried out", async || node.metric("keywire_shard_bytes").await == 0)
            .await;
    }
}

#[tokio::test]
async fn nodes_of_several_shards_relay_everything_each_senders_in_order() {
    let (bus, settings) = (Bus::default(), [("SHARDS", "3")]);
    let (a, b) = (TestNode::on(&bus, &settings).await, TestNode::on(&bus, &settings).await);
    let mut sockets = Vec::new();
    for _ in 0..SENDERS / 2 {
        sockets.push(a.connect().await);
        sockets.push(b.connect().await);
    }
    for heard in everybody_talks(sockets).await {
        is_whole(&heard);
    }
}

#[tokio::test]
async fn a_client_of_any_shard_hears_whatever_is_said_once_it_is_connected() {
    let node = TestNode::start(&[("SHARDS", "4")]).await;
    let mut speakers = Vec::new();
    for _ in 0..4 {
        speakers.push(node.connect().await);
    }
    for round in 0..100 {
        let text = round.to_string();
        let mut late = node.connect().await;
        say(&mut speakers[round % 4], &text).await;
        hears_up_to(&mut late, round).await;
    }
}

#[tokio::test]
async fn a_burst_slows_senders_of_all_shards_instead_of_cutting_a_healthy_reader() {
    // SHARD_BYTES as small as it may be, so that the ways between shards fill as well.
    let settings = [
        ("SHARDS", "3"),
        ("SHARD_BYTES", "256 KiB"),
        ("LIMIT_MESSAGES", "off"),
        ("LIMIT_BYTES", "off"),
        ("STALL_TIMEOUT", "10s"),
        ("PAUSE_LIMIT", "20s"),
    ];
    let node = TestNode::start(&settings).await;
    let reader = node.connect_narrow().await;
    // All connect before anybody speaks, so that everybody hears everything.
    let mut sockets = Vec::new();
    for _ in 0..6 {
        sockets.push(node.connect().await);
    }
    let payload = Arc::new(vec![7; LARGE]);
    let mut clients = Vec::new();
    for socket in sockets {
        let (mut sink, stream) = socket.split();
        let payload = Arc::clone(&payload);
        clients.push(tokio::spawn(async move {
            for _ in 0..COUNT {
                sink.send(Message::binary(payload.to_vec())).await.unwrap();
            }
        }));
        clients.push(tokio::spawn(hear_binary(stream, 6 * COUNT)));
    }
    clients.push(tokio::spawn(hear_binary(reader.split().1, 6 * COUNT)));
    for client in clients {
        soon("a client's end", client).await.unwrap();
    }
    assert_eq!(node.metric("keywire_closes_total{code=\"4008\",by=\"node\"}").await, 0);
}

/// Reads so many messages.
async fn hear_binary(stream: futures_util::stream::SplitStream<Socket>, count: usize) {
    let binary = stream.filter(|m| std::future::ready(matches!(m, Ok(Message::Binary(_)))));
    binary.take(count).for_each(|message| async { drop(message.unwrap()) }).await;
}

#[tokio::test]
async fn a_reader_that_is_behind_gets_the_newest_pong_between_whole_messages() {
    let settings = [("LIMIT_MESSAGES", "off"), ("LIMIT_BYTES", "off"), ("QUEUE_BYTES", "4 MiB")];
    let node = TestNode::start(&settings).await;
    let mut talker = node.connect().await;
    let mut behind = node.connect_narrow().await;
    let large = vec![1; 60 * 1024];
    until("a queue", async || {
        say_bytes(&mut talker, &large).await;
        hear(&mut talker).await;
        node.metric("keywire_queue_bytes").await > 0
    })
    .await;
    // Far more than what the kernel might still take.
    for _ in 0..20 {
        say_bytes(&mut talker, &large).await;
        hear(&mut talker).await;
    }
    let before = node.metric("keywire_received_bytes_total").await;
    for n in 0..100_u8 {
        soon("sending", behind.send(Message::Ping(vec![n].into()))).await.unwrap();
    }
    node.metric_reaches("keywire_received_bytes_total", before + 100 * 7).await;
    let mut pongs = Vec::new();
    while pongs.last() != Some(&99) {
        match soon("a pong", behind.next()).await.unwrap().unwrap() {
            Message::Pong(payload) => pongs.push(payload[0]),
            Message::Binary(bytes) => assert_eq!(bytes, large),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(pongs, [99], "one answer to all of them");
}

/// Sends frames as fast as the node takes them and reads whatever comes, on threads of its own, until
/// the stream is shut.
fn flood(stream: &std::net::TcpStream) -> [std::thread::JoinHandle<()>; 2] {
    // Masked with zeros: 1 KiB of payload each.
    let frames = [&[0x82, 0x80 | 0x7e, 4, 0, 0, 0, 0, 0][..], &[b'f'; 1024]].concat().repeat(256);
    let (mut sending, mut reading) = (stream.try_clone().unwrap(), stream.try_clone().unwrap());
    [
        std::thread::spawn(move || while sending.write_all(&frames).is_ok() {}),
        std::thread::spawn(move || {
            let mut heard = vec![0; 256 * 1024];
            while matches!(reading.read(&mut heard), Ok(bytes) if bytes > 0) {}
        }),
    ]
}

#[tokio::test]
async fn senders_of_another_shard_do_not_starve_those_of_the_rooms_own() {
    let settings = [
        ("SHARDS", "2"),
        ("LIMIT_MESSAGES", "off"),
        ("LIMIT_BYTES", "off"),
        ("STALL_TIMEOUT", "10s"),
        ("PAUSE_LIMIT", "1m"),
    ];
    let node = TestNode::start(&settings).await;
    // Shards are given in turn: the first, where the lobby is at home, and the other.
    let mut speaker = node.connect().await;
    let (mut here, mut there) = (Vec::new(), Vec::new());
    for _ in 0..4 {
        there.push(node.connect().await);
        here.push(node.connect().await);
    }
    drop(here);
    let mut floods = Vec::new();
    for socket in there {
        let stream = socket.into_inner().into_std().unwrap();
        stream.set_nonblocking(false).unwrap();
        let threads = flood(&stream);
        floods.push((stream, threads));
    }
    for round in 0..100 {
        say(&mut speaker, &round.to_string()).await;
        let own = async { while hear(&mut speaker).await != Message::text(round.to_string()) {} };
        soon("its own words", own).await;
    }
    for (stream, threads) in floods {
        assert!(threads.iter().all(|thread| !thread.is_finished()), "it went on until now");
        stream.shutdown(std::net::Shutdown::Both).unwrap();
        for thread in threads {
            thread.join().unwrap();
        }
    }
}
