//! What is read out of a run's JSON line, gathered over rounds and servers.

use serde_json::Value;

/// One figure, of every server that was measured.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Figure {
    /// The load, such as "1,000 clients, 200 messages/s".
    pub(super) load: String,
    /// What was measured.
    pub(super) what: &'static str,
    /// Whether a higher value is a better one.
    pub(super) higher_is_better: bool,
    /// Whether it belongs into the chart.
    pub(super) charted: bool,
    /// A value for each round, by server.
    pub(super) values: Vec<(String, Vec<f64>)>,
}

/// Where a figure stands in the line of a run.
struct Source {
    what: &'static str,
    path: &'static str,
    higher_is_better: bool,
    charted: bool,
}

/// Messages that did not come.
pub(super) const LOST: &str = "lost";

const fn less(what: &'static str, path: &'static str, charted: bool) -> Source {
    Source { what, path, higher_is_better: false, charted }
}

const fn more(what: &'static str, path: &'static str) -> Source {
    Source { what, path, higher_is_better: true, charted: true }
}

const PACED: &[Source] = &[
    less("server CPU, µs a delivery", "/cost/server_us_per_delivery", true),
    less("p99, ms", "/latency_ms/p99", true),
    less("p50, ms", "/latency_ms/p50", false),
    less("p99.9, ms", "/latency_ms/p99.9", false),
    less("sends a delivery", "/cost/segments_per_delivery", false),
    less(LOST, "/lost", false),
];

const FLAT_OUT: &[Source] = &[
    more("deliveries a second", "/deliveries_per_second"),
    less("server CPU, µs a delivery", "/cost/server_us_per_delivery", false),
    less("p99, ms", "/latency_ms/p99", false),
    less("sends a delivery", "/cost/segments_per_delivery", false),
    less("load's core, share used", "/cost/load_core", false),
    less(LOST, "/lost", false),
];

const IDLE: &[Source] = &[
    less("bytes a connection", "/idle/rss_per_connection", true),
    less("bytes a connection, after a burst", "/after_burst/rss_per_connection", false),
    less(
        "bytes a connection, after others came and went",
        "/after_churn/rss_per_connection",
        false,
    ),
    less("bytes a connection, all gone", "/all_gone/rss_per_connection", false),
    less("server's core, share used while idle", "/idle_core", false),
    less(LOST, "/lost", false),
];

const STALL: &[Source] = &[
    less("others' p99 before, ms", "/all_read/latency_ms/p99", false),
    less("others' p99 since, ms", "/some_stalled/latency_ms/p99", true),
    less("server's memory at most, bytes", "/some_stalled/rss_peak", true),
    less("kernel's socket buffers at most, bytes", "/some_stalled/tcp_peak", false),
    less("stalled that were cut", "/stalled_cut", false),
    less("lost by others", "/lost", false),
];

const CHURN: &[Source] = &[
    more("connections a second", "/connections_per_second"),
    less("server CPU, µs a connection", "/server_us_per_connection", false),
    less("p99 until open, ms", "/connecting_ms/p99", false),
];

/// All figures of all lines, in the order of their first appearance.
pub(super) fn all(lines: &[Value]) -> Vec<Figure> {
    let mut figures: Vec<Figure> = Vec::new();
    for line in lines {
        let (load, sources) = described(line);
        let server = line["figures"]["server"].as_str().unwrap_or("a server");
        for source in sources {
            let Some(value) = line["figures"].pointer(source.path).and_then(Value::as_f64) else {
                continue;
            };
            let known =
                figures.iter().position(|figure| figure.load == load && figure.what == source.what);
            let at = known.unwrap_or_else(|| {
                figures.push(Figure {
                    load: load.clone(),
                    what: source.what,
                    higher_is_better: source.higher_is_better,
                    charted: source.charted,
                    values: Vec::new(),
                });
                figures.len() - 1
            });
            figures[at].add(server, value);
        }
    }
    figures
}

/// The load of a run in words, and what to read of it.
fn described(line: &Value) -> (String, &'static [Source]) {
    let load = &line["figures"]["load"];
    let n = |name: &str| load[name].as_f64().map_or_else(|| "?".to_owned(), |n| format!("{n:.0}"));
    match line["run"].as_str() {
        Some("fanout") if load["in_flight"].is_number() => (
            format!(
                "{} clients, {} senders, {} in flight",
                n("clients"),
                n("senders"),
                n("in_flight")
            ),
            FLAT_OUT,
        ),
        Some("fanout") => (format!("{} clients, {} messages/s", n("clients"), n("rate")), PACED),
        Some("chat") => {
            (format!("chat: {} clients, bursts of {}", n("clients"), n("burst")), FLAT_OUT)
        }
        Some("idle") => (format!("{} idle clients", n("clients")), IDLE),
        Some("stall") => (format!("{} of {} stop reading", n("stalled"), n("clients")), STALL),
        Some("churn") => (format!("{} clients connect and leave", n("clients")), CHURN),
        _ => (String::new(), &[]),
    }
}

impl Figure {
    fn add(&mut self, server: &str, value: f64) {
        match self.values.iter_mut().find(|(name, _)| name == server) {
            Some((_, values)) => values.push(value),
            None => self.values.push((server.to_owned(), vec![value])),
        }
    }

    /// A server's values, round by round.
    pub(super) fn of(&self, server: &str) -> &[f64] {
        self.values.iter().find(|(name, _)| name == server).map_or(&[], |(_, values)| values)
    }

    /// The median over the rounds of one server's value by the other's in the same round.
    pub(super) fn ratio(&self, server: &str, other: &str) -> Option<f64> {
        let rounds = self.of(server).iter().zip(self.of(other));
        median(
            &rounds
                .map(|(ours, theirs)| ours / theirs)
                .filter(|it| it.is_finite())
                .collect::<Vec<_>>(),
        )
    }
}

/// The value in the middle; of an even number the mean of the two.
pub(super) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let upper = *sorted.get(middle)?;
    if sorted.len() % 2 == 1 { Some(upper) } else { Some(f64::midpoint(sorted[middle - 1], upper)) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn chat(server: &str, rate: f64) -> Value {
        json!({"run": "chat", "figures": {
            "server": server, "deliveries_per_second": rate, "lost": 0, "load": {"clients": 32, "burst": 1600},
        }})
    }

    #[test]
    fn rounds_are_gathered_by_server_and_paired() {
        let lines = [
            ("keywire", 2.0),
            ("bun", 1.0),
            ("keywire", 9.0),
            ("bun", 3.0),
            ("keywire", 4.0),
            ("bun", 4.0),
        ]
        .map(|(server, rate)| chat(server, rate));
        let figures = all(&lines);
        assert_eq!(figures.len(), 2);
        assert_eq!(figures[0].load, "chat: 32 clients, bursts of 1600");
        assert_eq!(figures[0].of("keywire"), [2.0, 9.0, 4.0]);
        assert_eq!(figures[0].ratio("keywire", "bun"), Some(2.0));
        assert_eq!((figures[1].what, figures[1].ratio("keywire", "bun")), ("lost", None));
    }

    #[test]
    fn medians_of_even_numbers_lie_between() {
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[]), None);
    }
}
