//! A minimal MQTT 5 client with one blocking socket. All outgoing packets are sent in one
//! write.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rumqttc::v5::mqttbytes::v5::{
    Connect, ConnectReturnCode, Filter, Packet, PubAck, Publish, PublishProperties, Subscribe,
};
use rumqttc::v5::mqttbytes::{Error, QoS};

/// The time limit for receiving a packet.
const PATIENCE: Duration = Duration::from_secs(60);

/// The most bytes read at once.
const READ_SIZE: usize = 256 * 1024;

/// A connection to the broker.
pub(crate) struct Connection {
    stream: TcpStream,
    piece: Vec<u8>,
    incoming: BytesMut,
    outgoing: BytesMut,
    packet_id: u16,
}

impl Connection {
    /// Connects, and subscribes to `filter` with QoS 1.
    pub(crate) fn open(port: u16, client_id: &str, filter: &str) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut connection = Self {
            stream,
            piece: vec![0; READ_SIZE],
            incoming: BytesMut::new(),
            outgoing: BytesMut::new(),
            packet_id: 0,
        };
        let connect = Connect {
            keep_alive: 0,
            client_id: client_id.to_owned(),
            clean_start: true,
            properties: None,
        };
        connection.put(&Packet::Connect(connect, None, None));
        connection.send();
        match connection.next() {
            Some(Packet::ConnAck(connack)) if connack.code == ConnectReturnCode::Success => {}
            other => panic!("no connection: {other:?}"),
        }
        let mut subscribe = Subscribe::new(Filter::new(filter, QoS::AtLeastOnce), None);
        subscribe.pkid = connection.next_packet_id();
        connection.put(&Packet::Subscribe(subscribe));
        connection.send();
        match connection.next() {
            Some(Packet::SubAck(_)) => connection,
            other => panic!("no subscription: {other:?}"),
        }
    }

    /// Appends a message with QoS 1 to the outgoing packets. Returns its packet identifier.
    pub(crate) fn publish(
        &mut self,
        topic: &str,
        payload: Bytes,
        properties: PublishProperties,
    ) -> u16 {
        let mut publish = Publish::new(topic, QoS::AtLeastOnce, payload, Some(properties));
        publish.pkid = self.next_packet_id();
        publish.write(&mut self.outgoing).unwrap();
        publish.pkid
    }

    /// Appends an acknowledgement to the outgoing packets.
    pub(crate) fn acknowledge(&mut self, packet_id: u16) {
        PubAck::new(packet_id, None).write(&mut self.outgoing).unwrap();
    }

    /// Sends the outgoing packets.
    pub(crate) fn send(&mut self) {
        self.stream.write_all(&self.outgoing).unwrap();
        self.outgoing.clear();
    }

    /// Waits for the next packet. `None` if the broker has closed the connection.
    pub(crate) fn next(&mut self) -> Option<Packet> {
        loop {
            if let Some(packet) = self.received() {
                return Some(packet);
            }
            let count = self.stream.read(&mut self.piece).expect("no packet from the broker");
            if count == 0 {
                return None;
            }
            self.incoming.extend_from_slice(&self.piece[..count]);
        }
    }

    /// The next packet that has already been read.
    pub(crate) fn received(&mut self) -> Option<Packet> {
        match Packet::read(&mut self.incoming, None) {
            Ok(packet) => Some(packet),
            Err(Error::InsufficientBytes(missing)) => {
                self.incoming.reserve(missing);
                None
            }
            Err(error) => panic!("{error}"),
        }
    }

    fn put(&mut self, packet: &Packet) {
        packet.write(&mut self.outgoing, None).unwrap();
    }

    fn next_packet_id(&mut self) -> u16 {
        self.packet_id = self.packet_id.checked_add(1).unwrap_or(1);
        self.packet_id
    }
}
