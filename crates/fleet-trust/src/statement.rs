//! The statement: what the keys sign.

use std::borrow::Cow;

use ring::digest::{SHA256, digest};
use serde::de::{Deserializer, Error, SeqAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use crate::{hex, time};

/// The value of `type` in a statement of this version.
pub const STATEMENT_TYPE: &str = "fleet-connector/statement/v1";

/// Maximum size of a statement, in bytes: enough for thousands of vehicles.
pub const MAX_STATEMENT: usize = 64 * 1024;

/// Maximum time from `not_before` to `expires`, in seconds: 30 days.
pub const MAX_VALIDITY: i64 = 30 * 24 * 60 * 60;

/// Maximum serial. A larger number is not exact in JSON programs that use floating point.
pub const MAX_SERIAL: u64 = (1 << 53) - 1;

/// What the keys sign: which operation with which payload, for whom, and when.
///
/// The signatures are over its bytes as they were sent. They are never serialized again to
/// compare them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// The operation, for example `manifest/apply`.
    pub operation: String,
    /// The fleet of the vehicles.
    pub fleet: String,
    /// The vehicles that it is for.
    pub vehicles: Vehicles,
    /// Its place in the order of all statements about an item, usually Unix seconds. At most
    /// [`MAX_SERIAL`].
    pub serial: u64,
    /// The second from which on it is valid, in Unix time.
    pub not_before: i64,
    /// The second from which on it is no longer valid, in Unix time. Later than `not_before`, by
    /// at most [`MAX_VALIDITY`].
    pub expires: i64,
    /// Lifts the guard on protected workloads.
    pub force: bool,
    /// When the change is taken back, as in the user property `rollback`.
    pub rollback: Option<String>,
    /// The name of the release.
    pub release: Option<String>,
    /// The SHA-256 hash of the payload.
    pub payload_sha256: [u8; 32],
}

/// The vehicles that a statement is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Vehicles {
    /// All vehicles of the fleet, `"*"`.
    All,
    /// These vehicles; never empty.
    Vins(Vec<String>),
}

impl Vehicles {
    /// Whether the vehicle is one of them.
    #[must_use]
    pub fn contains(&self, vin: &str) -> bool {
        match self {
            Self::All => true,
            Self::Vins(vins) => vins.iter().any(|it| it == vin),
        }
    }
}

/// The fields of the JSON object, in its order. Derived implementations refuse a field that
/// occurs twice.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    operation: Cow<'a, str>,
    fleet: Cow<'a, str>,
    vehicles: Vehicles,
    serial: u64,
    not_before: Cow<'a, str>,
    expires: Cow<'a, str>,
    #[serde(default)]
    force: bool,
    #[serde(default, deserialize_with = "text", skip_serializing_if = "Option::is_none")]
    rollback: Option<String>,
    #[serde(default, deserialize_with = "text", skip_serializing_if = "Option::is_none")]
    release: Option<String>,
    payload_sha256: Cow<'a, str>,
}

/// A text; `null` is refused.
fn text<'de, D: Deserializer<'de>>(value: D) -> Result<Option<String>, D::Error> {
    String::deserialize(value).map(Some)
}

impl Statement {
    /// Parses a statement, whose signatures are verified before.
    ///
    /// # Errors
    /// What is wrong, as the rest of a sentence that begins with "the statement".
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, String> {
        // A derived implementation also accepts the values as an array.
        if !bytes.trim_ascii_start().starts_with(b"{") {
            return Err("is not a JSON object".to_owned());
        }
        let fields: Fields<'_> =
            serde_json::from_slice(bytes).map_err(|error| format!("cannot be used: {error}"))?;
        if fields.kind != STATEMENT_TYPE {
            return Err(format!(
                "has the type {:?}; this version knows only {STATEMENT_TYPE:?}",
                fields.kind
            ));
        }
        let time = |name: &str, text: &str| {
            time::parse(text).ok_or_else(|| {
                format!("has {name}: {text:?}; write the time in UTC as 2026-11-25T10:00:00Z")
            })
        };
        let statement = Self {
            not_before: time("not_before", &fields.not_before)?,
            expires: time("expires", &fields.expires)?,
            payload_sha256: hex::decode(&fields.payload_sha256).ok_or(
                "has a payload_sha256 that is not a hash: write it as 64 hexadecimal digits in \
                 lower case",
            )?,
            operation: fields.operation.into_owned(),
            fleet: fields.fleet.into_owned(),
            vehicles: fields.vehicles,
            serial: fields.serial,
            force: fields.force,
            rollback: fields.rollback,
            release: fields.release,
        };
        statement.check()?;
        Ok(statement)
    }

