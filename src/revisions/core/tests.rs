//! Tests of the core: a model of a vehicle and of a disk, with random events, faults and crashes.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod adoption;
mod changes;
mod doubt;
mod model;
mod random;
mod random_trials;
mod restarts;
mod restoration;
mod rollback;
mod trials;

use std::time::Duration;

use ankaios_control::RequestError;
use ankaios_model::proto::ank_base::UpdateStateSuccess;
use fleet_contract::error::{ErrorCode, ErrorReply};
use fleet_contract::revision::{RevisionStatus, RollbackMode};
use fleet_contract::rollout::RolloutStatus;
use fleet_contract::status::RestoreState;
use model::{Fault, World};
use serde_json::json;

use super::state::{RETRY, SAVE_DELAY, STORE_RETRY, UNREAD_RETRY};
use super::*;
use crate::revisions::marker::{self, Marker};
use crate::revisions::revision::{MAX_TRIES, Origin};
use crate::revisions::serial::{OriginSignature, RequestSerial};

fn origin(mode: RollbackMode) -> Origin {
    Origin {
        operation: "manifest/apply".into(),
        request_id: "7f3a/1".into(),
        release: Some("1.0".into()),
        signed: None,
        rollback: mode,
    }
}

/// The origin of a request that is signed with this serial.
fn signed_origin(serial: u64, digest: &str) -> Origin {
    let serial = RequestSerial { serial, digest: digest.into() };
    let signed = OriginSignature { serial, signed_by: vec!["key".into()] };
    Origin { signed: Some(signed), ..origin(RollbackMode::Off) }
}

/// The number of the current revision, the values in the vehicle, and the marker's revision.
fn summary(world: &World) -> (u64, Vec<(String, String)>, Option<u64>) {
    let values = world.vehicle.values();
    (world.core().current(), values, world.vehicle.marker().map(|marker| marker.revision))
}

fn values(values: &[(&str, &str)]) -> Vec<(String, String)> {
    values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}
