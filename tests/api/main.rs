//! Black-box suite of the management API, driven by the official Python SDK's own stubs.

mod descriptors;
mod python;