    /// Parses a statement whose signatures nobody has verified: for whoever signs or shows it, and
    /// never to decide what a vehicle may do.
    ///
    /// # Errors
    /// As in [`Reason::Malformed`](crate::Reason::Malformed).
    pub fn parse_unverified(bytes: &[u8]) -> Result<Self, String> {
        Self::parse(bytes)
    }

    /// Makes the checks that need more than the type of a field: those that [`open`](crate::open)
    /// makes on every vehicle. For whoever builds a statement, before it is signed.
    ///
    /// # Errors
    /// What is wrong, as the rest of a sentence that begins with "the statement".
    pub fn check(&self) -> Result<(), String> {
        if self.expires <= self.not_before {
            return Err("expires before it is valid: expires is not later than not_before".into());
        }
        // Times between the years 1970 and 9999 do not overflow; those of a caller may.
        if self.expires.saturating_sub(self.not_before) > MAX_VALIDITY {
            return Err("expires more than 30 days after not_before".into());
        }
        if self.serial > MAX_SERIAL {
            return Err(format!("has the serial {}; the maximum is {MAX_SERIAL}", self.serial));
        }
        match &self.vehicles {
            Vehicles::Vins(vins) if vins.is_empty() => Err("names no vehicles".into()),
            Vehicles::Vins(vins) if vins.iter().any(|vin| vin == "*") => {
                Err("has \"*\" in its list of vehicles; write \"vehicles\": \"*\"".into())
            }
            _ => Ok(()),
        }
    }

    /// The bytes to sign and to send.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let fields = Fields {
            kind: STATEMENT_TYPE.into(),
            operation: self.operation.as_str().into(),
            fleet: self.fleet.as_str().into(),
            vehicles: self.vehicles.clone(),
            serial: self.serial,
            not_before: time::format(self.not_before).into(),
            expires: time::format(self.expires).into(),
            force: self.force,
            rollback: self.rollback.clone(),
            release: self.release.clone(),
            payload_sha256: hex::encode(&self.payload_sha256).into(),
        };
        serde_json::to_vec(&fields).expect("strings and numbers always become JSON")
    }
}

/// The SHA-256 hash of some bytes: [`Statement::payload_sha256`] of a payload.
#[must_use]
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
    hash
}

