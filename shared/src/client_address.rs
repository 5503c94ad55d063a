//! The client's address: what throttles count by and sessions remember.
//!
//! `X-Forwarded-For` is never read: anybody can write it.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use http::{Extensions, HeaderMap};
use secrecy::{ExposeSecret, SecretString};

use crate::settings::Value;

/// Where the client's address is read, setting `CLIENT_ADDRESS`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The socket's other end.
    Peer,
    /// API Gateway's `requestContext.http.sourceIp`.
    Gateway,
    /// `CloudFront-Viewer-Address`, when `X-Origin-Verify` is right.
    Cloudfront,
}

impl Value for Mode {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "peer" => Ok(Self::Peer),
            "gateway" => Ok(Self::Gateway),
            "cloudfront" => Ok(Self::Cloudfront),
            _ => Err("`peer`, `gateway` or `cloudfront`".to_owned()),
        }
    }
}

/// The other end as the front of this process saw it: the socket's peer, or the gateway's `sourceIp`.
/// The front puts it into the request's extensions.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub IpAddr);

/// The client's address, an IPv4-mapped IPv6 address folded to IPv4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientAddress(pub IpAddr);

/// Why a request has no trusted client address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    /// In mode `cloudfront`: the request did not come through CloudFront.
    #[error("X-Origin-Verify is missing or wrong")]
    Unverified,
    /// The front did not say who is at the other end.
    #[error("no peer address")]
    NoPeer,
}

/// The client's address by `mode`.
///
/// # Errors
/// [`Unknown`]; a function then falls back to [`peer`], the node answers 403.
pub fn resolve(
    mode: Mode,
    origin_verify: Option<&SecretString>,
    headers: &HeaderMap,
    extensions: &Extensions,
) -> Result<ClientAddress, Unknown> {
    match mode {
        Mode::Peer | Mode::Gateway => peer(extensions),
        Mode::Cloudfront => viewer(origin_verify, headers).ok_or(Unknown::Unverified),
    }
}

/// The address the front saw.
///
/// # Errors
/// [`Unknown::NoPeer`] when the front put none.
pub fn peer(extensions: &Extensions) -> Result<ClientAddress, Unknown> {
    extensions.get::<Peer>().map(|Peer(ip)| ClientAddress::new(*ip)).ok_or(Unknown::NoPeer)
}

fn viewer(secret: Option<&SecretString>, headers: &HeaderMap) -> Option<ClientAddress> {
    let secret = secret?.expose_secret().as_bytes();
    let given = headers.get("x-origin-verify")?.as_bytes();
    aws_lc_rs::constant_time::verify_slices_are_equal(secret, given).ok()?;
    let viewer = headers.get("cloudfront-viewer-address")?.to_str().ok()?;
    // CloudFront writes `198.51.100.10:46532` and, for IPv6, `2001:db8::1:46532` without brackets.
    let ip = match viewer.parse::<SocketAddr>() {
        Ok(address) => address.ip(),
        Err(_) => viewer.rsplit_once(':')?.0.trim_matches(['[', ']']).parse().ok()?,
    };
    Some(ClientAddress::new(ip))
}

impl ClientAddress {
    /// Folds `::ffff:a.b.c.d` to `a.b.c.d`.
    pub fn new(ip: IpAddr) -> Self {
        Self(ip.to_canonical())
    }

    /// The network that throttles count: IPv4 /32, IPv6 /64, as bytes (4 or 8).
    pub fn network(&self) -> Vec<u8> {
        match self.0 {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets()[..8].to_vec(),
        }
    }

    /// The unspecified address, for work that no client asked for.
    pub const NONE: Self = Self(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(k, v)| (http::HeaderName::from_static(k), v.parse().unwrap())).collect()
    }

    fn extensions(ip: &str) -> Extensions {
        let mut extensions = Extensions::new();
        extensions.insert(Peer(ip.parse().unwrap()));
        extensions
    }

    fn ip(text: &str) -> ClientAddress {
        ClientAddress(text.parse().unwrap())
    }

    #[test]
    fn forged_headers_change_nothing_in_peer_and_gateway_mode() {
        let forged = headers(&[
            ("x-forwarded-for", "203.0.113.9"),
            ("cloudfront-viewer-address", "203.0.113.9:1"),
            ("x-origin-verify", "guess"),
        ]);
        for mode in [Mode::Peer, Mode::Gateway] {
            let found = resolve(mode, None, &forged, &extensions("192.0.2.1"));
            assert_eq!(found, Ok(ip("192.0.2.1")));
        }
    }

    #[test]
    fn the_viewer_address_counts_only_beside_the_right_secret() {
        let secret = SecretString::from("right");
        let viewer = ("cloudfront-viewer-address", "2001:db8::1:46532");
        let peer = extensions("192.0.2.1");
        let ask = |pairs: &[(&'static str, &str)]| {
            resolve(Mode::Cloudfront, Some(&secret), &headers(pairs), &peer)
        };
        assert_eq!(ask(&[viewer, ("x-origin-verify", "right")]), Ok(ip("2001:db8::1")));
        assert_eq!(ask(&[viewer, ("x-origin-verify", "wrong")]), Err(Unknown::Unverified));
        assert_eq!(ask(&[viewer]), Err(Unknown::Unverified));
    }

    #[test]
    fn the_viewer_address_is_read_in_every_form() {
        let secret = SecretString::from("s");
        for (text, expected) in [
            ("198.51.100.10:46532", "198.51.100.10"),
            ("[2001:db8::7]:443", "2001:db8::7"),
            ("2001:db8:0:0:0:0:0:7:443", "2001:db8::7"),
        ] {
            let given = headers(&[("cloudfront-viewer-address", text), ("x-origin-verify", "s")]);
            assert_eq!(viewer(Some(&secret), &given), Some(ip(expected)), "{text}");
        }
    }

    #[test]
    fn mapped_addresses_fold_and_ipv6_counts_by_64() {
        assert_eq!(ClientAddress::new("::ffff:192.0.2.1".parse().unwrap()), ip("192.0.2.1"));
        assert_eq!(ip("2001:db8::1").network(), ip("2001:db8::ffff:2").network());
        assert_ne!(ip("2001:db8::1").network(), ip("2001:db8:0:1::1").network());
        assert_ne!(ip("192.0.2.1").network(), ip("192.0.2.2").network());
    }
}
