//! A broker that a test controls packet by packet, so that it can also violate the protocol.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rumqttc::v5::mqttbytes::v5::{
    ConnAck, ConnAckProperties, Connect, ConnectReturnCode, LastWill, Packet, PingResp, PubAck,
    PubAckReason, Publish, PublishProperties, SubAck, Subscribe, SubscribeReasonCode, Unsubscribe,
};
use rumqttc::v5::mqttbytes::{Error, QoS};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::connector::BASE;
use super::{DEADLINE, client, contract};

/// Listens for connections.
pub struct ScriptedBroker {
    listener: TcpListener,
}

impl ScriptedBroker {
    pub async fn start() -> Self {
        Self { listener: TcpListener::bind(("127.0.0.1", 0)).await.unwrap() }
    }

    pub fn port(&self) -> u16 {
        self.listener.local_addr().unwrap().port()
    }

    /// Accepts the next connection and reads its CONNECT.
    pub async fn accept(&self) -> Connection {
        let (stream, _) = timeout(DEADLINE, self.listener.accept()).await.unwrap().unwrap();
        stream.set_nodelay(true).unwrap();
        let mut connection = Connection {
            stream,
            buffer: BytesMut::new(),
            connect: None,
            gives_retained: true,
            pings: 0,
        };
        match connection.read().await {
            Packet::Connect(connect, will, _) => {
                if let Some(will) = &will {
                    let topic = String::from_utf8_lossy(&will.topic);
                    contract::received(&topic, &will.message, false);
                }
                connection.connect = Some((connect, will));
            }
            other => panic!("expected CONNECT, got {other:?}"),
        }
        connection
    }

    /// Accepts the next connection, its session and its subscriptions.
    pub async fn serve(&self, session_present: bool) -> Connection {
        self.serve_with(session_present, connack_properties()).await
    }

    /// Like [`serve`](Self::serve), with properties of the CONNACK.
    pub async fn serve_with(
        &self,
        session_present: bool,
        properties: ConnAckProperties,
    ) -> Connection {
        let mut connection = self.accept().await;
        connection.connack(session_present, properties).await;
        let subscribe = connection.subscribe().await;
        let granted = SubscribeReasonCode::Success(QoS::AtLeastOnce);
        connection.suback(&subscribe, granted).await;
        connection
    }
}

/// The broker's side of one connection.
pub struct Connection {
    stream: TcpStream,
    buffer: BytesMut,
    connect: Option<(Connect, Option<LastWill>)>,
    /// Whether the broker sends the retained status when the connector asks for it by a filter with
    /// a wildcard.
    pub gives_retained: bool,
    /// How many pings were answered.
    pub pings: usize,
}

impl Connection {
    /// The CONNECT packet of the connector.
    pub fn connect(&self) -> &(Connect, Option<LastWill>) {
        self.connect.as_ref().unwrap()
    }

    /// The next packet. Pings are answered and skipped, and so is the question whether the broker
    /// gives back what it retains. A message must have the shape of the contract.
    pub async fn read(&mut self) -> Packet {
        self.read_within(DEADLINE).await.unwrap_or_else(|| panic!("no packet within {DEADLINE:?}"))
    }

    /// The next packet, if one arrives in time. `None` also after the end of the connection or
    /// a DISCONNECT without a reason.
    pub async fn read_within(&mut self, limit: Duration) -> Option<Packet> {
        timeout(limit, self.read_packet()).await.ok().flatten()
    }

    /// Waits for the end of the connection.
    pub async fn closed(&mut self) {
        let end = async { while self.read_packet().await.is_some() {} };
        timeout(DEADLINE, end).await.unwrap();
    }

