//! What counts as a sign of life, and what counts as lost, without a Redis.

use shared::settings::Reader;

use super::*;

/// A broker whose Redis never answers, and its metrics.
fn broker() -> (Arc<Redis>, Arc<Metrics>) {
    let url = ("REDIS_URL", "redis+unix:///nonexistent/redis.sock");
    let mut reader = Reader::from_pairs([url]);
    let settings = settings::Settings::read(&mut reader, settings::Process::Node).redis.unwrap();
    let metrics = Arc::new(Metrics::default());
    let inbound = Inbound::new(settings.queue.0, Arc::clone(&metrics));
    (Redis::start(settings, inbound, Arc::clone(&metrics)).unwrap(), metrics)
}

fn publication() -> Content<'static> {
    Content::Publication(Kind::Text, b"hello")
}

fn lost(metrics: &Metrics) -> u64 {
    let text = metrics.render();
    let name = "keywire_relay_dropped_total{direction=\"out\"} ";
    text.lines().find_map(|line| line.strip_prefix(name)).unwrap().parse().unwrap()
}

#[tokio::test]
async fn any_own_frame_is_a_sign_of_life_and_another_nodes_is_none() {
    let (redis, _) = broker();
    let before = Instant::now().checked_sub(Duration::from_millis(1)).unwrap();
    for (source, content, sign) in [
        (redis.source, publication(), true),
        (redis.source, Content::Probe(7), true),
        (Source::random(), publication(), false),
        (Source::random(), Content::Probe(7), false),
    ] {
        redis.lock().heard = before;
        let data = vec![Value::BulkString(frame::encode(source, &content).to_vec())];
        redis.pushed(PushInfo { kind: PushKind::Message, data });
        assert_eq!(redis.lock().heard > before, sign, "{content:?}");
    }
}

#[tokio::test]
async fn what_was_under_way_when_a_link_broke_counts_as_lost() {
    let (_redis, metrics) = broker();
    InFlight { metrics: &metrics, count: 2 }.arrived();
    assert_eq!(lost(&metrics), 0);
    // The pump is dropped while it waits for the answer, as when the other half of the link breaks.
    drop(InFlight { metrics: &metrics, count: 3 });
    assert_eq!(lost(&metrics), 3);
}

#[tokio::test]
async fn publications_that_never_left_count_as_lost_and_probes_do_not() {
    let (redis, metrics) = broker();
    redis.outbound.push(frame::encode(redis.source, &publication())).unwrap();
    redis.probe();
    redis.outbound.push(frame::encode(redis.source, &publication())).unwrap();
    redis.forget();
    assert_eq!(lost(&metrics), 2);
}
