//! `cargo dev rotate-keys`: running, killed at every point, and twice at once.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rustix::process::Signal;
use shared::access_token::thumbprint;
use shared::secrets::Keys;
use sqlx::{Connection as _, PgConnection};
use tokio::process::Command;
use tokio::time::timeout;

use super::dev::{dev, output, text};
use super::given::Given;
use super::keywire::{Keywire, Start};
use super::{LONG, open_dir};

impl Given {
    /// Old enough to be rotated.
    async fn old() -> Self {
        let mut given = Self::new().await;
        age(&mut given.owner).await;
        given
    }

    /// Rotates, and returns what was said if that worked, else as an error.
    async fn rotate(&self) -> Result<String, String> {
        let mut command = self.dev();
        command.arg("rotate-keys");
        let output = output(command).await;
        let said = text(&output.stderr);
        if output.status.success() { Ok(said) } else { Err(said) }
    }

    /// The ids of the current and the next key in the file.
    fn kids(&self) -> [String; 2] {
        kids(&self.file)
    }

    /// The ids of the keys in the database that are not retired, and how many are.
    async fn published(&mut self) -> (Vec<String>, i64) {
        let live = "SELECT kid FROM signing_keys WHERE retire_at IS NULL ORDER BY kid";
        let live = sqlx::query_scalar(live).fetch_all(&mut self.owner).await.unwrap();
        let retired =
            "SELECT count(*) FROM signing_keys WHERE retire_at > now() + interval '1 hour'";
        (live, sqlx::query_scalar(retired).fetch_one(&mut self.owner).await.unwrap())
    }
}

fn kids(file: &Path) -> [String; 2] {
    let signing = Keys::read(file).unwrap().signing;
    [signing.current, signing.next].map(|key| thumbprint(&key.public_key().unwrap()))
}

/// Makes the next key old enough.
async fn age(owner: &mut PgConnection) {
    let age = "UPDATE signing_keys SET created_at = created_at - interval '16 minutes'";
    sqlx::query(age).execute(owner).await.unwrap();
}

fn sorted(mut kids: [String; 2]) -> Vec<String> {
    kids.sort();
    kids.into()
}

#[tokio::test]
async fn a_running_copy_takes_rotated_keys_on_and_nobody_is_signed_out() {
    let dir = open_dir();
    // It signs in again and again until the keys are there.
    let start = Start::in_dir(dir.path()).env("LIMIT_LOGIN_ADDRESS", "off");
    let keywire = start.env("KEYS_FILE_INTERVAL", "1s").ready().await;
    keywire.register().await;
    let token = keywire.login().await.body["access_token"].as_str().unwrap().to_owned();
    let signed_by = async |keywire: &Keywire| {
        let answer = keywire.login().await.body;
        let header = jsonwebtoken::decode_header(answer["access_token"].as_str().unwrap());
        header.unwrap().kid.unwrap()
    };
    let rotate = || {
        let mut command = dev(dir.path());
        command.arg("rotate-keys");
        output(command)
    };
    let before = signed_by(&keywire).await;
    let young = rotate().await;
    assert_eq!(young.status.code(), Some(1));
    let said = text(&young.stderr);
    assert!(
        said.contains("less than 15 minutes ago") && said.contains("nothing was changed"),
        "{said}"
    );
    let file = dir.path().join("local/keys.json");
    let [_, next] = kids(&file);
    let cluster = super::cluster::cluster(&dir.path().join("local")).await;
    age(&mut PgConnection::connect(&cluster.url("keywire")).await.unwrap()).await;
    let rotated = rotate().await;
    assert!(rotated.status.success(), "{}", text(&rotated.stderr));
    assert_eq!(kids(&file)[0], next);
    let taken_on = async { while signed_by(&keywire).await == before {} };
    timeout(LONG, taken_on).await.expect("the running copy signs with the old key");
    assert_eq!(signed_by(&keywire).await, next);
    assert_eq!(keywire.get_as("/me", &token).await.status, 200, "the old key's token");
    assert!(keywire.end(Signal::TERM).await.success());
    let again = Start::in_dir(dir.path()).ready().await;
    assert_eq!(signed_by(&again).await, next);
    assert_eq!(again.get_as("/me", &token).await.status, 200, "the old key's token");
    let shown = again.get("/.well-known/jwks.json").await.body;
    let shown: Vec<_> = shown["keys"].as_array().unwrap().iter().map(|key| &key["kid"]).collect();
    assert!(shown.len() == 3 && shown.contains(&&before.into()), "{shown:?}");
}

