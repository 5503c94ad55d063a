//! A process does not start with keys that are not its database's.

use functions::keys::{check_pepper, check_signing};
use secrecy::SecretString;
use shared::clock::Clock;
use shared::db::Database;
use shared::secrets::Keys;
use shared::settings::{self, Reader};

use crate::app::TestApp;

fn database(app: &TestApp) -> Database {
    let mut reader = Reader::from_pairs::<String, String>([]);
    let url = SecretString::from(app.database_url());
    Database::new(&settings::Database::at(url, &mut reader), None).unwrap()
}

#[tokio::test]
async fn the_databases_own_keys_are_taken() {
    let app = TestApp::start().await;
    app.user("ann").await;
    let db = database(&app);
    check_signing(&db, &app.keys.signing).await.unwrap();
    check_pepper(&db, &app.keys.pepper).await.unwrap();
}

#[tokio::test]
async fn another_sets_signing_keys_are_refused() {
    let app = TestApp::start().await;
    let other = Keys::generate(Clock::System.now()).unwrap();
    let why = check_signing(&database(&app), &other.signing).await.unwrap_err().to_string();
    assert!(why.contains("is not published in this database"), "{why}");
    let mut older = app.keys.signing.clone();
    older.next = other.signing.next;
    let why = check_signing(&database(&app), &older).await.unwrap_err().to_string();
    assert!(why.contains("which this set lacks"), "{why}");
}

#[tokio::test]
async fn a_set_that_lacks_a_pepper_in_use_is_refused() {
    let app = TestApp::start().await;
    let mut pepper = app.keys.pepper.clone();
    let key = pepper.keys.remove(&pepper.current).unwrap();
    pepper.keys.insert("p2".to_owned(), key);
    pepper.current = "p2".to_owned();
    check_pepper(&database(&app), &pepper).await.unwrap();
    app.user("ann").await;
    app.user("bob").await;
    let why = check_pepper(&database(&app), &pepper).await.unwrap_err().to_string();
    assert!(why.contains(&format!("need pepper {}", app.keys.pepper.current)), "{why}");
}
