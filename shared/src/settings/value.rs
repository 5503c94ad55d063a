//! What a variable may hold: durations, sizes, rates, lists, `off`.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use url::Url;

/// Longest duration taken: added to any time, it stays in the calendar.
const LONGEST: Duration = Duration::from_hours(100 * 365 * 24);

/// A type that can be read from a variable's text.
pub trait Value: Sized {
    /// Parses the trimmed, non-empty text.
    ///
    /// # Errors
    /// A sentence that says what is accepted; it never repeats the text, which may be a secret.
    fn parse(text: &str) -> Result<Self, String>;
}

/// A size in bytes, like `64 KiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Bytes(pub usize);

/// So many of something in a period, and at most `burst` at once: `60/min burst 30`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How many in one period, at least 1; messages, requests or bytes.
    pub count: u64,
    /// The period: a second, a minute, an hour or a day.
    pub period: Duration,
    /// How many at once after a rest, at least 1.
    pub burst: u64,
}

impl Rate {
    /// The time one unit takes to refill.
    pub fn interval(&self) -> Duration {
        // u64 arithmetic in nanoseconds: a day is 8.64e13, far from overflow.
        let nanos = u64::try_from(self.period.as_nanos()).unwrap_or(u64::MAX) / self.count;
        Duration::from_nanos(nanos.max(1))
    }
}

impl Value for Rate {
    fn parse(text: &str) -> Result<Self, String> {
        let wrong =
            || "a rate like `60/min burst 30` or `4 MiB/s burst 8 MiB`, or `off`".to_owned();
        let (rate, burst) = match text.split_once("burst") {
            Some((rate, burst)) => (rate.trim(), Some(burst.trim())),
            None => (text, None),
        };
        let (count, period) = rate.split_once('/').ok_or_else(wrong)?;
        let number = |text: &str| match Bytes::parse(text) {
            Ok(Bytes(n)) if n > 0 => Ok(n as u64),
            _ => Err(wrong()),
        };
        let period = match period.trim() {
            "s" => 1,
            "min" => 60,
            "h" => 3_600,
            "d" => 86_400,
            _ => return Err(wrong()),
        };
        let count = number(count.trim())?;
        let burst = burst.map_or(Ok(count), number)?;
        Ok(Self { count, period: Duration::from_secs(period), burst })
    }
}

impl Value for Bytes {
    fn parse(text: &str) -> Result<Self, String> {
        let size: bytesize::ByteSize =
            text.parse().map_err(|_| "a size like `64 KiB` or `4 MiB`".to_owned())?;
        usize::try_from(size.as_u64()).map(Self).map_err(|_| "a smaller size".to_owned())
    }
}

impl Value for Duration {
    fn parse(text: &str) -> Result<Self, String> {
        // `0` without a unit is what one writes to turn a wait off.
        if text == "0" {
            return Ok(Self::ZERO);
        }
        let duration = humantime::parse_duration(text).ok().filter(|duration| *duration <= LONGEST);
        duration.ok_or_else(|| "a duration like `25s` or `200ms`, at most 100 years".to_owned())
    }
}

impl Value for bool {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "on" => Ok(true),
            "off" => Ok(false),
            _ => Err("`on` or `off`".to_owned()),
        }
    }
}

/// `off` turns a limit off.
impl<T: Value> Value for Option<T> {
    fn parse(text: &str) -> Result<Self, String> {
        if text == "off" { Ok(None) } else { T::parse(text).map(Some) }
    }
}

/// A list, comma-separated.
impl<T: Value> Value for Vec<T> {
    fn parse(text: &str) -> Result<Self, String> {
        text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(T::parse).collect()
    }
}

impl Value for String {
    fn parse(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }
}

impl Value for SecretString {
    fn parse(text: &str) -> Result<Self, String> {
        Ok(text.into())
    }
}

impl Value for PathBuf {
    fn parse(text: &str) -> Result<Self, String> {
        Ok(text.into())
    }
}

impl Value for Url {
    fn parse(text: &str) -> Result<Self, String> {
        // Without a scheme, `localhost:8080` is a URL of scheme `localhost` whose origin is `null`.
        let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        url.ok_or_else(|| "a URL like `https://app.example.com`".to_owned())
    }
}

impl Value for IpAddr {
    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "an IP address like `127.0.0.1`".to_owned())
    }
}

macro_rules! whole_numbers {
    ($($number:ty),*) => {$(
        impl Value for $number {
            fn parse(text: &str) -> Result<Self, String> {
                text.parse().map_err(|_| format!("a whole number, 0 to {}", Self::MAX))
            }
        }
    )*};
}
whole_numbers!(u16, u32, u64, usize);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_has_a_count_a_period_and_a_burst() {
        let rate = Rate::parse("60/min burst 30").unwrap();
        assert_eq!(rate, Rate { count: 60, period: Duration::from_mins(1), burst: 30 });
        assert_eq!(rate.interval(), Duration::from_secs(1));
        let bytes = Rate::parse("4 MiB/s burst 8 MiB").unwrap();
        assert_eq!((bytes.count, bytes.burst), (4 << 20, 8 << 20));
        assert_eq!(Rate::parse("3/h").unwrap().burst, 3);
    }

    #[test]
    fn wrong_rates_are_refused() {
        for text in ["", "60", "60/week", "0/s", "1/s burst 0", "-1/s", "x/s burst y", "1/s burst"]
        {
            assert!(Rate::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn off_turns_a_limit_off() {
        assert_eq!(Option::<Rate>::parse("off"), Ok(None));
        assert!(Option::<u32>::parse("none").is_err());
    }

    #[test]
    fn a_url_needs_its_scheme() {
        assert!(Url::parse("localhost:8080").is_ok(), "the crate takes it");
        for text in ["localhost:8080", "app.example.com", "ftp://example.com", "file:///x"] {
            assert!(<Url as Value>::parse(text).is_err(), "{text}");
        }
        assert!(<Url as Value>::parse("http://localhost:8080").is_ok());
    }

    #[test]
    fn a_duration_needs_a_unit_unless_zero() {
        assert_eq!(Duration::parse("25s"), Ok(Duration::from_secs(25)));
        assert_eq!(Duration::parse("0"), Ok(Duration::ZERO));
        assert!(Duration::parse("25").is_err());
        assert!(Duration::parse("1000000y").is_err(), "no time lies so far ahead");
    }
}
