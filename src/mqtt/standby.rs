//! Several connectors for one vehicle, one of which is active.
//!
//! The session at the broker is the token: it has one connection at a time, and
//! whoever has it gets the requests, also those that the former one has not
//! acknowledged. A standby watches the status topic by a connection of its own. When
//! the active one is gone, by its farewell or its last will, it waits for a random
//! time, so that not all come at once, and takes the session over unless somebody
//! else has done so by then.
//!
//! - The last will of one whose session was taken over says `offline`, too. So what
//!   counts is what the status says after the wait.
//! - An active one whose connection breaks comes back sooner than the wait of the
//!   others. Before that it looks at the status: if somebody has taken over, it goes
//!   to standby. Whoever comes too late never takes the session back.
//! - A process that finds itself to be the active one is its own successor: the
//!   broker has not noticed yet that the former process is gone.
//! - One without a link to Ankaios lets the others go first.
//! - A broker that has crashed sends no last wills and may still keep an `online` of
//!   one that is gone, or nothing. So a status that was retained before the standby
//!   came is doubted, and the active one asked to publish it again.

use std::ops::Range;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

use super::backoff::{Backoff, format_wait};
use super::connect::Options;
use super::connection_error::ConnectionError;
use super::metrics::Metrics;
use super::network::NetworkError;
use super::observer::{Observer, Sighting};
use super::reporter::Reporter;
use super::status::{Presence, Status};
use crate::random;
use crate::topics::Topics;

/// How long a standby waits before it takes over. An active one whose connection
/// was cut needs less to come back, if all is well.
const DELAY: Range<Duration> = Duration::from_millis(500)..Duration::from_millis(1500);

/// How much longer one without a link to Ankaios waits.
const COURTESY: Duration = Duration::from_millis(1500);

/// How long an active one that has lost its connection waits for a sign that
/// somebody has taken over: a broker may hand out what it retains a moment after
/// the subscription, and the new one needs a moment to say that it is there.
const SETTLE: Duration = Duration::from_millis(250);

/// What is wrong if two have the same name.
const TWIN: &str =
    "another connector has the same REPLICA_ID: give each one of the vehicle its own";

/// How often a standby asks for a sign of life, within the keep-alive time.
const QUESTIONS: u32 = 3;

/// Waits until this replica is to be the active one.
#[derive(Debug)]
pub struct Standby {
    options: Options,
    topics: Topics,
    presence: watch::Receiver<Presence>,
    reporter: Reporter,
    replica: String,
    /// An active replica of this name is the former self.
    succeeds_itself: bool,
    backoff: Backoff,
}

impl Standby {
    /// `None` if there is only one connector for the vehicle.
    #[must_use]
    pub fn new(
        options: Options,
        topics: Topics,
        presence: watch::Receiver<Presence>,
        reporter: Reporter,
    ) -> Option<Self> {
        let replica = options.replica.clone()?;
        let (succeeds_itself, backoff) = (true, Backoff::new());
        Some(Self { options, topics, presence, reporter, replica, succeeds_itself, backoff })
    }

    /// This replica was active. `taken_over` says whether another one is now.
    pub fn was_active(&mut self, taken_over: bool) {
        self.succeeds_itself = !taken_over;
    }

