//! TLS from outside: identities to serve by, and a client that knows how its handshake went.

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

/// A certificate for `localhost` that vouches for itself, and its key, in files.
#[derive(Debug)]
pub struct Identity {
    directory: TempDir,
    cert: CertificateDer<'static>,
    key: Vec<u8>,
}

impl Identity {
    /// One that nobody else has.
    pub fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let put = |name: &str, text: String| fs::write(directory.path().join(name), text).expect("a file");
        put("cert.pem", made.cert.pem());
        put("key.pem", made.signing_key.serialize_pem());
        Self { directory, cert: made.cert.der().clone(), key: made.signing_key.serialize_der() }
    }

    /// The path of the certificate.
    pub fn cert(&self) -> PathBuf {
        self.file("cert.pem")
    }

    /// The path of the key.
    pub fn key(&self) -> PathBuf {
        self.file("key.pem")
    }

    /// A path beside them.
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The certificate itself.
    pub fn der(&self) -> CertificateDer<'static> {
        self.cert.clone()
    }

    fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.clone()).into()
    }
}

impl Default for Identity {
    fn default() -> Self {
        Self::new()
    }
}

/// A client that remembers its sessions.
#[derive(Debug, Clone)]
pub struct Client {
    config: Arc<ClientConfig>,
}

/// How a request went.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Visit {
    /// The process that answered.
    pub pid: u32,
    /// Whether the handshake made use of an earlier one.
    pub resumed: bool,
    /// What was agreed on to be spoken.
    pub alpn: Option<String>,
    /// The server's certificate, as it was shown or remembered.
    pub cert: CertificateDer<'static>,
}

impl Client {
    /// One that trusts `servers`, and shows the certificate of `own`.
    pub fn new(servers: &[&Identity], own: Option<&Identity>) -> Self {
        Self::speaking(rustls::ALL_VERSIONS, servers, own)
    }

    /// One that speaks these versions only.
    pub fn speaking(
        versions: &[&'static SupportedProtocolVersion],
        servers: &[&Identity],
        own: Option<&Identity>,
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

    /// The same, who wants one of `protocols` spoken.
    #[must_use]
    pub fn wanting(mut self, protocols: &[&str]) -> Self {
        let wanted = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::make_mut(&mut self.config).alpn_protocols = wanted;
        self
    }

    /// Asks for `/` on a connection of its own.
    ///
    /// # Errors
    ///
    /// Whatever the connection or the handshake met.
    pub fn visit(&self, addr: SocketAddr) -> io::Result<Visit> {
        let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
        let session = ClientConnection::new(Arc::clone(&self.config), name).map_err(io::Error::other)?;
        let stream = TcpStream::connect_timeout(&addr, wait::LIMIT)?;
        stream.set_read_timeout(Some(wait::LIMIT))?;
        // Else the small writes of a handshake wait for delayed acknowledgements.
        stream.set_nodelay(true)?;
        let mut stream = StreamOwned::new(session, stream);
        stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let pid = answer.trim_end().rsplit('\n').next().and_then(|pid| pid.parse().ok());
        let session = &stream.conn;
        Ok(Visit {
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
