//! Passwords at low costs.

use std::collections::BTreeMap;
use std::sync::mpsc;

use tokio::sync::oneshot;

use super::*;
use crate::secrets::{Key, Secret};

const COST: u32 = 6;

fn passwords(pepper: &Pepper, cost: u32) -> Passwords {
    Passwords::new(pepper.clone(), Hashing { cost, threads: 2, wait: Duration::from_secs(5) })
}

fn pepper() -> Pepper {
    let keys = BTreeMap::from([("p1".to_owned(), Key::generate().unwrap())]);
    let [identifiers, factors] = [(); 2].map(|()| Key::generate().unwrap());
    Pepper { current: "p1".to_owned(), keys, identifiers, factors }
}

fn password(text: &str) -> Password {
    Password::parse(text.to_owned()).unwrap()
}

fn plain(text: &str, cost: u32) -> Stored {
    let parts = bcrypt::hash_with_salt(text, cost, [7; 16]).unwrap();
    let hash = parts.format_for_version(bcrypt::Version::TwoY);
    Stored { scheme: Scheme::Bcrypt, pepper_id: None, hash }
}

#[tokio::test]
async fn a_stored_hash_is_bcrypt_of_a_peppered_mac() {
    let pepper = pepper();
    let stored = passwords(&pepper, COST).hash(&password("password123")).await.unwrap();
    assert!(stored.hash.starts_with("$2b$06$") && stored.hash.len() == 60, "{}", stored.hash);
    assert_eq!(stored.pepper_id.as_deref(), Some("p1"));
    let mac =
        hmac::sign(&hmac::Key::new(hmac::HMAC_SHA384, pepper.keys["p1"].bytes()), b"password123");
    let input = STANDARD.encode(mac);
    assert_eq!(input.len(), 64);
    assert!(bcrypt::non_truncating_verify(input, &stored.hash).unwrap());
}

#[tokio::test]
async fn another_pepper_verifies_nothing() {
    let stored = passwords(&pepper(), COST).hash(&password("password123")).await.unwrap();
    let other = passwords(&pepper(), COST);
    let verdict = other.verify(&password("password123"), Some(&stored)).await.unwrap();
    assert_eq!(verdict, Verdict::Wrong);
}

#[tokio::test]
async fn passwords_equal_in_72_bytes_never_verify_against_each_other() {
    let passwords = passwords(&pepper(), COST);
    let (one, other) = ("a".repeat(80), format!("{}b", "a".repeat(79)));
    let stored = passwords.hash(&password(&one)).await.unwrap();
    let verdict = passwords.verify(&password(&other), Some(&stored)).await.unwrap();
    assert_eq!(verdict, Verdict::Wrong);
    let right = passwords.verify(&password(&one), Some(&stored)).await.unwrap();
    assert_eq!(right, Verdict::Right(None));
}

#[tokio::test]
async fn every_text_survives_exactly() {
    let passwords = passwords(&pepper(), COST);
    for text in ["  spaces all around  ", "NUL \0 inside", "\u{1f511}".repeat(64).as_str()] {
        let stored = passwords.hash(&password(text)).await.unwrap();
        let verdict = passwords.verify(&password(text), Some(&stored)).await.unwrap();
        assert_eq!(verdict, Verdict::Right(None), "{text:?}");
        let trimmed = text.trim().to_lowercase().replace('\0', "");
        if trimmed != text {
            let verdict = passwords.verify(&password(&trimmed), Some(&stored)).await.unwrap();
            assert_eq!(verdict, Verdict::Wrong, "{trimmed:?}");
        }
    }
}

#[tokio::test]
async fn every_wrong_answer_costs_the_same_rounds() {
    let pepper = pepper();
    let passwords = passwords(&pepper, COST);
    let hash_of = |cost| {
        let other = self::passwords(&pepper, cost);
        async move { other.hash(&password("right password")).await.unwrap() }
    };
    let today = hash_of(COST).await;
    let old = hash_of(4).await;
    let imported = plain("right password", 5);
    let broken = Stored { hash: "not a hash".to_owned(), ..today.clone() };
    for stored in [None, Some(&today), Some(&old), Some(&imported), Some(&broken)] {
        let before = passwords.rounds();
        let verdict = passwords.verify(&password("wrong password"), stored).await.unwrap();
        assert_eq!(verdict, Verdict::Wrong);
        assert_eq!(passwords.rounds() - before, 1 << COST, "{stored:?}");
    }
}

