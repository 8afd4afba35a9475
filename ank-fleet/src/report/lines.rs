//! The lines about a plan, a wave and a verdict.

use std::time::Duration;

use super::causes::causes;
use super::numbers::thousands;
use crate::changes::ChangeGroup;
use crate::rollout::{Halt, OutcomeKind, Plan, Stage, State};

/// The lines that are printed before anything is sent.
#[must_use]
pub fn plan_lines(plan: &Plan, online: usize, groups: &[ChangeGroup]) -> Vec<String> {
    let count = plan.vehicles.len();
    let noun = if count == 1 { "vehicle" } else { "vehicles" };
    let unchanged = match plan.unchanged.len() {
        0 => String::new(),
        unchanged => format!(", {} unchanged", thousands(unchanged)),
    };
    let offline = count.saturating_sub(online);
    let presence = match (offline, plan.options.queue) {
        (0, _) => "all online".to_owned(),
        (_, None) => {
            format!("{} online, {} offline → pending", thousands(online), thousands(offline))
        }
        (_, Some(queue)) => format!(
            "{} online, {} offline → queued for {}",
            thousands(online),
            thousands(offline),
            duration(queue)
        ),
    };
    let sizes: Vec<String> = plan.waves.iter().map(|size| thousands(*size)).collect();
    let mut lines = vec![
        format!("roll-out {}: {} {noun} ({presence}){unchanged}", plan.id, thousands(count)),
        format!(
            "  waves {}; stops above {} failed in a wave",
            sizes.join(", "),
            plan.options.max_failures
        ),
    ];
    let changes: Vec<String> = groups
        .iter()
        .filter(|group| !group.changes.is_empty())
        .map(|group| format!("{}× {group}", thousands(group.vins.len())))
        .collect();
    if !changes.is_empty() {
        lines.push(format!("  changes  {}", changes.join("   ")));
    }
    lines
}

/// The progress of a wave, without a bar.
#[must_use]
pub fn wave_line(state: &State, wave: usize) -> String {
    format!("{}   {}", wave_name(state, wave), wave_text(state, wave))
}

/// Which wave of how many.
#[must_use]
pub fn wave_name(state: &State, wave: usize) -> String {
    format!("wave {wave}/{}", state.plan().waves.len())
}

/// For how many vehicles of a wave it is over, and how many they are.
#[must_use]
pub fn wave_progress(state: &State, wave: usize) -> (usize, usize) {
    let tally = state.tally(wave);
    (tally.done(), state.wave_size(wave) + tally.unchanged)
}

/// The counts of a wave.
#[must_use]
pub fn wave_text(state: &State, wave: usize) -> String {
    let tally = state.tally(wave);
    let (done, size) = wave_progress(state, wave);
    let mut parts = vec![
        format!("{}/{}", thousands(done), thousands(size)),
        format!("ok {}", thousands(tally.succeeded)),
    ];
    let mut add = |name: &str, count: usize| {
        if count > 0 {
            parts.push(format!("{name} {}", thousands(count)));
        }
    };
    add("unchanged", tally.unchanged);
    if tally.failed > 0 {
        let limit = state.plan().options.max_failures.of(state.wave_size(wave));
        add("failed", tally.failed);
        if let Some(part) = parts.last_mut() {
            part.push_str(&format!(" (limit {})", thousands(limit)));
        }
    }
    let mut add = |name: &str, count: usize| {
        if count > 0 {
            parts.push(format!("{name} {}", thousands(count)));
        }
    };
    add("unreachable", tally.unreachable);
    add("superseded", tally.superseded);
    add("queued", tally.queued);
    add("undone", tally.undone);
    if tally.in_flight > 0 {
        parts.push(format!("{} in flight", thousands(tally.in_flight)));
    }
    let is_over = wave < state.wave() || state.stage() == Stage::Finished;
    if let Some(soak) = state.plan().options.soak {
        let is_soaking = wave == state.wave() && matches!(state.stage(), Stage::Soaking { .. });
        if is_soaking || is_over {
            parts.push(format!("soak {}{}", duration(soak), if is_over { " ok" } else { "" }));
        }
    }
    parts.join("   ")
}

/// The lines at the end: why it has stopped, the causes, and what is left.
#[must_use]
pub fn verdict_lines(state: &State) -> Vec<String> {
    let mut lines = vec![headline(state)];
    lines.extend(causes(state).iter().map(|cause| format!("  {cause}")));
    let pending = count(state, OutcomeKind::Pending);
    if pending > 0 {
        lines.push(format!("  {} pending", thousands(pending)));
    }
    let not_undone = state.vehicles().iter().filter(|vehicle| {
        vehicle.outcome() == Some(OutcomeKind::Succeeded) && !vehicle.is_undo_sent
    });
    let not_undone = not_undone.count();
    let was_undone = state.vehicles().iter().any(|vehicle| vehicle.is_undo_sent);
    if was_undone && not_undone > 0 {
        lines.push(format!("  {} not taken back: offline", thousands(not_undone)));
    }
    lines
}

