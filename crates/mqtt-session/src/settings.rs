//! The settings of a connection to a broker, as environment variables and flags of a program.

use std::ffi::OsString;

use clap::Args;
use service_kit::settings::Check;

use crate::broker_address::BrokerAddress;
use crate::brokers::{BrokerNode, Brokers};
use crate::dial::proxy::ProxyChoice;
use crate::dial::transport::Transport;
use crate::login::Login;
use crate::setting_error::SettingError;
use crate::tls::{Identity, Tls, server_name};

/// What a setting that switches something is.
const BOOL: &str = "true or false";

/// The settings of the connection to the broker as text.
#[derive(Debug, Args)]
pub struct BrokerArgs {
    /// Host name or address of the MQTT broker, with a port or without: host, host:port, [::1]:port;
    /// of a cluster several, separated by commas
    #[arg(long, env, value_name = "HOST", default_value = "localhost", hide_env_values = true)]
    mqtt_broker_addr: String,
    /// Port of the MQTT broker [default: 1883, with TLS 8883]
    #[arg(long, env, value_name = "PORT", hide_env_values = true)]
    mqtt_broker_port: Option<String>,
    /// What carries MQTT: tcp or websocket, both with or without TLS [default: tcp]
    #[arg(long, env, value_name = "NAME", hide_env_values = true)]
    mqtt_transport: Option<String>,
    /// Path of MQTT over WebSocket [default: /mqtt]
    #[arg(long, env, value_name = "PATH", hide_env_values = true)]
    mqtt_websocket_path: Option<String>,
    /// true: use TLS; MQTT_CA_FILE alone also enables it
    #[arg(long, env, value_name = "BOOL", hide_env_values = true)]
    mqtt_tls: Option<String>,
    /// CA certificates (PEM) to verify the broker's certificate [default: those of the system]
    #[arg(long, env, value_name = "FILE", hide_env_values = true)]
    mqtt_ca_file: Option<OsString>,
    /// Client certificate (PEM), followed by its intermediate certificates
    #[arg(long, env, value_name = "FILE", hide_env_values = true)]
    mqtt_cert_file: Option<OsString>,
    /// Private key (PEM) of the client certificate
    #[arg(long, env, value_name = "FILE", hide_env_values = true)]
    mqtt_key_file: Option<OsString>,
    /// ALPN protocols to offer, separated by commas, for brokers on port 443
    #[arg(long, env, value_name = "NAMES", default_value = "", hide_env_values = true)]
    mqtt_alpn: String,
    /// User name for the broker
    #[arg(long, env, value_name = "NAME", hide_env_values = true)]
    mqtt_username: Option<String>,
    /// File that contains the password for the broker
    #[arg(long, env, value_name = "FILE", hide_env_values = true)]
    mqtt_password_file: Option<OsString>,
    /// true: log in without TLS even if the broker is on another machine
    #[arg(long, env, value_name = "BOOL", default_value = "false", hide_env_values = true)]
    mqtt_allow_insecure_login: String,
}

/// The checked settings of the connection to the broker.
#[derive(Debug, Clone)]
pub struct BrokerSettings {
    /// The addresses, and the proxy that leads to each.
    pub brokers: Brokers,
    /// What carries MQTT.
    pub transport: Transport,
    /// TLS; `None` for a plain connection.
    pub tls: Option<Tls>,
    /// User name and password; `None` if the broker needs none.
    pub login: Option<Login>,
}

impl BrokerArgs {
    /// Checks the settings, and the files that they name.
    pub fn check(&self, check: &mut Check) -> Option<BrokerSettings> {
        let tls = self.tls(check);
        let default_port = if tls.is_some() { 8883 } else { 1883 };
        let port = self.mqtt_broker_port.as_deref();
        let addresses =
            BrokerAddress::list_from_settings(&self.mqtt_broker_addr, port, default_port)
                .map_err(|mistakes| mistakes.into_iter().for_each(|mistake| add(check, mistake)))
                .ok();
        if tls.is_some() {
            for address in addresses.iter().flatten() {
                check.parsed("MQTT_BROKER_ADDR", server_name(&address.tls_host()));
            }
        }
        let path = self.mqtt_websocket_path.as_deref();
        let transport = Transport::from_settings(self.mqtt_transport.as_deref(), path)
            .map_err(|mistake| add(check, mistake))
            .ok();
        let nodes = addresses.and_then(|addresses| {
            let variable = |name: &str| std::env::var(name).ok();
            let nodes = addresses.into_iter().map(|address| {
                let proxy = ProxyChoice::from_environment(variable, &address)?;
                Ok(BrokerNode { address, proxy })
            });
            // What is wrong with a proxy is wrong for each address.
            let nodes: Result<Vec<_>, _> = nodes.collect();
            nodes.map_err(|mistake| add(check, mistake)).ok()
        });
        let is_local = nodes
            .iter()
            .flatten()
            .all(|node| node.address.is_loopback() && !matches!(node.proxy, ProxyChoice::Used(_)));
        let login = self.login(tls.is_some(), is_local, check);
        Some(BrokerSettings { brokers: Brokers::new(nodes?)?, transport: transport?, tls, login })
    }

