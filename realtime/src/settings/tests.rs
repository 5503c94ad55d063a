//! Defaults, contradictions and limits lifted.

use shared::settings::WrongSettings;

use super::*;

fn wrong(pairs: &[(&str, &str)]) -> Vec<String> {
    let mut reader = Reader::from_pairs(pairs.iter().copied());
    Binary::read(&mut reader);
    reader.finish().err().map_or_else(Vec::new, |WrongSettings(wrong)| wrong)
}

#[test]
fn the_defaults_contradict_nothing() {
    assert_eq!(wrong(&[]), Vec::<String>::new());
    assert_eq!(wrong(&[("REDIS_URL", "redis://localhost")]), Vec::<String>::new());
}

#[test]
fn contradictions_are_refused_at_start() {
    for pairs in [
        &[("MESSAGE_BYTES", "100 KiB")][..],
        &[("MESSAGE_BYTES", "0")],
        &[("QUEUE_TOTAL", "1 KiB")],
        &[("PING_INTERVAL", "0")],
        &[("PING_TIMEOUT", "0s")],
        &[("FIRST_BYTE_TIMEOUT", "0")],
        &[("HEADER_TIMEOUT", "0")],
        &[("HEADER_BYTES", "100 B")],
        &[("SPARE_CONNECTIONS", "0")],
        &[("SPARE_TIMEOUT", "0")],
        &[("FULL_RETRY_AFTER", "0")],
        &[("CLOSE_TIMEOUT", "0")],
        &[("REQUEST_GRACE", "2d")],
        &[("DRAIN_WINDOW", "2d")],
        &[("TCP_USER_TIMEOUT", "34s")],
        &[("TCP_USER_TIMEOUT", "30d")],
        &[("LIMIT_MESSAGES", "1/min")],
        &[("LIMIT_BYTES", "1 KiB/s burst 8 MiB")],
        &[("MAX_CONNECTIONS", "0")],
        &[("MAX_CONNECTIONS", "999999999")],
        &[("MAX_CONNECTIONS", "10"), ("CONNECTIONS_PER_ADDRESS", "11")],
        &[("ADMIN_PORT", "8080")],
        &[("SHARDS", "0")],
        &[("SHARDS", "1e9")],
        &[("SHARD_BYTES", "64 KiB")],
        &[("MESSAGE_RETENTION", "23h")],
        &[("MESSAGE_RETENTION", "0")],
        &[("MESSAGE_RETENTION", "36501d")],
        &[("REALTIME_PLAIN", "yes")],
        &[("REALTIME_PLAIN", "auth")],
        &[("REDIS_URL", "http://localhost")],
        &[("REDIS_URL", "redis://host:notaport")],
        &[("REDIS_URL", "redis://a"), ("REDIS_PROBE_INTERVAL", "5s")],
        &[("REDIS_URL", "redis://a"), ("REDIS_RETRY_MAX", "1ms")],
        &[("REDIS_URL", "redis://a"), ("REDIS_QUEUE_BYTES", "64 KiB")],
    ] {
        assert_eq!(wrong(pairs).len(), 1, "{pairs:?}: {:?}", wrong(pairs));
    }
}

#[test]
fn contradictions_are_reported_together_with_wrong_values() {
    let wrong = wrong(&[
        ("PING_TIMEOUT", "soon"),
        ("CLOSE_TIMEOUT", "0"),
        ("TCP_USER_TIMEOUT", "1s"),
        ("LIMIT_MESSAGES", "1/h"),
        ("LIMIT_BYTES", "1/h"),
        ("QUEUE_BYTES", "1 KiB"),
    ]);
    assert_eq!(wrong.len(), 6, "{wrong:?}");
}

#[test]
fn the_kernel_gives_nobody_up_before_the_heartbeat_does() {
    for (interval, user_timeout) in [("25s", 35), ("1s", 30), ("10min", 610)] {
        let mut reader = Reader::from_pairs([("PING_INTERVAL", interval)]);
        let settings = Settings::read(&mut reader, Process::Node);
        assert_eq!(settings.accept.user_timeout.as_secs(), user_timeout, "{interval}");
        assert!(reader.finish().is_ok());
    }
}

#[test]
fn off_lifts_each_limit() {
    let names = [
        "LIMIT_MESSAGES",
        "LIMIT_BYTES",
        "MAX_CONNECTIONS",
        "CONNECTIONS_PER_ADDRESS",
        "CONNECTIONS_PER_USER",
    ];
    let mut reader = Reader::from_pairs(names.map(|name| (name, "off")));
    let limits = Settings::read(&mut reader, Process::Local).limits;
    assert!(reader.finish().is_ok());
    assert!(limits.messages.is_none() && limits.bytes.is_none());
    assert!(
        limits.connections.is_none() && limits.per_address.is_none() && limits.per_user.is_none()
    );
}
