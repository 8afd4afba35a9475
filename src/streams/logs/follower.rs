//! Log lines of Ankaios as MQTT messages.
//!
//! A log stream of Ankaios ends with the container and with the session. What is
//! followed is asked for again: after a lost session, and when an instance runs
//! that was not there before or was restarted. Lines have no times that would tell
//! them apart, so the last ones before an interruption may come twice; none is
//! left out.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use futures_util::future::OptionFuture;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_util::task::AbortOnDropHandle;

use super::LogsSubscription;
use super::bookmark::Bookmark;
use super::instances::{Instances, RETRY};
use super::messages::{Dropped, Stopped, batches};
use super::position::Position;
use crate::ankaios::events::EventStream;
use crate::ankaios::logs::{LogItem, LogStream};
use crate::ankaios::{Client, RequestError, WorkloadStates};
use crate::error::{ErrorCode, ErrorReply};
use crate::json::InstanceName;
use crate::mqtt::SessionEnded;
use crate::streams::publisher::Publisher;

/// How long Ankaios may take to end logs whose time is over.
const GRACE: Duration = Duration::from_secs(1);

/// Items that wait between the streams and the one who publishes.
const QUEUE: usize = 4;

/// An item with the number of the stream that it comes from, and its arrival.
type Numbered = (u64, LogItem, SystemTime);

/// Publishes the logs of one subscription.
#[derive(Debug)]
pub(crate) struct Follower {
    ankaios: Client,
    instances: Instances,
    streams: BTreeMap<u64, AbortOnDropHandle<()>>,
    /// What the streams deliver.
    sender: mpsc::Sender<Numbered>,
    items: mpsc::Receiver<Numbered>,
    next_stream: u64,
    opened: bool,
    /// Tells of restarts; `None` if nothing is followed, or if that is denied.
    events: Option<EventStream>,
    /// When the last item was dealt with.
    quiet_since: Instant,
}

impl Follower {
    pub(crate) fn new(ankaios: Client, subscription: &LogsSubscription) -> Self {
        let (sender, items) = mpsc::channel(QUEUE);
        Self {
            ankaios,
            instances: Instances::new(subscription),
            streams: BTreeMap::new(),
            sender,
            items,
            next_stream: 0,
            opened: false,
            events: None,
            quiet_since: Instant::now(),
        }
    }

    /// Goes on where a former process was interrupted: of a followed log, what it
    /// has published must not come again. Other logs begin anew.
    pub(super) fn restored(
        ankaios: Client,
        subscription: &LogsSubscription,
        resume_at: Option<SystemTime>,
    ) -> Self {
        let follower = Self::new(ankaios, subscription);
        Self { instances: follower.instances.restored(resume_at), ..follower }
    }

    /// Finds the instances and asks for their logs.
    pub(crate) async fn open(&mut self) -> Result<Vec<InstanceName>, ErrorReply> {
        let state = self.ankaios.state(self.instances.field_masks()).await?.answer().await?;
        let mut states = WorkloadStates::default();
        states.replace(&state);
        let instances = self.instances.resolve(&states)?;
        let options = self.instances.options();
        let position = Position::begin(self.instances.first_since());
        let (accepted, stream) = self.ankaios.logs(instances, options).await?;
        self.add(&accepted, stream, position);
        self.opened = true;
        Ok(accepted)
    }

    /// Publishes until all logs have ended, and will not go on.
    pub(super) async fn run(mut self, topic: String, publisher: Publisher, bookmark: Bookmark) {
        if let Err(error) = self.publish(&topic, &publisher, bookmark).await {
            tracing::debug!(%error, topic, "a log stream ends");
        }
    }

    async fn publish(
        &mut self,
        topic: &str,
        publisher: &Publisher,
        mut bookmark: Bookmark,
    ) -> Result<(), SessionEnded> {
        let follow = self.instances.follow();
        if follow {
            self.events = Some(self.ankaios.events(self.instances.field_masks()));
        } else if !self.opened && !self.open_again(topic).await {
            return Ok(());
        }
        while self.instances.goes_on(self.events.is_some()) {
            let due = self.instances.next_due();
            let over = self.instances.until.filter(|_| follow);
            let over = over.map(|until| in_time(until).max(self.quiet_since) + GRACE);
            tokio::select! {
                Some((stream, item, arrived)) = self.items.recv() => {
                    self.take(stream, item, arrived, topic, publisher).await?;
                    self.quiet_since = Instant::now();
                    if follow {
                        bookmark.put(self.instances.reached()).await?;
                    }
                }
                Some(event) = OptionFuture::from(self.events.as_mut().map(EventStream::next)) => {
                    match event {
                        Ok(event) => {
                            for gone in self.instances.learn(&event) {
                                tell_end(gone, topic, publisher).await?;
                            }
                        }
                        Err(error) => self.cannot_watch(&error, topic),
                    }
                }
                Some(()) = OptionFuture::from(due.map(sleep_until)) => {
                    self.ask(topic, publisher).await?;
                }
                Some(()) = OptionFuture::from(over.map(sleep_until)) => {
                    self.time_is_over(topic, publisher).await?;
                }
            }
        }
        Ok(())
    }

