//! The doors of the node: listeners for TCP and TLS. This room yields a byte stream and the
//! certificate of the peer; it knows neither MQTT nor who a certificate belongs to.
//!
//! Reading order: [`listener`] accepts, [`socket`] sets options, [`pending`] bounds the connections
//! that are still shaking hands, [`tls`] shakes hands, [`client_certificate`] checks that the peer
//! holds its key, [`transport`] carries the finished stream to the thread that will serve it, and
//! [`pki`] makes or loads the server's own certificate.
//!
//! Invariants of absence: nothing here parses an application byte, looks anything up in the catalog,
//! or decides that a certificate is good or bad.

pub mod client_certificate;
pub mod listener;
pub mod pending;
pub mod pki;
pub mod socket;
pub mod tls;
pub mod transport;
