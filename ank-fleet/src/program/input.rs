//! Files that the operator names, and standard input.
//!
//! They may be of any size, or never end: so their size is limited, and what is waited for ends with
//! Ctrl-C.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::path::Path;

use tokio::task::spawn_blocking;

use super::failure::Failure;
use super::interrupt::Interrupt;
use crate::own_file::too_large;

/// Maximum size of a file, in bytes: an inventory of a million vehicles.
const MAX_SIZE: u64 = 64 * 1024 * 1024;

/// Reads a file, or standard input for `-`.
///
/// # Errors
/// It cannot be read, is too large, or is not UTF-8; or Ctrl-C.
pub(crate) async fn read_text(path: &str, interrupt: &Interrupt) -> Result<String, Failure> {
    let name = if path == "-" { "standard input" } else { path };
    let owned = path.to_owned();
    let read = move || match owned.as_str() {
        "-" => limited(io::stdin()),
        path => read_file(Path::new(path)),
    };
    let text = waited(interrupt, read).await?;
    text.map_err(|error| Failure::usage(format!("{name}: {error}")))
}

/// Reads a file, without an end by Ctrl-C.
///
/// # Errors
/// It cannot be read, is too large, or is not UTF-8.
pub(crate) fn read_file(path: &Path) -> io::Result<String> {
    limited(File::open(path)?)
}

/// Asks the operator whether to go on.
///
/// # Errors
/// There is no terminal to ask on, or Ctrl-C.
pub(crate) async fn confirm(interrupt: &Interrupt) -> Result<bool, Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::usage(
            "there is no terminal to ask on; --yes goes on without a question",
        ));
    }
    let _ = write!(io::stderr(), "Continue? [y/N] ");
    let ask = || {
        let mut answer = String::new();
        io::stdin().read_line(&mut answer).map(|_| answer)
    };
    let answer = waited(interrupt, ask).await??;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Waits for what may never end, on a thread that the end of the process does not wait for.
async fn waited<T: Send + 'static>(
    interrupt: &Interrupt,
    wait: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Failure> {
    tokio::select! {
        result = spawn_blocking(wait) => Ok(result.map_err(io::Error::from)?),
        () = interrupt.wait() => Err(Failure::Interrupted),
    }
}

fn limited(from: impl Read) -> io::Result<String> {
    let mut text = String::new();
    from.take(MAX_SIZE + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_SIZE { Err(too_large(MAX_SIZE)) } else { Ok(text) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn files_without_an_end_are_too_large() {
        let error = read_file(Path::new("/dev/zero")).unwrap_err();
        assert_eq!(error.to_string(), "it is larger than 64 MiB");
        assert_eq!(limited(&b"\xc3\xbc"[..]).unwrap(), "ü");
        assert!(limited(&b"\xc3"[..]).is_err());
    }
}
