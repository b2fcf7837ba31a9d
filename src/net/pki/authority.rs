//! The private CA of a data directory, and the server certificate it issues.
//!
//! The CA lives 20 years, because devices in the field carry its certificate. The server certificate
//! is an ECDSA P-256 one (small handshakes, supported by BearSSL and mbedTLS) that lives 825 days and
//! is replaced at a start in its last 180 days, or when the names it must cover have changed. Clients
//! that trust the CA do not notice.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};
use zeroize::Zeroizing;

use super::{PkiError, ServerIdentity, files};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Life of the CA: 20 years.
const AUTHORITY_LIFE: Duration = Duration::from_secs(20 * 365 * 24 * 60 * 60);

/// Life of a server certificate: 825 days, the most that Apple's platforms accept.
const SERVER_LIFE: Duration = Duration::from_secs(825 * 24 * 60 * 60);

/// A server certificate that ends sooner than this is replaced at start.
const SERVER_RENEWAL: Duration = Duration::from_secs(180 * 24 * 60 * 60);

/// The names and addresses under which clients reach the server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerNames(Vec<String>);

impl ServerNames {
    /// `localhost`, `127.0.0.1`, `::1`, the host name of the machine where it is known, and the
    /// configured names (DNS names or IP addresses).
    pub fn new(configured: &[String]) -> Self {
        let mut names: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec();
        names.extend(host_name());
        names.extend(configured.iter().map(|name| name.trim().to_ascii_lowercase()));
        let mut seen = std::collections::BTreeSet::new();
        names.retain(|name| !name.is_empty() && seen.insert(name.clone()));
        Self(names)
    }
}

/// The host name the kernel has, if it can stand in a certificate.
fn host_name() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    let name = name.trim().to_ascii_lowercase();
    let plausible = !name.is_empty()
        && name.len() <= 253
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.');
    plausible.then_some(name)
}

/// The four files.
struct Paths {
    authority_certificate: PathBuf,
    authority_key: PathBuf,
    server_certificate: PathBuf,
    server_key: PathBuf,
}

/// Opens the PKI directory, making the CA and the server certificate where they are missing, and a
/// new server certificate where it is about to expire or does not cover `names`. A CA that exists is
/// never replaced.
pub fn open_or_create(
    directory: &Path,
    names: &ServerNames,
    now: SystemTime,
) -> Result<ServerIdentity, PkiError> {
    let paths = Paths {
        authority_certificate: directory.join("ca.pem"),
        authority_key: directory.join("ca.key"),
        server_certificate: directory.join("server.pem"),
        server_key: directory.join("server.key"),
    };
    files::create_directory(directory)?;
    match (paths.authority_certificate.exists(), paths.authority_key.exists()) {
        (true, true) => {}
        // A server certificate is only made when the CA is complete: the CA's was lost since, and clients trust it.
        (false, true) if paths.server_certificate.exists() => {
            return Err(PkiError::HalfAuthority {
                present: paths.authority_key,
                missing: paths.authority_certificate,
            });
        }
        // The certificate is written last, so a key alone is what a crash in between leaves.
        (false, _) => create_authority(&paths, now)?,
        (true, false) => {
            return Err(PkiError::HalfAuthority {
                present: paths.authority_certificate,
                missing: paths.authority_key,
            });
        }
    }
    if let Some(identity) = usable_server(&paths, names, now) {
        return Ok(identity);
    }
    issue_server(&paths, names, now)
}

fn create_authority(paths: &Paths, now: SystemTime) -> Result<(), PkiError> {
    let issue_error = |error| PkiError::Issue { path: paths.authority_certificate.clone(), error };
    let key = KeyPair::generate().map_err(issue_error)?;
    // A few digits of the key tell the CAs of several installations apart in a trust store.
    let digest = ring::digest::digest(&ring::digest::SHA256, key.public_key_raw());
    let mark: String = digest.as_ref().iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    let params = authority_params(&format!("Rookery private CA {mark}"), now);
    let certificate = params.self_signed(&key).map_err(issue_error)?;

    let key_pem = Zeroizing::new(key.serialize_pem());
    files::write(&paths.authority_key, key_pem.as_bytes(), files::SECRET)?;
    files::write(&paths.authority_certificate, certificate.pem().as_bytes(), files::PUBLIC)
}

fn authority_params(common_name: &str, now: SystemTime) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = distinguished_name(common_name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    set_validity(&mut params, now, AUTHORITY_LIFE);
    params
}

