//! One attempt to reach the broker at one address.

use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpSocket, TcpStream};

use super::error::{DialError, ProxyCause};
use super::line::{ByteStream, Line};
use super::proxy::HttpProxy;
use super::transport::Transport;
use super::{tunnel, websocket};
use crate::keep_alive::SEND_BUFFER;
use crate::options::SessionOptions;
use crate::tls::Tls;

/// How far an attempt has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// There is no connection of TCP yet.
    Connecting,
    /// The proxy is asked for a tunnel.
    Proxy,
    /// The broker is connected, and TLS or WebSocket begins.
    Broker,
}

/// What each attempt of one connection does.
pub(super) struct Plan<'a> {
    options: &'a SessionOptions,
    pub(super) proxy: Option<&'a HttpProxy>,
}

impl<'a> Plan<'a> {
    pub(super) fn new(options: &'a SessionOptions) -> Self {
        Self { options, proxy: options.proxy().proxy() }
    }

    /// The host to connect to: the proxy or the broker.
    pub(super) fn target(&self) -> (String, u16) {
        match self.proxy {
            Some(proxy) => (proxy.host.clone(), proxy.port),
            None => (self.options.broker().host(), self.options.broker().port()),
        }
    }

    /// Makes the connection by `address`, and reports how far it has come.
    pub(super) async fn attempt(
        &self,
        address: SocketAddr,
        reached: impl Fn(Stage),
    ) -> Result<Line, DialError> {
        let broker = self.options.broker();
        let stream: Box<dyn ByteStream> = match self.proxy {
            None => Box::new(connect(address).await?),
            Some(proxy) => self
                .through_proxy(proxy, address, &reached)
                .await
                .map_err(|cause| DialError::proxy(proxy, cause))?,
        };
        reached(Stage::Broker);
        let stream = match &self.options.tls {
            None => stream,
            Some(tls) => Box::new(tls.connect(&broker.tls_host(), stream).await?),
        };
        let Transport::WebSocket { path } = &self.options.transport else {
            return Ok(Line::new(stream, None));
        };
        let (socket, heard) =
            websocket::open(stream, broker, self.options.tls.is_some(), path).await?;
        Ok(Line::new(Box::new(socket), Some(heard)))
    }

    async fn through_proxy(
        &self,
        proxy: &HttpProxy,
        address: SocketAddr,
        reached: &impl Fn(Stage),
    ) -> Result<Box<dyn ByteStream>, ProxyCause> {
        let stream = connect(address).await.map_err(ProxyCause::Unreachable)?;
        let mut stream: Box<dyn ByteStream> = Box::new(stream);
        reached(Stage::Proxy);
        if proxy.is_tls {
            // `MQTT_CA_FILE` is for the broker.
            let tls = Tls::default();
            let connected = tls.connect(proxy.host.trim_end_matches('.'), stream).await;
            stream = Box::new(connected.map_err(ProxyCause::Unreachable)?);
        }
        tunnel::open(stream, proxy, self.options.broker()).await
    }
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // Without it, each reply waits for the delayed ACK of the broker's TCP.
    socket.set_nodelay(true)?;
    // Bytes in the kernel's buffer look as if they were sent; see `keep_alive`.
    socket.set_send_buffer_size(SEND_BUFFER as u32)?;
    socket.connect(address).await
}
