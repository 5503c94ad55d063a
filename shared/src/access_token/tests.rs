//! Tokens that must be refused, one fault each.

use secrecy::ExposeSecret;

use super::*;
use crate::db::signing_keys::PublicKey;
use crate::refresh_token;
use crate::secrets::Keys;
use crate::settings::Reader;

fn tokens() -> Tokens {
    Tokens::read(&mut Reader::from_pairs([("", ""); 0]))
}

struct Bench {
    keys: Signing,
    verifier: Verifier,
    now: OffsetDateTime,
}

impl Bench {
    fn new() -> Self {
        let now = OffsetDateTime::from_unix_timestamp(1_790_000_000).unwrap();
        let keys = Keys::generate(now).unwrap().signing;
        let verifier = Verifier::with_keys(tokens(), &[published(&keys, None)]);
        Self { keys, verifier, now }
    }

    fn good(&self) -> String {
        let subject = Subject {
            user: Uuid::now_v7(),
            session: Uuid::now_v7(),
            authenticated_at: self.now,
            roles: vec![Role::Member],
            counter: 3,
        };
        let issuer = Issuer::new(&self.keys, tokens()).unwrap();
        issuer.issue(subject, self.now).unwrap().expose_secret().to_owned()
    }

    /// A token signed by the right key, header and payload changed by `change`.
    fn forged(&self, change: impl FnOnce(&mut Value, &mut Value)) -> String {
        let good = self.good();
        let mut parts = good.split('.').map(|part| {
            let json = URL_SAFE_NO_PAD.decode(part).unwrap_or_default();
            serde_json::from_slice(&json).unwrap_or_default()
        });
        let (mut header, mut payload) = (parts.next().unwrap(), parts.next().unwrap());
        change(&mut header, &mut payload);
        let text = [header, payload].map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
        let key = EncodingKey::from_ed_der(self.keys.current.private_key.bytes());
        let mac = jsonwebtoken::crypto::sign(text.as_bytes(), &key, Algorithm::EdDSA).unwrap();
        format!("{text}.{mac}")
    }

    async fn refused(&self, token: &str) -> bool {
        let found = self.verifier.verify(token, self.now).await;
        matches!(found, Err(TokenError::Invalid(_) | TokenError::Expired))
    }
}

fn published(keys: &Signing, retire_at: Option<OffsetDateTime>) -> PublicKey {
    let public_key = keys.current.public_key().unwrap();
    PublicKey {
        kid: thumbprint(&public_key),
        public_jwk: public_jwk(&public_key),
        created_at: keys.current.created_at,
        retire_at,
    }
}

