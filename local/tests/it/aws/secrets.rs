//! Where a function's secrets come from, and how it refuses to start without them.

use std::process::{Command, Stdio};

use shared::secrets::Keys;
use sqlx::postgres::PgConnectOptions;
use time::OffsetDateTime;
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixStream};
use tokio::time::timeout;

use super::emulator::Emulator;
use super::events::{credentials, event};
use super::http::{LONG, free_address};
use super::moto::SecretsManager;
use super::stack::{Stack, common};
use super::tools;

type Environment = Vec<(&'static str, String)>;

/// An ARN that no secret has.
const NO_SECRET: &str =
    "arn:aws:secretsmanager:eu-central-1:123456789012:secret:keywire/nothing-AbCdEf";

/// A secret's JSON text.
fn json(secret: &impl serde::Serialize) -> String {
    serde_json::to_string(secret).unwrap()
}

/// Starts the binary as Lambda would and returns what it said when it ended by itself.
fn refusal(binary: &str, environment: &Environment) -> String {
    let mut command = Command::new(tools::binary(binary));
    let environment = environment.iter().map(|(name, value)| (name, value));
    command.env_clear().envs(environment).stdin(Stdio::null());
    // Started without a runtime API, it could only panic if it came that far.
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    let last: serde_json::Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
    assert_eq!(
        (&last["level"], &last["message"]),
        (&"ERROR".into(), &"the function has ended".into())
    );
    last["error"].as_str().unwrap().to_owned()
}

/// The stack's secrets in Secrets Manager, and the environment of the template's functions.
async fn by_arn(stack: &Stack, manager: &SecretsManager) -> Environment {
    let keys = &stack.keys;
    let mut environment = common();
    environment.extend(manager.environment());
    for (variable, name, text) in [
        ("DATABASE_SECRET_ARN", "database", stack.url()),
        ("PEPPER_SECRET_ARN", "pepper", json(&keys.pepper)),
        ("SIGNING_SECRET_ARN", "signing", json(&keys.signing)),
    ] {
        environment.push((variable, manager.create(name, &text).await));
    }
    environment
}

/// The environment with one variable changed.
fn changed(environment: &Environment, variable: &'static str, value: &str) -> Environment {
    let others = environment.iter().filter(|(name, _)| *name != variable).cloned();
    others.chain([(variable, value.to_owned())]).collect()
}

#[tokio::test]
async fn secrets_are_fetched_once_a_process() {
    let (stack, manager) = (Stack::new().await, SecretsManager::start());
    let environment = by_arn(&stack, &manager).await;
    let register = Emulator::start("register", &environment).await;
    assert_eq!(register.request(&event("register")).await.status, 201);
    assert_eq!(register.request(&event("register")).await.status, 409);
    assert_eq!(manager.requests().await, 2, "register: database and pepper");
    let login = Emulator::start("login", &environment).await;
    for _ in 0..3 {
        assert_eq!(login.request(&event("login")).await.status, 200);
    }
    assert_eq!(manager.requests().await, 3, "login: database, pepper and signing");
    let discovery = Emulator::start("discovery", &environment).await;
    assert_eq!(discovery.request(&event("jwks")).await.status, 200);
    assert_eq!(manager.requests().await, 1, "discovery: database");
}

#[tokio::test]
async fn a_secret_that_cannot_be_used_ends_the_start_and_names_its_variable() {
    let (stack, manager) = (Stack::new().await, SecretsManager::start());
    let right = by_arn(&stack, &manager).await;
    let broken = manager.create("broken", r#"{"current": "p1", "keys""#).await;
    let empty = manager.create("empty", " ").await;
    let address = manager.create("address", "example.com/keywire").await;
    let open = manager.create("open", "postgres://app:x@db.example.com/name?sslmode=require").await;
    let nobody =
        manager.create("nobody", &stack.url_as("nobody-of-this-name", "keywire_app")).await;
    let bytes = manager.create_binary("bytes", "AAAA").await;
    let signing = right.iter().find(|(name, _)| *name == "SIGNING_SECRET_ARN").unwrap().1.clone();
    let links = manager.create("links", &json(&stack.keys.links)).await;
    for (variable, arn, why) in [
        ("PEPPER_SECRET_ARN", NO_SECRET, "no such secret"),
        ("SIGNING_SECRET_ARN", NO_SECRET, "no such secret"),
        ("DATABASE_SECRET_ARN", NO_SECRET, "no such secret"),
        ("PEPPER_SECRET_ARN", &broken, "not a pepper secret"),
        ("PEPPER_SECRET_ARN", &signing, "not a pepper secret"),
        ("SIGNING_SECRET_ARN", &links, "not a signing secret"),
        ("SIGNING_SECRET_ARN", &bytes, "bytes, not text"),
        ("DATABASE_SECRET_ARN", &empty, "empty"),
        ("DATABASE_SECRET_ARN", &address, "not an address"),
        ("DATABASE_SECRET_ARN", &open, "add ?sslmode=verify-full"),
        ("DATABASE_SECRET_ARN", &nobody, "nobody-of-this-name"),
    ] {
        let said = refusal("login", &changed(&right, variable, arn));
        assert!(said.contains(variable) && said.contains(why), "{variable} {arn}: {said}");
    }
}

#[tokio::test]
async fn a_database_that_refuses_the_address_ends_the_start_and_names_its_variable() {
    let stack = Stack::new().await;
    let options: PgConnectOptions = stack.url().parse().unwrap();
    let (owner, name) = (options.get_username(), options.get_database().unwrap());
    let other = |database| stack.url().replace(name, database);
    for (url, why) in [
        (stack.url_as("nobody-of-this-name", "keywire_app"), "nobody-of-this-name"),
        (other("no-database-of-this-name"), "no-database-of-this-name"),
        (stack.url_as(owner, "no_role_of_this_name"), "no_role_of_this_name"),
        (stack.url_as(owner, "pg_monitor"), "permission denied"),
        (other("postgres"), "does not exist"),
    ] {
        for binary in ["login", "register"] {
            let said = refusal(binary, &changed(&stack.environment(), "DATABASE_URL", &url));
            assert!(said.starts_with("DATABASE_URL: ") && said.contains(why), "{url}: {said}");
        }
    }
    // What reads only public keys is refused by the server, too.
    let nobody = stack.url_as("nobody-of-this-name", "keywire_app");
    let said = refusal("discovery", &changed(&stack.environment(), "DATABASE_URL", &nobody));
    assert!(said.starts_with("DATABASE_URL: "), "{said}");
}

#[tokio::test]
async fn a_wrong_filter_is_told_together_with_what_else_is_wrong() {
    let wrong = changed(&common(), "LOG", "=,=");
    let said = refusal("login", &wrong);
    assert!(said.contains("LOG: "), "{said}");
    assert!(said.contains("DATABASE_SECRET_ARN is not set"), "{said}");
}

#[tokio::test]
async fn nothing_secret_is_logged_even_when_everything_is() {
    let (stack, manager) = (Stack::new().await, SecretsManager::start());
    let mut environment = by_arn(&stack, &manager).await;
    for (variable, value) in [
        ("AWS_SECRET_ACCESS_KEY", "xq7-access-key"),
        ("AWS_SESSION_TOKEN", "xq7-session-token"),
        ("LOG", "trace,lambda_runtime=trace,lambda_runtime::layers=trace,aws_sigv4=trace"),
    ] {
        environment = changed(&environment, variable, value);
    }
    let register = Emulator::start("register", &environment).await;
    let typed = |event| credentials(event, "ann", "xq7-typed-password");
    assert_eq!(register.request(&typed("register")).await.status, 201);
    let login = Emulator::start("login", &environment).await;
    let answer = login.request(&typed("login")).await;
    assert_eq!(answer.status, 200);
    let body = answer.json();
    let (pepper, signing) = (&stack.keys.pepper, &stack.keys.signing);
    let keys = [&pepper.keys[&pepper.current], &signing.current.private_key].map(json);
    let keys = keys.iter().map(|key| key.trim_matches('"'));
    let tokens = ["access_token", "refresh_token"].map(|name| body[name].as_str().unwrap());
    let database = stack.url();
    let hidden = ["xq7-access-key", "xq7-session-token", "xq7-typed-password", &database];
    for function in [&register, &login] {
        let lines = function.lines();
        assert!(lines.iter().any(|line| line["level"] == "TRACE"), "{}", function.log());
        for secret in hidden.into_iter().chain(tokens).chain(keys.clone()) {
            let log = function.log();
            let line = log.lines().find(|line| line.contains(secret));
            assert_eq!(line, None, "{secret}");
        }
    }
}

#[tokio::test]
async fn a_function_without_secrets_has_no_default() {
    let said = refusal("login", &common());
    for variable in ["DATABASE_SECRET_ARN", "PEPPER_SECRET_ARN", "SIGNING_SECRET_ARN"] {
        assert!(said.contains(&format!("{variable} is not set")), "{said}");
    }
    let said = refusal("register", &common());
    assert!(!said.contains("SIGNING_SECRET_ARN"), "register has no business with it: {said}");
    let said = refusal("courier", &common());
    let needed = ["DATABASE_SECRET_ARN", "LINKS_SECRET_ARN", "SMTP_SECRET_ARN"];
    for variable in needed.into_iter().chain(["MAIL_FROM", "PUBLIC_URL"]) {
        assert!(said.contains(&format!("{variable} is not set")), "{said}");
    }
    assert!(!said.contains("PEPPER_SECRET_ARN"), "the courier has no business with it: {said}");
    let said = refusal("login", &changed(&common(), "LIMIT_LOGIN_ADDRESS", "off"));
    assert!(said.contains("LIMIT_LOGIN_ADDRESS=off"), "{said}");
}

#[tokio::test]
async fn secrets_manager_out_of_reach_ends_the_start() {
    let (stack, manager) = (Stack::new().await, SecretsManager::start());
    let right = by_arn(&stack, &manager).await;
    let url = format!("http://{}", free_address());
    let said = refusal("register", &changed(&right, "AWS_ENDPOINT_URL_SECRETS_MANAGER", &url));
    assert!(said.contains("SECRET_ARN: arn:"), "{said}");
}

#[tokio::test]
async fn keys_of_another_database_end_the_start() {
    let (stack, manager) = (Stack::new().await, SecretsManager::start());
    let right = by_arn(&stack, &manager).await;
    let register = Emulator::start("register", &right).await;
    assert_eq!(register.request(&event("register")).await.status, 201);

    let other = Keys::generate(OffsetDateTime::UNIX_EPOCH).unwrap();
    let signing = manager.create("other-signing", &json(&other.signing)).await;
    let said = refusal("login", &changed(&right, "SIGNING_SECRET_ARN", &signing));
    assert!(said.starts_with("SIGNING_SECRET_ARN: ") && said.contains("not published"), "{said}");

    let pepper = manager.create("other-pepper", &json(&other.pepper)).await;
    for binary in ["login", "register"] {
        let said = refusal(binary, &changed(&right, "PEPPER_SECRET_ARN", &pepper));
        assert!(said.starts_with("PEPPER_SECRET_ARN: passwords in this database need"), "{said}");
    }

    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), other.to_json().unwrap().as_bytes()).unwrap();
    let local = changed(&stack.environment(), "KEYS_FILE", file.path().to_str().unwrap());
    let said = refusal("login", &local);
    assert!(said.starts_with("KEYS_FILE: "), "{said}");
}

