//! Compiles every `.proto` file below this directory with protox, so that no protoc is needed.
//! Adding a file needs no change here; its package appears as a module of the crate.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// These get a `Debug` that shows no field, in `src/redact.rs`.
const MESSAGES_WITH_SECRETS: [&str; 11] = [
    ".yandex.cloud.iot.devices.v1.CreateDeviceRequest",
    ".yandex.cloud.iot.devices.v1.AddDevicePasswordRequest",
    ".yandex.cloud.iot.devices.v1.CreateRegistryRequest",
    ".yandex.cloud.iot.devices.v1.AddRegistryPasswordRequest",
    ".yandex.cloud.iot.broker.v1.CreateBrokerRequest",
    ".yandex.cloud.iot.broker.v1.AddBrokerPasswordRequest",
    ".rookery.admin.v1.CreateTokenResponse",
    ".rookery.cluster.v1.JoinResponse",
    ".rookery.storage.v1.ApiToken",
    ".rookery.storage.v1.NewPassword",
    ".rookery.storage.v1.Password",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=.");
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let out_dir = PathBuf::from(env::var("OUT_DIR")?);
    let mut files = Vec::new();
    collect_proto_files(&root, &mut files)?;
    files.sort();

    let mut compiler = protox::Compiler::new([&root])?;
    compiler.include_imports(true).include_source_info(false).open_files(&files)?;
    // Encoded by protox itself: prost would drop the custom options, which carry the validation
    // rules and the HTTP mapping.
    fs::write(out_dir.join("descriptors.bin"), compiler.encode_file_descriptor_set())?;

    let mut config = tonic_prost_build::Config::new();
    config.enable_type_names().type_name_domain(["."], "type.googleapis.com");
    let mut documented = protox::Compiler::new([&root])?;
    documented.include_imports(true).include_source_info(true).open_files(&files)?;
    tonic_prost_build::configure()
        .build_client(true)
        .build_server(true)
        .bytes(".")
        .skip_debug(MESSAGES_WITH_SECRETS)
        .include_file("packages.rs")
        .emit_rerun_if_changed(false)
        .compile_fds_with_config(documented.file_descriptor_set(), config)?;
    Ok(())
}

fn collect_proto_files(directory: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            collect_proto_files(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "proto") {
            files.push(path);
        }
    }
    Ok(())
}
