//! All errors have a sentence, also those that an update of rustls adds.
//!
//! The lists below are compared with the sources of rustls, webpki and the PEM reader.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{ServerName, UnixTime};
use rustls::{
    AlertDescription, CertRevocationListError, CertificateError, EncryptedClientHelloError, Error,
    ExtendedKeyPurpose, InconsistentKeys, InvalidMessage, OtherError, PeerIncompatible,
    PeerMisbehaved,
};

use super::context::{Context, Target};
use super::error::explain_tls;
use crate::tls::config::{Identity, Tls};
use crate::tls::pem;

/// All variants without fields of an enum.
macro_rules! plain {
    ($kind:ident: $($name:ident),* $(,)?) => { vec![$($kind::$name),*] };
}

/// The names of the variants of an enum in a source file of a crate.
fn variants(package: &str, file: &str, name: &str) -> BTreeSet<String> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let host = output_of(Command::new("rustc").args(["--print", "host-tuple"]));
    // Crates for other platforms need not have been downloaded.
    let platform = ["--filter-platform", host.trim()];
    let options = ["--format-version", "1", "--offline", "--locked"];
    let metadata = output_of(Command::new(cargo).arg("metadata").args(options).args(platform));
    let metadata: serde_json::Value = serde_json::from_str(&metadata).unwrap();
    let mut packages = metadata["packages"].as_array().unwrap().iter();
    let package = packages.find(|found| found["name"] == package).unwrap();
    let manifest = PathBuf::from(package["manifest_path"].as_str().unwrap());
    let source = std::fs::read_to_string(manifest.with_file_name(file)).unwrap();
    let (before, body) = source.split_once(&format!("pub enum {name} {{")).unwrap();
    let indent = " ".repeat(before.len() - before.rfind('\n').unwrap() - 1);
    let lines = body.lines().take_while(|line| *line != format!("{indent}}}"));
    let names = lines.filter_map(|line| line.strip_prefix(&format!("{indent}    ")));
    let names = names.filter(|line| line.starts_with(|c: char| c.is_ascii_uppercase()));
    names.map(identifier).collect()
}

fn output_of(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The identifier that a text begins with.
fn identifier(text: &str) -> String {
    text.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect()
}

fn explained(error: &Error, identity: bool, established: bool) -> String {
    let identity =
        identity.then(|| Identity { cert_file: "/c.pem".into(), key_file: "/c.key".into() });
    let tls = Tls::new(Some("/ca.pem".into()), identity, Vec::new());
    let target = Target { host: "broker.example", port: 8883, tls: Some(&tls) };
    let (shown, authorities) = (Vec::new(), Vec::new());
    explain_tls(error, &Context { target, established, shown, authorities, now: 42 })
}

/// Checks that `errors` are all variants of an enum, and that a person can act on each.
fn check(expected: &BTreeSet<String>, errors: Vec<(String, Error)>) {
    const REMEDIES: [&str; 20] = [
        "set ",
        "create ",
        "renew ",
        "update ",
        "use ",
        "report it",
        "its log ",
        "look at ",
        "correct ",
        "check ",
        "try ",
        "let ",
        "allow ",
        "sign ",
        "get ",
        "turn ",
        "must ",
        "mount ",
        "extract ",
        "issue ",
    ];
    let names: BTreeSet<_> = errors.iter().map(|(name, _)| name.clone()).collect();
    assert_eq!(names, *expected);
    for (name, error) in &errors {
        for (identity, established) in [(false, false), (false, true), (true, false), (true, true)]
        {
            let text = explained(error, identity, established);
            for generic in ["TLS fails: ", "cannot be used (", "lacks something", "alert 1"] {
                assert!(!text.contains(generic), "{name}: {text}");
            }
            assert!(REMEDIES.iter().any(|remedy| text.contains(remedy)), "{name}: {text}");
            assert!(text.len() < 500, "{name}: {text}");
            // The log escapes them, so a command could not be copied from there.
            let mut commands = text.split('`').skip(1).step_by(2);
            assert!(!commands.any(|command| command.contains(['"', '\\'])), "{text}");
        }
    }
}

fn named<T: std::fmt::Debug + Clone>(
    errors: Vec<T>,
    wrap: impl Fn(T) -> Error,
) -> Vec<(String, Error)> {
    errors.into_iter().map(|e| (identifier(&format!("{e:?}")), wrap(e))).collect()
}

fn time(seconds: u64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(seconds))
}