#[tokio::test]
async fn old_costs_and_peppers_are_upgraded() {
    let mut pepper = pepper();
    let stored = passwords(&pepper, 4).hash(&password("password123")).await.unwrap();
    pepper.keys.insert("p2".to_owned(), Key::generate().unwrap());
    pepper.current = "p2".to_owned();
    pepper.check().unwrap();
    let today = passwords(&pepper, COST);
    let verdict = today.verify(&password("password123"), Some(&stored)).await.unwrap();
    let Verdict::Right(Some(new)) = verdict else { panic!("{verdict:?}") };
    assert_eq!(new.pepper_id.as_deref(), Some("p2"));
    assert!(new.hash.starts_with("$2b$06$"));
    let again = today.verify(&password("password123"), Some(&new)).await.unwrap();
    assert_eq!(again, Verdict::Right(None));
}

#[tokio::test]
async fn plain_hashes_from_elsewhere_sign_in_and_are_upgraded() {
    let passwords = passwords(&pepper(), COST);
    let stored = plain("old password", 4);
    let verdict = passwords.verify(&password("old password"), Some(&stored)).await.unwrap();
    let Verdict::Right(Some(new)) = verdict else { panic!("{verdict:?}") };
    assert_eq!(new.scheme, Scheme::Peppered);
    let long = "x".repeat(80);
    let stored = plain(&long[..72], 4);
    let verdict = passwords.verify(&password(&long), Some(&stored)).await.unwrap();
    assert_eq!(verdict, Verdict::Right(None), "cut at 72 bytes, so not upgraded");
}

/// Keeps both threads busy until the senders are dropped.
async fn occupy(passwords: &Passwords) -> Vec<mpsc::Sender<()>> {
    let mut holding = Vec::new();
    for _ in 0..2 {
        let (hold, released) = mpsc::channel::<()>();
        let (tell, begun) = oneshot::channel();
        let threads = Arc::clone(&passwords.threads);
        tokio::spawn(async move {
            let work = move || (tell.send(()), released.recv().is_err());
            threads.run(Duration::from_mins(1), work).await.unwrap()
        });
        begun.await.unwrap();
        holding.push(hold);
    }
    holding
}

#[tokio::test]
async fn with_every_thread_busy_the_wait_is_bounded() {
    let mut passwords = passwords(&pepper(), COST);
    passwords.wait = Duration::from_millis(50);
    let holding = occupy(&passwords).await;
    let problem = passwords.hash(&password("password123")).await.unwrap_err();
    assert_eq!(problem.code.as_str(), "unavailable");
    drop(holding);
    passwords.wait = Duration::from_mins(1);
    passwords.hash(&password("password123")).await.unwrap();
    assert_eq!(passwords.rounds(), 1 << COST, "what left the line is not hashed");
}

#[tokio::test]
async fn a_client_that_hangs_up_leaves_the_line() {
    let passwords = passwords(&pepper(), COST);
    let holding = occupy(&passwords).await;
    {
        let text = password("password123");
        let hash = std::pin::pin!(passwords.hash(&text));
        assert!(tokio::time::timeout(Duration::from_millis(10), hash).await.is_err());
    }
    drop(holding);
    passwords.hash(&password("password123")).await.unwrap();
    assert_eq!(passwords.rounds(), 1 << COST);
}

#[tokio::test]
async fn work_that_takes_longer_than_the_wait_is_done_to_its_end() {
    let passwords = passwords(&pepper(), COST);
    let (_hold, released) = mpsc::channel::<()>();
    let work = move || released.recv_timeout(Duration::from_secs(3)).is_err();
    assert!(matches!(passwords.threads.run(Duration::from_secs(2), work).await, Ok(true)));
}
