//! A function in AWS's own Lambda Runtime Interface Emulator, which SAM brings along.

use std::fs::File;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use local::child;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::NamedTempFile;

use super::http::{Answer, free_address, listens, send};
use super::tools;

/// The emulator and the function it runs; both end with this.
pub(crate) struct Emulator {
    /// The emulator, which starts the function at the first event and again after it ended.
    child: Child,
    /// Where events go.
    address: SocketAddr,
    /// What emulator and function wrote.
    log: NamedTempFile,
}

impl Emulator {
    /// Starts the emulator for a binary of `functions` with this environment and nothing else.
    pub(crate) async fn start(binary: &str, environment: &[(&str, String)]) -> Self {
        // Another process may take a free port before the emulator does; then it ends.
        for _ in 0..5 {
            let mut emulator = Self::spawn(binary, environment);
            let Self { child, address, .. } = &mut emulator;
            if listens(*address, || child.try_wait().unwrap().is_none()).await {
                return emulator;
            }
        }
        panic!("the emulator found no free port");
    }

    fn spawn(binary: &str, environment: &[(&str, String)]) -> Self {
        let (address, runtime) = (free_address(), free_address());
        let log = NamedTempFile::new().unwrap();
        let output = || Stdio::from(File::options().append(true).open(log.path()).unwrap());
        let mut command = Command::new(tools::emulator());
        command
            .args(["--log-level", "error", "--runtime-interface-emulator-address"])
            .args([&address.to_string(), "--runtime-api-address", &runtime.to_string()])
            .arg(tools::binary(binary))
            .env_clear()
            .env("AWS_LAMBDA_FUNCTION_NAME", binary)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(output())
            .stderr(output());
        child::tie(&mut command, None, Signal::TERM);
        Self { child: command.spawn().unwrap(), address, log }
    }

    /// What the function answers to an event, whatever it is.
    pub(crate) async fn invoke(&self, event: &Value) -> Value {
        let path = "POST /2015-03-31/functions/function/invocations";
        send(self.address, &[path], &event.to_string()).await.json()
    }

    /// The response that the gateway would make of it.
    pub(crate) async fn request(&self, event: &Value) -> Answer {
        let answer = self.invoke(event).await;
        let status = answer["statusCode"].as_u64();
        let status = status.unwrap_or_else(|| panic!("{answer}\n{}", self.log()));
        assert_eq!(answer["isBase64Encoded"], false, "{answer}");
        let headers = answer["headers"].as_object().unwrap();
        let headers =
            headers.iter().map(|(name, value)| format!("{name}: {}\n", value.as_str().unwrap()));
        Answer {
            status: status.try_into().unwrap(),
            head: headers.collect::<String>().to_lowercase(),
            body: answer["body"].as_str().unwrap_or_default().to_owned(),
        }
    }

    /// The function's process id. It changes when the sandbox was lost.
    pub(crate) fn sandbox(&self) -> i32 {
        let parent = self.child.id().to_string();
        let processes = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
        let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        let mut children = pids.filter(|pid| {
            // "pid (name) state ppid …"; a name may hold anything, so read from behind it.
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let behind = stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().nth(1));
            behind.flatten() == Some(parent.as_str())
        });
        children.next().unwrap_or_else(|| panic!("no sandbox:\n{}", self.log()))
    }

    /// What the function logged, a JSON object a line.
    pub(crate) fn lines(&self) -> Vec<Value> {
        self.log().lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Everything written so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.log.path()).unwrap()
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        // It ends the function when asked to; killed, it could not.
        let pid = Pid::from_raw(self.child.id().cast_signed()).unwrap();
        kill_process(pid, Signal::TERM).ok();
        self.child.wait().ok();
    }
}