    /// Returns when nobody is active, or when `stop` is cancelled. Errors are
    /// written to the log: it tries again.
    pub async fn wait(&mut self, stop: &CancellationToken) {
        let mut progress = self.reporter.begin();
        loop {
            let mut ready = None;
            let watched = tokio::select! {
                // All that it waits for is the broker.
                watched = progress.during(self.watch(&mut ready)) => watched,
                () = stop.cancelled() => return,
            };
            let Err(error) = watched else { return };
            let lasted = ready.map_or(Duration::ZERO, |ready: Instant| ready.elapsed());
            let wait = self.backoff.next(lasted);
            let help = match error {
                _ if error.is_takeover() => Some(TWIN.to_owned()),
                // Not every broker says why.
                ConnectionError::Network(NetworkError::Closed) if ready.is_some() => {
                    Some(format!("if this goes on and the broker is well, {TWIN}"))
                }
                _ => error.help(&self.options, ready.is_none()),
            };
            self.reporter.failed(&self.options, &error, help.as_deref());
            tracing::warn!(
                replica = self.replica,
                %error,
                help,
                retry_in = %format_wait(wait),
                "a standby replica cannot see who is active"
            );
            tokio::select! {
                () = progress.during(sleep(wait)) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Watches over one connection, until nobody is active.
    /// `ready` becomes the time at which it stood.
    async fn watch(&mut self, ready: &mut Option<Instant>) -> Result<(), ConnectionError> {
        let metrics = self.reporter.metrics();
        let mut observer =
            Observer::open(&self.options, &self.topics, &self.replica, metrics).await?;
        *ready = Some(Instant::now());
        self.reporter.standby();
        // Also where nothing is retained somebody may be active.
        observer.ask(&self.replica)?;
        let mut place = Place::new(&self.replica, self.options.keep_alive);
        place.succeeds_itself = self.succeeds_itself;
        loop {
            place.is_linked = self.presence.borrow_and_update().is_connected();
            tokio::select! {
                Ok(()) = self.presence.changed() => {}
                sighting = observer.next() => {
                    let former = place.holder.clone();
                    place.see(&sighting?, Instant::now());
                    // What comes later is of somebody else.
                    self.succeeds_itself = false;
                    if place.holder != former {
                        self.report(&place);
                    }
                }
                () = sleep_until(place.due().unwrap_or_else(Instant::now)), if place.due().is_some() => {
                    match place.turn(Instant::now()) {
                        Turn::Ask => observer.ask(&self.replica)?,
                        Turn::Wait => {}
                        Turn::Take => break,
                    }
                }
            }
        }
        observer.close().await;
        Ok(())
    }

    fn report(&self, place: &Place) {
        let replica = &self.replica;
        match &place.holder {
            Holder::Nobody { .. } => tracing::info!(replica, "no replica is active"),
            Holder::Somebody { name: Some(name), .. } if name == replica => {
                tracing::warn!(replica, help = TWIN, "standby: one of the same name is active");
            }
            Holder::Somebody { name, .. } => {
                tracing::info!(replica, active = name, "standby: another connector is active");
            }
        }
    }
}

/// Checks that nobody has taken over since `replica` has lost its connection, so
/// that it may go on with its session. `is_own` recognises what it has said itself.
pub(super) async fn check_own(
    options: &Options,
    topics: &Topics,
    replica: &str,
    metrics: &Metrics,
    is_own: impl Fn(&Status) -> bool,
) -> Result<(), ConnectionError> {
    let mut observer = Observer::open(options, topics, replica, metrics).await?;
    let settled = Instant::now() + SETTLE;
    let own = loop {
        let Ok(sighting) = timeout_at(settled, observer.next()).await else { break true };
        match sighting?.status {
            Some(status) if !is_own(&status) => break false,
            // The last will: the broker has noticed, and nobody has come since.
            Some(Status { online: false, .. }) => break true,
            // It may be about to change.
            _ => {}
        }
    };
    observer.close().await;
    if own { Ok(()) } else { Err(ConnectionError::TakenOver) }
}

/// Who is active, as far as one can see.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Holder {
    /// To be taken over at that time.
    Nobody { at: Instant },
    /// The replica of that name, or a connector without one.
    Somebody { name: Option<String>, doubt: Option<Doubt> },
}

/// The active one may be gone without a word. It is asked once at the beginning of a
/// connection, and then again.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Doubt {
    asked: u32,
    /// When to ask, or to give it up.
    next: Instant,
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
enum Turn {
    Wait,
    Ask,
    Take,
}

/// Decides when to take over.
#[derive(Debug)]
struct Place {
    replica: String,
    /// How long the active one has for an answer.
    patience: Duration,
    succeeds_itself: bool,
    /// There is a link to Ankaios.
    is_linked: bool,
    holder: Holder,
}

impl Place {
    /// Nothing has been seen yet.
    fn new(replica: &str, patience: Duration) -> Self {
        let holder = Holder::Nobody { at: Instant::now() + random::duration(&DELAY) };
        let replica = replica.to_owned();
        Self { replica, patience, succeeds_itself: false, is_linked: false, holder }
    }

    fn see(&mut self, sighting: &Sighting, now: Instant) {
        let succeeds_itself = std::mem::take(&mut self.succeeds_itself);
        self.holder = match &sighting.status {
            Some(Status { online: true, replica, .. }) => {
                if succeeds_itself && replica.as_ref() == Some(&self.replica) {
                    Holder::Nobody { at: now }
                } else {
                    // One that is not a replica cannot be asked.
                    let doubtful = sighting.retained && replica.is_some();
                    let next = now + self.patience / QUESTIONS;
                    let doubt = doubtful.then_some(Doubt { asked: 1, next });
                    Holder::Somebody { name: replica.clone(), doubt }
                }
            }
            // Also what is not readable: the next active one will replace it.
            _ => Holder::Nobody { at: now + random::duration(&DELAY) },
        };
    }

    /// When it is time for [`Place::turn`].
    fn due(&self) -> Option<Instant> {
        match &self.holder {
            Holder::Nobody { at } if self.is_linked => Some(*at),
            Holder::Nobody { at } => Some(*at + COURTESY),
            Holder::Somebody { doubt, .. } => doubt.as_ref().map(|doubt| doubt.next),
        }
    }

    fn turn(&mut self, now: Instant) -> Turn {
        if self.due().is_none_or(|due| now < due) {
            return Turn::Wait;
        }
        match &mut self.holder {
            Holder::Nobody { .. } => return Turn::Take,
            Holder::Somebody { doubt: Some(doubt), .. } => {
                if doubt.asked < QUESTIONS {
                    doubt.asked += 1;
                    doubt.next = now + self.patience / QUESTIONS;
                    return Turn::Ask;
                }
                tracing::warn!("the active replica gives no sign of life");
                self.holder = Holder::Nobody { at: now + random::duration(&DELAY) };
            }
            Holder::Somebody { doubt: None, .. } => {}
        }
        Turn::Wait
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    fn sighting(online: bool, replica: Option<&str>, retained: bool) -> Sighting {
        let replica = replica.map(str::to_owned);
        let status = Some(Status { online, replica, since: None });
        Sighting { status, retained }
    }

    fn place() -> Place {
        Place { is_linked: true, ..Place::new("b", PATIENCE) }
    }

    /// How long until it takes over, if nothing is seen.
    fn takes_over_in(place: &Place, now: Instant) -> Option<Duration> {
        matches!(place.holder, Holder::Nobody { .. }).then(|| place.due().unwrap() - now)
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_waited_for_a_random_time() {
        let now = Instant::now();
        let mut place = place();
        assert!(DELAY.contains(&takes_over_in(&place, now).unwrap()));
        assert_eq!(place.turn(now), Turn::Wait);
        assert_eq!(place.turn(now + DELAY.end), Turn::Take);
        place.see(&sighting(true, Some("a"), false), now);
        assert_eq!((place.due(), place.turn(now + DELAY.end)), (None, Turn::Wait));
        for gone in [sighting(false, Some("a"), false), Sighting { status: None, retained: false }]
        {
            place.see(&sighting(true, Some("a"), false), now);
            place.see(&gone, now);
            assert!(DELAY.contains(&takes_over_in(&place, now).unwrap()));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_without_a_link_to_ankaios_comes_after_all_others() {
        let now = Instant::now();
        let mut lame = Place { is_linked: false, ..place() };
        assert!(takes_over_in(&lame, now).unwrap() >= DELAY.start + COURTESY);
        assert!(DELAY.start + COURTESY >= DELAY.end);
        assert_eq!(lame.turn(now + DELAY.end), Turn::Wait);
        lame.is_linked = true;
        assert_eq!(lame.turn(now + DELAY.end), Turn::Take);
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_will_of_one_that_was_replaced_does_not_count() {
        let now = Instant::now();
        let mut place = place();
        place.see(&sighting(false, Some("a"), false), now);
        place.see(&sighting(true, Some("c"), false), now);
        place.see(&sighting(false, Some("a"), false), now);
        assert!(takes_over_in(&place, now).is_some());
        place.see(&sighting(true, Some("c"), false), now);
        assert_eq!(place.due(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn one_succeeds_itself_at_once_but_only_at_first() {
        let now = Instant::now();
        let own = sighting(true, Some("b"), true);
        let mut first = Place { succeeds_itself: true, ..place() };
        first.see(&own, now);
        assert_eq!(first.turn(now), Turn::Take);
        let mut later = Place { succeeds_itself: true, ..place() };
        later.see(&sighting(true, Some("a"), true), now);
        later.see(&own, now);
        assert_eq!(takes_over_in(&later, now), None);
    }

    #[tokio::test(start_paused = true)]
    async fn an_active_one_that_may_be_gone_is_asked_and_given_up() {
        let mut now = Instant::now();
        let mut place = place();
        place.see(&sighting(true, Some("a"), true), now);
        for _ in 1..QUESTIONS {
            assert_eq!(place.turn(now), Turn::Wait);
            now = place.due().unwrap();
            assert_eq!(place.turn(now), Turn::Ask);
        }
        now = place.due().unwrap();
        assert_eq!(place.turn(now), Turn::Wait);
        assert!(DELAY.contains(&takes_over_in(&place, now).unwrap()));
        place.see(&sighting(true, Some("a"), true), now);
        assert!(place.due().is_some() && takes_over_in(&place, now).is_none());
        place.see(&sighting(true, Some("a"), false), now);
        assert_eq!(place.due(), None);
        // This one would not understand.
        place.see(&sighting(true, None, true), now);
        assert_eq!(place.due(), None);
    }
}
