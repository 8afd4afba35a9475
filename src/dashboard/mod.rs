//! The dashboard: prints the states of all workloads at its start and at each change.
//!
//! ```text
//!  ankaios events ── listener ──► board ──► screen
//!  ankaios link ── status ───────►  │ table
//! ```

mod board;
mod screen;
mod table;

use std::io;

use ankaios_control as ankaios;
use ankaios_control::{Event, EventListener, Failure, ListenerError, Listeners};
use async_trait::async_trait;
use board::{Board, BoardUpdate};
use screen::Screen;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::settings::DashboardSettings;

const FIELD_MASK: &str = "workloadStates";

/// Maximum number of updates that wait for the screen. More updates wait in the subscription; if
/// its buffer is full, too, it starts again with all states.
const MAX_UPDATES: usize = 16;

/// Prints the states of all workloads until `stop` is cancelled.
///
/// # Errors
/// Standard output cannot be written, or changes of the terminal's size cannot be watched.
pub async fn run(settings: DashboardSettings, stop: CancellationToken) -> io::Result<()> {
    let shown = show(settings);
    stop.run_until_cancelled_owned(shown).await.unwrap_or(Ok(()))
}

/// Shows the states. Returns only with an error.
async fn show(settings: DashboardSettings) -> io::Result<()> {
    let (client, link) = ankaios::connect(settings.control_interface_dir, settings.request_timeout);
    let mut status = link.status();
    let (sender, mut updates) = mpsc::channel(MAX_UPDATES);
    let _link = AbortOnDropHandle::new(tokio::spawn(link.run()));
    let events = client.events(vec![FIELD_MASK.into()]);
    let _listening = Listeners::new().with(BoardUpdater(sender)).listen(events);

    let mut resized = signal(SignalKind::window_change())?;
    let mut screen = Screen::new();
    let mut board = Board::default();
    let mut shown = None;
    loop {
        if shown.as_ref() != Some(&board) {
            screen.show(&board).await?;
            shown = Some(board.clone());
        }
        tokio::select! {
            // The link comes first: an event over a new link must not count as stale.
            biased;
            Ok(()) = status.changed() => board.set_link(status.borrow_and_update().clone()),
            Some(update) = updates.recv() => board.update(update),
            _ = resized.recv(), if screen.is_terminal() => shown = None,
        }
    }
}

/// Forwards events to the board.
struct BoardUpdater(mpsc::Sender<BoardUpdate>);

#[async_trait]
impl EventListener for BoardUpdater {
    async fn event(&mut self, event: &Event) -> Result<(), Failure> {
        Ok(self.0.send(BoardUpdate::Event(Box::new(event.clone()))).await?)
    }

    async fn error(&mut self, error: &ListenerError) {
        let reason = match error {
            ListenerError::Subscription(reason) => reason.to_string(),
            failure => failure.to_string(),
        };
        // Without a receiver the dashboard has ended.
        let _ = self.0.send(BoardUpdate::Failed(reason)).await;
    }
}
