//! Sends one request at a time.

use std::time::Duration;

use tokio::time::timeout;

use super::load::Load;
use super::request::{Kind, Mismatch};
use super::support::Requester;

/// Sends a request and expects the correct reply.
pub(crate) async fn ask(
    load: &mut Load<'_>,
    operator: &Requester,
    kind: Kind,
    limit: Duration,
) -> Result<(), String> {
    let number = load.ask(kind.clone()).await;
    let reply = timeout(limit, operator.reply(number, limit)).await;
    let Ok(Some(answer)) = reply else {
        return Err(format!("{number}: {kind:?}: no reply within {limit:?}"));
    };
    match kind.judge(number, &answer.payload) {
        Ok(()) => Ok(()),
        Err(Mismatch::Outage(what) | Mismatch::Wrong(what)) => {
            Err(format!("{number}: {kind:?}: {what}"))
        }
    }
}
