//! What a session needs to know from the program that uses it.

use std::fmt;

use bytes::Bytes;

use crate::connection_error::ConnectionError;
use crate::metrics::SessionMetrics;
use crate::options::SessionOptions;
use crate::reason_code::ReasonCode;
use crate::shortcomings::Lack;

/// The program whose messages a session carries. The session owns it and calls it from its own
/// task, so no method may block.
pub trait Application: fmt::Debug + Send + 'static {
    /// What the topic of a message means to the program. It is found out once, when the
    /// message arrives.
    type Route: fmt::Debug + Send + 'static;

    /// The subscriptions, which are made on each connection: a broker may have lost them with
    /// the session. `first` says that none were granted before, `wildcards` that filters may have
    /// wildcards.
    fn subscriptions(&self, first: bool, wildcards: bool) -> Vec<Subscription>;

    /// A filter with a wildcard that matches the topic of the status, and no other topic that is
    /// often used. With it the session finds out whether the broker gives retained messages back;
    /// `None`: it does not.
    fn retained_probe(&self) -> Option<String> {
        None
    }

    /// What the application cannot do without a feature of the broker, for people.
    fn consequence(&self, lack: Lack) -> Option<&'static str> {
        let _ = lack;
        None
    }

    /// The last will of the next connection, retained. Called once for each connection.
    fn will(&mut self) -> Announcement;

    /// The birth message, retained. Published when the subscriptions are granted, and again
    /// after [`changed`](Self::changed).
    fn online(&mut self) -> Announcement;

    /// The farewell of a session that is stopped, retained.
    fn offline(&mut self) -> Announcement;

    /// Waits until [`online`](Self::online) has changed since its last call; does not return if
    /// it cannot change. Must be cancel safe.
    fn changed(&mut self) -> impl Future<Output = ()> + Send;

    /// The subscriptions of a connection are granted.
    fn granted(&mut self) {}

    /// Decides what to do with a message that has arrived. It may arrive several times, with
    /// [`Qos::AtLeastOnce`].
    fn route(&self, arrival: &Arrival<'_>) -> Routed<Self::Route>;

    /// Whether the session is of use although the broker has refused some subscriptions. If not,
    /// the connection is given up.
    fn can_serve_without(&self, refused: &[RefusedSubscription]) -> bool {
        refused.is_empty()
    }

    /// Which subscriptions the broker has refused, with [`can_serve_without`] them. Called before
    /// [`online`](Self::online) on each connection, and when the broker is asked again.
    ///
    /// [`can_serve_without`]: Self::can_serve_without
    fn refused(&mut self, refused: &[RefusedSubscription]) {
        let _ = refused;
    }

    /// What the broker does not offer or allow, for people; nothing if it offers all. Called before
    /// [`online`](Self::online) when it has changed.
    fn degraded(&mut self, reasons: Vec<String>) {
        let _ = reasons;
    }

    /// A shorter form of a message that is too large for the broker; `None` if there is none of up
    /// to `max` bytes. What is essential must remain.
    fn shorten(&self, message: &TooLarge<'_>, max: usize) -> Option<Bytes> {
        let _ = (message, max);
        None
    }

    /// The payload that is published instead of one that the broker does not accept.
    fn undeliverable(&self, cause: &Undeliverable) -> Bytes;

    /// What to do about an error, if the program knows better than
    /// [`ConnectionError::help`].
    fn help(&self, error: &ConnectionError, options: &SessionOptions) -> Option<String> {
        let _ = (error, options);
        None
    }

    /// Whether several processes take turns to use the session. A shared session ends when
    /// another process has, or may have, taken it over.
    fn is_shared(&self) -> bool {
        false
    }

    /// Checks that no other process has taken over, before a shared session is resumed after a
    /// lost connection. It has as much time as the session could have been resumed from the
    /// start.
    ///
    /// # Errors
    /// [`ConnectionError::TakenOver`], or why that cannot be found out.
    fn confirm_lease(
        &mut self,
        options: &SessionOptions,
        metrics: &SessionMetrics,
    ) -> impl Future<Output = Result<(), ConnectionError>> + Send {
        let _ = (options, metrics);
        std::future::ready(Ok(()))
    }
}

/// *Quality of Service*. QoS 2 is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Qos {
    /// QoS 0.
    AtMostOnce,
    /// QoS 1.
    AtLeastOnce,
}

