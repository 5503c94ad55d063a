//! Session checks that come while another is under way share a statement.
//!
//! In each test one is under way for as long as the test wants: Ann's, which is due to be written down
//! and waits for the row of her session.

use std::time::Duration;

use futures_util::future::join_all;
use shared::access_token::Claims;
use shared::db;
use shared::db::profile::Profile;
use sqlx::{Postgres, Transaction};
use tokio::task::JoinHandle;

use crate::app::TestApp;
use crate::login::disable;
use crate::parked::{held, until_waiting};
use crate::statements::Statements;

/// What a check gives.
type Checked = Result<Profile, db::Error>;

/// What the access token of a new session of the user says.
async fn claims(app: &TestApp, name: &str) -> Claims {
    let token = app.sign_in(name).await.access;
    app.verifier.verify(&token, app.clock.now()).await.unwrap()
}

/// Users who are signed in.
async fn signed_in<const N: usize>(app: &TestApp, names: [&str; N]) -> [Claims; N] {
    let mut all = Vec::new();
    for name in names {
        app.user(name).await;
        all.push(claims(app, name).await);
    }
    all.try_into().unwrap()
}

/// So that every session is due.
fn a_minute_passes(app: &TestApp) {
    app.clock.advance(Duration::from_secs(61));
}

fn check(app: &TestApp, claims: &Claims) -> JoinHandle<Checked> {
    let (db, claims, now) = (app.db.clone(), claims.clone(), app.clock.now());
    tokio::spawn(async move { db.check(&claims, now).await })
}

/// Holds the rows of these users' sessions, and lets Ann's check come to wait for hers.
async fn under_way(
    app: &TestApp,
    ann: &Claims,
    hold: &'static str,
) -> (Transaction<'static, Postgres>, JoinHandle<Checked>) {
    let holder = held(app, hold).await;
    let ann = check(app, ann);
    until_waiting(app, 1).await;
    (holder, ann)
}

const ANNS: &str = "SELECT FROM sessions s JOIN users u ON u.id = user_id
                    WHERE username = 'ann' FOR UPDATE OF s";
const ANNS_AND_BOBS: &str = "SELECT FROM sessions s JOIN users u ON u.id = user_id
                             WHERE username IN ('ann', 'bob') FOR UPDATE OF s";

/// The names that were found.
fn names(found: Vec<Checked>) -> Vec<String> {
    found.into_iter().map(|found| found.unwrap().username).collect()
}

/// How many sessions were seen just now.
async fn seen_now(app: &TestApp) -> i64 {
    let seen = "SELECT count(*) FROM sessions WHERE last_seen_at = $1";
    sqlx::query_scalar(seen).bind(app.clock.now()).fetch_one(&app.owner).await.unwrap()
}

#[tokio::test]
async fn checks_that_come_while_one_is_under_way_share_a_statement_and_each_gets_its_own_user() {
    let (statements, _counting) = Statements::count();
    let app = TestApp::start().await;
    let [ann] = signed_in(&app, ["ann"]).await;
    a_minute_passes(&app);
    let others = ["bob", "cyd", "dan", "eve", "fay"];
    let claims = signed_in(&app, others).await;
    let (holder, first) = under_way(&app, &ann, ANNS).await;
    statements.take();
    let now = app.clock.now();
    let found = join_all(claims.iter().map(|claims| app.db.check(claims, now))).await;
    assert_eq!(statements.take().len(), 1);
    assert_eq!(names(found), others);
    holder.rollback().await.unwrap();
    assert_eq!(first.await.unwrap().unwrap().username, "ann");
}

#[tokio::test]
async fn together_each_is_judged_by_its_own_session_user_and_time() {
    let app = TestApp::start().await;
    let [ann] = signed_in(&app, ["ann"]).await;
    a_minute_passes(&app);
    let [bob, cyd, dan, eve, fay, mut gus] =
        signed_in(&app, ["bob", "cyd", "dan", "eve", "fay", "gus"]).await;
    disable(&app, "cyd").await;
    for (ended, of) in [
        ("UPDATE sessions SET revoked_at = now() WHERE id = $1", &dan),
        ("DELETE FROM sessions WHERE id = $1", &eve),
    ] {
        sqlx::query(ended).bind(of.sid).execute(&app.owner).await.unwrap();
    }
    gus.sub = bob.sub;
    let (holder, first) = under_way(&app, &ann, ANNS).await;
    let (now, idle) = (app.clock.now(), app.clock.now() + Duration::from_hours(24 * 8));
    let asked = [
        (&bob, now),
        (&cyd, now),
        (&dan, now),
        (&eve, now),
        (&fay, idle),
        (&gus, now),
        (&bob, idle),
    ];
    let found = join_all(asked.map(|(claims, now)| app.db.check(claims, now))).await;
    let found: Vec<_> = found
        .into_iter()
        .map(|found| match found {
            Ok(profile) => Some(profile.username),
            Err(db::Error::SessionRevoked) => None,
            Err(error) => panic!("{error}"),
        })
        .collect();
    assert_eq!(found, [Some("bob".to_owned()), None, None, None, None, None, None]);
    holder.rollback().await.unwrap();
    assert!(first.await.unwrap().is_ok());
}

