//! The requests of the chaos test. Each differs from all others, so that a reply shows whether
//! it belongs to its request.

use std::collections::BTreeSet;
use std::sync::LazyLock;
use std::time::SystemTime;

use serde_json::{Value, json};

/// The sizes of the configs that the state contains from the start.
pub(crate) const CONFIGS: [usize; 7] = [1, 100, 1_000, 10_000, 50_000, 120_000, 300_000];

/// The number of names under which workloads are applied and deleted.
pub(crate) const SLOTS: usize = 12;

/// `MAX_PAYLOAD_SIZE` of the connector.
pub(crate) const MAX_PAYLOAD: usize = 256 * 1024;

/// Part of the message about a state whose answer was lost. It may be too large for Ankaios.
pub(crate) const TOO_LARGE_FOR_ANKAIOS: &str = "between Ankaios' agent and its server broke";

/// The kind of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One config, in the format of the SDK.
    Config(usize),
    /// One config, in Ankaios' own format.
    ConfigOwnFormat(usize),
    /// The whole state.
    Everything,
    /// A mask that matches nothing.
    Nothing,
    /// Applies a manifest with a workload and a config of about this size.
    Apply { slot: usize, version: u32, padding: usize },
    /// Deletes the same workload and config.
    Delete { slot: usize },
    /// A subscription to the texts of all slots.
    Subscribe,
    /// Applies the manifest of the workload [`TALKER`].
    Talk,
    /// A subscription to its log.
    Follow,
    /// The log of a workload, which replaces the subscription to it.
    Logs,
    /// The log of a workload that does not exist.
    NoWorkload,
    /// Ends a subscription that does not exist.
    NoSubscription,
    /// Waits for a workload that runs already.
    Wait,
    /// An update with an invalid mask.
    NoUpdate,
    /// A manifest that is only validated.
    Validate,
    /// A manifest that Ankaios rejects, because a config is missing.
    Refused,
    /// A payload that is not a valid manifest.
    NoManifest,
    /// A payload that is not a list of masks.
    NoMasks,
    /// An operation that does not exist.
    NoOperation,
    /// A payload that is larger than allowed.
    TooLarge,
}

/// A workload that runs from the start.
const RUNNING: &str = "fleetconnector";

/// The name of a workload that writes numbered lines all the time.
pub(crate) const TALKER: &str = "talker";

/// A time before its first line, in RFC 3339. A log request without a time starts again with
/// new lines if the log is interrupted within its first seconds, and here interruptions are
/// frequent.
static START: LazyLock<String> =
    LazyLock::new(|| humantime::format_rfc3339_millis(SystemTime::now()).to_string());

/// The id of the subscription to the log of the talker.
pub(crate) const FOLLOWING: &str = "talk";

/// The id of the other subscriptions.
const SUBSCRIPTION: &str = "slots";

/// Why a reply differs from the expected one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Mismatch {
    /// An error that an outage of Ankaios explains.
    Outage(String),
    /// Any other difference.
    Wrong(String),
}

/// The text of a config that the state contains from the start.
pub(crate) fn config_text(index: usize) -> String {
    let pattern = format!("config {index}: it ends with a text, äöü. ");
    pattern.chars().cycle().take(CONFIGS[index]).collect()
}

pub(crate) fn slot_name(slot: usize) -> String {
    format!("slot-{slot}")
}

/// The path of the text in the config of a slot.
pub(crate) fn slot_path(slot: usize) -> String {
    format!("desiredState.configs.{}.text", slot_name(slot))
}

/// The text in the workload and in the config of a slot.
pub(crate) fn slot_text(slot: usize, version: u32) -> String {
    format!("image: localhost/slot-{slot}:{version}")
}

impl Kind {
    pub(crate) fn operation(&self, number: u32) -> String {
        match self {
            Self::Config(_)
            | Self::ConfigOwnFormat(_)
            | Self::Everything
            | Self::Nothing
            | Self::NoMasks => "state".into(),
            Self::Apply { .. } | Self::Talk | Self::Refused | Self::TooLarge => {
                "manifest/apply".into()
            }
            Self::Delete { .. } => "manifest/delete".into(),
            Self::Subscribe => "events/subscribe".into(),
            Self::NoSubscription => "events/unsubscribe".into(),
            Self::Follow | Self::Logs | Self::NoWorkload => "logs/subscribe".into(),
            Self::Wait => "workload/wait".into(),
            Self::NoUpdate => "state/update".into(),
            Self::Validate | Self::NoManifest => "manifest/validate".into(),
            Self::NoOperation => format!("nonsense/{number}"),
        }
    }

