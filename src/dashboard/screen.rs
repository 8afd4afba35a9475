//! Prints the dashboard to standard output: a terminal or a log.

use std::io::{self, IsTerminal, Write, stdout};
use std::time::SystemTime;

use rustix::termios::tcgetwinsize;
use tokio::task::spawn_blocking;

use super::board::Board;
use super::table::Style;

/// The width of lines in a log.
const LOG_WIDTH: usize = 160;

/// The size of a terminal that does not report one.
const TERMINAL_SIZE: (usize, usize) = (80, 24);

/// Standard output, as a terminal or a log.
#[derive(Debug)]
pub(super) struct Screen {
    terminal: bool,
    colour: bool,
    /// Whether something was printed already.
    has_printed: bool,
}

impl Screen {
    /// Detects what standard output is. A terminal gets colours, unless the environment
    /// variable `NO_COLOR` is set and not empty (no-color.org).
    pub(super) fn new() -> Self {
        let terminal = stdout().is_terminal();
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { terminal, colour: terminal && !no_colour, has_printed: false }
    }

    pub(super) fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Shows the board: in place on a terminal, otherwise below the previous output.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub(super) async fn show(&mut self, board: &Board) -> io::Result<()> {
        let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        let text = if self.terminal {
            let (width, height) = terminal_size();
            let style = Style { width, height: Some(height), colour: self.colour };
            let clear = if self.has_printed { "" } else { CLEAR };
            self.has_printed = true;
            format!("{clear}{}", in_place(board, &now, style))
        } else {
            block(board, &now, Style { width: LOG_WIDTH, height: None, colour: false })
        };
        // Writing to a terminal can block without a limit.
        let written = spawn_blocking(move || {
            let mut stdout = stdout().lock();
            stdout.write_all(text.as_bytes())?;
            stdout.flush()
        });
        written.await.map_err(io::Error::other)?
    }
}

const CLEAR: &str = "\x1b[2J";
const HOME: &str = "\x1b[H";
const CLEAR_REST_OF_LINE: &str = "\x1b[K";
const CLEAR_BELOW: &str = "\x1b[J";

/// Replaces the content of a terminal line by line, so that it does not flicker.
fn in_place(board: &Board, now: &str, style: Style) -> String {
    let (tone, headline) = board.headline();
    // Three lines are not for the table: the headline, a blank line and the line of the cursor.
    let height = style.height.map(|height| height.saturating_sub(3));
    let mut text = HOME.to_owned();
    let headline = style.line(Some(tone), &format!("{now}  {headline}"));
    let table = board.table(Style { height, ..style });
    for line in [headline, String::new()].iter().chain(&table) {
        text += line;
        text += CLEAR_REST_OF_LINE;
        text += "\n";
    }
    text + CLEAR_BELOW
}

/// A block for a log. It has a table only if the states are up to date.
fn block(board: &Board, now: &str, style: Style) -> String {
    let (tone, headline) = board.headline();
    // The headline may contain a reason, which may be wider than the table.
    let wide = Style { width: 4 * style.width, ..style };
    let mut text = wide.line(Some(tone), &format!("{now} {headline}")) + "\n";
    if board.is_fresh() {
        for line in board.table(style) {
            text += &line;
            text += "\n";
        }
        text += "\n";
    }
    text
}

/// The number of columns and lines of the terminal.
fn terminal_size() -> (usize, usize) {
    match tcgetwinsize(stdout()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col.into(), size.ws_row.into()),
        _ => TERMINAL_SIZE,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use ankaios_control::LinkStatus;
    use ankaios_control::testing::snapshot;
    use ankaios_model::proto::ank_base::CompleteState;

    use super::super::board::BoardUpdate;
    use super::*;

    const NOW: &str = "2026-01-02T03:04:05Z";
    const STYLE: Style = Style { width: 40, height: Some(24), colour: false };

    #[test]
    fn a_terminal_is_written_over_line_by_line() {
        let mut board = Board::default();
        board.set_link(LinkStatus::Connected);
        board.update(BoardUpdate::Event(Box::new(snapshot(CompleteState::default()))));
        let text = in_place(&board, NOW, STYLE);
        assert_eq!(text, "\x1b[H2026-01-02T03:04:05Z  0 workloads\x1b[K\n\x1b[K\n\x1b[J");
        let text = in_place(&board, NOW, Style { colour: true, ..STYLE });
        assert!(text.contains("\x1b[1m2026-01-02T03:04:05Z  0 workloads\x1b[0m"), "{text:?}");
    }

    #[test]
    fn a_log_gets_the_reason_in_full_and_no_table_while_there_is_no_link() {
        let mut board = Board::default();
        let reason = "it is a long story, ".repeat(5) + "the end";
        board.set_link(LinkStatus::Disconnected { reason: reason.clone() });
        let text = block(&board, NOW, STYLE);
        assert_eq!(text, format!("{NOW} no link to Ankaios: {reason}\n"));
        board.set_link(LinkStatus::Connected);
        board.update(BoardUpdate::Event(Box::new(snapshot(CompleteState::default()))));
        assert_eq!(block(&board, NOW, STYLE), format!("{NOW} 0 workloads\n\n"));
    }
}