    async fn read_packet(&mut self) -> Option<Packet> {
        loop {
            // The library cannot read a DISCONNECT without a reason.
            if self.buffer.starts_with(&[0xe0, 0]) {
                return None;
            }
            match Packet::read(&mut self.buffer, Some(u32::MAX)) {
                Ok(Packet::PingReq(_)) => {
                    self.pings += 1;
                    self.send(Packet::PingResp(PingResp)).await;
                }
                Ok(Packet::Subscribe(subscribe)) if is_probe(&subscribe) => {
                    self.suback(&subscribe, SubscribeReasonCode::Success(QoS::AtMostOnce)).await;
                    if self.gives_retained {
                        let topic = format!("{BASE}/connector/status");
                        let mut status = Publish::new(topic, QoS::AtMostOnce, "{}", None);
                        status.retain = true;
                        self.send(Packet::Publish(status)).await;
                    }
                }
                Ok(Packet::Unsubscribe(Unsubscribe { pkid, .. })) => {
                    let [high, low] = pkid.to_be_bytes();
                    self.send_bytes(&[0xb0, 4, high, low, 0, 0]).await;
                }
                Ok(packet) => {
                    if let Packet::Publish(publish) = &packet {
                        client::check(publish);
                    }
                    return Some(packet);
                }
                Err(Error::InsufficientBytes(_)) => {
                    if !matches!(self.stream.read_buf(&mut self.buffer).await, Ok(1..)) {
                        return None;
                    }
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    pub async fn send(&mut self, packet: Packet) {
        self.try_send(packet).await.unwrap();
    }

    /// Returns an error if the connector has closed the connection.
    pub async fn try_send(&mut self, packet: Packet) -> io::Result<()> {
        let mut bytes = BytesMut::new();
        packet.write(&mut bytes, None).unwrap();
        self.stream.write_all(&bytes).await
    }

    pub async fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    pub async fn connack(&mut self, session_present: bool, properties: ConnAckProperties) {
        let code = ConnectReturnCode::Success;
        let properties = Some(properties);
        self.send(Packet::ConnAck(ConnAck { session_present, code, properties })).await;
    }

    /// The next packet, which must be a SUBSCRIBE.
    pub async fn subscribe(&mut self) -> Subscribe {
        match self.read().await {
            Packet::Subscribe(subscribe) => subscribe,
            other => panic!("expected SUBSCRIBE, got {other:?}"),
        }
    }

    pub async fn suback(&mut self, subscribe: &Subscribe, code: SubscribeReasonCode) {
        let return_codes = vec![code; subscribe.filters.len()];
        let pkid = subscribe.pkid;
        self.send(Packet::SubAck(SubAck { pkid, return_codes, properties: None })).await;
    }

    /// Delivers a `state` request with QoS 1 and `number` as its correlation data.
    pub async fn request(&mut self, pkid: u16, dup: bool, number: u32) {
        self.send(Packet::Publish(request(pkid, dup, number))).await;
    }

    /// The next reply. Statuses of the connector are acknowledged and skipped.
    pub async fn reply(&mut self) -> Publish {
        loop {
            match self.read().await {
                Packet::Publish(publish) if publish.retain => self.puback(publish.pkid).await,
                Packet::Publish(publish) => return publish,
                other => panic!("expected PUBLISH, got {other:?}"),
            }
        }
    }

    pub async fn puback(&mut self, pkid: u16) {
        self.puback_with(pkid, PubAckReason::Success).await;
    }

    pub async fn puback_with(&mut self, pkid: u16, reason: PubAckReason) {
        self.send(Packet::PubAck(PubAck { pkid, reason, properties: None })).await;
    }

    /// Sends a PUBACK with any reason code, known or not, and these properties.
    pub async fn puback_bytes(&mut self, pkid: u16, code: u8, properties: &[u8]) {
        let [high, low] = pkid.to_be_bytes();
        let lengths = [properties.len() + 4, properties.len()].map(|length| length as u8);
        assert!(lengths[0] < 0x80);
        let start = [0x40, lengths[0], high, low, code, lengths[1]];
        self.send_bytes(&[&start, properties].concat()).await;
    }

    /// The next acknowledgement of a request.
    pub async fn acknowledgement(&mut self) -> u16 {
        loop {
            match self.read().await {
                Packet::Publish(publish) if publish.retain => self.puback(publish.pkid).await,
                Packet::PubAck(puback) => return puback.pkid,
                other => panic!("expected PUBACK, got {other:?}"),
            }
        }
    }
}

/// Whether the connector asks for its own status, to see what the broker retains.
fn is_probe(subscribe: &Subscribe) -> bool {
    matches!(&subscribe.filters[..], [filter] if filter.path == format!("{BASE}/+/status"))
}

/// A `state` request with QoS 1 and `number` as its correlation data.
pub fn request(pkid: u16, dup: bool, number: u32) -> Publish {
    let properties = PublishProperties {
        correlation_data: Some(Bytes::copy_from_slice(&number.to_be_bytes())),
        ..PublishProperties::default()
    };
    let mut publish = Publish::new(
        format!("{BASE}/state/req"),
        QoS::AtLeastOnce,
        &b"[\"desiredState.apiVersion\"]"[..],
        Some(properties),
    );
    publish.pkid = pkid;
    publish.dup = dup;
    publish
}

/// Properties of a CONNACK, all absent.
pub fn connack_properties() -> ConnAckProperties {
    ConnAckProperties {
        session_expiry_interval: None,
        receive_max: None,
        max_qos: None,
        retain_available: None,
        max_packet_size: None,
        assigned_client_identifier: None,
        topic_alias_max: None,
        reason_string: None,
        user_properties: Vec::new(),
        wildcard_subscription_available: None,
        subscription_identifiers_available: None,
        shared_subscription_available: None,
        server_keep_alive: None,
        response_information: None,
        server_reference: None,
        authentication_method: None,
        authentication_data: None,
    }
}
