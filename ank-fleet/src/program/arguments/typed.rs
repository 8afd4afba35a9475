//! What is typed of the command line that is completed.

use std::ffi::OsString;

/// The words of the command line that is completed: the shell passes them after `--`.
pub(super) fn words() -> Vec<OsString> {
    std::env::args_os().skip_while(|arg| arg != "--").skip(1).collect()
}

/// Joins what Bash splits: it passes `--context=prod` as `--context`, `=` and `prod`.
pub(super) fn joined(words: &[OsString]) -> Vec<OsString> {
    let mut joined: Vec<OsString> = Vec::new();
    let mut is_value = false;
    for word in words {
        let is_sign = word == "=";
        match joined.last_mut() {
            Some(last) if is_sign || is_value => last.push(word),
            _ => joined.push(word.clone()),
        }
        is_value = is_sign;
    }
    joined
}

/// A path below the home directory, as the shell would pass it to a command.
pub(super) fn at_home(value: String) -> String {
    match (value.strip_prefix("~/"), std::env::var("HOME")) {
        (Some(rest), Ok(home)) => format!("{home}/{rest}"),
        _ => value,
    }
}
