//! A private Mosquitto on a free port, and its command line clients.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde::Deserialize;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;

use super::{DEADLINE, Process, contract, free_port};

/// What Mosquitto prints if it cannot listen.
const PORT_IN_USE: &str = "Address already in use";

/// A Mosquitto for one test. It keeps its port and its directory when it is stopped and started
/// again.
pub struct Broker {
    folder: TempDir,
    port: u16,
    /// Logs every packet.
    verbose: bool,
    process: Option<Process>,
}

impl Broker {
    /// Starts a broker without persistence.
    pub async fn start() -> Self {
        Self::with(&["persistence false"]).await
    }

    /// Starts a broker that keeps sessions and messages across restarts.
    pub async fn persistent() -> Self {
        Self::with(&["persistence true", "autosave_on_changes true", "autosave_interval 1"]).await
    }

    /// Starts a broker with these lines in its configuration, after a listener on the loopback
    /// interface that accepts every client.
    pub async fn with(lines: &[&str]) -> Self {
        Self::new(lines, true).await
    }

    /// Like [`with`](Self::with), but for measurements: the broker does not log each packet.
    pub async fn quiet(lines: &[&str]) -> Self {
        Self::new(lines, false).await
    }

    async fn new(lines: &[&str], verbose: bool) -> Self {
        let folder = TempDir::new().unwrap();
        let port = free_port();
        let location = folder.path().display();
        // Without `user`, a Mosquitto started by root changes to a user that cannot write into
        // the directory.
        let config = format!(
            "user root\nlistener {port} 127.0.0.1\nallow_anonymous true\n\
             persistence_location {location}/\n{}\n",
            lines.join("\n")
        );
        std::fs::write(folder.path().join("mosquitto.conf"), config).unwrap();
        let mut broker = Self { folder, port, verbose, process: None };
        broker.start_again().await;
        broker
    }

    /// The port on the loopback interface.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Starts the broker after [`stop`](Self::stop) or [`kill`](Self::kill).
    pub async fn start_again(&mut self) {
        // A program that another test is starting has inherited the listener of `free_port` until it is
        // executed, which takes a while on a busy machine.
        let end = Instant::now() + DEADLINE;
        let process = loop {
            let process = Process::start("mosquitto", self.command());
            let is_decided = |line: &str| line.contains(" running") || line.contains(PORT_IN_USE);
            let decided = process.line_from(0, DEADLINE, is_decided).await;
            match decided {
                Some((_, line)) if line.contains(" running") => break process,
                Some(_) if Instant::now() < end => {
                    tokio::time::sleep(Duration::from_millis(50)).await
                }
                _ => panic!("mosquitto does not start: {:?}", process.output()),
            }
        };
        self.process = Some(process);
    }

    fn command(&self) -> Command {
        // Debian installs the broker in a directory that is not in every user's PATH.
        let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/usr/local/sbin";
        let mut command = Command::new("mosquitto");
        command
            .env("PATH", path)
            .args(self.verbose.then_some("-v"))
            .arg("-c")
            .arg(self.folder.path().join("mosquitto.conf"));
        command
    }

    /// Stops the broker with SIGTERM, so that it saves its persistent state.
    pub async fn stop(&mut self) {
        let mut process = self.process.take().unwrap();
        // Mosquitto 2.0 ignores a signal that arrives between its line "running" and its main
        // loop.
        for _ in 0..DEADLINE.as_secs() {
            process.signal(Signal::TERM);
            if timeout(Duration::from_secs(1), process.wait()).await.is_ok() {
                return;
            }
        }
        panic!("mosquitto does not exit");
    }

    /// Kills the broker.
    pub async fn kill(&mut self) {
        self.process.take().unwrap().kill().await;
    }

    /// Deletes the sessions and messages of a stopped broker.
    pub fn forget(&self) {
        assert!(self.process.is_none(), "a running broker would write them again");
        std::fs::remove_file(self.folder.path().join("mosquitto.db")).unwrap();
    }

    /// The process of the running broker, with its log.
    pub fn process(&self) -> &Process {
        self.process.as_ref().unwrap()
    }

    /// Publishes with QoS 1 by `mosquitto_pub`; `options` are additional arguments.
    pub async fn publish(&self, topic: &str, payload: impl AsRef<[u8]>, options: &[&str]) {
        let mut command = self.client("mosquitto_pub");
        command.args(["-q", "1", "-t", topic]).args(options);
        // This client does not send an empty message for an empty standard input.
        let payload = payload.as_ref();
        contract::published(topic, payload);
        command.arg(if payload.is_empty() { "-n" } else { "-s" });
        run(command, payload)
            .await
            .unwrap_or_else(|error| panic!("mosquitto_pub to {topic}: {error}"));
    }

    /// Sends a request to `<base>/req` by `mosquitto_rr` and returns the reply. Each request has a
    /// response topic of its own, `vehicle/<VIN>/reply/<number>/resp`: after a kill of the connector
    /// an earlier request may be replied to again. Payloads over 128 KiB do not fit.
    pub async fn request(
        &self,
        base: &str,
        payload: impl AsRef<[u8]>,
        options: &[&str],
    ) -> Message {
        let reply = self.try_request(base, payload, DEADLINE, options).await;
        reply.unwrap_or_else(|error| panic!("no reply to {base}/req: {error}"))
    }