    fn tls(&self, check: &mut Check) -> Option<Tls> {
        let mut file = |name, file: &Option<OsString>| check.path(name, file.clone(), "a file");
        let ca_file = file("MQTT_CA_FILE", &self.mqtt_ca_file);
        let cert_file = file("MQTT_CERT_FILE", &self.mqtt_cert_file);
        let key_file = file("MQTT_KEY_FILE", &self.mqtt_key_file);
        let wanted = match self.mqtt_tls.as_deref().filter(|text| !text.is_empty()) {
            Some(text) => check.parse_as::<bool>("MQTT_TLS", text, BOOL)?,
            None => ca_file.is_some(),
        };
        let alpn: Vec<_> =
            self.mqtt_alpn.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
        if !wanted {
            for (name, given) in [
                ("MQTT_CA_FILE", ca_file.is_some()),
                ("MQTT_CERT_FILE", cert_file.is_some()),
                ("MQTT_KEY_FILE", key_file.is_some()),
                ("MQTT_ALPN", !alpn.is_empty()),
            ] {
                if given {
                    check.mistake(name, "it requires TLS, which is off; set MQTT_TLS=true");
                }
            }
            return None;
        }
        for name in alpn.iter().filter(|name| name.len() > 255) {
            check.mistake("MQTT_ALPN", format!("{name:?} is longer than 255 bytes"));
        }
        let identity = match (cert_file, key_file) {
            (Some(cert_file), Some(key_file)) => Some(Identity { cert_file, key_file }),
            (Some(_), None) if self.mqtt_key_file.is_none() => {
                check.mistake("MQTT_KEY_FILE", "it is not set, but MQTT_CERT_FILE is");
                None
            }
            (None, Some(_)) if self.mqtt_cert_file.is_none() => {
                check.mistake("MQTT_CERT_FILE", "it is not set, but MQTT_KEY_FILE is");
                None
            }
            _ => None,
        };
        let alpn = alpn.into_iter().map(str::to_owned).collect();
        let tls = Tls::new(ca_file, identity, alpn);
        for (setting, error) in tls.check() {
            check.mistake(setting, error);
        }
        Some(tls)
    }

    /// `is_local`: nothing leaves this machine on the way to the broker.
    fn login(&self, tls: bool, is_local: bool, check: &mut Check) -> Option<Login> {
        let insecure = check.parse_as::<bool>(
            "MQTT_ALLOW_INSECURE_LOGIN",
            &self.mqtt_allow_insecure_login,
            BOOL,
        );
        let password_file =
            check.path("MQTT_PASSWORD_FILE", self.mqtt_password_file.clone(), "a file");
        let username = self.mqtt_username.clone().filter(|name| !name.is_empty());
        let Some(username) = username else {
            if password_file.is_some() {
                check.mistake("MQTT_USERNAME", "it is not set, but MQTT_PASSWORD_FILE is");
            }
            return None;
        };
        if username.len() > usize::from(u16::MAX) || username.contains('\0') {
            check.mistake("MQTT_USERNAME", "it must have 1 to 65535 bytes");
        }
        let login = Login { username, password_file };
        check.parsed("MQTT_PASSWORD_FILE", login.password());
        if !tls && insecure == Some(false) && !is_local {
            check.mistake(
                "MQTT_USERNAME",
                "without TLS anyone on the network path can read the password; set MQTT_TLS=true, \
                 or MQTT_ALLOW_INSECURE_LOGIN=true if that is acceptable",
            );
        }
        Some(login)
    }
}

fn add(check: &mut Check, mistake: SettingError) {
    check.mistake(mistake.name, mistake.reason);
}
