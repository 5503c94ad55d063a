//! The connections that append.

use shared::db::{Database, log};
use shared::settings::{self, Reader};
use tokio::io::AsyncReadExt as _;
use tokio::net::UnixListener;

use super::Rooms;

#[tokio::test]
async fn a_lane_asks_for_its_limits_once_it_is_connected() {
    let rooms = Rooms::start().await;
    let mut writer = rooms.writers(1).await.remove(0);
    for (name, limit) in [("lock_timeout", "2s"), ("statement_timeout", "5s")] {
        let set = sqlx::query_scalar("SELECT current_setting($1)").bind(name);
        let set: String = set.fetch_one(&mut writer).await.unwrap();
        assert_eq!(set, limit, "{name}");
    }
    // A pooler refuses who asks for it in the first message.
    let dir = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(dir.path().join(".s.PGSQL.5432")).unwrap();
    let url = format!(
        "postgres://nobody@localhost/nothing?sslmode=disable&host={}",
        dir.path().display()
    );
    let mut reader = Reader::from_pairs([("DATABASE_TIMEOUT", "20s")]);
    let db = Database::new(&settings::Database::at(url, &mut reader), None).unwrap();
    let opening = async {
        let (mut client, _) = listener.accept().await.unwrap();
        let mut said = vec![0; 1 << 10];
        let length = client.read(&mut said).await.unwrap();
        String::from_utf8_lossy(&said[..length]).into_owned()
    };
    let (connected, said) = tokio::join!(log::connect(&db), opening);
    assert!(connected.is_err());
    assert!(said.contains("nobody") && !said.contains("timeout"), "{said:?}");
}
