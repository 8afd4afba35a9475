//! Whether a certificate has been signed by another one, as far as that can be verified.

use der::{Reader, SliceReader, Tag};
use rustls::crypto::WebPkiSupportedAlgorithms;

use super::certificates::Found;
use super::der::{elements, sequence};

/// The certificate that must have issued `certificate`, and has not: the signature does not fit. The
/// certificates of `authorities` count if they have the key that `certificate` names.
pub(super) fn wrong_issuer<'a>(
    certificate: &Found,
    chain: &'a [Found],
    authorities: &'a [Found],
    algorithms: &WebPkiSupportedAlgorithms,
) -> Option<&'a Found> {
    let named = certificate.facts.authority_key_id.as_deref();
    let has_key = |issuer: &Found, unless: bool| match (named, issuer.facts.key_id.as_deref()) {
        (Some(named), Some(key)) => named == key,
        _ => unless,
    };
    let in_chain = chain.iter().filter(|issuer| has_key(issuer, true));
    let known = authorities.iter().filter(|issuer| has_key(issuer, false));
    let mut issuers = in_chain
        .chain(known)
        .filter(|issuer| issuer.facts.subject == certificate.facts.issuer)
        .map(|issuer| (issuer, is_by(&certificate.der, &issuer.der, algorithms)))
        .peekable();
    let (first, _) = *issuers.peek()?;
    issuers.all(|(_, is_by)| is_by == Some(false)).then_some(first)
}

/// Whether `issuer` has signed `certificate`; `None` if that cannot be verified.
fn is_by(
    certificate: &[u8],
    issuer: &[u8],
    algorithms: &WebPkiSupportedAlgorithms,
) -> Option<bool> {
    let [_, algorithm, signature] = sequence(certificate)?.try_into().ok()?;
    let signed = SliceReader::new(elements(certificate).next()?.content).ok()?.tlv_bytes().ok()?;
    let [key_algorithm, key] = public_key(issuer)?;
    let mut suitable = algorithms
        .all
        .iter()
        .filter(|known| known.signature_alg_id().as_ref() == algorithm.content)
        .filter(|known| known.public_key_alg_id().as_ref() == key_algorithm)
        .peekable();
    suitable.peek()?;
    let signature = signature.content.strip_prefix(&[0])?;
    Some(suitable.any(|known| known.verify_signature(key, signed, signature).is_ok()))
}

/// Algorithm and key of a certificate.
fn public_key(certificate: &[u8]) -> Option<[&[u8]; 2]> {
    let tbs = *sequence(certificate)?.first()?;
    let mut fields = elements(tbs.content).skip_while(|field| field.tag != Tag::Integer);
    // Behind serial number, algorithm, issuer, validity and subject.
    let [algorithm, key] = elements(fields.nth(5)?.content).collect::<Vec<_>>().try_into().ok()?;
    Some([algorithm.content, key.content.strip_prefix(&[0])?])
}
