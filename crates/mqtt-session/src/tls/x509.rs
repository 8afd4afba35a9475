//! What certificates (RFC 5280) say, also those that rustls does not accept. Nothing is
//! verified.

use der::asn1::{GeneralizedTime, UtcTime};
use der::{AnyRef, Tag};

use super::der::{Element, elements, sequence};
use super::keys::PublicKey;

/// What a certificate says.
#[derive(Debug, Clone)]
pub(super) struct Certificate {
    /// X.509 version: 1, 2 or 3.
    pub(super) version: u32,
    pub(super) issuer: Name,
    pub(super) subject: Name,
    /// When it begins and ceases to be valid, in seconds since 1970; `None` for a time that
    /// cannot be read.
    pub(super) not_before: Option<u64>,
    pub(super) not_after: Option<u64>,
    pub(super) key: PublicKey,
    /// Whether it may sign other certificates (*basicConstraints*).
    pub(super) is_ca: bool,
    /// What names its key (*subjectKeyIdentifier*).
    pub(super) key_id: Option<Vec<u8>>,
    /// What names the key of its issuer (*authorityKeyIdentifier*).
    pub(super) authority_key_id: Option<Vec<u8>>,
}

/// A distinguished name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name(Vec<u8>);

const COMMON_NAME: &[u8] = &[0x55, 4, 3];
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];
const KEY_ID: &[u8] = &[0x55, 0x1d, 0x0e];
const AUTHORITY_KEY_ID: &[u8] = &[0x55, 0x1d, 0x23];

impl Certificate {
    /// Reads a certificate.
    pub(super) fn read(der: &[u8]) -> Option<Self> {
        let [tbs, signature_algorithm, signature] = sequence(der)?.try_into().ok()?;
        let tags = [tbs.tag, signature_algorithm.tag, signature.tag];
        if tags != [Tag::Sequence, Tag::Sequence, Tag::BitString] {
            return None;
        }
        let mut fields = elements(tbs.content).peekable();
        let version = fields.next_if(|field| is_context(field, 0));
        let version = match version {
            None => 1,
            Some(version) => 1 + u32::from(*elements(version.content).next()?.content.last()?),
        };
        let mut next = |tag| fields.next().filter(|field| field.tag == tag);
        next(Tag::Integer)?;
        next(Tag::Sequence)?;
        let issuer = Name(next(Tag::Sequence)?.content.to_vec());
        let validity = next(Tag::Sequence)?;
        let subject = Name(next(Tag::Sequence)?.content.to_vec());
        let key = PublicKey::read(next(Tag::Sequence)?.content)?;
        let extensions = fields.find(|field| is_context(field, 3));
        let extension = |oid| extension(extensions?.content, oid);
        let mut times = elements(validity.content);
        let [not_before, not_after] = [times.next()?, times.next()?].map(|time| read_time(&time));
        let is_ca = extension(BASIC_CONSTRAINTS).is_some_and(is_ca);
        let key_id = extension(KEY_ID).and_then(|content| elements(content).next());
        let key_id = key_id.map(|id| id.content.to_vec());
        let named = extension(AUTHORITY_KEY_ID).and_then(sequence);
        let named = named.and_then(|parts| parts.into_iter().find(|part| is_context(part, 0)));
        let authority_key_id = named.map(|id| id.content.to_vec());
        Some(Self {
            version,
            issuer,
            subject,
            not_before,
            not_after,
            key,
            is_ca,
            key_id,
            authority_key_id,
        })
    }

    /// Whether it names itself as its issuer.
    pub(super) fn is_self_issued(&self) -> bool {
        self.issuer == self.subject
    }
}

fn is_context(field: &Element<'_>, number: u32) -> bool {
    field.tag.is_context_specific() && field.tag.number().value() == number
}

/// A time in seconds since 1970.
fn read_time(time: &Element<'_>) -> Option<u64> {
    let any = AnyRef::new(time.tag, time.content).ok()?;
    let since_1970 = match time.tag {
        Tag::UtcTime => any.decode_as::<UtcTime>().ok()?.to_unix_duration(),
        _ => any.decode_as::<GeneralizedTime>().ok()?.to_unix_duration(),
    };
    Some(since_1970.as_secs())
}

