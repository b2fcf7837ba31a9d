//! Certificates with known fingerprints, and the form of password hashes.

use argon2::password_hash::PasswordVerifier;
use argon2::password_hash::phc::PasswordHash;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::*;

fn certificate() -> (String, Vec<u8>) {
    let key = rcgen::KeyPair::generate().expect("key");
    let certificate = rcgen::CertificateParams::new(vec!["localhost".to_owned()])
        .and_then(|parameters| parameters.self_signed(&key))
        .expect("certificate");
    (certificate.pem(), certificate.der().to_vec())
}

#[test]
fn a_certificate_is_known_by_the_digests_of_its_der_form_and_kept_as_it_is() {
    let (pem, der) = certificate();
    let text = format!("Some text before\r\n{pem}\n\n");
    let read = read_certificate("certificate_data", &text).expect("good certificate");
    let sha1: [u8; 20] = Sha1::digest(&der).into();
    assert_eq!(read.fingerprint, Fingerprint::from_sha1(&sha1));
    assert_eq!(read.digest, <[u8; 32]>::from(Sha256::digest(&der)));
    assert_eq!(&*read.certificate_data, text);
}

#[test]
fn the_first_certificate_counts_and_other_blocks_are_skipped() {
    let ((first, der), (second, _)) = (certificate(), certificate());
    let parameters = "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n";
    let read = read_certificate("certificate_data", &format!("{parameters}{first}{second}")).expect("good text");
    assert_eq!(read.digest, <[u8; 32]>::from(Sha256::digest(der)));
}

#[test]
fn texts_without_a_certificate_are_refused() {
    let (pem, der) = certificate();
    let not_der = format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", STANDARD.encode(&der[..40]));
    let mislabelled = pem.replace("CERTIFICATE", "PRIVATE KEY");
    for text in ["x", "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n", &not_der, &mislabelled] {
        let violation = read_certificate("certificate_data", text).expect_err(text);
        assert_eq!(violation.to_string(), "certificate_data: must be the PEM text of an X.509 certificate");
    }
    let violation = read_certificates([pem.as_str(), ""].into_iter()).expect_err("empty second text");
    assert_eq!(violation.to_string(), "certificates[1].certificate_data: must not be empty");
}

#[tokio::test]
async fn a_hash_verifies_its_password_and_no_other() {
    let hashing = PasswordHashing::default();
    let password = hashing.hash(PasswordId::new("are0"), "Passw0rdForDevice".to_owned()).await.expect("good password");
    assert!(password.hash.starts_with("$argon2id$"));
    let hash = PasswordHash::new(&password.hash).expect("a PHC string");
    assert!(Argon2::default().verify_password(b"Passw0rdForDevice", &hash).is_ok());
    assert!(Argon2::default().verify_password(b"Passw0rdForDevicf", &hash).is_err());
}

#[tokio::test]
async fn weak_passwords_are_refused_by_name_and_without_the_password() {
    let refused = PasswordHashing::default().hash(PasswordId::new("are0"), "aaaaaaaaaaaaaaaa".to_owned()).await;
    let error = refused.expect_err("one group only").to_string();
    assert!(error.starts_with("password: must have characters of at least 3"), "{error}");
    assert!(!error.contains("aaaa"), "{error}");
}
