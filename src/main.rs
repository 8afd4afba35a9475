//! The daemon: settings, log, tasks, signals, drain.

fn main() {}
