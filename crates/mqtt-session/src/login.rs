//! User name and password for the broker.

use std::fmt;
use std::io;
use std::path::PathBuf;

use rumqttc::v5::mqttbytes::v5 as packets;

/// Longest password, in bytes (MQTT 5, 1.5.6).
const MAX_PASSWORD: usize = 65_535;

/// User name and password.
#[derive(Debug, Clone)]
pub struct Login {
    /// User name.
    pub username: String,
    /// The file with the password. It is read for each connection, so that the password can
    /// be changed without a restart. A line break at its end does not count.
    pub password_file: Option<PathBuf>,
}

/// Why a password cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    /// Its file cannot be read.
    #[error("the password cannot be read from {}: {source}", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not UTF-8 or too long.
    #[error(
        "{} contains no password: it must be UTF-8 text of at most {MAX_PASSWORD} bytes",
        .0.display()
    )]
    Content(PathBuf),
}

impl Login {
    /// Reads the password.
    ///
    /// # Errors
    /// See [`PasswordError`].
    pub fn password(&self) -> Result<Password, PasswordError> {
        let Some(path) = &self.password_file else { return Ok(Password(String::new())) };
        let failed = |source| PasswordError::File { path: path.clone(), source };
        let bytes = std::fs::read(path).map_err(failed)?;
        let text = String::from_utf8(bytes).map_err(|_| PasswordError::Content(path.clone()))?;
        let password = text.strip_suffix('\n').unwrap_or(&text);
        let password = password.strip_suffix('\r').unwrap_or(password);
        if password.len() > MAX_PASSWORD {
            return Err(PasswordError::Content(path.clone()));
        }
        Ok(Password(password.to_owned()))
    }

    /// The part of CONNECT (MQTT 5, 3.1.3.5 and 3.1.3.6).
    pub(crate) fn packet(&self) -> Result<packets::Login, PasswordError> {
        Ok(packets::Login::new(&self.username, self.password()?.0))
    }
}

/// A password, which `Debug` does not show.
pub struct Password(String);

impl fmt::Debug for Password {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Password(***)")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_password_is_the_text_of_its_file_without_the_last_line_break() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        let login = Login { username: "u".into(), password_file: Some(path.clone()) };
        for (content, password) in
            [("\n\n", "\n"), ("p w\r\n", "p w"), ("secret", "secret"), ("secret\n", "secret")]
        {
            std::fs::write(&path, content).unwrap();
            assert_eq!(login.password().unwrap().0, password);
        }
        assert!(!format!("{:?} {login:?}", login.password().unwrap()).contains("secret"));
        std::fs::write(&path, [0xff]).unwrap();
        assert!(matches!(login.password(), Err(PasswordError::Content(_))));
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(login.password(), Err(PasswordError::File { .. })));
    }
}