fn certificate_errors() -> Vec<CertificateError> {
    let mut errors = plain!(CertificateError: BadEncoding, Expired, NotValidYet, Revoked,
        UnhandledCriticalExtension, UnknownIssuer, UnknownRevocationStatus, ExpiredRevocationList,
        BadSignature, NotValidForName, InvalidPurpose, InvalidOcspResponse,
        ApplicationVerificationFailure);
    #[allow(deprecated)]
    errors.push(CertificateError::UnsupportedSignatureAlgorithm);
    errors.extend([
        CertificateError::ExpiredContext { time: time(9), not_after: time(8) },
        CertificateError::NotValidYetContext { time: time(8), not_before: time(9) },
        CertificateError::ExpiredRevocationListContext { time: time(9), next_update: time(8) },
        CertificateError::UnsupportedSignatureAlgorithmContext {
            signature_algorithm_id: vec![0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 5],
            supported_algorithms: Vec::new(),
        },
        CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext {
            signature_algorithm_id: Vec::new(),
            public_key_algorithm_id: Vec::new(),
        },
        CertificateError::NotValidForNameContext {
            expected: ServerName::try_from("broker.example").unwrap(),
            presented: vec!["DnsName(\"other.example\")".into(), "IpAddress(10.0.0.1)".into()],
        },
        CertificateError::InvalidPurposeContext {
            required: ExtendedKeyPurpose::ServerAuth,
            presented: vec![ExtendedKeyPurpose::ClientAuth],
        },
        other(webpki::Error::CaUsedAsEndEntity),
    ]);
    errors
}

fn other(error: webpki::Error) -> CertificateError {
    CertificateError::Other(OtherError(Arc::new(error)))
}

#[test]
fn each_error_in_a_certificate_has_a_remedy() {
    let expected = variants("rustls", "src/error.rs", "CertificateError");
    check(&expected, named(certificate_errors(), Error::InvalidCertificate));
}

#[test]
fn each_error_of_webpki_has_a_remedy() {
    use webpki::{
        DerTypeId, Error as E, InvalidNameContext, UnsupportedSignatureAlgorithmContext,
        UnsupportedSignatureAlgorithmForPublicKeyContext,
    };
    #[allow(deprecated)]
    let mut errors = plain!(E: BadDer, BadDerTime, CaUsedAsEndEntity, CertDistrusted, CertRevoked, EmptyEkuExtension,
        EndEntityUsedAsCa, ExtensionValueInvalid, InvalidCertValidity, InvalidCrlNumber,
        InvalidNetworkMaskConstraint, InvalidSerialNumber, InvalidCrlSignatureForPublicKey,
        InvalidSignatureForPublicKey, IssuerNotCrlSigner, MalformedDnsIdentifier,
        MalformedExtensions, MalformedNameConstraint, MaximumNameConstraintComparisonsExceeded,
        MaximumPathBuildCallsExceeded, MaximumPathDepthExceeded,
        MaximumSignatureChecksExceeded, NameConstraintViolation, PathLenConstraintViolated,
        RequiredEkuNotFound, SignatureAlgorithmMismatch, UnknownIssuer,
        UnknownRevocationStatus, UnsupportedCertVersion, UnsupportedCriticalExtension,
        UnsupportedCrlIssuingDistributionPoint, UnsupportedCrlVersion, UnsupportedDeltaCrl,
        UnsupportedIndirectCrl, UnsupportedNameType, UnsupportedRevocationReason,
        UnsupportedRevocationReasonsPartitioning, UnsupportedCrlSignatureAlgorithm,
        UnsupportedSignatureAlgorithm, UnsupportedCrlSignatureAlgorithmForPublicKey,
        UnsupportedSignatureAlgorithmForPublicKey);
    let algorithm = UnsupportedSignatureAlgorithmContext {
        signature_algorithm_id: Vec::new(),
        supported_algorithms: Vec::new(),
    };
    let key = UnsupportedSignatureAlgorithmForPublicKeyContext {
        signature_algorithm_id: Vec::new(),
        public_key_algorithm_id: Vec::new(),
    };
    errors.extend([
        E::CertExpired { time: time(9), not_after: time(8) },
        E::CertNotValidYet { time: time(8), not_before: time(9) },
        E::CrlExpired { time: time(9), next_update: time(8) },
        E::CertNotValidForName(InvalidNameContext {
            expected: ServerName::try_from("broker.example").unwrap(),
            presented: Vec::new(),
        }),
        E::RequiredEkuNotFoundContext(webpki::RequiredEkuNotFoundContext {
            required: webpki::KeyUsage::server_auth(),
            present: Vec::new(),
        }),
        E::TrailingData(DerTypeId::Certificate),
        E::UnsupportedSignatureAlgorithmContext(algorithm.clone()),
        E::UnsupportedCrlSignatureAlgorithmContext(algorithm),
        E::UnsupportedSignatureAlgorithmForPublicKeyContext(key.clone()),
        E::UnsupportedCrlSignatureAlgorithmForPublicKeyContext(key),
    ]);
    let expected = variants("rustls-webpki", "src/error.rs", "Error");
    check(&expected, named(errors, |error| Error::InvalidCertificate(other(error))));
}

