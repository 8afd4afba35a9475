//! An MQTT 5 session that loses nothing: over any number of connections, each message of QoS 1
//! that arrives is served, and each message that is handed over is published.
//!
//! It knows no application: topics, payloads and the meaning of both are those of an
//! [`Application`]. It is not a general client: it has one set of subscriptions, which
//! it makes again on each connection, publishes with QoS 1, never uses QoS 2, and has one consumer.
//!
//! ```text
//!                       broker
//!      PUBLISH, PUBACK │      ▲ PUBLISH, PUBACK, SUBSCRIBE
//!                  ┌───▼──────┴───┐
//!                  │  Connection  │  one of many: network, keep_alive, piggyback
//!                  └───┬──────▲───┘
//!           deliveries │      │ outbox     numbers, order of       order, packet identifiers,
//!                      │      │            acknowledgements        what to publish again
//!  Application::route ─┤      │ lane       which messages are taken from the queue
//!                inbox │      │ queue      bounded                 two lanes, bounded
//!                      ▼      │
//!           Message<Route>   Sender: Reply, Publication
//!                      consumer
//! ```
//!
//! A message gets a delivery number, [`Application::route`] says what its topic means, and the
//! consumer receives it as [`Message`]. The consumer ends each delivery by one [`Outgoing`].
//! Once the broker has acknowledged the reply, the message is acknowledged, in the order of
//! arrival. So a crash leads to a second delivery, never to silence.
//!
//! | module | what it does |
//! |---|---|
//! | `session` | [`Session`], the task that owns the connection; it calls the [`Application`] |
//! | `application` | [`Application`], what the session asks about topics and payloads |
//! | `connection` | one connection; `connection_error`: why it has ended and what helps |
//! | `broker_address`, `broker_host`, `address_url`, `setting_error` | the address of the broker, as people write it |
//! | `brokers` | several addresses of a broker, and which is used next |
//! | `dial` | from the address to a stream of bytes: names, several addresses, proxy, WebSocket |
//! | `connect`, `filter`, `tls`, `login` | CONNECT, SUBSCRIBE and TLS |
//! | `network`, `unsent` | packets over a stream of bytes; the send buffer |
//! | `incoming_packet`, `properties`, `reason_code` | reads the packets of any broker; what each reason code means |
//! | `foreign` | servers that are no MQTT brokers |
//! | `keep_alive`, `piggyback` | when to ping and to give up; when acknowledgements are sent |
//! | `deliveries`, `fingerprint` | which messages are acknowledged, and which were delivered before |
//! | `inbox`, `message` | messages for the consumer |
//! | `lane`, `queue`, `recall` | messages for the broker, their limits, and how they are withdrawn |
//! | `outbox`, `publication` | messages until the broker has acknowledged them |
//! | `size_limit`, `refusals`, `blame` | messages that the broker does not accept |
//! | `refused_subscriptions`, `shortcomings`, `notices` | what the broker does not grant or offer; says things once |
//! | `allowed`, `retained_probe` | what the broker offers and allows; whether it gives retained messages back |
//! | `watcher` | [`Watcher`], a connection of its own that is subscribed to a few topics |
//! | `publisher` | [`Publisher`], a connection of its own that only publishes |
//! | `requester` | [`Requester`], a connection of its own for those who send requests and await replies |
//! | `reconnect_waits` | waits between connections; `connection_error` makes some longer |
//! | `reporter`, `metrics`, `options` | status, counters, settings |
//! | `settings` | feature `settings`: [`BrokerArgs`], the settings of a program |
//!
//! Of the client library, rumqttc 0.25, only the packets are used: their types, and how they
//! are written. It refuses to read packets with reason codes or properties that it does not know.
//! Its `EventLoop` is not used, for these reasons:
//! - While it waits for a free packet identifier it holds a message, and it goes on waiting if
//!   the broker refuses the message that held the identifier.
//! - Acknowledgements that were queued for one connection reach the next one, where their
//!   identifiers mean other messages. When the broker has lost the session, unacknowledged
//!   messages are dropped.
//! - It does not return while the broker reads nothing, and cannot be dropped then without
//!   losing a packet. The progress of sending and receiving is not visible, so a slow line
//!   looks like a dead one.
//! - It does not subscribe again, only logs a refused subscription, has no backoff, and sends a
//!   message that is too large for the broker again for ever.
//! - It makes a system call for each packet, copies each payload, and keeps a buffer of the size
//!   of the largest packet for the whole connection.

#![forbid(unsafe_code)]

mod address_url;
mod allowed;
mod application;
mod blame;
mod broker_address;
mod broker_host;
mod brokers;
mod connect;
mod connection;
mod connection_error;
mod deliveries;
mod dial;
mod filter;
mod fingerprint;
mod foreign;
mod inbox;
mod incoming_packet;
mod keep_alive;
mod lane;
mod login;
mod message;
mod metrics;
mod network;
mod notices;
mod options;
mod outbox;
mod piggyback;
mod properties;
mod publication;
mod publisher;
mod queue;
mod reason_code;
mod recall;
mod reconnect_waits;
mod refusals;
mod refused_subscriptions;
mod reporter;
mod requester;
mod retained_probe;
mod session;
mod setting_error;
#[cfg(feature = "settings")]
mod settings;
mod shortcomings;
mod size_limit;
mod tls;
mod unsent;
mod watcher;

pub use application::{
    Announcement, Application, Arrival, Qos, Reaction, RefusedSubscription, Routed, Subscription,
    TooLarge, TooLargeKind, Undeliverable,
};
pub use broker_address::BrokerAddress;
pub use brokers::{BrokerNode, Brokers};
pub use connection_error::ConnectionError;
pub use dial::address_book::AddressBook;
pub use dial::error::{AddressErrors, DialError, NameError, ProxyCause, ProxyError};
pub use dial::proxy::{HttpProxy, ProxyChoice};
pub use dial::transport::Transport;
pub use dial::websocket::WebSocketError;
pub use foreign::ForeignServer;
pub use incoming_packet::{Acknowledgement, ConnAck, Decoder, Reason, Received, Unusable};
pub use lane::Lane;
pub use login::{Login, Password, PasswordError};
pub use message::{Message, Refused};
pub use metrics::SessionMetrics;
pub use network::NetworkError;
pub use options::SessionOptions;
pub use publication::{Outgoing, Publication, Reply};
pub use publisher::Publisher;
pub use queue::{Receiver, Sender, SessionEnded, Writer, queue};
pub use reason_code::{EndRule, Help, Pace, PublishRule, ReasonCode, Row, SubscribeRule, TABLE};
pub use recall::Recall;
pub use reconnect_waits::{ReconnectWaits, format_wait};
pub use reporter::{Reporter, SessionStatus};
pub use requester::{Delivered, Request, Requester, RequesterEvent};
pub use session::{Ended, Session};
pub use setting_error::SettingError;
#[cfg(feature = "settings")]
pub use settings::{BrokerArgs, BrokerSettings};
pub use shortcomings::Lack;
pub use tls::{Identity, Tls, TlsError, server_name};
pub use watcher::{Watched, WatchedTopics, Watcher};