#[tokio::test]
async fn together_all_who_are_due_are_written_down_by_one_statement() {
    let (statements, _counting) = Statements::count();
    let app = TestApp::start().await;
    let [ann, bob, mut cyd] = signed_in(&app, ["ann", "bob", "cyd"]).await;
    a_minute_passes(&app);
    let [dan] = signed_in(&app, ["dan"]).await;
    let (holder, first) = under_way(&app, &ann, ANNS).await;
    statements.take();
    let now = app.clock.now();
    // Two calls of one session, the second after a refresh.
    let earlier = cyd.clone();
    cyd.ctr = 3;
    let asked = [&bob, &earlier, &cyd, &dan];
    let found = join_all(asked.map(|claims| app.db.check(claims, now))).await;
    assert_eq!(names(found), ["bob", "cyd", "cyd", "dan"]);
    assert_eq!(statements.take().len(), 2);
    let counter = "SELECT seen_counter FROM sessions WHERE id = $1";
    let counter: i64 =
        sqlx::query_scalar(counter).bind(cyd.sid).fetch_one(&app.owner).await.unwrap();
    assert_eq!((counter, seen_now(&app).await), (3, 3), "all but Ann");
    holder.rollback().await.unwrap();
    assert!(first.await.unwrap().is_ok());
}

#[tokio::test]
async fn a_session_whose_row_is_held_keeps_nobody_else_waiting_and_is_written_down_later() {
    let app = TestApp::start().await;
    let [ann, bob, cyd] = signed_in(&app, ["ann", "bob", "cyd"]).await;
    a_minute_passes(&app);
    let (holder, first) = under_way(&app, &ann, ANNS_AND_BOBS).await;
    let (bob, cyd) = (check(&app, &bob), check(&app, &cyd));
    assert_eq!(cyd.await.unwrap().unwrap().username, "cyd");
    until_waiting(&app, 2).await;
    assert!(!bob.is_finished());
    assert_eq!(seen_now(&app).await, 1);
    holder.rollback().await.unwrap();
    assert_eq!(names(vec![first.await.unwrap(), bob.await.unwrap()]), ["ann", "bob"]);
    assert_eq!(seen_now(&app).await, 3);
}

#[tokio::test]
async fn where_a_shared_statement_fails_each_check_is_made_on_its_own() {
    let (statements, _counting) = Statements::count();
    let app = TestApp::start().await;
    let [ann, bob, cyd] = signed_in(&app, ["ann", "bob", "cyd"]).await;
    a_minute_passes(&app);
    let fault = "CREATE FUNCTION one_at_most() RETURNS trigger LANGUAGE plpgsql AS $$
                 BEGIN
                     IF (SELECT count(*) FROM changed) > 1 THEN RAISE 'too many'; END IF;
                     RETURN NULL;
                 END $$;
                 CREATE TRIGGER one_at_most AFTER UPDATE ON sessions REFERENCING NEW TABLE AS changed
                 FOR EACH STATEMENT EXECUTE FUNCTION one_at_most()";
    sqlx::raw_sql(fault).execute(&app.owner).await.unwrap();
    let (holder, first) = under_way(&app, &ann, ANNS).await;
    statements.take();
    let now = app.clock.now();
    let found = join_all([&bob, &cyd].map(|claims| app.db.check(claims, now))).await;
    assert_eq!(names(found), ["bob", "cyd"]);
    assert_eq!(statements.take().len(), 4, "it was shared, and failed");
    assert_eq!(seen_now(&app).await, 2);
    holder.rollback().await.unwrap();
    assert!(first.await.unwrap().is_ok());
}

#[tokio::test]
async fn no_more_wait_together_than_fit_in_a_statement() {
    let (statements, _counting) = Statements::count();
    let app = TestApp::start().await;
    let [ann] = signed_in(&app, ["ann"]).await;
    a_minute_passes(&app);
    let [bob] = signed_in(&app, ["bob"]).await;
    let (holder, first) = under_way(&app, &ann, ANNS).await;
    statements.take();
    // Tasks all begin before what they start: 500 wait together, one finds no room.
    let checks: Vec<_> = (0..501).map(|_| check(&app, &bob)).collect();
    let found = join_all(checks).await;
    assert!(found.into_iter().all(|found| found.unwrap().is_ok()));
    assert_eq!(statements.take().len(), 2);
    holder.rollback().await.unwrap();
    assert!(first.await.unwrap().is_ok());
}
