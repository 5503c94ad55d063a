//! Secrets Manager as moto plays it.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, ChildStderr, Stdio};
use std::sync::mpsc::{Receiver, channel};

use local::child;
use rustix::process::Signal;
use serde_json::{Value, json};

use super::http::{LONG, send};
use super::tools;

/// Where secrets are asked for in these tests; moto keeps regions apart.
const REGION: &str = "eu-central-1";

/// The server; ends with this.
pub(crate) struct SecretsManager {
    child: Child,
    address: SocketAddr,
    /// A line for each request it answered.
    answered: Receiver<String>,
}

impl SecretsManager {
    /// Starts it on a free port, without secrets.
    pub(crate) fn start() -> Self {
        let mut command = tools::python();
        command.args(["-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]);
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        child::tie(&mut command, None, Signal::KILL);
        let mut child = command.spawn().unwrap();
        let lines = read(child.stderr.take().unwrap());
        let address = loop {
            let line = lines.recv_timeout(LONG).expect("moto did not say its address");
            if let Some((_, address)) = line.split_once("Running on http://") {
                break address.trim().parse().unwrap();
            }
        };
        Self { child, address, answered: lines }
    }

    /// Makes a secret and returns its ARN.
    pub(crate) async fn create(&self, name: &str, text: &str) -> String {
        let arn = self.call("CreateSecret", &json!({"Name": name, "SecretString": text})).await;
        arn["ARN"].as_str().unwrap().to_owned()
    }

    /// Makes a secret of bytes and returns its ARN.
    pub(crate) async fn create_binary(&self, name: &str, base64: &str) -> String {
        let arn = self.call("CreateSecret", &json!({"Name": name, "SecretBinary": base64})).await;
        arn["ARN"].as_str().unwrap().to_owned()
    }

    async fn call(&self, action: &str, body: &Value) -> Value {
        let target = format!("X-Amz-Target: secretsmanager.{action}");
        // moto takes the region from the signature and does not check it.
        let authorization = format!(
            "Authorization: AWS4-HMAC-SHA256 Credential=test/20240101/{REGION}/secretsmanager/aws4_request, \
             SignedHeaders=host, Signature=0"
        );
        let kind = "Content-Type: application/x-amz-json-1.1";
        let body = body.as_object().unwrap().clone();
        let mut body = Value::from(body);
        body["ClientRequestToken"] = uuid::Uuid::new_v4().to_string().into();
        let answer =
            send(self.address, &["POST /", kind, &target, &authorization], &body.to_string()).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        while !is_request(&self.answered.recv_timeout(LONG).expect("moto logs each request")) {}
        answer.json()
    }

    /// How many requests were answered since this was last asked, [`Self::create`] not counted.
    ///
    /// A last request, for a page of moto's own, shows that the lines before its own have been read.
    pub(crate) async fn requests(&self) -> usize {
        let page = format!("/moto-api/data.json?{}", uuid::Uuid::new_v4());
        assert_eq!(send(self.address, &[&format!("GET {page}")], "").await.status, 200);
        let lines = std::iter::from_fn(|| self.answered.recv_timeout(LONG).ok());
        lines.take_while(|line| !line.contains(&page)).filter(|line| is_request(line)).count()
    }

    /// What a function needs to reach it.
    pub(crate) fn environment(&self) -> Vec<(&'static str, String)> {
        let url = format!("http://{}", self.address);
        vec![
            ("AWS_ENDPOINT_URL_SECRETS_MANAGER", url),
            ("AWS_REGION", REGION.to_owned()),
            ("AWS_ACCESS_KEY_ID", "test".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
        ]
    }
}

/// Whether a line of moto's log is about a request.
fn is_request(line: &str) -> bool {
    line.contains("\"POST / HTTP")
}

/// Its lines, read on a thread so that the pipe never fills.
fn read(stderr: ChildStderr) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

impl Drop for SecretsManager {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
