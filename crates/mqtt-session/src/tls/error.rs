//! Why TLS cannot be used as it is set.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use rustls::pki_types::ServerName;

/// The setting that names a file, and what is wrong with it.
pub(super) type Mistake = (&'static str, TlsError);

/// Why TLS cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{} cannot be read: {source}{}", path.display(), file_help(source))]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file has the wrong content.
    #[error("{}{}: {reason}", path.display(), line.map(|line| format!(", line {line}")).unwrap_or_default())]
    Content {
        /// Which one.
        path: PathBuf,
        /// The line of the mistake, counted from 1.
        line: Option<usize>,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// The system has no certificates of authorities.
    #[error("the system has no CA certificates; name a file with MQTT_CA_FILE")]
    NoRoots,
    /// A variable names folders without certificates of authorities.
    #[error(
        "{0:?} has no CA certificates in PEM format; name a folder that has, or a file with \
         MQTT_CA_FILE; in a container, the path is the one in the container"
    )]
    NoRootsIn(OsString),
    /// A variable that should name a file is empty.
    #[error("it is empty; remove it, or set it to a file with CA certificates in PEM format")]
    NoFile,
    /// No certificate can be for such a host.
    #[error("{0:?} cannot be in a certificate; set MQTT_BROKER_ADDR to a host name or an address")]
    Host(String),
}

impl TlsError {
    /// A mistake in the content of a file.
    pub(super) fn content(path: &Path, line: Option<usize>, reason: impl Into<String>) -> Self {
        Self::Content { path: path.to_owned(), line, reason: reason.into() }
    }
}

/// What to do about a file that cannot be read.
fn file_help(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => {
            "; in a container, the path is the one in the container: is its directory mounted?"
        }
        io::ErrorKind::PermissionDenied => {
            "; give the user of the connector the right to read it, for example by chown, and the \
             right to enter its directories"
        }
        io::ErrorKind::IsADirectory => {
            "; name a file in it. Several CA certificates can be in one file: \
             `cat DIRECTORY/*.pem > ca.pem`"
        }
        io::ErrorKind::NotADirectory => "; a part of the path is a file",
        _ => "; look at the file system",
    }
}

/// The name of `host` as a certificate has it.
///
/// # Errors
/// No certificate can be for such a host.
pub fn server_name(host: &str) -> Result<ServerName<'static>, TlsError> {
    ServerName::try_from(host.to_owned()).map_err(|_| TlsError::Host(host.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_names_or_addresses() {
        for host in ["localhost", "broker.example", "192.0.2.1", "::1"] {
            assert!(server_name(host).is_ok(), "{host}");
        }
        assert!(server_name("a b").is_err());
    }

    #[test]
    fn each_file_that_cannot_be_read_has_a_remedy() {
        for (kind, expected) in [
            (io::ErrorKind::NotFound, "is its directory mounted?"),
            (io::ErrorKind::PermissionDenied, "the right to read it"),
            (io::ErrorKind::IsADirectory, "name a file in it"),
            (io::ErrorKind::NotADirectory, "a part of the path is a file"),
            (io::ErrorKind::Other, "look at the file system"),
        ] {
            let error = TlsError::File { path: "/a.pem".into(), source: kind.into() }.to_string();
            assert!(error.starts_with("/a.pem cannot be read: "), "{error}");
            assert!(error.contains(expected), "{error}");
        }
    }
}
