//! Shows the progress of the waves.

use super::super::progress::{self, WaveBar};
use crate::report::{is_between_waves, wave_line, wave_name, wave_progress, wave_text};
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
            self.bar = None;
            progress::note(&wave_line(state, self.wave));
            self.wave += 1;
        }
        let (done, total) = wave_progress(state, self.wave);
        let text = wave_text(state, self.wave);
        let new = || WaveBar::new(wave_name(state, self.wave), done, total, text.clone());
        self.bar.get_or_insert_with(new).show(done, total, text.clone());
    }

    /// Shows the last wave, by a line that stays. One that has not begun has none.
    pub(super) fn finish(&mut self, state: &State) {
        self.show(state);
        self.bar = None;
        if !is_between_waves(state) {
            progress::note(&wave_line(state, self.wave));
        }
    }
}