fn headline(state: &State) -> String {
    let limit_line = |wave: usize, count: usize, what: &str, limit: usize| {
        let size = thousands(state.wave_size(wave));
        format!("stopped in wave {wave}: {} of {size} {what}, limit {limit}", thousands(count))
    };
    let options = &state.plan().options;
    match state.halt() {
        Some(&Halt::Failures { wave }) => {
            let limit = options.max_failures.of(state.wave_size(wave));
            limit_line(wave, state.tally(wave).failed, "failed", limit)
        }
        Some(&Halt::Unreachable { wave }) => {
            let limit = options.max_unreachable.of(state.wave_size(wave));
            limit_line(wave, state.tally(wave).unreachable, "were unreachable", limit)
        }
        Some(Halt::NoSuccess { wave }) => format!("stopped in wave {wave}: none succeeded"),
        Some(Halt::Gate { wave, message }) => {
            format!("stopped after wave {wave}: the gate failed: {message}")
        }
        Some(Halt::Undo) => format!("{} taken back", thousands(count(state, OutcomeKind::Undone))),
        Some(Halt::Paused) if is_between_waves(state) => {
            format!("paused after wave {}", state.wave().saturating_sub(1))
        }
        Some(halt) => format!("{halt} in wave {}", state.wave()),
        None => {
            let total = state.vehicles().len();
            let (ok, unchanged) =
                (count(state, OutcomeKind::Succeeded), count(state, OutcomeKind::Unchanged));
            let word = if state.stage() == Stage::Finished { "finished" } else { "interrupted" };
            let unchanged = match unchanged {
                0 => String::new(),
                unchanged => format!(", {} unchanged", thousands(unchanged)),
            };
            format!("{word}: {} of {} succeeded{unchanged}", thousands(ok), thousands(total))
        }
    }
}

/// Whether it is paused after a wave, and the next one has not begun.
#[must_use]
pub fn is_between_waves(state: &State) -> bool {
    let wave = state.wave();
    wave > 1 && state.halt() == Some(&Halt::Paused) && state.tally(wave).attempted == 0
}

/// What the operator can do next; `None` if there is nothing.
#[must_use]
pub fn next_commands(state: &State) -> Option<String> {
    let id = &state.plan().id;
    let undo = format!("undo: ank-fleet rollout undo {id}");
    if state.halt() == Some(&Halt::Aborted) {
        return Some(undo);
    }
    if state.stage() != Stage::Finished {
        return Some(format!("resume: ank-fleet rollout resume {id}     {undo}"));
    }
    let is_left = state.halt().is_none() && count(state, OutcomeKind::Pending) > 0;
    is_left.then(|| format!("retry: ank-fleet rollout retry {id}"))
}

fn count(state: &State, outcome: OutcomeKind) -> usize {
    state.vehicles().iter().filter(|vehicle| vehicle.outcome() == Some(outcome)).count()
}

fn duration(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_of_a_plan_say_how_many_and_what() {
        use crate::changes::{ChangeGroup, ItemChange, ItemDiff};
        use crate::rollout::{Change, Options};

        let vins = (0..9214).map(|number| format!("WDB{number:05}").parse().unwrap());
        let change = (Change::Apply, String::new());
        let (id, created) = ("7f3a".parse().unwrap(), crate::Time::from_millis(0));
        let mut plan = Plan::new(id, created, change, vins, None, Options::default()).unwrap();
        plan.unchanged = plan.vehicles.iter().take(41).cloned().collect();
        let diff = |name: &str, change| ItemDiff { is_config: false, name: name.into(), change };
        let changes = vec![diff("nginx", ItemChange::Added)];
        let group =
            ChangeGroup { changes, vins: plan.vehicles.iter().take(1200).cloned().collect() };
        let unchanged = ChangeGroup { changes: Vec::new(), vins: Vec::new() };
        assert_eq!(
            plan_lines(&plan, 8950, &[unchanged, group]),
            [
                "roll-out 7f3a: 9,214 vehicles (8,950 online, 264 offline → pending), 41 unchanged",
                "  waves 1, 461, 2,304, 9,214; stops above 2% failed in a wave",
                "  changes  1,200× nginx new",
            ]
        );
    }
}
