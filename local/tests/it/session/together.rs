//! Session checks that come while another is under way share a statement.
//!
//! In each test one is under way for as long as the test wants: Ann's, which is due to be written down
//! and waits for the row of her session.

use std::time::Duration;

use futures_util::future::join_all;
use shared::access_token::Claims;
use shared::db;
use shared::db::profile::Profile;
use sqlx::{AssertSqlSafe, Postgres, Transaction};
use tokio::task::JoinHandle;
use tokio::time::timeout;

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
    for _ in 0..2 {
        let found = join_all(claims.iter().map(|claims| app.db.check(claims, now))).await;
        assert_eq!(statements.take().len(), 1);
        assert_eq!(names(found), others);
        // The second time what was shared at first has come to its end.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    holder.rollback().await.unwrap();
    assert_eq!(first.await.unwrap().unwrap().username, "ann");
}

#[tokio::test]
async fn nobody_is_answered_by_a_shared_statement_that_began_before_they_asked() {
    let app = TestApp::start().await;
    let [ann, bob] = signed_in(&app, ["ann", "bob"]).await;
    a_minute_passes(&app);
    let slow = "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$
                BEGIN
                    PERFORM pg_advisory_xact_lock(7);
                    RETURN NULL;
                END $$;
                CREATE TRIGGER wait AFTER UPDATE OF last_seen_at ON sessions
                FOR EACH STATEMENT EXECUTE FUNCTION wait()";
    sqlx::raw_sql(slow).execute(&app.owner).await.unwrap();
    let (holder, first) = under_way(
        &app,
        &ann,
        "SELECT FROM sessions s JOIN users u ON u.id = user_id
         WHERE username = 'ann' FOR UPDATE OF s;
         SELECT pg_advisory_xact_lock(7)",
    )
    .await;
    // His is read, and waits until it is written down.
    let early = check(&app, &bob);
    until_waiting(&app, 2).await;
    let disabled = "UPDATE users SET status = 'disabled' WHERE username = 'bob'";
    sqlx::query(disabled).execute(&app.owner).await.unwrap();
    let late = check(&app, &bob);
    tokio::task::yield_now().await;
    holder.rollback().await.unwrap();
    assert_eq!(names(vec![first.await.unwrap(), early.await.unwrap()]), ["ann", "bob"]);
    let late = late.await.unwrap();
    assert!(matches!(late, Err(db::Error::SessionRevoked)), "{late:?}");
}

#[tokio::test]
async fn together_each_is_judged_by_its_own_session_user_and_time() {
    let (statements, _counting) = Statements::count();
    let app = TestApp::start().await;
    let [ann] = signed_in(&app, ["ann"]).await;
    a_minute_passes(&app);
    let [bob, cyd, dan, eve, fay, mut gus, hal] =
        signed_in(&app, ["bob", "cyd", "dan", "eve", "fay", "gus", "hal"]).await;
    disable(&app, "cyd").await;
    for (ended, of) in [
        ("UPDATE sessions SET revoked_at = now() WHERE id = $1", &dan),
        ("DELETE FROM sessions WHERE id = $1", &eve),
        ("UPDATE sessions SET absolute_until = now() - interval '1 day' WHERE id = $1", &hal),
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
        (&hal, now),
        (&bob, idle),
    ];
    statements.take();
    let found = join_all(asked.map(|(claims, now)| app.db.check(claims, now))).await;
    let found: Vec<_> = found
        .into_iter()
        .map(|found| match found {
            Ok(profile) => Some(profile.username),
            Err(db::Error::SessionRevoked) => None,
            Err(error) => panic!("{error}"),
        })
        .collect();
    assert_eq!(statements.take().len(), 1, "together");
    assert_eq!(found, [Some("bob".to_owned()), None, None, None, None, None, None, None]);
    holder.rollback().await.unwrap();
    assert!(first.await.unwrap().is_ok());
}

