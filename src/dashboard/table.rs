//! The table of workload states, as text.

use ankaios_control::WorkloadStates;
use ankaios_model::InstanceName;
use ankaios_model::json::state_names;
use ankaios_model::proto::ank_base::ExecutionState;
use unicode_width::UnicodeWidthChar;

const COLUMNS: usize = 5;

const HEADER: [&str; COLUMNS] =
    ["WORKLOAD NAME", "AGENT", "ID", "STATE(SUBSTATE)", "ADDITIONAL INFO"];

/// The maximum width of each column. The last one gets the rest.
const MAX_WIDTHS: [usize; COLUMNS] = [40, 20, SHORT_ID, 30, usize::MAX];

/// The order in which columns get their width if the line is too narrow for all.
const IMPORTANCE: [usize; COLUMNS] = [STATE, 0, 1, 2, 4];

/// The column that is coloured.
const STATE: usize = 3;

/// How many characters of an id are shown, enough to distinguish instances.
const SHORT_ID: usize = 8;

const GAP: usize = 2;

/// Maximum number of characters for each terminal column: characters without a width must not
/// make a line endless.
const MAX_CHARS_PER_COLUMN: usize = 4;

/// The style of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Style {
    /// Maximum width of a line, in terminal columns.
    pub(super) width: usize,
    /// Maximum number of lines.
    pub(super) height: Option<usize>,
    /// Whether to colour text with escape sequences.
    pub(super) colour: bool,
}

/// The meaning of text, shown as its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    /// Running or succeeded.
    Good,
    /// In transition.
    Busy,
    /// Something is wrong.
    Bad,
    /// Headings.
    Strong,
    /// Stale.
    Faint,
}

impl Style {
    /// Colours text that has no escape sequences.
    pub(super) fn paint(self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Good => 32,
            Tone::Busy => 33,
            Tone::Bad => 31,
            Tone::Strong => 1,
            Tone::Faint => 2,
        };
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// A line without control characters, cut to the width.
    pub(super) fn line(self, tone: Option<Tone>, text: &str) -> String {
        let text = fit(&clean(text, self.width), self.width);
        tone.map_or_else(|| text.clone(), |tone| self.paint(tone, &text))
    }
}

/// The lines of the table: a header and a line for each instance. `faint` marks stale states.
pub(super) fn render(states: &WorkloadStates, style: Style, faint: bool) -> Vec<String> {
    if states.is_empty() {
        return Vec::new();
    }
    let rows: Vec<_> = states.iter().map(|(name, state)| row(name, state, style.width)).collect();
    let widths = widths(&rows, style.width);
    let header = line(&HEADER.map(str::to_owned), &widths, str::to_owned);
    let mut lines = vec![style.paint(Tone::Strong, &header)];
    let room = style.height.unwrap_or(usize::MAX).saturating_sub(1);
    let shown = if rows.len() > room { room.saturating_sub(1) } else { rows.len() };
    for ((_, state), cells) in states.iter().zip(&rows).take(shown) {
        let tone = tone(state);
        lines.push(if faint {
            style.paint(Tone::Faint, &line(cells, &widths, str::to_owned))
        } else {
            line(cells, &widths, |text| style.paint(tone, text))
        });
    }
    if shown < rows.len() {
        lines.push(style.line(None, &format!("… and {} more", rows.len() - shown)));
    }
    lines
}

/// The cells of an instance, without control characters.
fn row(name: &InstanceName, state: &ExecutionState, width: usize) -> [String; COLUMNS] {
    let id: String = name.workload_id.chars().take(SHORT_ID).collect();
    let execution = execution(state);
    [&name.workload_name, &name.agent_name, &id, &execution, state.additional_info()]
        .map(|text| clean(text, width))
}

/// State and substate as `ank get workloads` prints them: `Pending(StartingFailed)`.
fn execution(state: &ExecutionState) -> String {
    let (state, substate) = state_names(state);
    match substate.strip_prefix(state).map(|rest| rest.trim_start_matches('_')) {
        // States without substates.
        Some("") if state != "STOPPING" => camel_case(state),
        Some("") => format!("{0}({0})", camel_case(state)),
        Some(rest) => format!("{}({})", camel_case(state), camel_case(rest)),
        None if substate == state => camel_case(state),
        None => format!("{}({})", camel_case(state), camel_case(&substate)),
    }
}

/// `STARTING_FAILED` as `StartingFailed`.
fn camel_case(name: &str) -> String {
    let words = name.split('_').map(|word| {
        let mut chars = word.chars();
        let first: String = chars.next().into_iter().collect();
        first + &chars.as_str().to_ascii_lowercase()
    });
    words.collect()
}

fn tone(state: &ExecutionState) -> Tone {
    match state_names(state) {
        ("RUNNING" | "SUCCEEDED", _) => Tone::Good,
        ("FAILED" | "AGENT_DISCONNECTED" | "UNKNOWN", _) => Tone::Bad,
        (_, substate) if substate.ends_with("_FAILED") => Tone::Bad,
        _ => Tone::Busy,
    }
}

