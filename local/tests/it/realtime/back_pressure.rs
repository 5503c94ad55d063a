//! Slow readers: capped, cut, and no burden to anybody else.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use realtime::broker::Inbound;
use realtime::broker::memory::Bus;
use realtime::hub::{Guest, Hub, Room, RoomId};
use realtime::metrics::Metrics;
use realtime::publication::{Kind, Publication};
use socket2::SockRef;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_tungstenite::tungstenite::Message;

use super::test_node::*;

/// Messages that no kernel buffer on the way swallows.
const LARGE: usize = 60 * 1024;
/// Many enough to fill what the kernel takes (some MiB) and the node's queue.
const MANY: usize = 400;
/// Senders that speak at once.
const SENDERS: usize = 16;
/// Messages of each of them.
const EACH: usize = 20;
/// No limits that would slow the sender for another reason.
const FREE: &[(&str, &str)] = &[("LIMIT_MESSAGES", "off"), ("LIMIT_BYTES", "off")];
/// Healthy readers share one thread with everything else here, and may not run for a while.
const PATIENT: &[(&str, &str)] = &[
    ("LIMIT_MESSAGES", "off"),
    ("LIMIT_BYTES", "off"),
    ("STALL_TIMEOUT", "5s"),
    ("PAUSE_LIMIT", "20s"),
];

fn numbered(n: usize) -> Vec<u8> {
    let mut bytes = n.to_be_bytes().to_vec();
    bytes.resize(LARGE, 0);
    bytes
}

/// Sends and hears its own messages; the longest wait for one.
async fn talk(talker: &mut Socket, count: usize) -> Duration {
    let mut longest = Duration::ZERO;
    for n in 0..count {
        let started = Instant::now();
        say_bytes(talker, &numbered(n)).await;
        assert_eq!(hear(talker).await.into_data(), numbered(n));
        longest = longest.max(started.elapsed());
    }
    longest
}

