//! TLS: certificates for servers and clients, and a client that reports the result of its handshake.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned, SupportedProtocolVersion,
};
use tempfile::TempDir;

use crate::wait;

/// A self-signed certificate for `localhost` and its key, in files.
#[derive(Debug)]
pub struct TestCertificate {
    directory: TempDir,
    cert: CertificateDer<'static>,
    key: Vec<u8>,
}

impl TestCertificate {
    /// A new certificate with a new key.
    pub fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let put = |name: &str, text: String| fs::write(directory.path().join(name), text).expect("a file");
        put("cert.pem", made.cert.pem());
        put("key.pem", made.signing_key.serialize_pem());
        Self { directory, cert: made.cert.der().clone(), key: made.signing_key.serialize_der() }
    }

    /// The path of the certificate file.
    pub fn cert(&self) -> PathBuf {
        self.file("cert.pem")
    }

    /// The path of the key file.
    pub fn key(&self) -> PathBuf {
        self.file("key.pem")
    }

    /// The path of another file in the same directory.
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The certificate.
    pub fn der(&self) -> CertificateDer<'static> {
        self.cert.clone()
    }

    fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.clone()).into()
    }
}

impl Default for TestCertificate {
    fn default() -> Self {
        Self::new()
    }
}

/// A TLS client that stores its sessions.
#[derive(Debug, Clone)]
pub struct TlsClient {
    config: Arc<ClientConfig>,
}

/// The answer to a request, and what the handshake agreed on.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TlsResponse {
    /// The pid of the process that answered.
    pub pid: u32,
    /// Whether the handshake resumed a session.
    pub resumed: bool,
    /// The ALPN protocol.
    pub alpn: Option<String>,
    /// The certificate of the server, from the handshake or from the resumed session.
    pub cert: CertificateDer<'static>,
}

impl TlsClient {
    /// A client that trusts `servers` and has the client certificate `own`.
    pub fn new(servers: &[&TestCertificate], own: Option<&TestCertificate>) -> Self {
        Self::with_versions(rustls::ALL_VERSIONS, servers, own)
    }

    /// A client that supports these TLS versions only.
    pub fn with_versions(
        versions: &[&'static SupportedProtocolVersion],
        servers: &[&TestCertificate],
        own: Option<&TestCertificate>,
    ) -> Self {
        let mut roots = RootCertStore::empty();
        for server in servers {
            roots.add(server.der()).expect("a root");
        }
        let config = ClientConfig::builder_with_protocol_versions(versions).with_root_certificates(roots);
        let mut config = match own {
            Some(own) => config.with_client_auth_cert(vec![own.der()], own.private_key()).expect("a pair"),
            None => config.with_no_client_auth(),
        };
        config.resumption = Resumption::in_memory_sessions(256);
        Self { config: Arc::new(config) }
    }

    /// The same client with the ALPN protocols `protocols`.
    #[must_use]
    pub fn with_alpn(mut self, protocols: &[&str]) -> Self {
        let wanted = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::make_mut(&mut self.config).alpn_protocols = wanted;
        self
    }

    /// TLS over a connection. The handshake begins with the first bytes that are sent.
    ///
    /// # Errors
    ///
    /// Errors of the connection.
    pub fn over(&self, stream: TcpStream) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
        let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
        let session = ClientConnection::new(Arc::clone(&self.config), name).map_err(io::Error::other)?;
        // With Nagle's algorithm the small writes of a handshake wait for delayed acknowledgements.
        stream.set_nodelay(true)?;
        Ok(StreamOwned::new(session, stream))
    }

    /// Sends `GET /` on a new connection.
    ///
    /// # Errors
    ///
    /// Errors of the connection and of the handshake.
    pub fn get(&self, addr: SocketAddr) -> io::Result<TlsResponse> {
        let stream = TcpStream::connect_timeout(&addr, wait::LIMIT)?;
        stream.set_read_timeout(Some(wait::LIMIT))?;
        let mut stream = self.over(stream)?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let pid = answer.trim_end().rsplit('\n').next().and_then(|pid| pid.parse().ok());
        let session = &stream.conn;
        Ok(TlsResponse {
            pid: pid.ok_or_else(|| io::Error::other(format!("no answer: {answer:?}")))?,
            resumed: session.handshake_kind() == Some(HandshakeKind::Resumed),
            alpn: session.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned()),
            cert: session
                .peer_certificates()
                .and_then(|chain| chain.first())
                .cloned()
                .ok_or_else(|| io::Error::other("no certificate"))?
                .into_owned(),
        })
    }
}