    /// Like [`request`](Self::request), but returns the output of `mosquitto_rr` as an error if
    /// there is no reply within `patience` (whole seconds).
    pub async fn try_request(
        &self,
        base: &str,
        payload: impl AsRef<[u8]>,
        patience: Duration,
        options: &[&str],
    ) -> Result<Message, String> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let levels: Vec<&str> = base.splitn(3, '/').take(2).collect();
        let vehicle = levels.join("/");
        let (request, response) = (format!("{base}/req"), format!("{vehicle}/reply/{number}/resp"));
        let mut command = self.client("mosquitto_rr");
        command
            .args(["-q", "1", "-F", "%j", "-t", &request, "-e", &response])
            .args(["-W", &patience.as_secs().to_string()])
            .args(options);
        let payload = payload.as_ref();
        contract::published(&request, payload);
        // -f and -s of mosquitto_rr 2.0.11 send an empty message, so only -m remains.
        match payload {
            [] => command.arg("-n"),
            payload => command.arg("-m").arg(OsStr::from_bytes(payload)),
        };
        let output = run(command, &[]).await?;
        let reply = Message::parse(output.trim());
        contract::served(&request, payload, reply.bytes());
        Ok(reply)
    }

    /// Subscribes with MQTT 5 and QoS 1 by `mosquitto_sub`; the broker has acknowledged the
    /// subscription on return. `options` are additional arguments.
    pub async fn subscribe(&self, filter: &str, options: &[&str]) -> Subscription {
        // -d prints a line when the broker acknowledges the subscription, and stdbuf
        // (coreutils) makes mosquitto_sub print it without delay.
        let mut command = Command::new("stdbuf");
        command
            .args(["-oL", "mosquitto_sub"])
            .args(self.address())
            .args(["-V", "5", "-q", "1", "-d", "-F", "%j", "-t", filter])
            .args(options);
        let process = Process::start("mosquitto_sub", command);
        process.line("Subscribed").await;
        Subscription { process, next: 0 }
    }

    fn client(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.args(self.address());
        command
    }

    /// The arguments that make a client connect to this broker.
    fn address(&self) -> [String; 4] {
        ["-h", "127.0.0.1", "-p", &self.port.to_string()].map(str::to_owned)
    }
}

/// The messages that a `mosquitto_sub` receives, in order.
pub struct Subscription {
    process: Process,
    next: usize,
}

impl Subscription {
    /// The next message.
    pub async fn next(&mut self) -> Message {
        let message = self.next_within(DEADLINE).await;
        message.unwrap_or_else(|| panic!("no message within {DEADLINE:?}"))
    }

    /// The next message, if one arrives before the deadline.
    pub async fn next_within(&mut self, deadline: Duration) -> Option<Message> {
        let is_message = |line: &str| line.starts_with('{');
        let (index, line) = self.process.line_from(self.next, deadline, is_message).await?;
        self.next = index + 1;
        Some(Message::parse(&line))
    }

    /// The next message on `topic`; messages on other topics are skipped.
    pub async fn next_on(&mut self, topic: &str) -> Message {
        self.find(topic, |message| message.topic == topic).await
    }

    /// The next message that `matches`; others are skipped. `what` describes it in the panic
    /// message.
    pub async fn find(&mut self, what: &str, matches: impl Fn(&Message) -> bool) -> Message {
        let search = async {
            loop {
                let message = self.next().await;
                if matches(&message) {
                    return message;
                }
            }
        };
        timeout(DEADLINE, search)
            .await
            .unwrap_or_else(|_| panic!("no such message within {DEADLINE:?}: {what}"))
    }
}

/// A message as Mosquitto's clients print it with `-F %j`.
#[derive(Debug, Clone, Deserialize)]
pub struct Message {
    pub topic: String,
    pub qos: u8,
    #[serde(deserialize_with = "flag")]
    pub retain: bool,
    /// The payload as text; `None` if it is empty.
    pub payload: Option<String>,
    /// The MQTT 5 properties, such as `correlation-data` and `user-properties`.
    #[serde(default)]
    pub properties: Value,
}

impl Message {
    /// Parses a message, which must have the shape of the contract.
    fn parse(line: &str) -> Self {
        let message: Self =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in: {line}"));
        let has_user_properties = message.properties.get("user-properties").is_some();
        contract::received(&message.topic, message.bytes(), has_user_properties);
        message
    }

    fn bytes(&self) -> &[u8] {
        self.payload.as_deref().unwrap_or_default().as_bytes()
    }

    /// The payload, which must be JSON.
    pub fn json(&self) -> Value {
        let text = self.payload.as_deref().unwrap_or_default();
        serde_json::from_str(text)
            .unwrap_or_else(|error| panic!("{}: {error} in: {text}", self.topic))
    }
}

/// Mosquitto prints flags as 0 and 1.
fn flag<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    u8::deserialize(deserializer).map(|number| number != 0)
}

/// Runs a client with this standard input. Returns its standard output, or its standard error
/// if it fails.
async fn run(mut command: Command, input: &[u8]) -> Result<String, String> {
    let program = command.as_std().get_program().to_owned();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap_or_else(|error| panic!("{program:?} does not start: {error}"));
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input).await.unwrap();
    drop(stdin);
    let output = timeout(DEADLINE * 2, child.wait_with_output())
        .await
        .unwrap_or_else(|_| panic!("{program:?} does not exit"))
        .unwrap();
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}
