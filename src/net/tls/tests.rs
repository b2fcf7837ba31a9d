//! Handshakes with a client that we did not write: `openssl s_client`, with certificates made by
//! `openssl req` as the vendor's guide tells users to.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use super::*;
use crate::net::listener::{Accepted, ConnectionLimit, Listener, ListenerCounters, ListenerSettings};
use crate::net::pki;

/// A listener whose finished connections are echoed on another thread's own runtime, as the node's
/// connection threads are.
struct Echo {
    address: SocketAddr,
    counters: Arc<ListenerCounters>,
    certificates: mpsc::UnboundedReceiver<Option<CertificateDer<'static>>>,
    directory: tempfile::TempDir,
    _runtime: tokio::runtime::Runtime,
}

fn echo(settings: TlsSettings) -> Echo {
    let directory = tempfile::tempdir().unwrap();
    let names = pki::ServerNames::new(&[]);
    let identity = pki::open_or_create(&directory.path().join("pki"), &names, SystemTime::now()).unwrap();
    let tls = Arc::new(ServerTls::new(settings, &identity).unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();

    let (to_server, mut connections) = mpsc::unbounded_channel::<Accepted>();
    let (seen, certificates) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        let server = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let tasks = tokio::task::LocalSet::new();
        tasks.block_on(&server, async move {
            while let Some(connection) = connections.recv().await {
                seen.send(connection.certificate.clone()).ok();
                tokio::task::spawn_local(async move {
                    let mut stream = connection.transport.attach().unwrap();
                    let mut chunk = [0; 1024];
                    while let Ok(count @ 1..) = stream.read(&mut chunk).await {
                        stream.write_all(&chunk[..count]).await.unwrap();
                        stream.flush().await.unwrap();
                    }
                });
            }
        });
    });
    let listener = {
        let _inside = runtime.enter();
        let settings = ListenerSettings::new("mqtts", ConnectionLimit::new(100));
        Listener::bind("127.0.0.1:0".parse().unwrap(), settings, Some(tls)).unwrap()
    };
    let (address, counters) = (listener.local_address(), listener.counters());
    runtime.spawn(listener.run(Arc::new(move |connection| {
        to_server.send(connection).ok();
    })));
    Echo { address, counters, certificates, directory, _runtime: runtime }
}

