//! What commands have in common: the connection, the vehicles, and asking them.

use std::collections::VecDeque;

use mqtt_session::Subscription;

use super::arguments::{Connection, ConnectionArgs};
use super::call::{Answer, Call};
use super::failure::Failure;
use super::interrupt::Interrupt;
use super::progress;
use super::session::{Session, SessionEvent};
use crate::Vin;
use crate::inventory::Fleet;
use crate::report::thousands;
use crate::selection::Selection;

/// A connected command.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) session: Session,
    pub(crate) fleet: Fleet,
    pub(crate) connection: Connection,
    pub(crate) interrupt: Interrupt,
}

impl Context {
    /// Connects, and finds out who is there. `more` are subscriptions besides statuses and replies.
    ///
    /// # Errors
    /// There is no connection.
    pub(crate) async fn open(
        args: &ConnectionArgs,
        interrupt: &Interrupt,
        more: impl FnOnce(&str) -> Vec<Subscription>,
    ) -> Result<Self, Failure> {
        let connection = args.check()?;
        let options = connection.options.clone();
        let mut session = Session::open(options, more, connection.patience, interrupt).await?;
        session.find_vehicles(connection.fleet.as_ref(), connection.spread, interrupt).await?;
        let fleet = Fleet::new(connection.inventory.as_ref(), session.presence().seen());
        Ok(Self { session, fleet, connection, interrupt: interrupt.clone() })
    }

    /// The selected vehicles.
    ///
    /// # Errors
    /// The selection is empty or names unknown vehicles.
    pub(crate) fn select(&self, selection: &Selection) -> Result<Vec<Vin>, Failure> {
        selection.select(&self.fleet).map_err(Failure::usage)
    }

    /// The selected vehicles; without a selection, all.
    ///
    /// # Errors
    /// As [`select`](Self::select).
    pub(crate) fn select_or_all(&self, selection: &Selection) -> Result<Vec<Vin>, Failure> {
        if selection.is_missing() {
            return Ok(self.fleet.vehicles().map(|(vin, _)| vin.clone()).collect());
        }
        self.select(selection)
    }

    /// Whether a vehicle is selected, which may have been seen only now.
    pub(crate) fn is_selected(&mut self, selection: &Selection, vin: &Vin) -> bool {
        if let Some(status) = self.session.presence().get(vin) {
            self.fleet.see(vin.clone(), &status.labels);
        }
        self.fleet.get(vin).is_some_and(|known| selection.includes(vin, &known.labels))
    }

    /// Of these vehicles, those that are online, and those that are not.
    pub(crate) fn online(&self, vins: &[Vin]) -> (Vec<Vin>, Vec<Vin>) {
        vins.iter().cloned().partition(|vin| self.session.presence().is_online(vin))
    }

    /// Sends calls, at most `parallel` at once, and hands over each answer as it comes.
    ///
    /// # Errors
    /// Ctrl-C, or what `on_answer` returns.
    pub(crate) async fn ask(
        &mut self,
        calls: impl IntoIterator<Item = Call>,
        parallel: usize,
        mut on_answer: impl FnMut(&Vin, Answer) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut waiting: VecDeque<Call> = calls.into_iter().collect();
        let mut asked = std::collections::BTreeMap::new();
        let total = waiting.len();
        let line = progress::StatusLine::new();
        while !waiting.is_empty() || !asked.is_empty() {
            while self.session.pending() < parallel
                && let Some(call) = waiting.pop_front()
            {
                let vin = call.vin.clone();
                asked.insert(self.session.call(call), vin);
            }
            tokio::select! {
                event = self.session.next() => {
                    if let SessionEvent::Answered(token, answer) = event
                        && let Some(vin) = asked.remove(&token)
                    {
                        on_answer(&vin, answer)?;
                        let done = total - waiting.len() - asked.len();
                        if total > 100 {
                            let (done, total) = (thousands(done), thousands(total));
                            line.show(&format!("{done} of {total} vehicles have answered"));
                        }
                    }
                }
                () = self.interrupt.wait() => return Err(Failure::Interrupted),
            }
        }
        Ok(())
    }

    /// Ends the connection.
    pub(crate) async fn close(self) {
        self.session.close().await;
    }
}