    pub(crate) fn payload(&self, number: u32) -> String {
        match self {
            Self::Config(index) => {
                json!([format!("desiredState.configs.static-{index}")]).to_string()
            }
            Self::ConfigOwnFormat(index) => {
                let mask = format!("desiredState.configs.static-{index}");
                json!({"field_masks": [mask], "format": "ankaios"}).to_string()
            }
            Self::Everything => "[]".into(),
            Self::Nothing => json!([format!("desiredState.workloads.none-{number}")]).to_string(),
            Self::Apply { slot, version, padding } => {
                manifest(&slot_name(*slot), &slot_text(*slot, *version), *padding)
            }
            Self::Delete { slot } => manifest(&slot_name(*slot), "to be deleted", 0),
            Self::Subscribe => {
                let masks: Vec<_> = (0..SLOTS).map(slot_path).collect();
                json!({"id": SUBSCRIPTION, "field_masks": masks, "ttl": "0s"}).to_string()
            }
            Self::Talk => format!(
                "apiVersion: v1\nworkloads:\n  {TALKER}:\n    runtime: podman\n    \
                 agent: agent_A\n    restartPolicy: ALWAYS\n    runtimeConfig: 'image: localhost/talker'\n"
            ),
            Self::Follow => {
                let workloads = [TALKER];
                json!({
                    "id": FOLLOWING, "workloads": workloads, "follow": true, "since": *START,
                    "ttl": "0s",
                })
                .to_string()
            }
            Self::Logs => json!({"id": SUBSCRIPTION, "workloads": [RUNNING]}).to_string(),
            Self::NoWorkload => json!({"workloads": [format!("none-{number}")]}).to_string(),
            Self::NoSubscription => json!({"id": format!("none-{number}")}).to_string(),
            Self::Wait => {
                json!({"workload_name": RUNNING, "state": "RUNNING", "timeout": "5s"}).to_string()
            }
            Self::NoUpdate => {
                json!({"update_mask": [format!("a..{number}")], "state": {}}).to_string()
            }
            Self::Validate => manifest(&format!("checked-{number}"), "image: localhost/checked", 0),
            Self::Refused => format!(
                "apiVersion: v1\nworkloads:\n  refused-{number}:\n    runtime: podman\n    \
                 agent: agent_A\n    runtimeConfig: '{{{{missing.value}}}}'\n    \
                 configs: {{missing: nowhere-{number}}}\n"
            ),
            Self::NoManifest => format!("apiVersion: v1\nworkloads:\n  bad {number}: {{}}\n"),
            Self::NoMasks => format!("[{number}]"),
            Self::NoOperation => String::new(),
            Self::TooLarge => "x".repeat(MAX_PAYLOAD + 1 + number as usize % 1000),
        }
    }

    /// Whether the operation sends a request to Ankaios.
    fn needs_ankaios(&self) -> bool {
        matches!(
            self,
            Self::Config(_)
                | Self::ConfigOwnFormat(_)
                | Self::Everything
                | Self::Nothing
                | Self::Apply { .. }
                | Self::Delete { .. }
                | Self::Subscribe
                | Self::Talk
                | Self::Follow
                | Self::Logs
                | Self::NoWorkload
                | Self::Wait
                | Self::Refused
        )
    }

    /// Whether the request changes something that only one replica's Ankaios then has.
    pub(crate) fn leaves_traces(&self) -> bool {
        matches!(
            self,
            Self::Apply { .. } | Self::Delete { .. } | Self::Subscribe | Self::Talk | Self::Follow
        )
    }

