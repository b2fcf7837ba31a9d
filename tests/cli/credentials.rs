//! Certificates, passwords and tokens.

use rookery_harness::certificates;
use serde_json::json;

use crate::{Folder, bare, failed, field, id, node, text};

#[test]
fn certificates_are_added_listed_and_deleted_by_fingerprint() {
    let folder = Folder::new();
    folder.registry("plant");
    let certificate = certificates::p256();
    let path = certificate.path.to_str().unwrap();
    let owner = ["--registry-name", "plant"];
    let added =
        folder.json(&[&["registry", "certificate", "add", "--certificate-file", path][..], &owner].concat());
    let fingerprint = certificate.fingerprint();
    assert_eq!(field(&added, "fingerprint"), fingerprint);
    assert_eq!(field(&added, "certificate_data"), std::fs::read_to_string(path).unwrap());

    let table = folder.run(&[&["registry", "certificate", "list"][..], &owner].concat());
    assert!(
        table.contains("FINGERPRINT") && table.contains("CREATED AT") && table.contains(&fingerprint),
        "{table}"
    );
    let yaml = folder.run(&[&["registry", "certificate", "list", "--format", "yaml"][..], &owner].concat());
    assert!(yaml.contains("certificate_data: |\n    -----BEGIN CERTIFICATE-----\n"), "{yaml}");

    // As `openssl x509 -fingerprint` writes it.
    let pairs: Vec<String> = fingerprint.as_bytes().chunks(2).map(|pair| text(pair).to_uppercase()).collect();
    let delete = ["registry", "certificate", "delete", "--fingerprint", &pairs.join(":")];
    folder.run(&[&delete[..], &owner].concat());
    assert_eq!(folder.json(&[&["registry", "certificate", "list"][..], &owner].concat()), json!([]));
}

#[test]
fn a_device_is_created_with_certificates_and_a_generated_password() {
    let folder = Folder::new();
    folder.registry("plant");
    let (first, second) = (certificates::p256(), certificates::ed25519());
    let device = folder.json(&[
        "device",
        "create",
        "pump",
        "--registry-name",
        "plant",
        "--generate-password",
        "--certificate-file",
        first.path.to_str().unwrap(),
        "--certificate-file",
        second.path.to_str().unwrap(),
    ]);
    assert!(field(&device, "password").len() >= 14, "the password is shown once: {device}");
    let certificates = folder.json(&["device", "certificate", "list", "--device-name", "pump"]);
    assert_eq!(certificates.as_array().map(Vec::len), Some(2));
    let passwords = folder.json(&["device", "password", "list", "--device-id", &id(&device)]);
    assert_eq!(passwords.as_array().map(Vec::len), Some(1));
    assert!(passwords[0].get("password").is_none());
    folder.run(&[
        "device",
        "password",
        "delete",
        "--device-name",
        "pump",
        "--password-id",
        &id(&passwords[0]),
    ]);
    assert_eq!(folder.json(&["device", "password", "list", "--device-name", "pump"]), json!([]));
}

#[test]
fn a_password_is_read_from_standard_input_and_never_shown() {
    let folder = Folder::new();
    folder.registry("plant");
    let arguments = ["registry", "password", "add", "--registry-name", "plant"];
    let output = folder.run_with_input(&arguments, "Passw0rdForDevice\n");
    assert!(!output.contains("Passw0rd") && output.contains("registry_id: "), "{output}");
    let error = folder.fail(&[&arguments[..], &["--password", "my-password1"]].concat());
    assert!(error.contains("14") && !error.contains("my-password1"), "{error}");
}

#[test]
fn tokens_are_made_used_listed_and_revoked() {
    let folder = Folder::new();
    let token = folder.json(&["token", "create", "ci", "--role", "viewer"]);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    std::fs::write(&file, field(&token, "secret")).unwrap();
    let as_viewer = |arguments: &[&str]| {
        let mut command = bare(arguments);
        command.arg("--token-file").arg(&file).arg("--ca-file").arg(node().ca_path());
        command.arg("--endpoint").arg(node().address("api").to_string());
        command.output().unwrap()
    };
    assert!(as_viewer(&["registry", "list"]).status.success());
    let error = failed(&as_viewer(&["registry", "create", "r"]));
    assert!(
        error.contains("PERMISSION_DENIED") && error.contains("rookery token create --role editor"),
        "{error}"
    );
    let list = folder.json(&["token", "list"]);
    let listed = list.as_array().unwrap().iter().find(|listed| listed["id"] == token["id"]).unwrap();
    assert_eq!(field(listed, "role"), "VIEWER");
    folder.run(&["token", "revoke", &id(&token)]);
    let error = failed(&as_viewer(&["registry", "list"]));
    assert!(error.contains("UNAUTHENTICATED"), "{error}");
}
