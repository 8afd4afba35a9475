//! A Mosquitto for one measurement.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use crate::process::Usage;

/// How long a start or a stop may take.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// A broker that keeps sessions over restarts.
pub(crate) struct Mosquitto {
    folder: TempDir,
    port: u16,
    tls_port: u16,
    process: Child,
}

impl Mosquitto {
    /// Starts a broker with a plain listener and one with TLS on the loopback interface.
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let folder = TempDir::new()?;
        let [port, tls_port] = [free_port().await?, free_port().await?];
        certificate(folder.path()).await?;
        let location = folder.path().display();
        let config = format!(
            "user root\nallow_anonymous true\npersistence true\npersistence_location {location}/\n\
             sys_interval 1\nlistener {port} 127.0.0.1\nlistener {tls_port} 127.0.0.1\n\
             certfile {location}/cert.pem\nkeyfile {location}/key.pem\n"
        );
        std::fs::write(folder.path().join("mosquitto.conf"), config)?;
        let process = run(folder.path(), port).await?;
        Ok(Self { folder, port, tls_port, process })
    }

    /// Stops it and starts it again. Returns when it was stopped, in milliseconds since 1970.
    pub(crate) async fn restart(&mut self) -> anyhow::Result<u64> {
        let mut kill = Command::new("kill");
        let pid = self.process.id().context("mosquitto has ended")?;
        kill.args(["-TERM", &pid.to_string()]).status().await?;
        timeout(MAX_WAIT, self.process.wait()).await.context("mosquitto does not stop")??;
        let stopped = crate::fleet::now();
        self.process = run(self.folder.path(), self.port).await?;
        Ok(stopped)
    }

    /// The settings for clients.
    pub(crate) fn settings(&self) -> Vec<(&'static str, String)> {
        vec![("MQTT_BROKER_ADDR", format!("127.0.0.1:{}", self.port))]
    }

    /// The settings for clients that use TLS.
    pub(crate) fn tls_settings(&self) -> Vec<(&'static str, String)> {
        let ca_file = self.folder.path().join("cert.pem");
        vec![
            ("MQTT_BROKER_ADDR", format!("localhost:{}", self.tls_port)),
            ("MQTT_CA_FILE", ca_file.display().to_string()),
        ]
    }

    /// The port without TLS, and the one with it.
    pub(crate) fn ports(&self) -> [u16; 2] {
        [self.port, self.tls_port]
    }

    /// What it has used.
    pub(crate) fn usage(&self) -> Option<Usage> {
        Usage::of(self.process.id()?)
    }

    /// How many messages it has received and sent so far.
    pub(crate) async fn messages(&self) -> anyhow::Result<u64> {
        let mut total = 0;
        for kind in ["received", "sent"] {
            // It is published once a second; the first one may be from before.
            let topic = format!("$SYS/broker/publish/messages/{kind}");
            let output = Command::new("mosquitto_sub")
                .args(["-p", &self.port.to_string(), "-t", &topic, "-C", "1", "-W", "5"])
                .output()
                .await?;
            let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            total += text.parse::<u64>().with_context(|| format!("{topic}: {text:?}"))?;
        }
        Ok(total)
    }
}

async fn run(folder: &Path, port: u16) -> anyhow::Result<Child> {
    // Debian installs the broker in a directory that is not in every user's PATH.
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/usr/local/sbin";
    let process = Command::new("mosquitto")
        .env("PATH", path)
        .arg("-c")
        .arg(folder.join("mosquitto.conf"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .context("mosquitto cannot be started; make test installs it")?;
    let accepts = async {
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(MAX_WAIT, accepts).await.context("mosquitto does not start")?;
    Ok(process)
}

async fn certificate(folder: &Path) -> anyhow::Result<()> {
    let status = Command::new("openssl")
        .current_dir(folder)
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"])
        .args(["-keyout", "key.pem", "-out", "cert.pem", "-days", "30", "-subj", "/CN=localhost"])
        .args(["-addext", "subjectAltName=DNS:localhost"])
        // Clients trust it as it is, and refuse the certificate of a CA for a server.
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .stderr(Stdio::null())
        .status()
        .await
        .context("openssl cannot be started")?;
    anyhow::ensure!(status.success(), "openssl makes no certificate");
    Ok(())
}

async fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0)).await?.local_addr()?.port())
}