#[test]
fn each_alert_has_a_remedy() {
    let alerts = plain!(AlertDescription: CloseNotify, UnexpectedMessage, BadRecordMac, DecryptionFailed, RecordOverflow,
        DecompressionFailure, HandshakeFailure, NoCertificate, BadCertificate,
        UnsupportedCertificate, CertificateRevoked, CertificateExpired, CertificateUnknown,
        IllegalParameter, UnknownCA, AccessDenied, DecodeError, DecryptError,
        ExportRestriction, ProtocolVersion, InsufficientSecurity, InternalError,
        InappropriateFallback, UserCanceled, NoRenegotiation, MissingExtension,
        UnsupportedExtension, CertificateUnobtainable, UnrecognisedName,
        BadCertificateStatusResponse, BadCertificateHashValue, UnknownPSKIdentity,
        CertificateRequired, NoApplicationProtocol, EncryptedClientHelloRequired);
    let expected = variants("rustls", "src/enums.rs", "AlertDescription");
    check(&expected, named(alerts, Error::AlertReceived));
    let unknown = explained(&Error::AlertReceived(AlertDescription::Unknown(200)), false, false);
    assert_eq!(unknown, "it ends the connection with alert 200; its log has the reason");
}

#[test]
fn each_invalid_message_has_a_remedy() {
    use rustls::crypto::KeyExchangeAlgorithm;
    let mut errors = plain!(InvalidMessage: CertificatePayloadTooLarge, HandshakePayloadTooLarge, InvalidCcs, InvalidContentType,
        InvalidCertificateStatusType, InvalidCertRequest, InvalidDhParams, InvalidEmptyPayload,
        InvalidKeyUpdate, InvalidServerName, MessageTooLarge, MessageTooShort,
        MissingKeyExchange, NoSignatureSchemes, UnknownProtocolVersion, UnsupportedCompression,
        UnsupportedCurveType, EmptyTicketValue, IllegalEmptyValue,
        PreSharedKeyIsNotFinalExtension, UnknownHelloRetryRequestExtension,
        UnknownCertificateExtension);
    errors.extend([
        InvalidMessage::MissingData("x"),
        InvalidMessage::TrailingData("x"),
        InvalidMessage::UnexpectedMessage("x"),
        InvalidMessage::UnsupportedKeyExchangeAlgorithm(KeyExchangeAlgorithm::DHE),
        InvalidMessage::IllegalEmptyList("x"),
        InvalidMessage::DuplicateExtension(7),
    ]);
    let expected = variants("rustls", "src/error.rs", "InvalidMessage");
    check(&expected, named(errors, Error::InvalidMessage));
}

