//! The content of the dashboard: the link, the states, and errors.

use ankaios_control::Event;
use ankaios_control::{LinkStatus, WorkloadStates};

use super::table::{Style, Tone, render};

/// An update of the subscription.
#[derive(Debug)]
pub(super) enum BoardUpdate {
    /// Changed states; at the start, all states.
    Event(Box<Event>),
    /// The reason why there is no subscription.
    Failed(String),
}

/// The content of the dashboard.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Board {
    /// `None` until it is known.
    link: Option<LinkStatus>,
    failure: Option<String>,
    states: WorkloadStates,
    /// Whether the states are up to date.
    fresh: bool,
}

impl Board {
    /// Records the link state. States from before a loss may be stale until the subscription
    /// starts again with all of them.
    pub(super) fn set_link(&mut self, link: LinkStatus) {
        let connected = Some(LinkStatus::Connected);
        let link = Some(link);
        if link != connected || self.link != connected {
            self.fresh = false;
            self.failure = None;
        }
        self.link = link;
    }

    /// Applies an update of the subscription.
    pub(super) fn update(&mut self, update: BoardUpdate) {
        match update {
            BoardUpdate::Event(event) => {
                self.states.apply(&event);
            }
            BoardUpdate::Failed(reason) => {
                self.fresh = false;
                self.failure = Some(reason);
                return;
            }
        }
        self.fresh = true;
        self.failure = None;
    }

    /// Whether the table is up to date.
    pub(super) fn is_fresh(&self) -> bool {
        self.fresh && self.link == Some(LinkStatus::Connected)
    }

    /// The line above the table.
    pub(super) fn headline(&self) -> (Tone, String) {
        match (&self.link, &self.failure) {
            (None, _) => (Tone::Busy, "connecting to Ankaios".into()),
            (Some(LinkStatus::Connected), Some(failure)) => {
                (Tone::Bad, format!("no workload states: {failure}"))
            }
            (Some(LinkStatus::Connected), None) if !self.fresh => {
                (Tone::Busy, "connected; waiting for the workload states".into())
            }
            (Some(LinkStatus::Connected), None) => {
                let count = self.states.len();
                let noun = if count == 1 { "workload" } else { "workloads" };
                (Tone::Strong, format!("{count} {noun}"))
            }
            (Some(link), _) => (Tone::Bad, format!("no link to Ankaios: {}", link.reason())),
        }
    }

    /// The table; stale states are faint.
    pub(super) fn table(&self, style: Style) -> Vec<String> {
        render(&self.states, style, !self.is_fresh())
    }
}

#[cfg(test)]
mod tests {
    use ankaios_control::testing;
    use ankaios_model::proto::ank_base::CompleteState;

    use super::*;

    fn snapshot() -> BoardUpdate {
        BoardUpdate::Event(Box::new(testing::snapshot(CompleteState::default())))
    }

    fn lost() -> LinkStatus {
        LinkStatus::Disconnected { reason: "the agent has gone".into() }
    }

    #[test]
    fn the_headline_says_what_is_wrong() {
        let mut board = Board::default();
        assert_eq!(board.headline().1, "connecting to Ankaios");
        board.set_link(lost());
        let no_link = (Tone::Bad, "no link to Ankaios: the agent has gone".to_owned());
        assert_eq!(board.headline(), no_link);
        board.set_link(LinkStatus::Connected);
        assert_eq!(board.headline().1, "connected; waiting for the workload states");
        board.update(BoardUpdate::Failed("denied".into()));
        assert_eq!(board.headline(), (Tone::Bad, "no workload states: denied".to_owned()));
        board.update(snapshot());
        assert_eq!(board.headline(), (Tone::Strong, "0 workloads".to_owned()));
        assert!(board.is_fresh());
    }

    #[test]
    fn states_from_before_a_loss_are_old_until_there_are_new_ones() {
        let mut board = Board::default();
        board.set_link(LinkStatus::Connected);
        board.update(snapshot());
        board.set_link(lost());
        // An event that was in transit when the link was lost.
        board.update(snapshot());
        assert!(!board.is_fresh());
        board.set_link(LinkStatus::Connected);
        assert!(!board.is_fresh());
        board.update(snapshot());
        board.set_link(LinkStatus::Connected);
        assert!(board.is_fresh());
    }
}
