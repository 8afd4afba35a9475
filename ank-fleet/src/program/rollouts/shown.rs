//! Shows the progress of the waves.

use super::super::progress::{self, WaveBar};
use crate::report::{wave_line, wave_name, wave_progress, wave_text};
use crate::rollout::State;

/// The wave whose progress is shown.
#[derive(Debug)]
pub(super) struct ShownWave {
    wave: usize,
    bar: Option<WaveBar>,
}

impl ShownWave {
    /// Begins with the current wave.
    pub(super) fn new(state: &State) -> Self {
        Self { wave: state.wave(), bar: None }
    }

    /// Shows the progress; lines of waves that are over stay.
    pub(super) fn show(&mut self, state: &State) {
        while self.wave < state.wave() {
            self.end(state);
            self.wave += 1;
        }
        let (done, total) = wave_progress(state, self.wave);
        let text = wave_text(state, self.wave);
        let new = || WaveBar::new(wave_name(state, self.wave), done, total, text.clone());
        self.bar.get_or_insert_with(new).show(done, total, text.clone());
    }

    /// Replaces the bar by a line that stays.
    pub(super) fn end(&mut self, state: &State) {
        self.bar = None;
        progress::note(&wave_line(state, self.wave));
    }
}