impl Serialize for Vehicles {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::All => serializer.serialize_str("*"),
            Self::Vins(vins) => vins.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Vehicles {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Expected;

        impl<'de> Visitor<'de> for Expected {
            type Value = Vehicles;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("\"*\" or a list of VINs")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Vehicles, E> {
                match text {
                    "*" => Ok(Vehicles::All),
                    _ => Err(E::custom(format_args!(
                        "vehicles: expected \"*\" or a list of VINs, for example [{text:?}]"
                    ))),
                }
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vehicles, A::Error> {
                let mut vins = Vec::new();
                while let Some(vin) = list.next_element()? {
                    vins.push(vin);
                }
                Ok(Vehicles::Vins(vins))
            }
        }

        deserializer.deserialize_any(Expected)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn statement() -> Statement {
        Statement {
            operation: "manifest/apply".into(),
            fleet: "prod-eu".into(),
            vehicles: Vehicles::Vins(vec!["WDB0412".into()]),
            serial: 1_795_646_059,
            not_before: 1_795_600_800,
            expires: 1_796_810_400,
            force: false,
            rollback: Some("on-failure".into()),
            release: Some("2026.11.2".into()),
            payload_sha256: [0xab; 32],
        }
    }

    fn refused(text: &str) -> String {
        Statement::parse(text.as_bytes()).unwrap_err()
    }

    #[test]
    fn a_statement_has_the_form_of_the_contract_and_is_parsed_as_it_was_written() {
        let written = String::from_utf8(statement().to_bytes()).unwrap();
        let hash = "ab".repeat(32);
        assert_eq!(
            written,
            format!(
                "{{\"type\":\"fleet-connector/statement/v1\",\"operation\":\"manifest/apply\",\
                 \"fleet\":\"prod-eu\",\"vehicles\":[\"WDB0412\"],\"serial\":1795646059,\
                 \"not_before\":\"2026-11-25T10:00:00Z\",\"expires\":\"2026-12-09T10:00:00Z\",\
                 \"force\":false,\"rollback\":\"on-failure\",\"release\":\"2026.11.2\",\
                 \"payload_sha256\":\"{hash}\"}}"
            )
        );
        assert_eq!(Statement::parse(written.as_bytes()).unwrap(), statement());

        let all = Statement {
            vehicles: Vehicles::All,
            force: true,
            rollback: None,
            release: None,
            ..statement()
        };
        assert_eq!(Statement::parse(&all.to_bytes()).unwrap(), all);
        assert!(all.vehicles.contains("ANY") && !statement().vehicles.contains("ANY"));
    }

    #[test]
    fn force_rollback_and_release_may_be_absent() {
        let written = String::from_utf8(statement().to_bytes()).unwrap();
        let short = written
            .replace("\"force\":false,\"rollback\":\"on-failure\",\"release\":\"2026.11.2\",", "");
        assert_ne!(short, written);
        let expected = Statement { rollback: None, release: None, ..statement() };
        assert_eq!(Statement::parse(short.as_bytes()).unwrap(), expected);
    }

    #[test]
    fn what_is_not_exactly_a_statement_is_refused() {
        let written = String::from_utf8(statement().to_bytes()).unwrap();
        for (from, to, message) in [
            ("{", "{\"extra\":1,", "unknown field `extra`"),
            ("{", "{\"serial\":1,", "duplicate field `serial`"),
            // The same name with an escape.
            ("{", "{\"seria\\u006c\":1,", "duplicate field `serial`"),
            ("{", "{\"force\":true,", "duplicate field `force`"),
            ("\"serial\":1795646059,", "", "missing field `serial`"),
            ("\"expires\":\"2026-12-09T10:00:00Z\",", "", "missing field `expires`"),
            ("statement/v1", "statement/v2", "this version knows only"),
            ("1795646059", "-1", "invalid value"),
            ("1795646059", "1.0", "invalid type"),
            ("1795646059", "\"1\"", "invalid type"),
            ("1795646059", "9007199254740992", "the maximum is 9007199254740991"),
            ("1795646059", "18446744073709551616", "invalid type"),
            ("false", "null", "invalid type"),
            ("false", "\"false\"", "invalid type"),
            ("\"on-failure\"", "null", "invalid type"),
            ("\"2026.11.2\"", "3", "invalid type"),
            ("[\"WDB0412\"]", "[]", "names no vehicles"),
            ("[\"WDB0412\"]", "[\"*\"]", "write \"vehicles\": \"*\""),
            ("[\"WDB0412\"]", "\"WDB0412\"", "for example [\"WDB0412\"]"),
            ("[\"WDB0412\"]", "null", "expected \"*\" or a list of VINs"),
            ("[\"WDB0412\"]", "[1]", "invalid type"),
            ("2026-11-25T10", "2026-11-25 10", "write the time in UTC as"),
            ("2026-12-09T10:00:00Z", "2026-12-09T10:00:00+01:00", "write the time in UTC as"),
            ("2026-12-09", "2026-12-26", "more than 30 days"),
            ("2026-12-09", "2026-11-25", "expires before it is valid"),
            ("2026-12-09", "2026-11-24", "expires before it is valid"),
            ("abab\"", "AB\"", "64 hexadecimal digits"),
        ] {
            let wrong = written.replacen(from, to, 1);
            assert_ne!(wrong, written, "{from}");
            let error = refused(&wrong);
            assert!(error.contains(message), "{to}: {error}");
        }
        let last = written.replacen("2026-12-09", "2026-12-25", 1);
        assert!(Statement::parse(last.as_bytes()).is_ok());

        for text in ["", "null", "1", "[\"fleet-connector/statement/v1\"]", "\u{feff}{}"] {
            assert_eq!(refused(text), "is not a JSON object", "{text}");
        }
        assert!(refused(&format!("{written} x")).contains("trailing characters"));
        assert!(refused(&format!("{written}{written}")).contains("trailing characters"));
        assert!(Statement::parse(b"{\"type\":\"\xff\"}").is_err());
        assert!(Statement::parse(format!(" {written}\n").as_bytes()).is_ok());
    }
}