    /// Checks a reply to this request.
    pub(crate) fn judge(&self, number: u32, payload: &[u8]) -> Result<(), Mismatch> {
        let wrong = |what: &str| {
            let text = String::from_utf8_lossy(payload);
            let shown: String = text.chars().take(300).collect();
            Mismatch::Wrong(format!("{what}: {shown}"))
        };
        let reply: Value = serde_json::from_slice(payload).map_err(|_| wrong("not JSON"))?;
        let code = reply["error"]["code"].as_str();
        let message = reply["error"]["message"].as_str().unwrap_or_default();
        if let Some(code @ ("timeout" | "unavailable")) = code
            && self.needs_ankaios()
        {
            return Err(Mismatch::Outage(format!("{code}: {message}")));
        }
        // After a restart of the server it is not known whether the state was too large for Ankaios,
        // neither for a request that reads it nor for an update whose size is checked.
        if code == Some("payload_too_large")
            && message.contains(TOO_LARGE_FOR_ANKAIOS)
            && self.needs_ankaios()
        {
            return Err(Mismatch::Outage(format!("payload_too_large: {message}")));
        }
        let right = match self {
            Self::Config(index) => is_config(&reply["desired_state"]["configs"], *index),
            Self::ConfigOwnFormat(index) => is_config(&reply["desiredState"]["configs"], *index),
            Self::Everything => (0..CONFIGS.len()).all(|index| {
                reply["desired_state"]["configs"][format!("static-{index}")] == config_text(index)
            }),
            Self::Nothing => code.is_none() && reply["desired_state"]["workloads"] == json!({}),
            Self::Apply { slot, .. } => {
                only_names(&reply, &["added_workloads", "deleted_workloads"], *slot)
            }
            Self::Delete { slot } => {
                reply["added_workloads"] == json!([])
                    && only_names(&reply, &["deleted_workloads"], *slot)
            }
            Self::Subscribe => {
                reply["id"] == SUBSCRIPTION && reply["complete_state"]["desired_state"].is_object()
            }
            Self::Talk => reply["added_workloads"][0]["workload_name"] == TALKER,
            Self::Follow => {
                reply["id"] == FOLLOWING && reply["workloads"][0]["workload_name"] == TALKER
            }
            Self::Logs => {
                reply["id"] == SUBSCRIPTION && reply["workloads"][0]["workload_name"] == RUNNING
            }
            Self::NoWorkload | Self::NoSubscription => {
                code == Some("not_found") && message.contains(&format!("\"none-{number}\""))
            }
            Self::Wait => {
                reply["workload_name"] == RUNNING && reply["execution_state"]["state"] == "RUNNING"
            }
            Self::NoUpdate => {
                code == Some("invalid_payload") && message.contains(&format!("\"a..{number}\""))
            }
            Self::Validate => {
                let name = format!("checked-{number}");
                let masks =
                    ["workloads", "configs"].map(|kind| format!("desiredState.{kind}.{name}"));
                reply
                    == json!({
                        "valid": true, "workloads": [name], "configs": [name], "update_mask": masks,
                    })
            }
            Self::Refused => {
                code == Some("rejected") && message.contains(&format!("'nowhere-{number}'"))
            }
            Self::NoManifest => {
                code == Some("invalid_manifest") && message.contains(&format!("bad {number}"))
            }
            Self::NoMasks => {
                code == Some("invalid_payload") && message.contains(&format!("`{number}`"))
            }
            Self::NoOperation => {
                code == Some("not_found") && message.contains(&format!("nonsense/{number}"))
            }
            Self::TooLarge => {
                let size = MAX_PAYLOAD + 1 + number as usize % 1000;
                code == Some("payload_too_large") && reply["error"]["details"]["size"] == size
            }
        };
        if right { Ok(()) } else { Err(wrong("not the reply to this request")) }
    }
}

/// A manifest with a workload and a config of this name.
fn manifest(name: &str, text: &str, padding: usize) -> String {
    let padding = "p".repeat(padding);
    format!(
        "apiVersion: v1\nworkloads:\n  {name}:\n    runtime: podman\n    agent: agent_A\n    \
         runtimeConfig: '{text}'\nconfigs:\n  {name}:\n    text: '{text}'\n    padding: '{padding}'\n"
    )
}

fn is_config(configs: &Value, index: usize) -> bool {
    *configs == json!({format!("static-{index}"): config_text(index)})
}

/// Whether these lists exist and contain no workload other than that of the slot.
fn only_names(reply: &Value, lists: &[&str], slot: usize) -> bool {
    let lists: Option<Vec<_>> = lists.iter().map(|list| reply[list].as_array()).collect();
    lists.is_some_and(|lists| {
        let names: BTreeSet<_> = lists
            .iter()
            .copied()
            .flatten()
            .map(|instance| instance["workload_name"].as_str())
            .collect();
        names.iter().all(|name| *name == Some(slot_name(slot).as_str()))
    })
}