    /// Asks for the logs of a former process until it is clear whether there are
    /// any.
    async fn open_again(&mut self, topic: &str) -> bool {
        while let Err(error) = self.open().await {
            tracing::warn!(%error, topic, "logs cannot be taken up again");
            if !matches!(error.code, ErrorCode::Timeout | ErrorCode::Unavailable) {
                return false;
            }
            sleep_until(Instant::now() + RETRY).await;
        }
        true
    }

    async fn take(
        &mut self,
        stream: u64,
        item: LogItem,
        arrived: SystemTime,
        topic: &str,
        publisher: &Publisher,
    ) -> Result<(), SessionEnded> {
        match item {
            LogItem::Entries(entries) => {
                for entries in batches(entries) {
                    publisher.send(topic, &entries).await?;
                }
                self.instances.moved(stream, arrived);
            }
            LogItem::Dropped(dropped) => publisher.send(topic, &Dropped { dropped }).await?,
            LogItem::Stopped(stopped) => {
                self.instances.stopped(stream, &stopped, arrived);
                if !self.instances.has_any_from(stream) {
                    self.streams.remove(&stream);
                }
                tell_end(stopped, topic, publisher).await?;
            }
            LogItem::Lost => {
                self.streams.remove(&stream);
                self.instances.lost(stream);
            }
        }
        Ok(())
    }

    fn cannot_watch(&mut self, error: &RequestError, topic: &str) {
        tracing::warn!(%error, topic, "restarts of workloads are not noticed");
        if *error == RequestError::AccessDenied {
            self.events = None;
        }
    }

    /// Asks for the logs that are due.
    async fn ask(&mut self, topic: &str, publisher: &Publisher) -> Result<(), SessionEnded> {
        for (since, instances) in self.instances.due() {
            let options = self.instances.options_again(since);
            let position = Position::begin(since.or_else(|| self.instances.first_since()));
            match self.ankaios.logs(instances.clone(), options).await {
                Ok((accepted, stream)) => {
                    self.add(&accepted, stream, position);
                    for instance in instances {
                        if !accepted.contains(&instance) {
                            // It is gone, or not there yet.
                            let again = self.instances.runs(&instance);
                            self.put_off(instance, since, again, topic, publisher).await?;
                        }
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, topic, "logs cannot be asked for again");
                    let again = is_transient(&error);
                    for instance in instances {
                        self.put_off(instance, since, again, topic, publisher).await?;
                    }
                }
            }
        }
        Ok(())
    }

    /// A log could not be had: it has ended, or it is asked for `again` later.
    async fn put_off(
        &mut self,
        instance: InstanceName,
        since: Option<SystemTime>,
        again: bool,
        topic: &str,
        publisher: &Publisher,
    ) -> Result<(), SessionEnded> {
        if self.instances.put_off(instance.clone(), since, again) {
            tell_end(instance, topic, publisher).await?;
        }
        Ok(())
    }

    /// Ends followed logs whose time is over and that Ankaios has not ended.
    async fn time_is_over(
        &mut self,
        topic: &str,
        publisher: &Publisher,
    ) -> Result<(), SessionEnded> {
        if !self.instances.is_over() || !self.items.is_empty() {
            return Ok(());
        }
        self.streams.clear();
        for ended in self.instances.end_all() {
            tell_end(ended, topic, publisher).await?;
        }
        Ok(())
    }

    fn add(&mut self, instances: &[InstanceName], mut stream: LogStream, position: Position) {
        if instances.is_empty() {
            // It would never end.
            return;
        }
        self.next_stream += 1;
        let number = self.next_stream;
        self.instances.come(instances, number, position);
        let items = self.sender.clone();
        // A task of its own, which waits while the items are not taken: what then
        // comes in the meantime is thrown away, oldest first.
        let task = tokio::spawn(async move {
            loop {
                let item = stream.next().await;
                let last = item == LogItem::Lost;
                if items.send((number, item, stream.arrived())).await.is_err() || last {
                    return;
                }
            }
        });
        self.streams.insert(number, AbortOnDropHandle::new(task));
    }
}

async fn tell_end(
    stopped: InstanceName,
    topic: &str,
    publisher: &Publisher,
) -> Result<(), SessionEnded> {
    publisher.send(topic, &Stopped { stopped }).await
}

/// Whether it may be different the next time.
fn is_transient(error: &RequestError) -> bool {
    matches!(error, RequestError::Timeout(_) | RequestError::Unavailable(_))
}

/// The moment at which that time has come, but at most an hour from now.
fn in_time(time: SystemTime) -> Instant {
    const LONGEST: Duration = Duration::from_secs(3600);
    let wait = time.duration_since(SystemTime::now()).unwrap_or_default();
    Instant::now() + wait.min(LONGEST)
}