impl Echo {
    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Starts `openssl s_client`, which verifies the server against the private CA.
    fn client(&self, arguments: &[&str]) -> Child {
        Command::new("openssl")
            .args(["s_client", "-quiet", "-verify_return_error", "-cipher", "DEFAULT:@SECLEVEL=0"])
            .args(["-CAfile", self.path("pki/ca.pem").to_str().unwrap()])
            .args(["-connect", &self.address.to_string()])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// Shakes hands, has one line echoed, and returns the certificate the server saw.
    fn round_trip(&mut self, arguments: &[&str]) -> Result<Option<CertificateDer<'static>>, String> {
        let mut client = self.client(arguments);
        client.stdin.as_mut().unwrap().write_all(b"hello\n").unwrap();
        let mut answer = [0; 6];
        if client.stdout.as_mut().unwrap().read_exact(&mut answer).is_err() {
            drop(client.stdin.take());
            let output = client.wait_with_output().unwrap();
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        drop(client.stdin.take());
        client.kill().unwrap();
        client.wait().unwrap();
        assert_eq!(&answer, b"hello\n");
        Ok(self.certificates.blocking_recv().unwrap())
    }
}

fn openssl(directory: &Path, arguments: &[&str]) {
    let output = Command::new("openssl").args(arguments).current_dir(directory).output().unwrap();
    assert!(output.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Makes `<name>.pem` and `<name>.key` with `openssl req -x509` and the given arguments.
fn self_signed(directory: &Path, name: &str, arguments: &[&str]) {
    let (key, certificate) = (format!("{name}.key"), format!("{name}.pem"));
    let fixed = ["req", "-x509", "-nodes", "-keyout", &key, "-out", &certificate, "-subj", "/CN=localhost"];
    openssl(directory, &[&fixed[..], arguments].concat());
}

/// An X.509 v1 certificate: `openssl x509 -req` without extensions.
fn version_one(directory: &Path) {
    let subject = ["-nodes", "-keyout", "v1.key", "-out", "v1.csr", "-subj", "/CN=localhost"];
    openssl(directory, &[&["req", "-newkey", "rsa:2048"], &subject[..]].concat());
    openssl(
        directory,
        &["x509", "-req", "-in", "v1.csr", "-signkey", "v1.key", "-out", "v1.pem", "-days", "9"],
    );
}

fn der(path: &Path) -> CertificateDer<'static> {
    use rustls::pki_types::pem::PemObject;
    CertificateDer::from_pem_file(path).unwrap()
}

const EC: &[&str] = &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
const RSA: &[&str] = &["-newkey", "rsa:2048"];

/// A certificate valid in the given years only (OpenSSL 3.0 cannot be told a start).
fn valid_in(directory: &Path, name: &str, from_year: i32, to_year: i32) {
    let mut params = rcgen::CertificateParams::default();
    params.not_before = rcgen::date_time_ymd(from_year, 1, 1);
    params.not_after = rcgen::date_time_ymd(to_year, 1, 1);
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    std::fs::write(directory.join(format!("{name}.pem")), certificate.pem()).unwrap();
    std::fs::write(directory.join(format!("{name}.key")), key.serialize_pem()).unwrap();
}

/// Waits for a total that the server writes just after the client has seen the effect.
fn await_total(counter: &std::sync::atomic::AtomicU64, total: u64) {
    while counter.load(Ordering::Relaxed) != total {
        std::thread::yield_now();
    }
}

/// U-A2: which certificates authenticate, by protocol version.
#[test]
fn any_certificate_completes_the_handshake_when_the_key_is_proven() {
    let mut echo = echo(TlsSettings::default());
    let directory = echo.directory.path().to_owned();
    let legacy = ["-newkey", "rsa:1024"];
    let recipes: &[(&str, Vec<&str>)] = &[
        ("vendor", vec!["-newkey", "rsa:4096", "-days", "365"]),
        ("rsa2048", vec!["-newkey", "rsa:2048", "-days", "365"]),
        ("p256", EC.to_vec()),
        ("p384", vec!["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384"]),
        ("ed25519", vec!["-newkey", "ed25519"]),
        ("rsa1024", legacy.to_vec()),
    ];
    for (name, arguments) in recipes {
        self_signed(&directory, name, arguments);
    }
    version_one(&directory);
    valid_in(&directory, "expired", 2019, 2020);
    valid_in(&directory, "future", 2099, 2100);

    let mut names: Vec<&str> = recipes.iter().map(|(name, _)| *name).collect();
    names.extend(["v1", "expired", "future"]);
    for name in names {
        let certificate = directory.join(format!("{name}.pem"));
        let key = directory.join(format!("{name}.key"));
        let files = ["-cert", certificate.to_str().unwrap(), "-key", key.to_str().unwrap()];
        for version in ["-tls1_2", "-tls1_3"] {
            let seen = echo.round_trip(&[&files[..], &[version]].concat());
            if name == "rsa1024" && version == "-tls1_3" {
                // The documented limit: PSS below 2048 bits cannot be verified.
                assert!(seen.is_err(), "rsa1024 with TLS 1.3 worked; correct the documented limits");
            } else {
                assert_eq!(seen, Ok(Some(der(&certificate))), "{name} {version}");
            }
        }
    }
}

#[test]
fn a_client_without_a_certificate_or_sni_completes_the_handshake() {
    let mut echo = echo(TlsSettings::default());
    for version in ["-tls1_2", "-tls1_3"] {
        assert_eq!(echo.round_trip(&[version, "-noservername"]), Ok(None), "{version}");
    }
}

#[test]
fn rsa_1024_works_without_forcing_the_client_when_tls13_is_off() {
    let mut echo = echo(TlsSettings { tls13: false, ..TlsSettings::default() });
    let directory = echo.directory.path().to_owned();
    self_signed(&directory, "short", &["-newkey", "rsa:1024"]);
    let certificate = directory.join("short.pem");
    let key = directory.join("short.key");
    let files = ["-cert", certificate.to_str().unwrap(), "-key", key.to_str().unwrap()];
    assert_eq!(echo.round_trip(&files), Ok(Some(der(&certificate))));
}

/// What a client most wants counts, unless it is only the longer key of the same cipher.
#[test]
fn aes_128_is_taken_unless_the_client_wants_another_cipher() {
    let echo = echo(TlsSettings::default());
    let negotiated = |arguments: &[&str]| {
        let mut client = Command::new("openssl");
        client.args(["s_client", "-brief", "-connect", &echo.address.to_string()]).args(arguments);
        let output = client.stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let suite = said.lines().find_map(|line| line.strip_prefix("Ciphersuite: ").map(str::to_owned));
        suite.unwrap_or_else(|| panic!("no handshake: {said}"))
    };
    let (aes_256, chacha, aes_128) =
        ("TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256", "TLS_AES_128_GCM_SHA256");
    assert_eq!(negotiated(&[]), aes_128);
    for (wanted, expected) in [
        ([aes_256, chacha, aes_128].join(":"), aes_128),
        ([aes_128, aes_256].join(":"), aes_128),
        ([chacha, aes_256, aes_128].join(":"), chacha),
        ([aes_256, chacha].join(":"), aes_256),
    ] {
        assert_eq!(negotiated(&["-tls1_3", "-ciphersuites", &wanted]), expected, "{wanted}");
    }
    let (aes_256, chacha, aes_128) =
        ("ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-ECDSA-AES128-GCM-SHA256");
    for (wanted, expected) in [
        ([aes_256, aes_128].join(":"), aes_128),
        ([chacha, aes_128].join(":"), chacha),
        (aes_256.to_owned(), aes_256),
    ] {
        assert_eq!(negotiated(&["-tls1_2", "-cipher", &wanted]), expected, "{wanted}");
    }
}

/// Resumption keeps the identity of the first handshake, or the second connection would be anonymous.
#[test]
fn a_resumed_session_has_the_certificate_of_the_first() {
    let mut echo = echo(TlsSettings::default());
    let directory = echo.directory.path().to_owned();
    self_signed(&directory, "device", EC);
    let certificate = directory.join("device.pem");
    let key = directory.join("device.key");
    let ticket = directory.join("ticket");
    for version in ["-tls1_2", "-tls1_3"] {
        let save =
            ["-cert", certificate.to_str().unwrap(), "-key", key.to_str().unwrap(), version, "-sess_out"];
        let save = [&save[..], &[ticket.to_str().unwrap()]].concat();
        assert_eq!(echo.round_trip(&save), Ok(Some(der(&certificate))));
        let resumed = echo.counters.handshakes_resumed.load(Ordering::Relaxed);
        let seen = echo.round_trip(&[version, "-sess_in", ticket.to_str().unwrap()]);
        assert_eq!(seen, Ok(Some(der(&certificate))), "{version}");
        assert_eq!(echo.counters.handshakes_resumed.load(Ordering::Relaxed), resumed + 1, "{version}");
    }
}

/// A6: chains and keys beyond the limits fail the handshake.
#[test]
fn a6_giant_chains_are_refused() {
    let mut echo = echo(TlsSettings::default());
    let directory = echo.directory.path().to_owned();
    self_signed(&directory, "leaf", EC);
    let one = std::fs::read(directory.join("leaf.pem")).unwrap();
    std::fs::write(directory.join("chain.pem"), one.repeat(9)).unwrap();
    let (certificate, key, chain) =
        (directory.join("leaf.pem"), directory.join("leaf.key"), directory.join("chain.pem"));
    let files = ["-cert", certificate.to_str().unwrap(), "-key", key.to_str().unwrap()];
    for version in ["-tls1_2", "-tls1_3"] {
        let giant = [&files[..], &["-cert_chain", chain.to_str().unwrap(), version]].concat();
        let error = echo.round_trip(&giant).unwrap_err();
        assert!(error.contains("alert"), "{error}");
    }
    await_total(&echo.counters.handshakes_failed, 2);
    assert_eq!(echo.round_trip(&files), Ok(Some(der(&certificate))));
}

/// A4: a client that sends half a ClientHello, and one that sends nothing, are closed.
#[test]
fn a4_an_unfinished_handshake_is_closed() {
    let hello_timeout = Duration::from_millis(50);
    let echo = echo(TlsSettings { hello_timeout, ..TlsSettings::default() });
    for sent in [&b""[..], &b"\x16\x03\x01\x02\x00\x01"[..]] {
        let mut socket = std::net::TcpStream::connect(echo.address).unwrap();
        socket.write_all(sent).unwrap();
        let mut rest = Vec::new();
        // Ends when the server closes; a server that waits forever hangs here.
        socket.read_to_end(&mut rest).ok();
    }
    await_total(&echo.counters.handshakes_timed_out, 2);
}

#[test]
fn bytes_that_are_not_tls_are_refused_at_once() {
    let echo = echo(TlsSettings::default());
    let mut socket = std::net::TcpStream::connect(echo.address).unwrap();
    socket.write_all(b"\x10\x10\x00\x04MQTT\x04\x02\x00\x3c\x00\x04test").unwrap();
    let mut rest = Vec::new();
    socket.read_to_end(&mut rest).ok();
    assert_eq!(rest.first(), Some(&0x15), "a TLS alert record is expected, got {rest:?}");
}

/// Who shows another device's certificate but signs with a key of his own is not that device.
#[test]
fn a22_a_certificate_without_its_key_fails_the_handshake() {
    use rustls::pki_types::pem::PemObject;
    let mut echo = echo(TlsSettings::default());
    let directory = echo.directory.path().to_owned();
    for (name, recipe) in [("victim-ec", EC), ("thief-ec", EC), ("victim-rsa", RSA), ("thief-rsa", RSA)] {
        self_signed(&directory, name, recipe);
    }
    let mut roots = rustls::RootCertStore::empty();
    roots.add(der(&echo.path("pki/ca.pem"))).unwrap();
    for family in ["ec", "rsa"] {
        let stolen = der(&directory.join(format!("victim-{family}.pem")));
        let key = directory.join(format!("thief-{family}.key"));
        let key = rustls::pki_types::PrivateKeyDer::from_pem_file(key).unwrap();
        let key = rustls::crypto::ring::sign::any_supported_type(&key).unwrap();
        let forged = Arc::new(rustls::sign::SingleCertAndKey::from(rustls::sign::CertifiedKey::new(
            vec![stolen],
            key,
        )));
        for versions in [TLS12_ONLY, &[&rustls::version::TLS13]] {
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let config = rustls::ClientConfig::builder_with_provider(provider)
                .with_protocol_versions(versions)
                .unwrap()
                .with_root_certificates(roots.clone())
                .with_client_cert_resolver(Arc::clone(&forged) as _);
            let client = rustls::ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap());
            let socket = std::net::TcpStream::connect(echo.address).unwrap();
            let mut client = rustls::StreamOwned::new(client.unwrap(), socket);
            client.write_all(b"hello\n").ok();
            assert!(client.read_exact(&mut [0; 6]).is_err(), "{family} {versions:?}");
        }
    }
    await_total(&echo.counters.handshakes_failed, 4);
    assert!(echo.certificates.try_recv().is_err(), "no connection was handed over");
}
