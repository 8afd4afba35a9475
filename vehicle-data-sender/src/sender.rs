//! The connection to the broker, and what is published over it.

use std::time::Duration;

use fleet_connector::mqtt::Backoff;
use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Packet, QoS};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::settings::Settings;

/// A broker that is silent for so long is given up.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// Messages that wait for being written.
const QUEUE: usize = 8;

/// The highest speed, in km/h.
const MAX_SPEED: u8 = 100;

/// How long the farewell to the broker may take.
const FAREWELL: Duration = Duration::from_secs(1);

/// Publishes the speed until `stop` is cancelled. Connects again after each loss of
/// the connection; what could not be published meanwhile is not made up for.
pub(crate) async fn run(settings: Settings, stop: CancellationToken) {
    let mut backoff = Backoff::new();
    loop {
        let mut sender = Sender::new(&settings);
        let Some(error) = stop.run_until_cancelled(sender.run(&settings.topic)).await else {
            return sender.end().await;
        };
        let wait = backoff.next(sender.lasted());
        tracing::warn!(
            host = settings.host,
            port = settings.port,
            %error,
            "no connection to the MQTT broker"
        );
        if stop.run_until_cancelled(sleep(wait)).await.is_none() {
            return;
        }
    }
}

/// One connection.
struct Sender {
    client: AsyncClient,
    events: EventLoop,
    clock: Interval,
    /// Since when the broker has accepted it.
    connected: Option<Instant>,
}

impl Sender {
    fn new(settings: &Settings) -> Self {
        // No other client may have the same identifier.
        let id = format!("vehicle-data-sender-{:016x}", fastrand::u64(..));
        let mut options = MqttOptions::new(id, &settings.host, settings.port);
        options.set_keep_alive(KEEP_ALIVE).set_clean_session(true);
        let (client, events) = AsyncClient::new(options, QUEUE);
        let mut clock = interval(settings.interval);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { client, events, clock, connected: None }
    }

    /// Publishes the speed at each tick. Returns why the connection is lost.
    async fn run(&mut self, topic: &str) -> rumqttc::ConnectionError {
        loop {
            tokio::select! {
                event = self.events.poll() => match event {
                    Ok(Event::Incoming(Packet::ConnAck(_))) => {
                        tracing::info!(topic, "connected to the MQTT broker");
                        self.connected = Some(Instant::now());
                        self.clock.reset_immediately();
                    }
                    Ok(_) => {}
                    Err(error) => return error,
                },
                // Only over a connection: `poll` must not be disturbed while it is made.
                _ = self.clock.tick(), if self.connected.is_some() => self.publish(topic),
            }
        }
    }

    fn publish(&self, topic: &str) {
        let speed = fastrand::u8(..=MAX_SPEED);
        tracing::debug!(speed, "publishing");
        if self.client.try_publish(topic, QoS::AtMostOnce, false, speed.to_string()).is_err() {
            tracing::warn!("the broker takes messages too slowly; one is left out");
        }
    }

    /// How long the broker has been connected.
    fn lasted(&self) -> Duration {
        self.connected.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Disconnects in good order.
    async fn end(mut self) {
        if self.connected.is_none() || self.client.try_disconnect().is_err() {
            return;
        }
        // The end of the connection is an error, and the one that is waited for.
        let ended = async { while self.events.poll().await.is_ok() {} };
        if timeout(FAREWELL, ended).await.is_err() {
            tracing::debug!("the broker does not close the connection");
        }
    }
}