#[tokio::test]
async fn a_reader_that_stops_is_closed_4008_at_its_cap_and_delays_nobody_for_long() {
    let mut settings = FREE.to_vec();
    // Who takes nothing is not waited for as long as who still takes something.
    settings.push(("PAUSE_LIMIT", "60s"));
    let node = TestNode::start(&settings).await;
    let mut talker = node.connect().await;
    let mut stalled = node.connect_narrow().await;
    let bystander = node.connect().await;
    let hearing = tokio::spawn(hear_all(bystander, MANY));
    let longest = talk(&mut talker, MANY).await;
    // It pauses the others once, for the stall time; what is above that is the machine's.
    assert!(longest < Duration::from_secs(15), "{longest:?}");
    hearing.await.unwrap();
    node.metric_reaches("keywire_closes_total{code=\"4008\",by=\"node\"}", 1).await;
    // What the kernel held arrives whole and in order, then nothing: the client was too late for
    // the Close.
    let mut next = 0;
    while let Some(Ok(message)) = soon("the end", stalled.next()).await {
        match message {
            Message::Binary(bytes) => {
                assert_eq!(bytes, numbered(next));
                next += 1;
            }
            Message::Close(_) | Message::Ping(_) => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(next < MANY);
}

/// Hears so many numbered messages, each once and in order.
async fn hear_all(mut socket: Socket, count: usize) {
    for n in 0..count {
        assert_eq!(hear(&mut socket).await.into_data(), numbered(n), "message {n}");
    }
}

#[tokio::test]
async fn a_slow_reader_that_comes_back_in_time_sees_4008_after_whole_messages() {
    let mut settings = FREE.to_vec();
    settings.push(("CLOSE_TIMEOUT", "20s"));
    let node = TestNode::start(&settings).await;
    let mut talker = node.connect().await;
    let mut stalled = node.connect_narrow().await;
    // Until the cap is reached: then all that waits is dropped but the rest of one message.
    let (mut said, mut most) = (0, 0);
    loop {
        assert!(said < MANY, "nothing was closed: {most}");
        say_bytes(&mut talker, &numbered(said)).await;
        assert_eq!(hear(&mut talker).await.into_data(), numbered(said));
        said += 1;
        let waiting = node.metric("keywire_queue_bytes").await;
        if most > 3 * LARGE as u64 && waiting + 2 * LARGE as u64 <= most {
            break;
        }
        most = most.max(waiting);
    }
    // Whatever arrives before the Close has no hole.
    let mut next = 0;
    let reading = async {
        loop {
            match stalled.next().await.unwrap().unwrap() {
                Message::Binary(bytes) => {
                    assert_eq!(bytes, numbered(next));
                    next += 1;
                }
                Message::Close(frame) => break frame.unwrap().code,
                Message::Ping(_) => {}
                other => panic!("{other:?}"),
            }
        }
    };
    let code = soon("the close", reading).await;
    assert_eq!(u16::from(code), 4008);
}

#[tokio::test]
async fn many_stalled_readers_hold_no_more_than_their_caps_and_are_all_closed() {
    let node = TestNode::start(FREE).await;
    let mut talker = node.connect().await;
    let mut stalled = Vec::new();
    for _ in 0..20 {
        stalled.push(node.connect_narrow().await);
    }
    for _ in 0..MANY / 10 {
        talk(&mut talker, 10).await;
        let queued = node.metric("keywire_queue_bytes").await;
        assert!(queued <= 21 * 256 * 1024, "{queued}");
    }
    node.metric_reaches("keywire_closes_total{code=\"4008\",by=\"node\"}", 20).await;
    until("the queues' end", async || node.metric("keywire_queue_bytes").await == 0).await;
    assert_eq!(node.metric("keywire_connections").await, 1);
}

#[tokio::test]
async fn a_burst_slows_its_sender_instead_of_cutting_healthy_readers() {
    // Their queues add up to more than the total, but what they share is held once.
    let mut settings = PATIENT.to_vec();
    settings.extend([("SHARDS", "1"), ("QUEUE_TOTAL", "512 KiB")]);
    let node = TestNode::start(&settings).await;
    // They read as fast as they can, on one busy thread: far slower than the burst is sent.
    let mut readers = Vec::new();
    for _ in 0..10 {
        readers.push(tokio::spawn(hear_all(node.connect_narrow().await, MANY)));
    }
    let (mut sink, own) = node.connect().await.split();
    let own = tokio::spawn(async move {
        let own =
            own.filter(|message| std::future::ready(!matches!(message, Ok(Message::Ping(_)))));
        own.take(MANY).for_each(|message| async { drop(message.unwrap()) }).await;
    });
    for n in 0..MANY {
        soon("sending", sink.send(Message::binary(numbered(n)))).await.unwrap();
    }
    for reader in readers {
        soon("a reader's end", reader).await.unwrap();
    }
    soon("the sender's own", own).await.unwrap();
    assert_eq!(node.metric("keywire_closes_total{code=\"4008\",by=\"node\"}").await, 0);
}

#[tokio::test]
async fn a_burst_from_many_senders_at_once_cuts_nobody() {
    let node = TestNode::start(PATIENT).await;
    // All connect before anybody speaks, so that everybody hears everything.
    let mut sockets = Vec::new();
    for _ in 0..SENDERS {
        sockets.push(node.connect().await);
    }
    let mut clients = Vec::new();
    for (who, socket) in sockets.into_iter().enumerate() {
        let (mut sink, stream) = socket.split();
        clients.push(tokio::spawn(async move {
            for n in 0..EACH {
                sink.send(Message::binary(numbered(who * EACH + n))).await.unwrap();
            }
        }));
        clients.push(tokio::spawn(async move {
            let mut binary =
                stream.filter(|m| std::future::ready(matches!(m, Ok(Message::Binary(_)))));
            let mut last = [None; SENDERS];
            for _ in 0..SENDERS * EACH {
                let data = binary.next().await.unwrap().unwrap().into_data();
                let n = usize::from_be_bytes(data[..8].try_into().unwrap());
                assert!(last[n / EACH].replace(n) < Some(n), "order of sender {}", n / EACH);
            }
        }));
    }
    for client in clients {
        soon("a client's end", client).await.unwrap();
    }
    assert_eq!(node.metric("keywire_closes_total{code=\"4008\",by=\"node\"}").await, 0);
}

#[tokio::test]
async fn a_client_that_pings_and_reads_nothing_holds_nobody_up() {
    let node = TestNode::start(FREE).await;
    let mut pinger = node.connect_narrow().await;
    let mut talker = node.connect().await;
    // Until the kernel takes no further Pong: what blocks is a control frame, before any message.
    let ping = [&[0x89, 0x80 | 0x7d][..], &[0; 4 + 125]].concat();
    until("a blocked Pong", async || {
        let before = node.metric("keywire_sent_bytes_total").await;
        for _ in 0..500 {
            pinger.get_mut().write_all(&ping).await.unwrap();
            tokio::task::yield_now().await;
        }
        // The node has read what was sent once it answers this.
        say(&mut talker, "?").await;
        hears(&mut talker, "?").await;
        node.metric("keywire_sent_bytes_total").await < before + 2 * 127
    })
    .await;
    // It goes on, so that no heartbeat gives it up.
    let pinging = tokio::spawn(async move {
        while pinger.get_mut().write_all(&ping).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    talk(&mut talker, MANY).await;
    node.metric_reaches("keywire_closes_total{code=\"4008\",by=\"node\"}", 1).await;
    soon("the end of the pings", pinging).await.unwrap();
}

/// KiB of this process that are in memory, the node's and the test's.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[tokio::test]
async fn pings_of_a_client_that_does_not_read_do_not_grow_the_node() {
    const PINGS: usize = 200_000;
    /// Frames in one write, so that the test does not spend its time on system calls.
    const TOGETHER: usize = 1_000;
    let node = TestNode::start(FREE).await;
    let mut pinger = node.connect_narrow().await;
    // Each asks for a Pong as large as a control frame may be: 25 MB that nobody takes.
    let ping = [&[0x89, 0x80 | 0x7d][..], &[0; 4 + 125]].concat();
    let pings = ping.repeat(TOGETHER);
    pinger.get_mut().write_all(&pings).await.unwrap();
    let before = resident();
    for _ in 1..PINGS / TOGETHER {
        soon("sending", pinger.get_mut().write_all(&pings)).await.unwrap();
    }
    node.metric_reaches("keywire_received_bytes_total", (PINGS * 131) as u64).await;
    let grown = resident().saturating_sub(before);
    assert!(grown < 10 * 1024, "{grown} KiB for one client");
}

#[tokio::test]
async fn senders_that_wait_have_turns() {
    const EACH: usize = 150;
    let mut settings = FREE.to_vec();
    settings.extend([("SHARDS", "1"), ("STALL_TIMEOUT", "5s"), ("PAUSE_LIMIT", "1m")]);
    let node = TestNode::start(&settings).await;
    let mut reader = node.connect().await;
    // All connect before anybody speaks, so that everybody hears everything.
    let mut sockets = Vec::new();
    for who in 0..4_u8 {
        sockets.push((who, node.connect().await));
    }
    let mut clients = Vec::new();
    for (who, socket) in sockets {
        let (mut sink, mut stream) = socket.split();
        clients.push(tokio::spawn(async move {
            let speaking = async {
                for _ in 0..EACH {
                    sink.send(Message::binary(vec![who; 20 * 1024])).await.unwrap();
                }
            };
            let hearing = async {
                for _ in 0..4 * EACH {
                    stream.next().await.unwrap().unwrap();
                }
            };
            tokio::join!(speaking, hearing);
        }));
    }
    let (mut left, mut silent) = ([EACH; 4], [0; 4]);
    let mut longest = 0;
    for _ in 0..4 * EACH {
        let who = usize::from(hear(&mut reader).await.into_data()[0]);
        left[who] -= 1;
        silent[who] = 0;
        for other in (0..4).filter(|other| *other != who && left[*other] > 0 && left[*other] < EACH)
        {
            silent[other] += 1;
            longest = longest.max(silent[other]);
        }
    }
    // One turn of each is a batch of three messages; without turns it is hundreds.
    assert!(longest <= 60, "a sender waited for {longest} messages of others");
    for client in clients {
        soon("a client's end", client).await.unwrap();
    }
}

#[tokio::test]
async fn what_senders_have_not_finished_counts_against_the_nodes_total() {
    const TOTAL: u64 = 1024 * 1024;
    let mut settings = FREE.to_vec();
    settings.extend([("SHARDS", "1"), ("QUEUE_TOTAL", "1 MiB")]);
    let node = TestNode::start(&settings).await;
    let mut talker = node.connect().await;
    // The first bytes of a message of 64 KiB, and never the rest.
    let begun =
        [&[0x82, 0x80 | 0x7f, 0, 0, 0, 0, 0, 1, 0, 0][..], &vec![0; 4 + 60 * 1024]].concat();
    let mut unfinished = Vec::new();
    for _ in 0..40 {
        let mut socket = node.connect().await;
        soon("sending", socket.get_mut().write_all(&begun)).await.unwrap();
        unfinished.push(socket);
        let held = node.metric("keywire_queue_bytes").await;
        assert!(held <= TOTAL, "{held}");
    }
    node.metric_reaches("keywire_closes_total{code=\"4008\",by=\"node\"}", 20).await;
    // Whoever holds nothing is not touched.
    say(&mut talker, "still here").await;
    hears(&mut talker, "still here").await;
}

/// Somebody in a room of the hub who reads nothing.
async fn stalled(hub: &Hub, room: &Arc<Room>, listener: &TcpListener) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4 * 1024).unwrap();
    let client = socket.connect(listener.local_addr().unwrap()).await.unwrap();
    let (server, _) = listener.accept().await.unwrap();
    SockRef::from(&server).set_send_buffer_size(4 * 1024).unwrap();
    let ticket = hub.join(room, Guest::default()).unwrap();
    ticket.attach(server.into_std().unwrap(), Vec::new()).unwrap();
    client
}

#[tokio::test]
async fn the_nodes_total_closes_the_longest_queues() {
    const TOTAL: usize = 3 * 1024 * 1024;
    /// A message, with what is counted for its frame.
    const ONE: usize = 65 * 1024;
    let (settings, _) =
        read(&[("SHARDS", "1"), ("QUEUE_BYTES", "2 MiB"), ("QUEUE_TOTAL", "3 MiB")]);
    let metrics = Arc::new(Metrics::default());
    let broker = Bus::default().join(&Inbound::new(0, Arc::clone(&metrics)));
    let hub = Hub::start(settings, Arc::clone(&metrics), broker).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    // A room each, so that they share nothing: one gets a little, the others 1 MiB each in turn.
    let mut readers = Vec::new();
    let message = Bytes::from(vec![7; 64 * 1024]);
    for n in 1..=8 {
        let room = hub.room(RoomId(n));
        readers.push(stalled(&hub, &room, &listener).await);
        for _ in 0..if n == 1 { 2 } else { 16 } {
            let publication = Publication { kind: Kind::Binary, payload: message.clone() };
            hub.publish(&room, publication).await.unwrap();
        }
        // Seen from outside at any moment: the message that is one too many is counted, and then closes one.
        let held = hub.held_bytes();
        assert!(held <= TOTAL + ONE, "{held}");
    }
    let closed = "keywire_closes_total{code=\"4008\",by=\"node\"} ";
    until("closes", async || {
        let text = metrics.render();
        let count = text.lines().find_map(|line| line.strip_prefix(closed)).unwrap();
        count.trim().parse::<u64>().unwrap() >= 4
    })
    .await;
    assert!(hub.held_bytes() <= TOTAL, "{}", hub.held_bytes());
    // Whoever had little was left alone: it has a connection still.
    assert_eq!(readers[0].try_read(&mut [0; 1]).unwrap(), 1);
    assert!(hub.count() >= 2, "{}", hub.count());
}
