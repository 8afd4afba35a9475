//! What opens a session with the agent: a Hello, followed by a small request, the probe.

use ankaios_model::proto::ank_base::request::RequestContent;
use ankaios_model::proto::ank_base::{CompleteStateRequest, Request};
use ankaios_model::proto::control_api::to_ankaios::ToAnkaiosEnum;
use ankaios_model::proto::control_api::{Hello, ToAnkaios};
use bytes::{Bytes, BytesMut};

use super::codec;

/// An agent accepts each Hello whose major version is its own.
const PROTOCOL_VERSION: &str = "1.0.0";

/// The smallest part of the state that every Ankaios has.
const PROBE_MASK: &str = "desiredState.apiVersion";

/// Ends the request ids of probes.
pub(super) const PROBE_SUFFIX: &str = "-probe";

/// The frame of a probe. An agent whose session goes on ignores a second Hello, but answers
/// this.
pub(super) fn probe(request_id: &str) -> Bytes {
    let request =
        CompleteStateRequest { field_mask: vec![PROBE_MASK.into()], subscribe_for_events: false };
    let request = Request {
        request_id: format!("{request_id}{PROBE_SUFFIX}"),
        request_content: Some(RequestContent::CompleteStateRequest(request)),
    };
    codec::encode(&ToAnkaios { to_ankaios_enum: Some(ToAnkaiosEnum::Request(request)) })
}

/// What to do after an agent has closed the session for this reason.
pub(super) fn remedy(reason: &str) -> &'static str {
    let supported = reason
        .strip_prefix("Unsupported protocol version")
        .and_then(|rest| rest.split_once("supported '"))
        .map(|(_, version)| version);
    match supported {
        Some(version) if version.starts_with("0.") => {
            "this Ankaios is too old: the connector needs Ankaios 1.0 or newer; update Ankaios"
        }
        Some(_) => {
            "this Ankaios is not supported: the connector needs Ankaios 1.0 or newer, but not yet \
             2.0; update the connector"
        }
        None => "restart the connector's workload or the Ankaios agent",
    }
}

/// Puts a Hello in front of frames, to be written together.
pub(super) fn with_hello(frames: &[u8]) -> Bytes {
    let hello = Hello { protocol_version: PROTOCOL_VERSION.into() };
    let hello = codec::encode(&ToAnkaios { to_ankaios_enum: Some(ToAnkaiosEnum::Hello(hello)) });
    let mut bytes = BytesMut::with_capacity(hello.len() + frames.len());
    bytes.extend_from_slice(&hello);
    bytes.extend_from_slice(frames);
    bytes.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_of_another_version_is_named_as_the_reason() {
        let unsupported = |supported: &str| {
            let reason = "Unsupported protocol version '1.0.0'. Currently supported";
            remedy(&format!("{reason} '{supported}'"))
        };
        for old in ["0.5", "0.7"] {
            assert!(unsupported(old).contains("needs Ankaios 1.0 or newer; update Ankaios"));
        }
        assert!(unsupported("2").contains("update the connector"));
        for other in ["Initial Hello missing!", "", "Unsupported protocol version"] {
            assert!(remedy(other).starts_with("restart"), "{other}");
        }
    }
}
