//! Errors say what happened and what to do next.

use crate::{Folder, bare, failed, node};

#[test]
fn without_a_token_the_error_says_where_to_get_one() {
    let error = failed(&bare(&["registry", "list"]).output().unwrap());
    assert!(error.contains("no access token") && error.contains("admin.token"), "{error}");
}

#[test]
fn without_the_ca_the_error_says_how_to_trust_the_server() {
    let mut command = bare(&["registry", "list", "--endpoint", &node().address("api").to_string()]);
    let error = failed(
        &command.arg("--token-file").arg(node().data_directory().join("admin.token")).output().unwrap(),
    );
    assert!(error.contains("--ca-file"), "{error}");
}

#[test]
fn a_server_that_is_not_there_is_named() {
    // Bound and never listening: the port stays refused.
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap().to_string();
    drop(socket);
    let folder = Folder::new();
    let error = folder.fail(&["registry", "list", "--endpoint", &address, "--retry", "1"]);
    assert!(error.contains(&address) && error.contains("rookery serve"), "{error}");
}

#[test]
fn a_wrong_token_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    std::fs::write(&file, "not-the-token").unwrap();
    let error = Folder::new().fail(&["registry", "list", "--token-file", file.to_str().unwrap()]);
    assert!(error.contains("UNAUTHENTICATED") && error.contains("--token-file"), "{error}");
}

#[test]
fn unknown_names_broken_rules_and_missing_files_are_explained() {
    let folder = Folder::new();
    let error = folder.fail(&["registry", "get", "absent"]);
    assert!(error.contains("no registry has the id or name \"absent\""), "{error}");
    let error = folder.fail(&["registry", "create", "no spaces allowed"]);
    assert!(error.contains("INVALID_ARGUMENT") && error.contains("name"), "{error}");
    let error = folder.fail(&["registry", "create", "r", "--labels", "novalue"]);
    assert!(error.contains("KEY=VALUE"), "{error}");
    let error = folder.fail(&["registry", "create", "r", "--certificate-file", "/nowhere/cert.pem"]);
    assert!(error.contains("cannot read /nowhere/cert.pem"), "{error}");
    folder.registry("taken");
    let error = folder.fail(&["registry", "create", "taken"]);
    assert!(error.contains("ALREADY_EXISTS"), "{error}");
}

#[test]
fn wrong_usage_has_exit_code_2_and_help_has_0() {
    assert_eq!(bare(&["registry", "get"]).output().unwrap().status.code(), Some(2));
    assert_eq!(bare(&["unheard-of"]).output().unwrap().status.code(), Some(2));
    for arguments in [&["--help"][..], &["device", "create", "--help"], &["mqtt", "publish", "--help"]] {
        let output = bare(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        assert!(String::from_utf8(output.stdout).unwrap().contains("rookery"), "{arguments:?}");
    }
}