#[tokio::test]
async fn killed_while_it_writes_the_file_it_has_changed_nothing() {
    let mut given = Given::old().await;
    let before = (given.kids(), given.published().await);
    // The first byte it writes into a file kills it.
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -f 0; exec \"$0\" rotate-keys", env!("CARGO_BIN_EXE_dev")]);
    for (name, value) in given.dev().as_std().get_envs() {
        command.env(name, value.unwrap());
    }
    let killed = timeout(LONG, command.output()).await.expect("it did not end").unwrap();
    assert_eq!(killed.status.code(), None, "{}", text(&killed.stderr));
    assert_eq!((given.kids(), given.published().await), before);
    for entry in std::fs::read_dir(given.dir.path()).unwrap().map(Result::unwrap) {
        if entry.file_name().to_string_lossy().contains("keys") {
            assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        }
    }
    given.rotate().await.unwrap();
    assert_eq!(given.published().await, (sorted(given.kids()), 1));
}

/// A rotation that is killed when the file is written and the database is not.
async fn interrupted() -> Given {
    let mut given = Given::old().await;
    let [_, next] = given.kids();
    let (live, _) = given.published().await;
    let hold = "SELECT pg_advisory_lock(7)";
    sqlx::query(hold).execute(&mut given.owner).await.unwrap();
    let wait = "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN PERFORM pg_advisory_xact_lock(7); RETURN NEW; END $$;
                CREATE TRIGGER wait BEFORE INSERT ON signing_keys
                FOR EACH ROW EXECUTE FUNCTION wait()";
    sqlx::raw_sql(wait).execute(&mut given.owner).await.unwrap();
    let mut child = given.dev().arg("rotate-keys").spawn().unwrap();
    let waits = "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
                 AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))";
    let waiting = async {
        while !sqlx::query_scalar::<_, bool>(waits).fetch_one(&mut given.owner).await.unwrap() {}
    };
    timeout(LONG, waiting).await.expect("it did not come to the database");
    child.kill().await.unwrap();
    let free = "SELECT pg_advisory_unlock(7)";
    sqlx::query(free).execute(&mut given.owner).await.unwrap();
    // Waits for what the server still does for the killed one.
    sqlx::raw_sql("DROP TRIGGER wait ON signing_keys").execute(&mut given.owner).await.unwrap();
    assert_eq!(given.kids()[0], next, "the file is ahead");
    assert_eq!(given.published().await, (live, 0), "the database is as it was");
    given
}

#[tokio::test]
async fn killed_between_file_and_database_it_is_finished_by_the_next_rotation() {
    let mut given = interrupted().await;
    let file = given.kids();
    let said = given.rotate().await.unwrap();
    assert!(said.contains("Finished the rotation"), "{said}");
    assert_eq!(given.kids(), file, "rotated once, not twice");
    assert_eq!(given.published().await, (sorted(file), 1));
    let young = given.rotate().await.unwrap_err();
    assert!(
        young.contains("less than 15 minutes ago"),
        "known only since it was published: {young}"
    );
}

#[tokio::test]
async fn killed_between_file_and_database_it_is_finished_by_the_next_start() {
    let mut given = interrupted().await;
    let keywire = given.start().ready().await;
    assert_eq!(keywire.register().await.status, 201);
    let token = keywire.login().await.body["access_token"].as_str().unwrap().to_owned();
    assert_eq!(jsonwebtoken::decode_header(token).unwrap().kid.as_ref(), given.kids().first());
    assert_eq!(given.published().await, (sorted(given.kids()), 1));
}

#[tokio::test]
async fn of_two_rotations_at_once_one_is_made() {
    let mut given = Given::old().await;
    let (one, other) = tokio::join!(given.rotate(), given.rotate());
    let refused = [&one, &other].into_iter().find_map(|end| end.as_ref().err());
    let refused = refused.expect("both were made");
    assert!(refused.contains("less than 15 minutes ago"), "{refused}");
    assert!(one.is_ok() || other.is_ok(), "{one:?} {other:?}");
    assert_eq!(given.published().await, (sorted(given.kids()), 1));
}