#[test]
fn each_misbehaviour_has_a_remedy() {
    let errors = plain!(PeerMisbehaved: AttemptedDowngradeToTls12WhenTls13IsSupported, BadCertChainExtensions,
        CipherSuiteDifferedOnRetry, DisallowedEncryptedExtension,
        DuplicateClientHelloExtensions, DuplicateEncryptedExtensions,
        DuplicateHelloRetryRequestExtensions, DuplicateNewSessionTicketExtensions,
        DuplicateServerHelloExtensions, DuplicateServerNameTypes,
        EarlyDataAttemptedInSecondClientHello, EarlyDataExtensionWithoutResumption,
        EarlyDataOfferedWithVariedCipherSuite, EchAcceptanceVariedAfterRetry,
        HandshakeHashVariedAfterRetry, IllegalHelloRetryRequestWithEmptyCookie,
        IllegalHelloRetryRequestWithNoChanges, IllegalHelloRetryRequestWithOfferedGroup,
        IllegalHelloRetryRequestWithUnofferedCipherSuite,
        IllegalHelloRetryRequestWithUnofferedNamedGroup,
        IllegalHelloRetryRequestWithUnsupportedVersion,
        IllegalHelloRetryRequestWithWrongSessionId, IllegalHelloRetryRequestWithInvalidEch,
        IllegalMiddleboxChangeCipherSpec, IllegalTlsInnerPlaintext, IncorrectBinder,
        InvalidCertCompression, InvalidMaxEarlyDataSize, InvalidKeyShare,
        KeyEpochWithPendingFragment, KeyUpdateReceivedInQuicConnection,
        MessageInterleavedWithHandshakeMessage, MissingBinderInPskExtension, MissingKeyShare,
        MissingPskExtensionInSecondClientHello, MissingPskModesExtension,
        MissingQuicTransportParameters, OfferedDuplicateCertificateCompressions,
        OfferedDuplicateKeyShares, OfferedEarlyDataWithOldProtocolVersion,
        OfferedEmptyApplicationProtocol, OfferedIncorrectCompressions, PskExtensionMustBeLast,
        PskExtensionWithMismatchedIdsAndBinders, RefusedToFollowHelloRetryRequest,
        RejectedEarlyDataInterleavedWithHandshakeMessage, ResumptionAttemptedWithVariedEms,
        ResumptionOfferedWithVariedCipherSuite, ResumptionOfferedWithVariedEms,
        ResumptionOfferedWithIncompatibleCipherSuite, SelectedDifferentCipherSuiteAfterRetry,
        SelectedInvalidPsk, SelectedTls12UsingTls13VersionExtension,
        SelectedUnofferedApplicationProtocol, SelectedUnofferedCertCompression,
        SelectedUnofferedCipherSuite, SelectedUnofferedCompression, SelectedUnofferedKxGroup,
        SelectedUnofferedPsk, SelectedUnusableCipherSuiteForVersion,
        ServerEchoedCompatibilitySessionId, ServerHelloMustOfferUncompressedEcPoints,
        ServerNameDifferedOnRetry, ServerNameMustContainOneHostName,
        SignedKxWithWrongAlgorithm, SignedHandshakeWithUnadvertisedSigScheme,
        TooManyEmptyFragments, TooManyKeyUpdateRequests, TooManyRenegotiationRequests,
        TooManyWarningAlertsReceived, TooMuchEarlyDataReceived, UnexpectedCleartextExtension,
        UnsolicitedCertExtension, UnsolicitedEncryptedExtension, UnsolicitedSctList,
        UnsolicitedServerHelloExtension, WrongGroupForKeyShare, UnsolicitedEchExtension);
    let expected = variants("rustls", "src/error.rs", "PeerMisbehaved");
    check(&expected, named(errors, Error::PeerMisbehaved));
}

