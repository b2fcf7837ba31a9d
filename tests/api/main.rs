//! Black-box suite of the management API: the real binary, driven by the official Python SDK's own stubs over TLS.

mod descriptors;
mod management;
mod python;
