//! `manifest/delete`: deletes the items of a manifest.

use fleet_contract::error::ErrorReply;

use super::call::{Answer, Call};
use super::context::Context;
use super::{manifest, update};

pub(super) async fn start(context: &Context, call: Call) -> Result<Answer, ErrorReply> {
    let update = manifest::parse(call.payload).await?.into_delete_request();
    update::start(context, None, call.force, update).await
}
