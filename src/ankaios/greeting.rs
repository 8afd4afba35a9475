//! What opens a session with the agent: a Hello, and a small request behind it.

use bytes::{Bytes, BytesMut};

use super::codec;
use crate::proto::ank_base::request::RequestContent;
use crate::proto::ank_base::{CompleteStateRequest, Request};
use crate::proto::control_api::to_ankaios::ToAnkaiosEnum;
use crate::proto::control_api::{Hello, ToAnkaios};

/// Only the major version must be the agent's.
const PROTOCOL_VERSION: &str = "1.0.0";

/// The smallest part of the state that every Ankaios has.
const PROBE_MASK: &str = "desiredState.apiVersion";

/// The frame of a small request with this id. A session that goes on answers no
/// second Hello, but it does answer this.
pub(super) fn probe(request_id: String) -> Bytes {
    let request =
        CompleteStateRequest { field_mask: vec![PROBE_MASK.into()], subscribe_for_events: false };
    let request = Request {
        request_id,
        request_content: Some(RequestContent::CompleteStateRequest(request)),
    };
    codec::encode(&ToAnkaios { to_ankaios_enum: Some(ToAnkaiosEnum::Request(request)) })
}

/// A Hello in front of frames, to be written together.
pub(super) fn with_hello(frames: &[u8]) -> Bytes {
    let hello = Hello { protocol_version: PROTOCOL_VERSION.into() };
    let hello = codec::encode(&ToAnkaios { to_ankaios_enum: Some(ToAnkaiosEnum::Hello(hello)) });
    let mut bytes = BytesMut::with_capacity(hello.len() + frames.len());
    bytes.extend_from_slice(&hello);
    bytes.extend_from_slice(frames);
    bytes.freeze()
}