/// The width of each column: that of its text, within the maximum and the width of a line.
fn widths(rows: &[[String; COLUMNS]], room: usize) -> [usize; COLUMNS] {
    let header = HEADER.map(str::to_owned);
    let mut widths = [0; COLUMNS];
    let mut room = room + GAP;
    for column in IMPORTANCE {
        let cells = rows.iter().chain([&header]).filter_map(|row| row.get(column));
        let wanted = cells.map(|cell| width(cell)).max().unwrap_or(0);
        let max = MAX_WIDTHS.get(column).copied().unwrap_or(0);
        if let Some(width) = widths.get_mut(column) {
            *width = wanted.min(max).min(room.saturating_sub(GAP));
            if *width > 0 {
                room -= *width + GAP;
            }
        }
    }
    widths
}

/// A line of the table; `paint` colours the state.
fn line(
    cells: &[String; COLUMNS],
    widths: &[usize; COLUMNS],
    paint: impl Fn(&str) -> String,
) -> String {
    let mut line = String::new();
    for ((column, cell), room) in
        cells.iter().enumerate().zip(widths).filter(|(_, room)| **room > 0)
    {
        let text = fit(cell, *room);
        let padding = " ".repeat(room + GAP - width(&text));
        // Escape sequences have no width.
        line += &if column == STATE { paint(&text) } else { text };
        line += &padding;
    }
    line.truncate(line.trim_end().len());
    line
}

/// Removes control characters, and characters that change the direction of text, from text of
/// the vehicle. Cuts it to what can fit into a line of this width.
fn clean(text: &str, width: usize) -> String {
    let safe = |c: char| match c {
        '\n' | '\r' | '\t' | '\u{2028}' | '\u{2029}' => ' ',
        '\u{200e}'
        | '\u{200f}'
        | '\u{061c}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2066}'..='\u{2069}' => char::REPLACEMENT_CHARACTER,
        c if c.is_control() => char::REPLACEMENT_CHARACTER,
        c => c,
    };
    text.trim().chars().take(width.saturating_mul(MAX_CHARS_PER_COLUMN)).map(safe).collect()
}

/// Cuts text to a width and marks the cut with an ellipsis.
fn fit(text: &str, room: usize) -> String {
    if width(text) <= room {
        return text.to_owned();
    }
    let mut left = room.saturating_sub(1);
    let fits = |c: &char| match left.checked_sub(c.width().unwrap_or(0)) {
        Some(rest) => {
            left = rest;
            true
        }
        None => false,
    };
    let cut: String = text.chars().take_while(fits).collect();
    if room == 0 { cut } else { cut + "…" }
}

