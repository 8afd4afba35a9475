//! What commands print about a roll-out, as functions of its state.
//!
//! ```text
//! roll-out 7f3a: 9,214 vehicles (8,950 online, 264 offline → pending), 41 unchanged
//!   waves 1, 461, 2,304, 9,214; stops above 2% failed in a wave
//!   changes  8,902× nginx 1.28 → 1.29   260× nginx new
//! wave 2/4   312/460   ok 301   unchanged 3   failed 8 (limit 9)   50 in flight
//! stopped in wave 2: 10 of 460 failed, limit 9
//!   9× nginx Pending(StartingFailed): No such image   WDB0[412,533,601-606,871]
//! resume: ank-fleet rollout resume 7f3a     undo: ank-fleet rollout undo 7f3a
//! ```

mod causes;
mod fold;
mod lines;
mod numbers;

pub use causes::{Cause, causes};
pub use fold::fold_vins;
pub use lines::{
    is_between_waves, next_commands, plan_lines, verdict_lines, wave_line, wave_name,
    wave_progress, wave_text,
};
pub use numbers::thousands;