#[test]
fn the_thumbprint_is_that_of_rfc_8037() {
    // RFC 8037 appendix A.3.
    let x = URL_SAFE_NO_PAD.decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo").unwrap();
    assert_eq!(thumbprint(&x), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
}

#[tokio::test]
async fn a_good_token_is_small_and_says_who_signed_in() {
    let bench = Bench::new();
    let token = bench.good();
    assert!(token.len() < 600, "{} bytes", token.len());
    let claims = bench.verifier.verify(&token, bench.now).await.unwrap();
    assert_eq!((claims.roles, claims.ctr), (vec![Role::Member], 3));
    assert_eq!(claims.exp - claims.iat, 3_600);
}

#[tokio::test]
async fn other_algorithms_and_kinds_are_refused() {
    let bench = Bench::new();
    for alg in ["none", "None", "HS256", "RS256", "ES256", "eddsa", "EDDSA", ""] {
        let token = bench.forged(|header, _| header["alg"] = alg.into());
        assert!(bench.refused(&token).await, "alg {alg}");
    }
    for typ in ["JWT", "at+JWT", "refresh", ""] {
        let token = bench.forged(|header, _| header["typ"] = typ.into());
        assert!(bench.refused(&token).await, "typ {typ}");
    }
    let unsigned = bench.good();
    let unsigned = unsigned.rsplit_once('.').unwrap().0;
    assert!(bench.refused(&format!("{unsigned}.")).await, "no signature");
}

#[tokio::test]
async fn a_mac_made_with_the_public_key_is_refused() {
    let bench = Bench::new();
    let public_key = bench.keys.current.public_key().unwrap();
    let mut header = Header::new(Algorithm::HS256);
    header.typ = Some(TYPE.to_owned());
    header.kid = Some(thumbprint(&public_key));
    let claims = bench.verifier.verify(&bench.good(), bench.now).await.unwrap();
    let secret = EncodingKey::from_secret(&public_key);
    let token = jsonwebtoken::encode(&header, &claims, &secret).unwrap();
    assert!(bench.refused(&token).await);
}

#[tokio::test]
async fn foreign_header_members_are_refused() {
    let bench = Bench::new();
    for member in ["crit", "jku", "jwk", "x5u", "x5c", "cty"] {
        let token = bench.forged(|header, _| header[member] = json!(["exp"]));
        assert!(bench.refused(&token).await, "{member}");
    }
    let token = bench.forged(|header, _| header["kid"] = "another".into());
    assert!(bench.refused(&token).await, "unknown kid");
}

#[tokio::test]
async fn every_claim_is_required() {
    let bench = Bench::new();
    let claims = ["iss", "aud", "sub", "sid", "jti", "iat", "exp", "auth_time", "roles", "ctr"];
    for claim in claims {
        let token = bench.forged(|_, payload| {
            payload.as_object_mut().unwrap().remove(claim);
        });
        assert!(bench.refused(&token).await, "without {claim}");
        let token = bench.forged(|_, payload| payload[claim] = json!("wrong"));
        assert!(bench.refused(&token).await, "wrong {claim}");
    }
}

#[tokio::test]
async fn odd_times_are_refused() {
    let bench = Bench::new();
    let now = bench.now.unix_timestamp();
    for (claim, value) in [
        ("exp", json!(now - 6)),
        ("exp", json!(now.to_string())),
        ("exp", json!(1e300)),
        ("exp", json!(i64::MAX)),
        ("exp", json!(now + 3_600 * 24 * 365)),
        ("exp", json!(1_790_000_000.5)),
        ("iat", json!(now + 60)),
        ("iat", json!(now + 4_000)),
        ("nbf", json!(now + 60)),
        ("nbf", json!("later")),
    ] {
        let token = bench.forged(|_, payload| {
            // An expired token was issued before it expired.
            payload["iat"] = json!(now - 1_000);
            payload[claim] = value.clone();
        });
        assert!(bench.refused(&token).await, "{claim} {value}");
    }
    let late = bench.forged(|_, payload| {
        payload["iat"] = json!(now - 3_600);
        payload["exp"] = json!(now - 5);
    });
    assert!(!bench.refused(&late).await, "within the leeway");
}

#[tokio::test]
async fn the_leeway_is_a_setting() {
    let bench = Bench::new();
    let end = bench.now + time::Duration::hours(1);
    for (leeway, taken) in [("0", [true, false]), ("1min", [true, true])] {
        let tokens = Tokens::read(&mut Reader::from_pairs([("TOKEN_LEEWAY", leeway)]));
        let verifier = Verifier::with_keys(tokens, &[published(&bench.keys, None)]);
        let token = bench.good();
        for (late, taken) in [0, 60].into_iter().zip(taken) {
            let now = end + time::Duration::seconds(late);
            assert_eq!(verifier.verify(&token, now).await.is_ok(), taken, "{leeway}, {late} s");
        }
        let now = end + time::Duration::seconds(61);
        assert!(matches!(verifier.verify(&token, now).await, Err(TokenError::Expired)));
    }
}

#[tokio::test]
async fn tokens_of_a_retired_key_are_refused() {
    let bench = Bench::new();
    let token = bench.good();
    let retired = |at| Verifier::with_keys(tokens(), &[published(&bench.keys, Some(at))]);
    let soon = bench.now + time::Duration::seconds(1);
    assert!(retired(soon).verify(&token, bench.now).await.is_ok());
    assert!(retired(bench.now).verify(&token, bench.now).await.is_err());
}

#[tokio::test]
async fn a_token_that_was_good_before_ends_in_time_and_with_its_key() {
    let bench = Bench::new();
    let token = bench.good();
    let ends = bench.now + time::Duration::hours(1);
    let retires = ends - time::Duration::seconds(1);
    for (retire_at, late) in [(None, ends + time::Duration::minutes(2)), (Some(retires), retires)] {
        let key = published(&bench.keys, retire_at);
        let verifier = Verifier::with_keys(tokens(), std::slice::from_ref(&key));
        let first = verifier.verify(&token, bench.now).await.unwrap();
        assert_eq!(verifier.verify(&token, bench.now).await.unwrap(), first);
        assert!(verifier.verify(&token, late).await.is_err(), "{retire_at:?}");
        assert!(verifier.verify(&token[1..], bench.now).await.is_err());
    }
}

#[tokio::test]
async fn what_is_no_token_is_refused() {
    let bench = Bench::new();
    let long = format!("{}.e30.x", "A".repeat(9_000));
    for token in ["", ".", "..", "a.b.c", "e30.e30.e30", "\u{e9}.\u{e9}.\u{e9}", &long] {
        assert!(bench.refused(token).await, "{token:.20}");
    }
    let refresh = refresh_token::issue(&bench.keys, Uuid::now_v7(), 3, &[7; 32], bench.now);
    assert!(bench.refused(refresh.expose_secret()).await, "a refresh token");
    let mut flipped = bench.good().into_bytes();
    let middle = flipped.len() / 2;
    flipped[middle] = if flipped[middle] == b'A' { b'B' } else { b'A' };
    assert!(bench.refused(std::str::from_utf8(&flipped).unwrap()).await, "flipped byte");
}