/// The server certificate on disk, unless it is missing, damaged, near its end, from another CA, or
/// short of a name; then a new one is issued.
fn usable_server(paths: &Paths, names: &ServerNames, now: SystemTime) -> Option<ServerIdentity> {
    let identity = super::load(&paths.server_certificate, &paths.server_key).ok()?;
    let fresh = identity.not_after() > now + SERVER_RENEWAL;
    let authority_pem = files::read(&paths.authority_certificate).ok()?;
    let authority = CertificateDer::from_pem_slice(&authority_pem).ok()?;
    let chain = &identity.key().cert;
    let from_this_authority = chain.last() == Some(&authority);
    let covered = subject_names(chain.first()?)?;
    let complete = names.0.iter().all(|name| covered.contains(name));
    (fresh && from_this_authority && complete).then_some(identity)
}

fn issue_server(paths: &Paths, names: &ServerNames, now: SystemTime) -> Result<ServerIdentity, PkiError> {
    let issue_error = |error| PkiError::Issue { path: paths.server_certificate.clone(), error };
    let authority_pem = files::read(&paths.authority_certificate)?;
    let issuer = load_issuer(paths, &authority_pem, now)?;

    for name in &names.0 {
        CertificateParams::new([name.clone()]).map_err(|_| PkiError::ServerName(name.clone()))?;
    }
    let mut params = CertificateParams::new(names.0.clone()).map_err(issue_error)?;
    params.distinguished_name = distinguished_name("Rookery server");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    set_validity(&mut params, now, SERVER_LIFE);
    let key = KeyPair::generate().map_err(issue_error)?;
    let certificate = params.signed_by(&key, &issuer).map_err(issue_error)?;

    let mut chain_pem = certificate.pem().into_bytes();
    chain_pem.extend_from_slice(&authority_pem);
    let key_pem = Zeroizing::new(key.serialize_pem().into_bytes());
    // A crash between the two writes leaves a pair that does not match, which the next start replaces.
    files::write(&paths.server_key, &key_pem, files::SECRET)?;
    files::write(&paths.server_certificate, &chain_pem, files::PUBLIC)?;
    ServerIdentity::from_pem(chain_pem, key_pem, &paths.server_certificate, &paths.server_key)
}

/// The CA as an issuer: name from its certificate, key from its file.
fn load_issuer(
    paths: &Paths,
    authority_pem: &[u8],
    now: SystemTime,
) -> Result<Issuer<'static, KeyPair>, PkiError> {
    let certificate_path = &paths.authority_certificate;
    let certificate = CertificateDer::from_pem_slice(authority_pem)
        .map_err(|_| PkiError::NoCertificate(certificate_path.clone()))?;
    let not_x509 = || PkiError::NotX509(certificate_path.clone());
    let (_, parsed) = X509Certificate::from_der(&certificate).map_err(|_| not_x509())?;
    let common_name = parsed.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
    let common_name = common_name.ok_or_else(not_x509)?;

    let key_pem = Zeroizing::new(files::read(&paths.authority_key)?);
    let key_text = std::str::from_utf8(&key_pem).map_err(|_| PkiError::NoKey(paths.authority_key.clone()))?;
    let key = KeyPair::from_pem(key_text)
        .map_err(|error| PkiError::Issue { path: paths.authority_key.clone(), error })?;
    // Also tells a key of another CA from the right one.
    ServerIdentity::from_pem(
        authority_pem.to_vec(),
        key_pem.clone(),
        certificate_path,
        &paths.authority_key,
    )?;
    Ok(Issuer::new(authority_params(common_name, now), key))
}

/// DNS names and IP addresses of a certificate, in the spelling of [`ServerNames`].
fn subject_names(certificate: &CertificateDer<'_>) -> Option<Vec<String>> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let extension = parsed.subject_alternative_name().ok()??;
    let names = extension.value.general_names.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(octets) => {
            let address = match <[u8; 4]>::try_from(*octets) {
                Ok(v4) => IpAddr::from(v4),
                Err(_) => IpAddr::from(<[u8; 16]>::try_from(*octets).ok()?),
            };
            Some(address.to_string())
        }
        _ => None,
    });
    Some(names.collect())
}

fn distinguished_name(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

/// Valid from a day ago, so that clients whose clock is behind accept it at once.
fn set_validity(params: &mut CertificateParams, now: SystemTime, life: Duration) {
    let since_epoch = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + since_epoch.saturating_sub(DAY);
    params.not_after = epoch + since_epoch + life;
}

#[cfg(test)]
mod tests;