#[tokio::test]
async fn together_all_who_are_due_are_written_down_by_one_statement() {
    let (statements, _counting) = Statements::count();
    let app = TestApp::start().await;
    let [ann, bob, mut cyd, eve] = signed_in(&app, ["ann", "bob", "cyd", "eve"]).await;
    a_minute_passes(&app);
    let [dan] = signed_in(&app, ["dan"]).await;
    // What she shows is older than what was seen.
    let ahead = "UPDATE sessions SET seen_counter = 5 WHERE id = $1";
    sqlx::query(ahead).bind(eve.sid).execute(&app.owner).await.unwrap();
    let (holder, first) = under_way(&app, &ann, ANNS).await;
    statements.take();
    let now = app.clock.now();
    // Two calls of one session, the second after a refresh.
    let earlier = cyd.clone();
    cyd.ctr = 3;
    let asked = [&bob, &earlier, &cyd, &dan, &eve];
    let found = join_all(asked.map(|claims| app.db.check(claims, now))).await;
    assert_eq!(names(found), ["bob", "cyd", "cyd", "dan", "eve"]);
    assert_eq!(statements.take().len(), 2);
    let counters = "SELECT seen_counter FROM sessions s JOIN users u ON u.id = user_id
                    ORDER BY username";
    let counters: Vec<i64> = sqlx::query_scalar(counters).fetch_all(&app.owner).await.unwrap();
    assert_eq!((counters, seen_now(&app).await), (vec![0, 0, 3, 0, 5], 4), "all but Ann");
    holder.rollback().await.unwrap();
    assert!(first.await.unwrap().is_ok());
}

#[tokio::test]
async fn a_session_whose_row_is_held_keeps_nobody_else_waiting_and_is_written_down_later() {
    // Nobody is helped by a time-out.
    let app = TestApp::with(&[("DATABASE_TIMEOUT", "10min")]).await;
    let [ann, bob, cyd] = signed_in(&app, ["ann", "bob", "cyd"]).await;
    a_minute_passes(&app);
    let (holder, first) = under_way(&app, &ann, ANNS_AND_BOBS).await;
    let (bob, cyd) = (check(&app, &bob), check(&app, &cyd));
    let cyd = timeout(Duration::from_secs(30), cyd).await.expect("nobody else waits");
    assert_eq!(cyd.unwrap().unwrap().username, "cyd");
    until_waiting(&app, 2).await;
    assert!(!bob.is_finished());
    assert_eq!(seen_now(&app).await, 1);
    holder.rollback().await.unwrap();
    assert_eq!(names(vec![first.await.unwrap(), bob.await.unwrap()]), ["ann", "bob"]);
    assert_eq!(seen_now(&app).await, 3);
}

#[tokio::test]
async fn where_a_shared_statement_fails_or_hangs_each_check_is_made_on_its_own_for_a_while() {
    for (fault, time) in [("RAISE 'no'", "20s"), ("PERFORM pg_sleep(60)", "12s")] {
        let (statements, _counting) = Statements::count();
        let app = TestApp::with(&[("DATABASE_TIMEOUT", time)]).await;
        let [ann, bob, cyd] = signed_in(&app, ["ann", "bob", "cyd"]).await;
        a_minute_passes(&app);
        let fault = format!(
            "CREATE FUNCTION not_together() RETURNS trigger LANGUAGE plpgsql AS $$
             BEGIN
                 IF current_query() LIKE '%SKIP LOCKED%' THEN {fault}; END IF;
                 RETURN NULL;
             END $$;
             CREATE TRIGGER not_together BEFORE UPDATE ON sessions
             FOR EACH STATEMENT EXECUTE FUNCTION not_together()"
        );
        sqlx::raw_sql(AssertSqlSafe(fault)).execute(&app.owner).await.unwrap();
        let (holder, first) = under_way(&app, &ann, ANNS).await;
        statements.take();
        let now = app.clock.now();
        let both = async || join_all([&bob, &cyd].map(|claims| app.db.check(claims, now))).await;
        assert_eq!(names(both().await), ["bob", "cyd"]);
        assert_eq!(statements.take().len(), 4, "it was shared, and failed");
        assert_eq!(seen_now(&app).await, 2);
        statements.take();
        assert_eq!(names(both().await), ["bob", "cyd"]);
        assert_eq!(statements.take().len(), 2, "nothing is shared");
        holder.rollback().await.unwrap();
        assert!(first.await.unwrap().is_ok());
    }
}

#[tokio::test]
async fn so_many_share_a_statement_and_so_many_wait() {
    let (statements, _counting) = Statements::count();
    let app = TestApp::with(&[("DATABASE_TIMEOUT", "10min")]).await;
    let [ann] = signed_in(&app, ["ann"]).await;
    a_minute_passes(&app);
    let [bob] = signed_in(&app, ["bob"]).await;
    let (holder, first) = under_way(&app, &ann, ANNS).await;
    // Tasks all begin before what they start. Of the second lot 50 find no room, and check alone.
    for (checks, by) in [(250, 3), (10_050, 150)] {
        statements.take();
        let checks: Vec<_> = (0..checks).map(|_| check(&app, &bob)).collect();
        let found = join_all(checks).await;
        assert!(found.into_iter().all(|found| found.unwrap().is_ok()));
        assert_eq!(statements.take().len(), by);
    }
    holder.rollback().await.unwrap();
    assert!(first.await.unwrap().is_ok());
}
