//! The state of a session.

use std::collections::BTreeMap;

use service_kit::heartbeat::Heartbeat;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::allowed::Allowed;
use crate::application::{Announcement, Application, Subscription};
use crate::blame::Blame;
use crate::deliveries::Deliveries;
use crate::fingerprint::Fingerprints;
use crate::inbox::Inbox;
use crate::message::Message;
use crate::notices::Notices;
use crate::options::SessionOptions;
use crate::outbox::Outbox;
use crate::publication::{Outbound, Publication};
use crate::queue::Receiver;
use crate::refusals::Pause;
use crate::reporter::Reporter;
use crate::retained_probe::RetainedProbe;
use crate::shortcomings::{Lack, Shortcomings};

/// Why a session has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// It was stopped, and no message waits for its reply.
    Stopped,
    /// It was stopped, and messages were not replied to in time. The broker keeps them.
    Unanswered,
    /// Another process has taken over the shared session.
    TakenOver,
    /// The connection was lost for so long that another process may have taken over the shared
    /// session.
    Lost {
        /// What the broker should have retained for it; `None` if it never served anything.
        retained: Option<Vec<Publication>>,
    },
}

/// How far stopping has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// It is not stopped.
    Running,
    /// No new messages for the consumer; replies to those in flight are still published.
    Draining,
    /// The farewell is being published.
    Offline,
    /// DISCONNECT is being sent.
    Disconnecting,
}

/// An MQTT session over any number of connections.
#[derive(Debug)]
pub struct Session<A: Application> {
    pub(super) options: SessionOptions,
    pub(super) application: A,
    pub(super) inbox: Inbox<A::Route>,
    pub(super) outgoing: Receiver,
    pub(super) stop: CancellationToken,
    pub(super) reporter: Reporter,
    pub(super) heartbeat: Heartbeat,
    pub(super) stage: Stage,
    /// When to end without an acknowledgement of the farewell.
    pub(super) farewell_until: Option<Instant>,
    /// A shared session may be resumed until then. `None` before the first connection.
    pub(super) resume_until: Option<Instant>,
    pub(super) fingerprints: Fingerprints,
    pub(super) deliveries: Deliveries,
    pub(super) outbox: Outbox,
    /// The messages that the broker should retain for this session, by topic.
    pub(super) retained: BTreeMap<String, Publication>,
    /// The subscriptions of the last SUBSCRIBE.
    pub(super) subscriptions: Vec<Subscription>,
    pub(super) shortcomings: Shortcomings,
    /// When subscriptions were granted for the first time.
    pub(super) ready: Option<Instant>,
    pub(super) pause: Pause,
    pub(super) blame: Blame,
    pub(super) notices: Notices,
    pub(super) allowed: Allowed,
    pub(super) probe: RetainedProbe,
    /// Where the status was published last.
    pub(super) status_topic: Option<String>,
    /// The packet identifier of an UNSUBSCRIBE without an answer.
    pub(super) unsubscribed: Option<u16>,
    /// The broker closes connections over the status, so none is published until then.
    pub(super) status_withheld: Option<Instant>,
}

impl<A: Application> Session<A> {
    /// Messages are handed to `consumer`; `outgoing` delivers their replies, and everything else
    /// that is to be published.
    ///
    /// When `stop` is cancelled, the session drops `consumer`, publishes what still comes from
    /// `outgoing` until that is closed or [`SessionOptions::drain_timeout`] has passed, and ends. It
    /// reports its status to `reporter`.
    #[must_use]
    pub fn new(
        options: SessionOptions,
        application: A,
        consumer: mpsc::Sender<Message<A::Route>>,
        outgoing: Receiver,
        stop: CancellationToken,
        reporter: Reporter,
    ) -> Self {
        Self {
            options,
            application,
            inbox: Inbox::new(consumer),
            outgoing,
            stop,
            heartbeat: reporter.heartbeat(),
            reporter,
            stage: Stage::Running,
            farewell_until: None,
            resume_until: None,
            fingerprints: Fingerprints::default(),
            deliveries: Deliveries::default(),
            outbox: Outbox::default(),
            retained: BTreeMap::new(),
            subscriptions: Vec::new(),
            shortcomings: Shortcomings::default(),
            ready: None,
            pause: Pause::default(),
            blame: Blame::default(),
            notices: Notices::default(),
            allowed: Allowed::default(),
            probe: RetainedProbe::default(),
            status_topic: None,
            unsubscribed: None,
            status_withheld: None,
        }
    }

    /// Begins to stop: no more messages for the consumer.
    pub(super) fn drain(&mut self) {
        drain(&mut self.stage, &mut self.inbox);
    }

    /// Publishes a status of the application.
    pub(super) fn announce(&mut self, Announcement { topic, payload }: Announcement) {
        self.status_topic = Some(topic.clone());
        if self.status_withheld.is_none_or(|until| until <= Instant::now()) {
            self.outbox.push(Outbound::Status { topic, payload }, None);
        }
    }

    /// Says, once in a while, that a packet of the broker is of no use.
    pub(super) fn skip(&mut self, packet: &str, problem: &str) {
        if let Some(suppressed) = self.notices.due(&format!("skipped: {packet} {problem}")) {
            tracing::warn!(packet, problem, suppressed, "a packet of the broker is skipped");
        }
    }

    /// Records that the broker does not offer something, or with `None` that it does.
    pub(super) fn note_lack(&mut self, lack: Lack, text: Option<String>) {
        let text = text.map(|text| match self.application.consequence(lack) {
            Some(consequence) => format!("{text}: {consequence}"),
            None => text,
        });
        let Some(before) = self.shortcomings.set(lack, text.clone()) else { return };
        match (before, text) {
            (_, Some(lacks)) => {
                if let Some(suppressed) = self.notices.due(&lacks) {
                    tracing::warn!(
                        lacks,
                        suppressed,
                        "the broker does not offer or allow everything; the rest is served"
                    );
                }
            }
            (Some(lacked), None) => tracing::info!(lacked, "the broker offers or allows it again"),
            (None, None) => {}
        }
    }

    /// Tells the application and health checks what the broker does not offer, if that has changed.
    pub(super) fn report_shortcomings(&mut self) {
        let Some(reasons) = self.shortcomings.take_changed() else { return };
        self.application.degraded(reasons);
        self.report_up();
        if self.stage == Stage::Running {
            let status = self.application.online();
            self.announce(status);
        }
    }

    /// Reports that session and subscriptions are up.
    pub(super) fn report_up(&mut self) {
        let since = *self.ready.get_or_insert_with(Instant::now);
        self.reporter.up(since, self.shortcomings.texts());
    }
}

/// Begins to stop. Messages that the consumer has not taken stay with the broker if they have
/// QoS 1.
pub(super) fn drain<R>(stage: &mut Stage, inbox: &mut Inbox<R>) {
    inbox.close();
    *stage = Stage::Draining;
}