#[test]
fn each_incompatibility_has_a_remedy() {
    let mut errors = plain!(PeerIncompatible: EcPointsExtensionRequired, ExtendedMasterSecretExtensionRequired,
        IncorrectCertificateTypeExtension, KeyShareExtensionRequired,
        NamedGroupsExtensionRequired, NoCertificateRequestSignatureSchemesInCommon,
        NoCipherSuitesInCommon, NoEcPointFormatsInCommon, NoKxGroupsInCommon,
        NoSignatureSchemesInCommon, NullCompressionRequired, ServerDoesNotSupportTls12Or13,
        ServerSentHelloRetryRequestWithUnknownExtension, ServerTlsVersionIsDisabledByOurConfig,
        SignatureAlgorithmsExtensionRequired, SupportedVersionsExtensionRequired,
        Tls12NotOffered, Tls12NotOfferedOrEnabled, Tls13RequiredForQuic,
        UncompressedEcPointsRequired, UnsolicitedCertificateTypeExtension);
    errors.push(PeerIncompatible::ServerRejectedEncryptedClientHello(None));
    let expected = variants("rustls", "src/error.rs", "PeerIncompatible");
    check(&expected, named(errors, Error::PeerIncompatible));
}

#[test]
fn each_error_of_rustls_has_a_remedy() {
    use rustls::{ContentType, HandshakeType};
    let mut errors = plain!(Error: NoCertificatesPresented, UnsupportedNameType, DecryptError,
        EncryptError, FailedToGetCurrentTime, FailedToGetRandomBytes, HandshakeNotComplete,
        PeerSentOversizedRecord, NoApplicationProtocol, BadMaxFragmentSize);
    errors.extend([
        Error::InappropriateMessage {
            expect_types: Vec::new(),
            got_type: ContentType::ApplicationData,
        },
        Error::InappropriateHandshakeMessage {
            expect_types: Vec::new(),
            got_type: HandshakeType::Finished,
        },
        Error::InvalidEncryptedClientHello(EncryptedClientHelloError::SniRequired),
        Error::InvalidMessage(InvalidMessage::InvalidCcs),
        Error::PeerIncompatible(PeerIncompatible::NoKxGroupsInCommon),
        Error::PeerMisbehaved(PeerMisbehaved::InvalidKeyShare),
        Error::AlertReceived(AlertDescription::UnknownCA),
        Error::InvalidCertificate(CertificateError::UnknownIssuer),
        Error::InvalidCertRevocationList(CertRevocationListError::ParseError),
        Error::General("x".into()),
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch),
        Error::Other(OtherError(Arc::new(std::fmt::Error))),
    ]);
    let expected = variants("rustls", "src/error.rs", "Error");
    check(&expected, named(errors, |error| error));
    for keys in [InconsistentKeys::KeyMismatch, InconsistentKeys::Unknown] {
        assert!(explained(&keys.into(), true, false).contains("does not match MQTT_CERT_FILE"));
    }
}

#[test]
fn an_alert_about_certificates_depends_on_whether_there_is_one() {
    let alert = Error::AlertReceived(AlertDescription::HandshakeFailure);
    assert!(explained(&alert, false, true).contains("has received none"));
    assert!(explained(&alert, true, true).contains("does not accept this vehicle's certificate"));
    assert!(explained(&alert, true, false).contains("no cipher, curve or kind of key in common"));
}

#[test]
fn a_clock_that_is_not_set_is_named_with_its_time() {
    let error =
        CertificateError::NotValidYetContext { time: time(42), not_before: time(1_795_000_000) };
    let text = explained(&Error::InvalidCertificate(error), false, false);
    let expected = "it is valid from 2026-11-18T11:06:40Z, and the clock of the vehicle is not set, \
                    it says 1970-01-01T00:00:42Z";
    assert!(text.contains(expected), "{text}");
}

#[test]
fn each_error_of_the_pem_reader_has_a_remedy_and_shows_no_content() {
    use rustls::pki_types::pem::Error;
    let errors = [
        Error::MissingSectionEnd { end_marker: b"secret".to_vec() },
        Error::IllegalSectionStart { line: b"secret".to_vec() },
        Error::Base64Decode("secret".into()),
        Error::Io(std::io::Error::other("secret")),
        Error::NoItemsFound,
        Error::SectionTooLarge,
    ];
    let names: BTreeSet<_> = errors.iter().map(|error| identifier(&format!("{error:?}"))).collect();
    assert_eq!(names, variants("rustls-pki-types", "src/pem.rs", "Error"));
    for error in errors {
        let text = pem::explain(&error);
        assert!(["copy", "look", "name"].iter().any(|what| text.contains(what)), "{text}");
        assert!(!text.contains("secret") && !text.contains("not a valid PEM"), "{text}");
    }
}
