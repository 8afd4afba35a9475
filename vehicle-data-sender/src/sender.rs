//! Publishes the speed to the MQTT broker, and reconnects.

use mqtt_session::{ConnectionError, Publisher, ReconnectWaits, SessionMetrics, format_wait};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use crate::settings::SenderSettings;

/// Maximum speed in km/h.
const MAX_SPEED: u8 = 100;

/// Publishes the speed until `stop` is cancelled. Reconnects whenever the connection is lost, and
/// publishes nothing for the time without a connection.
pub(crate) async fn run(settings: SenderSettings, stop: CancellationToken) {
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        topic = settings.topic,
        broker = %settings.mqtt.brokers,
        proxy = %settings.mqtt.brokers.proxies(),
        "vehicle data sender"
    );
    let mut settings = settings;
    let mut waits = ReconnectWaits::new(settings.mqtt.reconnect_spread);
    loop {
        let Some(opened) = stop.run_until_cancelled(connect(&settings)).await else { return };
        let (error, lasted) = match opened {
            Err(error) => (error, None),
            Ok(mut publisher) => {
                let since = Instant::now();
                let publishing = publish(&settings, &mut publisher);
                let Some(error) = stop.run_until_cancelled(publishing).await else {
                    return publisher.close().await;
                };
                (error, Some(since.elapsed()))
            }
        };
        let wait = waits.next_wait(lasted).max(error.min_wait());
        let help = error.help(&settings.mqtt, lasted.is_none());
        tracing::warn!(
            broker = %settings.mqtt.broker(),
            %error,
            help,
            retry_in = %format_wait(wait),
            "no connection to the MQTT broker"
        );
        settings.mqtt.brokers.advance();
        if stop.run_until_cancelled(sleep(wait)).await.is_none() {
            return;
        }
    }
}

async fn connect(settings: &SenderSettings) -> Result<Publisher, ConnectionError> {
    // Client identifiers must be unique.
    let id = format!("vehicle-data-sender-{:016x}", fastrand::u64(..));
    let publisher = Publisher::open(&settings.mqtt, id, &SessionMetrics::default()).await?;
    tracing::info!(topic = settings.topic, "connected to the MQTT broker");
    Ok(publisher)
}

/// Publishes the speed at each tick. Returns the reason when the connection is lost.
async fn publish(settings: &SenderSettings, publisher: &mut Publisher) -> ConnectionError {
    let mut ticks = interval(settings.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            error = publisher.run() => return error,
            _ = ticks.tick() => {}
        }
        let speed = fastrand::u8(..=MAX_SPEED);
        tracing::debug!(speed, "publishing");
        match publisher.publish(&settings.topic, speed.to_string().into()) {
            Ok(true) => {}
            Ok(false) => tracing::warn!("the broker reads messages too slowly; one is dropped"),
            Err(error) => return error,
        }
    }
}
