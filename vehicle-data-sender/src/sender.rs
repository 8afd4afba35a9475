//! Publishes the speed to the MQTT broker, and reconnects.

use std::time::Duration;

use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Packet, QoS};
use service_kit::backoff::Backoff;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::settings::SenderSettings;

/// MQTT keep alive.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// Minimum and maximum delay before reconnecting, without jitter.
const RECONNECT: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// After a connection of this duration, the delay starts at its minimum again.
const STABLE: Duration = Duration::from_secs(10);

/// Maximum number of messages that wait to be sent.
const MAX_QUEUED: usize = 8;

/// Maximum speed in km/h.
const MAX_SPEED: u8 = 100;

/// How long disconnecting may take.
const DISCONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Publishes the speed until `stop` is cancelled. Reconnects whenever the connection is lost, and
/// publishes nothing for the time without a connection.
pub(crate) async fn run(settings: SenderSettings, stop: CancellationToken) {
    let mut backoff = Backoff::with_jitter(RECONNECT.0, RECONNECT.1);
    loop {
        let mut connection = BrokerConnection::new(&settings);
        let Some(error) = stop.run_until_cancelled(connection.run(&settings.topic)).await else {
            return connection.disconnect().await;
        };
        let wait = backoff.next_wait_after(connection.lasted(), STABLE);
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

/// One connection to the broker.
struct BrokerConnection {
    client: AsyncClient,
    events: EventLoop,
    ticks: Interval,
    /// When the broker accepted the connection.
    connected_since: Option<Instant>,
}

impl BrokerConnection {
    fn new(settings: &SenderSettings) -> Self {
        // Client identifiers must be unique.
        let id = format!("vehicle-data-sender-{:016x}", fastrand::u64(..));
        let mut options = MqttOptions::new(id, &settings.host, settings.port);
        options.set_keep_alive(KEEP_ALIVE).set_clean_session(true);
        let (client, events) = AsyncClient::new(options, MAX_QUEUED);
        let mut ticks = interval(settings.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { client, events, ticks, connected_since: None }
    }

    /// Publishes the speed at each tick. Returns the reason when the connection is lost.
    async fn run(&mut self, topic: &str) -> rumqttc::ConnectionError {
        loop {
            tokio::select! {
                event = self.events.poll() => match event {
                    Ok(Event::Incoming(Packet::ConnAck(_))) => {
                        tracing::info!(topic, "connected to the MQTT broker");
                        self.connected_since = Some(Instant::now());
                        self.ticks.reset_immediately();
                    }
                    Ok(_) => {}
                    Err(error) => return error,
                },
                // Only when connected: cancelling `poll` would abort a connection attempt.
                _ = self.ticks.tick(), if self.connected_since.is_some() => self.publish(topic),
            }
        }
    }

    fn publish(&self, topic: &str) {
        let speed = fastrand::u8(..=MAX_SPEED);
        tracing::debug!(speed, "publishing");
        if self.client.try_publish(topic, QoS::AtMostOnce, false, speed.to_string()).is_err() {
            tracing::warn!("the broker reads messages too slowly; one is dropped");
        }
    }

    /// How long the connection has lasted.
    fn lasted(&self) -> Duration {
        self.connected_since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Sends DISCONNECT and waits for the broker to close the connection.
    async fn disconnect(mut self) {
        if self.connected_since.is_none() || self.client.try_disconnect().is_err() {
            return;
        }
        // `poll` reports the end of the connection as an error.
        let closed = async { while self.events.poll().await.is_ok() {} };
        if timeout(DISCONNECT_TIMEOUT, closed).await.is_err() {
            tracing::debug!("the broker does not close the connection");
        }
    }
}
