//! Certificates generated for one test.

use std::path::{Path, PathBuf};
use std::process::Command;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType, date_time_ymd,
};
use tempfile::TempDir;

/// A certificate authority with a directory for its files.
pub struct Authority {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, as files.
pub struct Certified {
    pub cert: PathBuf,
    pub key: PathBuf,
}

impl Authority {
    pub fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "Authority of a test");
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        std::fs::write(folder.path().join("ca.pem"), certificate.pem()).unwrap();
        std::fs::write(folder.path().join("ca.key"), key.serialize_pem()).unwrap();
        Self { folder, issuer: Issuer::new(params, key) }
    }

    /// The certificate of the authority.
    pub fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// A directory for other files of the test.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A certificate for a host or, if only a common name is given, for a client.
    pub fn certify(&self, name: &str) -> Certified {
        self.sign(name, CertificateParams::new([name.to_owned()]).unwrap())
    }

    /// A certificate for an address that is wrongly written as a DNS name.
    pub fn certify_as_name(&self, address: &str) -> Certified {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::DnsName(address.try_into().unwrap())];
        self.sign(&format!("{address} as a name"), params)
    }

    /// An expired certificate for a host.
    pub fn certify_expired(&self, name: &str) -> Certified {
        self.certify_for_years(name, 2020, 2021)
    }

    /// A certificate for a host that is valid from the beginning of one year to that of another.
    pub fn certify_for_years(&self, name: &str, first: i32, end: i32) -> Certified {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.not_before = date_time_ymd(first, 1, 1);
        params.not_after = date_time_ymd(end, 1, 1);
        self.sign(name, params)
    }

    /// What commands of a shell create in [`Authority::folder`], which has `ca.pem` and `ca.key`:
    /// `new.pem` and `new.key`, which are renamed.
    pub fn certify_with(&self, name: &str, commands: &str) -> Certified {
        let shell = Command::new("sh").args(["-ec", commands]).current_dir(self.folder()).output();
        let output = shell.unwrap();
        assert!(output.status.success(), "{commands}\n{output:?}");
        let renamed = |suffix: &str| {
            let path = self.folder().join(format!("{name}{suffix}"));
            std::fs::rename(self.folder().join(format!("new{suffix}")), &path).unwrap();
            path
        };
        Certified { cert: renamed(".pem"), key: renamed(".key") }
    }

    fn sign(&self, name: &str, mut params: CertificateParams) -> Certified {
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let file = |suffix: &str| self.folder.path().join(format!("{name}{suffix}"));
        let certified = Certified { cert: file(".pem"), key: file(".key") };
        std::fs::write(&certified.cert, certificate.pem()).unwrap();
        std::fs::write(&certified.key, key.serialize_pem()).unwrap();
        certified
    }
}
