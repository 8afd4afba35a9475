//! What commands write to standard error: progress and notes.

use std::io::{self, Write};
use std::sync::LazyLock;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use crate::text::one_line;

/// How often the rate of a bar is computed anew.
const REDRAW: Duration = Duration::from_secs(1);

/// What is shown on a terminal, below what was written. Elsewhere nothing is shown.
static SHOWN: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// Writes a line to standard error, above the progress. Whatever it contains, it stays one line and
/// does not control the terminal.
pub(crate) fn note(line: &str) {
    let line = one_line(line);
    SHOWN.suspend(|| {
        // If it is closed, there is still the exit code.
        let _ = writeln!(io::stderr(), "{line}");
    });
}

/// Writes several lines, of which none is from outside.
pub(crate) fn notes(lines: &str) {
    lines.lines().for_each(note);
}

/// A line that is replaced by the next one on a terminal; elsewhere it is not written. When
/// dropped, it is removed.
#[derive(Debug)]
pub(crate) struct StatusLine(ProgressBar);

impl StatusLine {
    pub(crate) fn new() -> Self {
        let line = SHOWN.add(ProgressBar::no_length());
        line.set_style(style("{msg}"));
        Self(line)
    }

    /// Shows a line instead of the former one.
    pub(crate) fn show(&self, line: &str) {
        self.0.set_message(line.to_owned());
    }
}

impl Drop for StatusLine {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// The progress of a wave: a bar on a terminal, and at the end of the wave a line that stays. When
/// dropped, the bar is removed.
#[derive(Debug)]
pub(crate) struct WaveBar(ProgressBar);

impl WaveBar {
    /// The bar of a wave of `total` vehicles, of which `done` are done. `name` comes before the bar,
    /// `text` behind it.
    pub(crate) fn new(name: String, done: usize, total: usize, text: String) -> Self {
        // All of it is known before it is drawn first.
        let hidden = ProgressDrawTarget::hidden();
        let bar = ProgressBar::with_draw_target(Some(number(total)), hidden).with_message(text);
        // What a roll-out that is resumed has done before does not count for the rate.
        bar.set_position(number(done));
        bar.reset_eta();
        let bar = SHOWN.add(bar);
        bar.set_style(
            style("{prefix}   {bar:20.cyan/dim}   {wide_msg}   {rate}")
                .with_key("rate", |state: &ProgressState, out: &mut dyn std::fmt::Write| {
                    let _ = out.write_str(&rate(state.per_sec()));
                })
                .progress_chars("━╸ "),
        );
        bar.set_prefix(name);
        bar.enable_steady_tick(REDRAW);
        Self(bar)
    }

    /// Shows how far the wave is.
    pub(crate) fn show(&self, done: usize, total: usize, text: String) {
        self.0.set_length(number(total));
        self.0.set_position(number(done));
        if self.0.message() != text {
            self.0.set_message(text);
        }
    }
}

impl Drop for WaveBar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// A style with a template that is written here.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

fn number(of: usize) -> u64 {
    u64::try_from(of).unwrap_or(u64::MAX)
}

/// A number of vehicles per time.
fn rate(per_second: f64) -> String {
    let per_minute = per_second * 60.0;
    if per_minute >= 1.0 { format!("{per_minute:.0}/min") } else { String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_per_minute_and_none_before_the_first_vehicle() {
        assert_eq!(rate(0.0), "");
        assert_eq!(rate(0.683), "41/min");
    }

    #[test]
    fn what_was_done_before_does_not_count_for_the_rate() {
        let bar = WaveBar::new("wave 3/3".into(), 4, 5, "before".into());
        bar.show(4, 5, "after".into());
        assert_eq!(rate(bar.0.per_sec()), "");
    }

    #[test]
    fn the_templates_are_valid() {
        for template in ["{msg}", "{prefix}   {bar:20.cyan/dim}   {wide_msg}   {rate}"] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }
}