#[tokio::test]
async fn secrets_are_fetched_while_the_database_connects() {
    let (database, manager) = (
        TcpListener::bind("127.0.0.1:0").await.unwrap(),
        TcpListener::bind("127.0.0.1:0").await.unwrap(),
    );
    let mut environment = common();
    environment.extend([
        ("AWS_ENDPOINT_URL_SECRETS_MANAGER", format!("http://{}", manager.local_addr().unwrap())),
        ("AWS_REGION", "eu-central-1".to_owned()),
        ("AWS_ACCESS_KEY_ID", "test".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
        ("DATABASE_URL", format!("postgres://nobody@{}/none", database.local_addr().unwrap())),
        // One after the other, the second would be reached only after this.
        ("DATABASE_TIMEOUT", "10m".to_owned()),
        ("PEPPER_SECRET_ARN", NO_SECRET.to_owned()),
    ]);
    let mut command = tokio::process::Command::new(tools::binary("register"));
    command.env_clear().envs(environment).kill_on_drop(true).stderr(Stdio::null());
    let _register = command.spawn().unwrap();
    // Neither is answered, and each is reached all the same.
    let both = async { tokio::try_join!(database.accept(), manager.accept()) };
    timeout(LONG, both).await.expect("one waits for the other").unwrap();
}

#[tokio::test]
async fn a_database_that_is_away_at_the_start_is_503_until_it_is_there() {
    let stack = Stack::new().await;
    let options: PgConnectOptions = stack.url().parse().unwrap();
    let socket = options.get_socket().unwrap().join(".s.PGSQL.5432");
    // Held from now on, so that nobody else takes it; it refuses until it listens.
    let held = TcpSocket::new_v4().unwrap();
    held.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = held.local_addr().unwrap();
    let (user, name) = (options.get_username(), options.get_database().unwrap());
    let url =
        format!("postgres://{user}@{address}/{name}?sslmode=disable&options[role]=keywire_app");
    let login =
        stack.start_with("login", &[("DATABASE_URL", &url), ("DATABASE_TIMEOUT", "2s")]).await;
    let wrong = credentials("login", "nobody", "password123");
    let answer = login.request(&wrong).await;
    assert_eq!((answer.status, answer.json()["code"].as_str()), (503, Some("unavailable")));
    assert!(answer.head.contains("retry-after: "), "{answer:?}");
    let sandbox = login.sandbox();

    let listener = held.listen(64).unwrap();
    let proxy = tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut server = UnixStream::connect(&socket).await.unwrap();
            tokio::spawn(async move { copy(&mut client, &mut server).await });
        }
    });
    assert_eq!(login.request(&wrong).await.status, 401, "{}", login.log());
    assert_eq!(login.sandbox(), sandbox, "the process was lost");
    proxy.abort();
}

/// Passes bytes on until either side ends.
async fn copy(client: &mut TcpStream, server: &mut UnixStream) {
    // How a connection ends is not what is tested.
    tokio::io::copy_bidirectional(client, server).await.ok();
}
