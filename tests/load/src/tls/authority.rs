//! A certificate authority for one run: the server's certificate and those of the devices.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use rcgen::{BasicConstraints, Certificate, CertificateParams, DnType, IsCa, Issuer, KeyPair, SerialNumber};
use serde::{Deserialize, Serialize};

use crate::scenario::KeyKind;

/// Length of RSA keys, in bits.
const RSA_BITS: u32 = 2048;

/// Certificate and key of a client, in PEM.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The certificate.
    pub certificate: String,
    /// Its private key.
    pub key: String,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Identity").finish_non_exhaustive()
    }
}

/// The authority and the files that a broker is started with.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Certificate of the authority, which clients trust and which has signed all other certificates.
    pub certificate: PathBuf,
    /// Certificate of the server, for `localhost` and 127.0.0.1, P-256.
    pub server_certificate: PathBuf,
    /// Its key.
    pub server_key: PathBuf,
}

impl Authority {
    /// Makes a new authority and a server certificate in `directory`.
    pub fn create(directory: &Path) -> anyhow::Result<Self> {
        let key = KeyPair::generate()?;
        let mut parameters = named("load test authority")?;
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let own = parameters.self_signed(&key)?;
        let authority = Self {
            issuer: Issuer::new(parameters, key),
            certificate: directory.join("ca.pem"),
            server_certificate: directory.join("server.pem"),
            server_key: directory.join("server.key"),
        };
        let server_key = KeyPair::generate()?;
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let server = authority.sign(&CertificateParams::new(names)?, &server_key)?;
        fs::write(&authority.certificate, own.pem())?;
        fs::write(&authority.server_certificate, server.pem())?;
        fs::write(&authority.server_key, server_key.serialize_pem())?;
        Ok(authority)
    }

    fn sign(&self, parameters: &CertificateParams, key: &KeyPair) -> anyhow::Result<Certificate> {
        Ok(parameters.signed_by(key, &self.issuer)?)
    }

    /// Certificates for `count` devices, each another one. ECDSA keys (P-256) are different ones too; RSA keys are
    /// too slow to make for that, so all RSA certificates share one.
    pub fn identities(&self, kind: KeyKind, count: u32) -> anyhow::Result<Vec<Identity>> {
        let shared = match kind {
            KeyKind::Ecdsa => None,
            KeyKind::Rsa => Some(rsa_key()?),
        };
        let identity = |index: u32| {
            let mut parameters = named(&format!("device {index}"))?;
            parameters.serial_number = Some(SerialNumber::from(u64::from(index) + 1));
            let own = if shared.is_none() { Some(KeyPair::generate()?) } else { None };
            let key = shared.as_ref().or(own.as_ref()).context("one of the two is there")?;
            let certificate = self.sign(&parameters, key)?.pem();
            Ok(Identity { certificate, key: key.serialize_pem() })
        };
        (0..count).map(identity).collect()
    }
}

fn named(common_name: &str) -> anyhow::Result<CertificateParams> {
    let mut parameters = CertificateParams::new(Vec::new())?;
    parameters.distinguished_name.push(DnType::CommonName, common_name);
    Ok(parameters)
}

/// A new RSA key. The cryptography that is built in signs with RSA but makes no keys.
fn rsa_key() -> anyhow::Result<KeyPair> {
    let bits = format!("rsa_keygen_bits:{RSA_BITS}");
    let output = Command::new("openssl").args(["genpkey", "-algorithm", "RSA", "-pkeyopt", &bits]).output();
    let output = output.context("RSA keys need the openssl command")?;
    ensure!(output.status.success(), "openssl genpkey failed: {}", String::from_utf8_lossy(&output.stderr));
    Ok(KeyPair::from_pem(&String::from_utf8(output.stdout)?)?)
}
