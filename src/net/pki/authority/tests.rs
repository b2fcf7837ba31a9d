//! First start, restart, renewal and damage of the PKI directory.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;

fn names(extra: &[&str]) -> ServerNames {
    ServerNames::new(&extra.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
}

fn at(days: u32) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_790_000_000) + DAY * days
}

#[test]
fn first_start_makes_a_ca_and_a_server_certificate_and_restarts_keep_them() {
    let directory = tempfile::tempdir().unwrap();
    let pki = directory.path().join("pki");
    let first = open_or_create(&pki, &names(&["mqtt.example.org", "10.1.2.3"]), at(0)).unwrap();
    for (file, mode) in [("ca.key", 0o600), ("server.key", 0o600), ("ca.pem", 0o644), ("server.pem", 0o644)] {
        let actual = fs::metadata(pki.join(file)).unwrap().permissions().mode() & 0o777;
        assert_eq!(actual, mode, "{file}");
    }
    let covered = subject_names(&first.key().cert[0]).unwrap();
    for name in ["localhost", "127.0.0.1", "::1", "mqtt.example.org", "10.1.2.3"] {
        assert!(covered.contains(&name.to_owned()), "{name} is not in {covered:?}");
    }
    let again = open_or_create(&pki, &names(&["mqtt.example.org"]), at(600)).unwrap();
    assert_eq!(first.certificate_pem(), again.certificate_pem());
}

#[test]
fn the_server_certificate_is_renewed_near_its_end_and_the_ca_stays() {
    let directory = tempfile::tempdir().unwrap();
    let first = open_or_create(directory.path(), &names(&[]), at(0)).unwrap();
    let ca = fs::read(directory.path().join("ca.pem")).unwrap();
    let renewed = open_or_create(directory.path(), &names(&[]), at(700)).unwrap();
    assert!(renewed.not_after() > first.not_after());
    assert_eq!(ca, fs::read(directory.path().join("ca.pem")).unwrap());
    assert_eq!(first.key().cert[1], renewed.key().cert[1]);
}

#[test]
fn a_new_name_leads_to_a_new_certificate() {
    let directory = tempfile::tempdir().unwrap();
    let first = open_or_create(directory.path(), &names(&[]), at(0)).unwrap();
    let second = open_or_create(directory.path(), &names(&["iot.example.org"]), at(1)).unwrap();
    assert_ne!(first.certificate_pem(), second.certificate_pem());
}

#[test]
fn a_lost_ca_key_is_an_error_that_names_both_files() {
    let directory = tempfile::tempdir().unwrap();
    open_or_create(directory.path(), &names(&[]), at(0)).unwrap();
    fs::remove_file(directory.path().join("ca.key")).unwrap();
    let message = open_or_create(directory.path(), &names(&[]), at(0)).unwrap_err().to_string();
    assert!(message.contains("ca.pem") && message.contains("ca.key"), "{message}");
}

#[test]
fn a_lost_ca_certificate_is_an_error_and_the_ca_stays() {
    // A CA's key without its certificate was always taken for an interrupted first start. So a restart after ca.pem had
    // been lost made a new CA over the old key, and no device in the field trusted the server any more.
    let directory = tempfile::tempdir().unwrap();
    open_or_create(directory.path(), &names(&[]), at(0)).unwrap();
    let key = fs::read(directory.path().join("ca.key")).unwrap();
    fs::remove_file(directory.path().join("ca.pem")).unwrap();
    let message = open_or_create(directory.path(), &names(&[]), at(0)).unwrap_err().to_string();
    assert!(message.contains("ca.pem") && message.contains("ca.key"), "{message}");
    assert_eq!(key, fs::read(directory.path().join("ca.key")).unwrap());
    // Without a server certificate there was no first start yet.
    fs::remove_file(directory.path().join("server.pem")).unwrap();
    open_or_create(directory.path(), &names(&[]), at(0)).unwrap();
}

#[test]
fn a_damaged_server_pair_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    open_or_create(directory.path(), &names(&[]), at(0)).unwrap();
    let other = KeyPair::generate().unwrap().serialize_pem();
    fs::write(directory.path().join("server.key"), other).unwrap();
    open_or_create(directory.path(), &names(&[]), at(0)).unwrap();
    super::super::load(&directory.path().join("server.pem"), &directory.path().join("server.key")).unwrap();
}

#[test]
fn errors_of_given_files_name_file_and_rule() {
    let directory = tempfile::tempdir().unwrap();
    open_or_create(directory.path(), &names(&[]), at(0)).unwrap();
    let certificate = directory.path().join("server.pem");
    let other_key = directory.path().join("ca.key");
    let load = super::super::load;

    let mismatch = load(&certificate, &other_key).unwrap_err().to_string();
    assert!(mismatch.contains("server.pem") && mismatch.contains("belong to"), "{mismatch}");
    let no_key = load(&certificate, &certificate).unwrap_err().to_string();
    assert!(no_key.contains("PRIVATE KEY"), "{no_key}");
    let no_certificate = load(&other_key, &other_key).unwrap_err().to_string();
    assert!(no_certificate.contains("CERTIFICATE"), "{no_certificate}");
    let missing = load(&directory.path().join("none.pem"), &other_key).unwrap_err().to_string();
    assert!(missing.contains("cannot read") && missing.contains("none.pem"), "{missing}");
}
