//! The bundle: a statement, its signatures and the payload in one JSON object.

use std::borrow::Cow;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::{Deserializer, Error, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

use crate::refusal::Refusal;
use crate::statement::MAX_STATEMENT;

/// The value of `payloadType` in a bundle of this version.
pub const PAYLOAD_TYPE: &str = "application/vnd.fleet-connector.bundle.v1+json";

/// Maximum number of signatures of a bundle.
pub const MAX_SIGNATURES: usize = 8;

/// Maximum length of an armoured signature, in bytes. Those of the supported kinds have less than
/// 500; the rest is for other line endings, and for an `application` of a FIDO key.
pub const MAX_SIGNATURE: usize = 4096;

/// A request with its signatures, as it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    /// The statement: the bytes that were signed.
    pub statement: Vec<u8>,
    /// The payload of the operation.
    pub payload: Vec<u8>,
    /// The signatures: files that `ssh-keygen -Y sign -n fleet-connector/v1` writes.
    pub signatures: Vec<String>,
}

impl Bundle {
    /// The payload of the request.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        #[derive(Serialize)]
        struct Fields<'a> {
            #[serde(rename = "payloadType")]
            payload_type: &'static str,
            statement: String,
            payload: String,
            signatures: &'a [String],
        }
        let fields = Fields {
            payload_type: PAYLOAD_TYPE,
            statement: STANDARD.encode(&self.statement),
            payload: STANDARD.encode(&self.payload),
            signatures: &self.signatures,
        };
        serde_json::to_vec(&fields).expect("strings always become JSON")
    }

    /// Parses a bundle, without a look at the signatures and the content of the statement.
    ///
    /// # Errors
    /// [`Malformed`](crate::Reason::Malformed).
    pub fn parse(json: &[u8]) -> Result<Self, Refusal> {
        /// Derived implementations refuse a field that occurs twice.
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Fields<'a> {
            #[serde(rename = "payloadType", borrow)]
            payload_type: Cow<'a, str>,
            #[serde(borrow)]
            statement: Cow<'a, str>,
            #[serde(borrow)]
            payload: Cow<'a, str>,
            signatures: Signatures,
        }
        let json = json.strip_prefix(b"\xef\xbb\xbf").unwrap_or(json);
        // A derived implementation also accepts the values as an array.
        if !json.trim_ascii_start().starts_with(b"{") {
            return Err(Refusal::malformed("the bundle is not a JSON object"));
        }
        let fields: Fields<'_> = serde_json::from_slice(json)
            .map_err(|error| Refusal::malformed(format!("the bundle cannot be used: {error}")))?;
        if fields.payload_type != PAYLOAD_TYPE {
            return Err(Refusal::malformed(format!(
                "the bundle has the payloadType {:?}; this version knows only {PAYLOAD_TYPE:?}",
                fields.payload_type
            )));
        }
        // Four characters of Base64 are three bytes.
        if fields.statement.len() > MAX_STATEMENT.div_ceil(3) * 4 {
            return Err(too_large());
        }
        let bytes = |name: &str, text: &str| {
            STANDARD.decode(text).map_err(|error| {
                Refusal::malformed(format!(
                    "{name} of the bundle is not Base64 (standard alphabet, with padding, without \
                     line breaks): {error}"
                ))
            })
        };
        let statement = bytes("statement", &fields.statement)?;
        if statement.len() > MAX_STATEMENT {
            return Err(too_large());
        }
        let payload = bytes("payload", &fields.payload)?;
        Ok(Self { statement, payload, signatures: fields.signatures.0 })
    }
}

fn too_large() -> Refusal {
    Refusal::malformed(format!("the statement has more than {} KiB", MAX_STATEMENT / 1024))
}

/// The signatures, with their limits, so that a list of a million takes no memory.
struct Signatures(Vec<String>);

impl<'de> Deserialize<'de> for Signatures {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Expected;

        impl<'de> Visitor<'de> for Expected {
            type Value = Signatures;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a list of signatures")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Signatures, A::Error> {
                let mut signatures = Vec::new();
                while let Some(signature) = list.next_element::<String>()? {
                    if signatures.len() == MAX_SIGNATURES {
                        return Err(A::Error::custom(format_args!(
                            "it has more than {MAX_SIGNATURES} signatures"
                        )));
                    }
                    if signature.len() > MAX_SIGNATURE {
                        return Err(A::Error::custom(format_args!(
                            "a signature has more than {MAX_SIGNATURE} bytes"
                        )));
                    }
                    signatures.push(signature);
                }
                Ok(Signatures(signatures))
            }
        }

        deserializer.deserialize_seq(Expected)
    }
}
