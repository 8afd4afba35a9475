//! Ways to make the simulated Ankaios misbehave, all of them seen on real ones.

use std::fmt;
use std::time::Duration;

use fleet_connector::proto::ank_base::Request;

/// What becomes of a request or of its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The request is lost: not served, not answered.
    LoseRequest,
    /// The request is served, its answer is lost. Events still arrive.
    LoseAnswer,
    /// The request is served at once, its answer comes late. Others overtake it.
    DelayAnswer(Duration),
    /// The answer carries this id instead of its own.
    AnswerAs(String),
    /// The answer comes this many times more.
    RepeatAnswer(usize),
}

/// How fast the simulated agent reads what the workload writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReadPace {
    /// As fast as it comes.
    #[default]
    Full,
    /// So many bytes per second, in small pieces.
    BytesPerSecond(u32),
    /// Not at all, until the pace changes.
    Paused,
}

type Predicate = Box<dyn FnMut(&Request) -> bool + Send>;

/// A fault for some of the requests.
pub(crate) struct Rule {
    matches: Predicate,
    /// How many requests it still applies to.
    times: usize,
    fault: Fault,
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rule").field("times", &self.times).field("fault", &self.fault).finish()
    }
}

/// The faults that are switched on.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    rules: Vec<Rule>,
    /// The server takes requests and answers none.
    pub(crate) server_down: bool,
    pub(crate) pace: ReadPace,
    pub(crate) lose_half_read_frames: bool,
    pub(crate) entries_after_cancel: usize,
}

impl Faults {
    pub(crate) fn add(
        &mut self,
        times: usize,
        fault: Fault,
        matches: impl FnMut(&Request) -> bool + Send + 'static,
    ) {
        self.rules.push(Rule { matches: Box::new(matches), times, fault });
    }

    pub(crate) fn clear(&mut self) {
        self.rules.clear();
    }

    /// The fault for a request, if there is one: the first rule that matches.
    pub(crate) fn fault_for(&mut self, request: &Request) -> Option<Fault> {
        let index = self.rules.iter_mut().position(|rule| (rule.matches)(request))?;
        let rule = self.rules.get_mut(index)?;
        let fault = rule.fault.clone();
        rule.times = rule.times.saturating_sub(1);
        if rule.times == 0 {
            self.rules.remove(index);
        }
        Some(fault)
    }
}
