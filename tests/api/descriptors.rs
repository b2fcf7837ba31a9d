//! The wire definitions are the published ones: compared with the official SDK's own descriptors.

use std::fs;

use crate::python::Python;

#[test]
fn wire_definitions_equal_the_official_ones() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("descriptors.bin");
    fs::write(&path, rookery_proto::FILE_DESCRIPTOR_SET).expect("descriptor file");

    let report = Python::script("compare_descriptors.py").argument(&path).run();

    assert!(report.success, "{}", report.output);
    // 400 is well below the real number: a guard against comparing nothing.
    let compared =
        report.output.lines().last().and_then(|line| line.split(' ').next()).map(str::parse::<u32>);
    assert!(matches!(compared, Some(Ok(400..))), "{}", report.output);
}