/// The width in terminal columns.
fn width(text: &str) -> usize {
    text.chars().filter_map(UnicodeWidthChar::width).sum()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use ankaios_model::proto::ank_base::execution_state::ExecutionStateEnum as E;
    use ankaios_model::proto::ank_base::{
        CompleteState, ExecutionsStatesForId, ExecutionsStatesOfWorkload, Failed, Pending,
        Stopping, WorkloadStatesMap,
    };

    use super::*;

    const PLAIN: Style = Style { width: 100, height: None, colour: false };
    const ID: &str = "f1ff876c25a1f36d0ad275e2d10ffc8a";

    fn states(rows: &[(&str, &str, E, &str)]) -> WorkloadStates {
        let mut map = WorkloadStatesMap::default();
        for (workload, agent, state, info) in rows {
            let agent: &mut ExecutionsStatesOfWorkload =
                map.agent_state_map.entry((*agent).to_owned()).or_default();
            let ids: &mut ExecutionsStatesForId =
                agent.wl_name_state_map.entry((*workload).to_owned()).or_default();
            let state = ExecutionState {
                additional_info: Some((*info).to_owned()),
                execution_state_enum: Some(*state),
            };
            ids.id_state_map.insert(ID.to_owned(), state);
        }
        let mut states = WorkloadStates::default();
        states.replace(&CompleteState { workload_states: Some(map), ..CompleteState::default() });
        states
    }

    #[test]
    fn a_table_has_a_header_and_a_line_for_each_instance() {
        let states = states(&[
            ("nginx", "agent_A", E::Running(0), ""),
            ("db", "b", E::Pending(Pending::StartingFailed.into()), "No such image"),
        ]);
        assert_eq!(
            render(&states, PLAIN, false),
            [
                "WORKLOAD NAME  AGENT    ID        STATE(SUBSTATE)          ADDITIONAL INFO",
                "nginx          agent_A  f1ff876c  Running(Ok)",
                "db             b        f1ff876c  Pending(StartingFailed)  No such image",
            ]
        );
        assert!(render(&WorkloadStates::default(), PLAIN, false).is_empty());
    }

    #[test]
    fn states_are_written_as_ank_does() {
        for (state, text) in [
            (Some(E::AgentDisconnected(0)), "AgentDisconnected"),
            (Some(E::Pending(Pending::WaitingToStart.into())), "Pending(WaitingToStart)"),
            (Some(E::Running(0)), "Running(Ok)"),
            (Some(E::Stopping(Stopping::Stopping.into())), "Stopping(Stopping)"),
            (Some(E::Stopping(Stopping::DeleteFailed.into())), "Stopping(DeleteFailed)"),
            (Some(E::Succeeded(0)), "Succeeded(Ok)"),
            (Some(E::Failed(Failed::ExecFailed.into())), "Failed(ExecFailed)"),
            (Some(E::NotScheduled(0)), "NotScheduled"),
            (Some(E::Removed(0)), "Removed"),
            (Some(E::Failed(77)), "Failed(Unknown77)"),
            (None, "Unknown"),
        ] {
            let state = ExecutionState { additional_info: None, execution_state_enum: state };
            assert_eq!(execution(&state), text);
        }
    }

    #[test]
    fn no_control_sequence_reaches_the_terminal() {
        let evil = "\x1b[2J\x1b]0;x\x07\u{9b}31m a\nb\tc\r\u{202e}d\u{7f}\0\u{2028}";
        let states = states(&[("w\x1b[0m\n", "a\u{200f}\x08", E::Running(0), evil)]);
        for style in [PLAIN, Style { colour: true, ..PLAIN }] {
            for faint in [false, true] {
                for line in render(&states, style, faint) {
                    let line = line.replace("\x1b[32m", "").replace("\x1b[0m", "");
                    let line = line.replace("\x1b[1m", "").replace("\x1b[2m", "");
                    assert!(!line.chars().any(char::is_control), "{line:?}");
                    assert!(!line.contains(['\u{202e}', '\u{200f}', '\u{2028}']), "{line:?}");
                }
            }
        }
        assert!(render(&states, PLAIN, false)[1].contains(" a b c \u{fffd}d"), "{states:?}");
        assert!(!PLAIN.line(None, evil).chars().any(char::is_control));
    }

    #[test]
    fn no_line_is_wider_than_the_screen() {
        let long = "x".repeat(100_000);
        let wide = "車".repeat(500);
        let marks = "e\u{301}".repeat(10_000) + &"\u{301}".repeat(100_000);
        let states = states(&[
            (&long, &long, E::Pending(Pending::StartingFailed.into()), &long),
            (&wide, &wide, E::Running(0), &wide),
            ("marks", &marks, E::Running(0), &marks),
        ]);
        for limit in [0, 1, 2, 10, 40, 80, 120, 300] {
            let style = Style { width: limit, ..PLAIN };
            for line in render(&states, style, false) {
                assert!(width(&line) <= limit, "{limit}: {line}");
                assert!(line.len() <= 20 * limit, "{limit}: {} bytes", line.len());
            }
        }
        let narrow = render(&states, Style { width: 40, ..PLAIN }, false);
        assert!(narrow.iter().any(|line| line.contains("StartingFailed)")), "{narrow:#?}");
    }

    #[test]
    fn colours_change_no_text() {
        let states = states(&[
            ("good", "a", E::Running(0), "x"),
            ("bad", "a", E::Failed(0), "Exit code: '1'"),
            ("busy", "a", E::Pending(0), ""),
        ]);
        let plain = render(&states, PLAIN, false);
        let coloured = render(&states, Style { colour: true, ..PLAIN }, false);
        for (text, tone) in [("good", "\x1b[32m"), ("bad", "\x1b[31m"), ("busy", "\x1b[33m")] {
            let line = coloured.iter().find(|line| line.contains(text)).unwrap();
            assert!(line.contains(tone), "{line:?}");
        }
        let escapes = ["\x1b[1m", "\x1b[32m", "\x1b[31m", "\x1b[33m", "\x1b[0m"];
        let bare = |line: &String| escapes.iter().fold(line.clone(), |l, e| l.replace(e, ""));
        assert_eq!(coloured.iter().map(bare).collect::<Vec<_>>(), plain);
        let faint = render(&states, Style { colour: true, ..PLAIN }, true);
        assert!(faint[1..].iter().all(|line| line.starts_with("\x1b[2m")), "{faint:?}");
    }

    #[test]
    fn rows_that_do_not_fit_on_the_screen_are_counted() {
        let rows: Vec<_> = (0..20).map(|n| format!("w{n:02}")).collect();
        let rows: Vec<_> =
            rows.iter().map(|name| (name.as_str(), "a", E::Running(0), "")).collect();
        let states = states(&rows);
        let lines = render(&states, Style { height: Some(10), ..PLAIN }, false);
        assert_eq!(lines.len(), 10);
        assert_eq!(lines.last().unwrap(), "… and 12 more");
        assert_eq!(render(&states, Style { height: Some(21), ..PLAIN }, false).len(), 21);
    }
}
