//! Finds out from the log when connectors are ready for requests, and at which broker.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// A connector that has become ready for requests. Workers write one line of JSON for each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Arrival {
    /// Milliseconds since 1970.
    pub(crate) at: u64,
    pub(crate) vin: String,
    /// The address of the broker.
    pub(crate) broker: String,
}

/// Reads the log. All connectors of a process have the same.
#[derive(Debug, Default)]
pub(crate) struct ArrivalLayer {
    /// The brokers to which connectors are connected, by client identifier. A lock, because
    /// connectors run on several threads.
    brokers: Mutex<BTreeMap<String, String>>,
    /// The vehicles that have been ready.
    arrived: watch::Sender<BTreeSet<String>>,
}

/// The fields of one event that are used.
#[derive(Default)]
struct Fields {
    message: String,
    client_id: String,
    broker: String,
    filters: String,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let target = match field.name() {
            "message" => &mut self.message,
            "client_id" => &mut self.client_id,
            "broker" => &mut self.broker,
            "filters" => &mut self.filters,
            _ => return,
        };
        *target = format!("{value:?}").trim_matches('"').to_owned();
    }
}

impl<S: Subscriber> Layer<S> for ArrivalLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if *event.metadata().level() > Level::INFO {
            return;
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        if let Some(arrival) = self.arrival(fields)
            && let Ok(line) = serde_json::to_string(&arrival)
        {
            self.arrived.send_modify(|arrived| {
                arrived.insert(arrival.vin);
            });
            // Whoever reads it has ended.
            let _ = writeln!(std::io::stdout(), "{line}");
        }
    }
}

impl ArrivalLayer {
    /// The vehicles that have been ready.
    pub(crate) fn arrived(&self) -> watch::Receiver<BTreeSet<String>> {
        self.arrived.subscribe()
    }

    fn arrival(&self, fields: Fields) -> Option<Arrival> {
        let mut brokers = self.brokers.lock().unwrap_or_else(PoisonError::into_inner);
        match fields.message.as_str() {
            "connected to the MQTT broker" => {
                brokers.insert(fields.client_id, fields.broker);
                None
            }
            "ready for requests" => {
                let (_, vin) = fields.filters.split_once("vehicle/")?;
                let vin = vin.split('/').next()?.to_owned();
                let broker = brokers.get(&format!("fleet-connector-{vin}"))?.clone();
                let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                Some(Arrival { at: u64::try_from(at.as_millis()).unwrap_or(u64::MAX), vin, broker })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_arrival_has_the_vehicle_and_its_broker() {
        let layer = ArrivalLayer::default();
        let connected = |vin: &str, broker: &str| Fields {
            message: "connected to the MQTT broker".into(),
            client_id: format!("fleet-connector-{vin}"),
            broker: broker.into(),
            ..Fields::default()
        };
        let ready = |vin: &str| Fields {
            message: "ready for requests".into(),
            filters: format!("[\"vehicle/{vin}/state/req\", \"vehicle/{vin}/logs/+/req\"]"),
            ..Fields::default()
        };
        assert_eq!(layer.arrival(connected("1", "a:1883")), None);
        assert_eq!(layer.arrival(connected("2", "b:1883")), None);
        let arrival = layer.arrival(ready("1")).unwrap();
        assert_eq!((arrival.vin.as_str(), arrival.broker.as_str()), ("1", "a:1883"));
        // It has reconnected.
        layer.arrival(connected("1", "b:1883"));
        assert_eq!(layer.arrival(ready("1")).unwrap().broker, "b:1883");
        assert_eq!(layer.arrival(Fields { message: "other".into(), ..Fields::default() }), None);
    }
}
