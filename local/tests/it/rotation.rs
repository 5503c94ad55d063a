//! Rotation of the signing keys: what was signed before goes on working, and nobody is signed out.

use std::time::Duration;

use secrecy::ExposeSecret;
use serde_json::Value;
use shared::access_token::{Issuer, Subject, TokenError, thumbprint};
use shared::db::signing_keys::{Rotation, Standing};
use shared::refresh_token::RefreshToken;
use shared::role::Role;
use shared::secrets::rotation::{REFRESH_KEPT, REFRESH_RIPENS};
use shared::secrets::{Keys, Signing, SigningKey};
use shared::settings::{Reader, Tokens};

use crate::app::{Answer, TestApp};

/// From a rotation until the old key no longer verifies.
const RETIRED_AFTER: Duration = Duration::from_mins(70);

/// Rotates as `cargo dev rotate-keys` does, and hands the new set to the app.
async fn rotate(app: &TestApp, keys: &Signing) -> Signing {
    let now = app.clock.now();
    let rotated = keys.rotated(now, REFRESH_KEPT).unwrap();
    let rotation = Rotation::begin(&app.owner).await.unwrap();
    assert!(matches!(rotation.standing(keys).unwrap(), Standing::Settled { .. }));
    rotation.publish(&rotated, now + RETIRED_AFTER, now).await.unwrap();
    app.tokens.replace(rotated.clone()).unwrap();
    rotated
}

fn kid(key: &SigningKey) -> String {
    thumbprint(&key.public_key().unwrap())
}

fn access(answer: &Answer) -> &str {
    answer.body["access_token"].as_str().unwrap()
}

/// The `kid` of a token.
fn signed_by(token: &str) -> String {
    let header = jsonwebtoken::decode_header(token).unwrap();
    header.kid.unwrap()
}

async fn shown(app: &TestApp) -> Vec<String> {
    let answer = app.get("/.well-known/jwks.json").await;
    let keys = answer.body["keys"].as_array().unwrap().iter();
    keys.map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_token_of_the_old_key_verifies_until_its_end_and_the_next_key_signs() {
    let app = TestApp::start().await;
    app.user("ann").await;
    let before = app.login("ann", "password123").await;
    rotate(&app, &app.keys.signing).await;
    let after = app.login("ann", "password123").await;
    let signing = &app.keys.signing;
    assert_eq!(signed_by(access(&before)), kid(&signing.current));
    assert_eq!(signed_by(access(&after)), kid(&signing.next));
    // Neither a verifier that has read the keys nor one that has not refuses either.
    for instance in [&app, &app.another(&[]).await] {
        for token in [access(&before), access(&after)] {
            instance.verifier.verify(token, app.clock.now()).await.unwrap();
        }
    }
    let last = app.clock.now() + Duration::from_secs(3_600 + 5);
    app.verifier.verify(access(&before), last).await.unwrap();
    let over = app.verifier.verify(access(&before), last + Duration::from_secs(1)).await;
    assert!(matches!(over, Err(TokenError::Expired)), "{over:?}");
}

#[tokio::test]
async fn a_retired_key_verifies_nothing_and_is_not_shown() {
    let app = TestApp::start().await;
    app.user("ann").await;
    let mut reader = Reader::from_pairs([("ACCESS_TOKEN_LIFETIME", "10h")]);
    let issuer = Issuer::new(&app.keys.signing, Tokens::read(&mut reader)).unwrap();
    let now = app.clock.now();
    let claims = app.verifier.verify(access(&app.login("ann", "password123").await), now).await;
    let claims = claims.unwrap();
    let subject = Subject {
        user: claims.sub,
        session: claims.sid,
        authenticated_at: now,
        roles: vec![Role::Member],
        counter: 0,
    };
    let long = issuer.issue(subject, now).unwrap();
    let rotated = rotate(&app, &app.keys.signing).await;
    let verifier = &app.another(&[]).await.verifier;
    let just_before = now + RETIRED_AFTER - Duration::from_secs(1);
    verifier.verify(long.expose_secret(), just_before).await.unwrap();
    let retired = verifier.verify(long.expose_secret(), now + RETIRED_AFTER).await;
    assert!(matches!(retired, Err(TokenError::Invalid("kid"))), "{retired:?}");

    let mut all = [&app.keys.signing.current, &rotated.current, &rotated.next].map(kid).to_vec();
    let mut found = shown(&app).await;
    found.sort();
    all.sort();
    assert_eq!(found, all, "the old one too, while it verifies");
    app.clock.advance(RETIRED_AFTER);
    assert!(!shown(&app).await.contains(&kid(&app.keys.signing.current)));
}

#[tokio::test]
async fn a_refresh_token_of_the_old_key_is_genuine_after_every_rotation_of_a_month() {
    let app = TestApp::start().await;
    app.user("ann").await;
    let before = app.login("ann", "password123").await;
    let token = RefreshToken::parse(before.body["refresh_token"].as_str().unwrap()).unwrap();
    let salt: Vec<u8> =
        sqlx::query_scalar("SELECT salt FROM sessions").fetch_one(&app.owner).await.unwrap();
    let mut signing = app.keys.signing.clone();
    for _ in 0..30 {
        app.clock.advance(Duration::from_hours(24));
        signing = rotate(&app, &signing).await;
        assert!(token.is_genuine(&signing, &salt));
    }
    app.clock.advance(REFRESH_RIPENS);
    let after = app.login("ann", "password123").await;
    let fresh = RefreshToken::parse(after.body["refresh_token"].as_str().unwrap()).unwrap();
    assert_ne!(fresh.key_id, token.key_id);
}

#[tokio::test]
async fn a_rotation_is_audited_with_the_ids_of_its_keys() {
    let app = TestApp::start().await;
    let rotated = rotate(&app, &app.keys.signing).await;
    let detail: Value =
        sqlx::query_scalar("SELECT detail FROM audit WHERE event = 'signing_keys_rotated'")
            .fetch_one(&app.owner)
            .await
            .unwrap();
    assert_eq!(detail["current"], kid(&rotated.current));
    assert_eq!(detail["next"], kid(&rotated.next));
}

#[tokio::test]
async fn a_set_that_is_not_the_newest_or_another_databases_is_not_rotated() {
    let app = TestApp::start().await;
    let first = app.keys.signing.clone();
    let second = rotate(&app, &first).await;
    let third = second.rotated(app.clock.now(), REFRESH_KEPT).unwrap();
    let other = Keys::generate(app.clock.now()).unwrap().signing;
    let rotation = Rotation::begin(&app.owner).await.unwrap();
    for (set, why) in
        [(&first, "a later rotation has retired"), (&other, "is not published in this database")]
    {
        match rotation.standing(set).unwrap() {
            Standing::Other(told) => assert!(told.contains(why), "{told}"),
            standing => panic!("{standing:?}"),
        }
    }
    assert_eq!(rotation.standing(&third).unwrap(), Standing::Ahead, "interrupted");
    let mut forked = third.clone();
    forked.current = second.current.clone();
    let standing = rotation.standing(&forked).unwrap();
    assert!(matches!(standing, Standing::Other(_)), "rotated twice from one set: {standing:?}");
}
