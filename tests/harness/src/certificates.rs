//! Client certificates, made by the `openssl` command as users make them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use crate::janitor;

/// A certificate with its private key, as PEM text and as files (foreign clients want files).
#[derive(Clone, Debug)]
pub struct Certificate {
    /// The certificate in PEM.
    pub pem: String,
    /// The unencrypted private key in PEM.
    pub key_pem: String,
    /// File with [`Certificate::pem`].
    pub path: PathBuf,
    /// File with [`Certificate::key_pem`].
    pub key_path: PathBuf,
}

impl Certificate {
    /// The SHA-1 fingerprint as 40 lower-case hex digits (U-A5), computed by `openssl`.
    pub fn fingerprint(&self) -> String {
        let text =
            openssl(&self.directory(), &["x509", "-in", "cert.pem", "-noout", "-fingerprint", "-sha1"]);
        let (_, digits) = text.trim().split_once('=').expect("openssl prints name=fingerprint");
        digits.replace(':', "").to_lowercase()
    }

    /// What `openssl x509 -text` says, for checks that a certificate is what it is meant to be.
    pub fn describe(&self) -> String {
        openssl(&self.directory(), &["x509", "-in", "cert.pem", "-noout", "-text"])
    }

    fn directory(&self) -> PathBuf {
        self.path.parent().expect("the file is in a directory").to_path_buf()
    }

    fn load(directory: &Path) -> Self {
        let (path, key_path) = (directory.join("cert.pem"), directory.join("key.pem"));
        let read = |path: &Path| fs::read_to_string(path).expect("openssl wrote the file");
        Self { pem: read(&path), key_pem: read(&key_path), path, key_path }
    }
}

/// A new self-signed P-256 certificate; the quickest kind, for tests that need many.
pub fn p256() -> Certificate {
    elliptic("P-256")
}

/// A new self-signed ECDSA certificate on the given curve.
pub fn elliptic(curve: &str) -> Certificate {
    request(&["-newkey", "ec", "-pkeyopt", &format!("ec_paramgen_curve:{curve}"), "-days", "365"])
}

/// A new self-signed Ed25519 certificate.
pub fn ed25519() -> Certificate {
    request(&["-newkey", "ed25519", "-days", "365"])
}

/// A new RSA certificate of the given length in bits.
pub fn rsa(bits: u16) -> Certificate {
    request(&["-newkey", &format!("rsa:{bits}"), "-days", "365"])
}

/// The vendor's recipe, literally (RSA-4096). Made once per process, as the key takes seconds.
pub fn vendor_recipe() -> Certificate {
    static MADE: OnceLock<Certificate> = OnceLock::new();
    MADE.get_or_init(|| request(&["-newkey", "rsa:4096", "-days", "365"])).clone()
}

/// A P-256 certificate that was valid in the year 2020 only.
pub fn expired() -> Certificate {
    with_validity("200101000000Z", "210101000000Z")
}

/// A P-256 certificate that becomes valid in 2048.
pub fn not_yet_valid() -> Certificate {
    with_validity("480101000000Z", "490101000000Z")
}

/// An X.509 v1 certificate (no extensions at all).
pub fn version_1() -> Certificate {
    let directory = janitor::new_directory("certificate-");
    signing_request(&directory);
    openssl(
        &directory,
        &["x509", "-req", "-in", "csr.pem", "-signkey", "key.pem", "-days", "365", "-out", "cert.pem"],
    );
    let certificate = Certificate::load(&directory);
    if certificate.describe().contains("Version: 1 ") {
        return certificate;
    }
    // From version 3.2 on, openssl makes version 3 unless told otherwise.
    openssl(
        &directory,
        &["req", "-x509", "-x509v1", "-key", "key.pem", "-in", "csr.pem", "-out", "cert.pem"],
    );
    let certificate = Certificate::load(&directory);
    assert!(certificate.describe().contains("Version: 1 "), "openssl cannot make a version 1 certificate");
    certificate
}

/// A version 3 certificate with a subject alternative name; all others here have none.
pub fn with_alternative_name() -> Certificate {
    request(&[
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-days",
        "365",
        "-addext",
        "subjectAltName=DNS:localhost",
    ])
}

/// Makes an authority and a server's certificate for localhost in `directory`: `ca.pem`, `server.pem`, `server.key`.
pub fn issue_for_server(directory: &Path) {
    fs::create_dir_all(directory).expect("the directory is writable");
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
    let authority = ["req", "-x509", "-subj", "/CN=Plant CA", "-keyout", "ca.key", "-out", "ca.pem"];
    openssl(directory, &[&authority[..], &key[..]].concat());
    let server = ["req", "-subj", "/CN=localhost", "-keyout", "server.key", "-out", "server.csr"];
    openssl(directory, &[&server[..], &key[..]].concat());
    fs::write(directory.join("names"), "subjectAltName=DNS:localhost,IP:127.0.0.1")
        .expect("the directory is writable");
    let sign = ["x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"];
    openssl(directory, &[&sign[..], &["-extfile", "names", "-out", "server.pem"]].concat());
}

fn request(arguments: &[&str]) -> Certificate {
    let directory = janitor::new_directory("certificate-");
    let fixed =
        ["req", "-x509", "-keyout", "key.pem", "-out", "cert.pem", "-nodes", "-subj", "/CN=localhost"];
    openssl(&directory, &[&fixed, arguments].concat());
    Certificate::load(&directory)
}

fn signing_request(directory: &Path) {
    let arguments = ["req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
    let output = ["-keyout", "key.pem", "-out", "csr.pem", "-subj", "/CN=localhost"];
    openssl(directory, &[&arguments[..], &output[..]].concat());
}

/// `openssl req` knows only durations from today; `openssl ca` takes dates.
fn with_validity(start: &str, end: &str) -> Certificate {
    let directory = janitor::new_directory("certificate-");
    signing_request(&directory);
    let write =
        |name: &str, text: &str| fs::write(directory.join(name), text).expect("the directory is writable");
    write("index.txt", "");
    write("serial", "01\n");
    write(
        "ca.cnf",
        "[ca]\ndefault_ca=own\n[own]\ndatabase=index.txt\nnew_certs_dir=.\nserial=serial\ndefault_md=sha256\n\
         policy=any\nx509_extensions=extensions\n[any]\ncommonName=supplied\n[extensions]\nbasicConstraints=CA:TRUE\n",
    );
    let arguments = ["ca", "-config", "ca.cnf", "-batch", "-selfsign", "-notext", "-keyfile", "key.pem"];
    let files = ["-in", "csr.pem", "-out", "cert.pem", "-startdate", start, "-enddate", end];
    openssl(&directory, &[&arguments[..], &files[..]].concat());
    Certificate::load(&directory)
}

fn openssl(directory: &Path, arguments: &[&str]) -> String {
    let output = Command::new("openssl")
        .args(arguments)
        .current_dir(directory)
        .output()
        .expect("the openssl command is installed (tests/run checks it)");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "openssl {} failed: {complaint}", arguments.join(" "));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_certificates_are_what_they_say() {
        assert!(expired().describe().contains("Not After : Jan  1 00:00:00 2021 GMT"));
        assert!(not_yet_valid().describe().contains("Not Before: Jan  1 00:00:00 2048 GMT"));
        assert!(version_1().describe().contains("Version: 1 "));
        assert!(with_alternative_name().describe().contains("DNS:localhost"));
        assert!(!p256().describe().contains("Subject Alternative Name"));
        assert_eq!(p256().fingerprint().len(), 40);
    }
}