/// The content of an extension.
fn extension<'a>(extensions: &'a [u8], oid: &[u8]) -> Option<&'a [u8]> {
    let list = elements(extensions).next()?;
    elements(list.content).find_map(|extension| {
        let fields: Vec<_> = elements(extension.content).collect();
        (fields.first()?.content == oid).then_some(fields.last()?.content)
    })
}

/// Whether *basicConstraints* say that the certificate is that of a CA.
fn is_ca(constraints: &[u8]) -> bool {
    let first = sequence(constraints).and_then(|constraints| constraints.first().copied());
    first.is_some_and(|first| first.tag == Tag::Boolean && first.content != [0])
}

impl Name {
    /// The name of a trust anchor: its DER without tag and length.
    pub(super) fn of_anchor(content: &[u8]) -> Self {
        Self(content.to_vec())
    }

    /// The common name, if there is one.
    pub(super) fn common_name(&self) -> Option<String> {
        self.attributes().find(|(oid, _)| oid == COMMON_NAME).map(|(_, value)| value)
    }

    /// Types and values of all attributes.
    fn attributes(&self) -> impl Iterator<Item = (Vec<u8>, String)> {
        let sets = elements(&self.0).flat_map(|set| elements(set.content).collect::<Vec<_>>());
        sets.filter_map(|attribute| {
            let mut parts = elements(attribute.content);
            let (oid, value) = (parts.next()?, parts.next()?);
            let value = String::from_utf8_lossy(value.content);
            let value = value.chars().filter(|c| !c.is_control()).take(64).collect();
            Some((oid.content.to_vec(), value))
        })
    }
}

/// `CN=Fleet, O=Example`, as far as the types are known.
impl std::fmt::Display for Name {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut parts: Vec<_> = self
            .attributes()
            .filter_map(|(oid, value)| Some(format!("{}={value}", attribute(&oid)?)))
            .collect();
        parts.truncate(8);
        match parts.is_empty() {
            true => formatter.write_str("an empty name"),
            false => formatter.write_str(&parts.join(", ")),
        }
    }
}

fn attribute(oid: &[u8]) -> Option<&'static str> {
    Some(match oid {
        COMMON_NAME => "CN",
        [0x55, 4, 5] => "serialNumber",
        [0x55, 4, 6] => "C",
        [0x55, 4, 7] => "L",
        [0x55, 4, 8] => "ST",
        [0x55, 4, 10] => "O",
        [0x55, 4, 11] => "OU",
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 1] => "emailAddress",
        [0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 25] => "DC",
        _ => return None,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, date_time_ymd};

    use super::*;

    fn params() -> CertificateParams {
        let mut params = CertificateParams::new(["broker.example".into()]).unwrap();
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2051, 1, 1);
        params.distinguished_name.remove(DnType::CommonName);
        params.distinguished_name.push(DnType::OrganizationName, "Example\n");
        params.distinguished_name.push(DnType::CommonName, "Fleet");
        params
    }

    #[test]
    fn a_certificate_says_names_times_key_and_use() {
        let key = KeyPair::generate().unwrap();
        let leaf = params().self_signed(&key).unwrap();
        let leaf = Certificate::read(leaf.der()).unwrap();
        assert_eq!(leaf.version, 3);
        assert_eq!(leaf.subject.to_string(), "O=Example, CN=Fleet");
        assert_eq!(leaf.subject.common_name().unwrap(), "Fleet");
        assert!(leaf.is_self_issued() && !leaf.is_ca);
        // One is a UTCTime, the other a GeneralizedTime.
        assert_eq!(leaf.not_before, Some(1_577_836_800));
        assert_eq!(leaf.not_after, Some(2_556_144_000));
        assert_eq!(leaf.key.name, "P-256");
        let mut ca = params();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = ca.self_signed(&key).unwrap();
        assert!(Certificate::read(ca.der()).unwrap().is_ca);
    }

    #[test]
    fn whatever_is_cut_off_or_changed_does_not_panic() {
        let certificate = params().self_signed(&KeyPair::generate().unwrap()).unwrap();
        let der = certificate.der().to_vec();
        for length in 0..der.len() {
            assert!(Certificate::read(&der[..length]).is_none(), "{length}");
        }
        for index in 0..der.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut changed = der.clone();
                changed[index] = value;
                if let Some(certificate) = Certificate::read(&changed) {
                    let _ = (certificate.subject.to_string(), certificate.is_ca);
                }
            }
        }
    }
}
