//! What commands print about a roll-out, as functions of its state.

mod fold;

pub use fold::fold_vins;