/// One subscription (MQTT 5, 3.8.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// *Topic Filter*.
    pub filter: String,
    /// *Maximum QoS*. The broker must grant it.
    pub qos: Qos,
    /// *Retain Handling*: whether the broker sends retained messages at the time of the
    /// subscription.
    pub send_retained: bool,
    /// *No Local*: whether the broker omits messages of this client identifier.
    pub no_local: bool,
    /// *Retain As Published*: whether the flag tells that a message was published as a retained
    /// one, and not that it was retained before the subscription.
    pub retain_as_published: bool,
}

/// A subscription that the broker does not grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedSubscription {
    /// What was asked for.
    pub subscription: Subscription,
    /// The answer of the broker.
    pub code: ReasonCode,
}

/// A retained message about the program itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    /// Where it is published.
    pub topic: String,
    /// UTF-8 text.
    pub payload: Bytes,
}

/// A message that has arrived, as far as its route depends on it.
#[derive(Debug, Clone, Copy)]
pub struct Arrival<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The payload, which may be larger than allowed.
    pub payload: &'a [u8],
    /// How it was delivered.
    pub qos: Qos,
    /// The retain flag.
    pub retained: bool,
}

/// What to do with a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Routed<R> {
    /// Hand it to the consumer.
    Message {
        /// For [`Message::route`](crate::Message::route).
        route: R,
        /// A larger payload is dropped, in bytes.
        max_payload: usize,
    },
    /// It is handled, and the consumer does not get it.
    Handled(Reaction),
}

/// What a session does after the application has handled a message itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reaction {
    /// Nothing.
    Nothing,
    /// Publish the birth message again, unless one is being published.
    Announce,
    /// Publish all retained messages again, and after them the birth message: who receives it has
    /// received the others.
    AnnounceAll,
    /// End: another process has taken the session over.
    TakenOver,
}

/// A message that is too large for the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLarge<'a> {
    /// Where it is published.
    pub topic: &'a str,
    /// Its payload.
    pub payload: &'a [u8],
    /// What kind of message it is.
    pub kind: TooLargeKind,
    /// What the broker says, or the limit that it has given.
    pub cause: &'a Undeliverable,
}

/// The kind of a message that is too large.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TooLargeKind {
    /// A reply that may be shortened.
    Reply,
    /// Any message that is not a reply.
    Publication,
    /// The status of the application.
    Status,
}

/// Why the broker does not accept a payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Undeliverable {
    /// The packet is too large.
    TooLarge {
        /// Size of the packet, in bytes.
        size: usize,
        /// *Maximum Packet Size* of the broker, in bytes.
        max_size: usize,
    },
    /// The broker says that it is too large, but not what its limit is.
    RefusedAsTooLarge {
        /// Size of the payload, in bytes.
        size: usize,
    },
    /// The broker does not accept it.
    Refused {
        /// Name of the *Reason Code*, for people.
        reason: String,
    },
    /// The broker ends each connection over it.
    Rejected {
        /// Name of the *Reason Code*, for people.
        reason: String,
    },
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// An application that subscribes to nothing.
    #[derive(Debug)]
    pub(crate) struct NoApplication;

    fn status(payload: &'static str) -> Announcement {
        Announcement { topic: "vehicle/1/connector/status".into(), payload: payload.into() }
    }

    impl Application for NoApplication {
        type Route = String;

        fn subscriptions(&self, _: bool, _: bool) -> Vec<Subscription> {
            Vec::new()
        }

        fn will(&mut self) -> Announcement {
            status("offline")
        }

        fn online(&mut self) -> Announcement {
            status("online")
        }

        fn offline(&mut self) -> Announcement {
            status("offline")
        }

        fn changed(&mut self) -> impl Future<Output = ()> + Send {
            std::future::pending()
        }

        /// Topics that end in the name of a reaction are handled.
        fn route(&self, arrival: &Arrival<'_>) -> Routed<String> {
            match arrival.topic.rsplit('/').next() {
                Some("nothing") => Routed::Handled(Reaction::Nothing),
                Some("announce") => Routed::Handled(Reaction::Announce),
                Some("announce-all") => Routed::Handled(Reaction::AnnounceAll),
                Some("taken-over") => Routed::Handled(Reaction::TakenOver),
                _ => Routed::Message { route: arrival.topic.into(), max_payload: 1024 },
            }
        }

        /// Replies and statuses can be shortened.
        fn shorten(&self, message: &TooLarge<'_>, _: usize) -> Option<Bytes> {
            let is_short = message.payload == b"short";
            let can = message.kind != TooLargeKind::Publication && !is_short;
            can.then(|| Bytes::from_static(b"short"))
        }

        fn undeliverable(&self, cause: &Undeliverable) -> Bytes {
            if let Undeliverable::TooLarge { size, max_size } = cause {
                assert!(size > max_size);
            }
            Bytes::from_static(b"{\"error\"}")
        }
    }
}
