//! TLS as the fleet makes it: the configuration, its certificate over reloads, crashes and upgrades,
//! and clients that have to show one of their own.
#![cfg(any(target_os = "linux", windows))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic in a test helper fails the test"
)]

use std::fs;
use std::io;

use prefork_tests::fleet::{RunningFleet, Server};
use prefork_tests::signal::{RELOAD_AND_UPGRADE, Signal};
use prefork_tests::tls::{TestCertificate, TlsClient, TlsResponse};
use prefork_tests::{load, wait};

const RUSTLS_CONFIG_SERVER: &str = env!("CARGO_BIN_EXE_rustls_config_server");
const FORMS: [&str; 2] = ["blocking", "async"];
/// On Windows a child that is to go waits for a moment without any.
const VISITORS: usize = if cfg!(windows) { 1 } else { 3 };

fn server(form: &str, identity: &TestCertificate) -> Server {
    Server::new(RUSTLS_CONFIG_SERVER)
        .set("form", form)
        .set("cert", identity.cert().display())
        .set("key", identity.key().display())
        .set("shutdown_grace", "30s")
}

#[test]
fn a_configuration_is_made_of_files_and_of_embedded_material() {
    for form in FORMS {
        let identity = TestCertificate::new();
        let client = TlsClient::new(&[&identity], None);
        for server in [server(form, &identity), server(form, &identity).set("embedded", "yes")] {
            let fleet = server.start();
            let visit = client.get(fleet.addr()).unwrap();
            assert!(fleet.first_children().contains(&visit.pid), "{visit:?}");
            assert_eq!(visit.cert, identity.der());
            let stranger = TlsClient::new(&[&TestCertificate::new()], None);
            stranger.get(fleet.addr()).unwrap_err();
            fleet.stop();
        }
    }
}

#[test]
fn http_is_agreed_on_unless_the_program_says_otherwise() {
    let identity = TestCertificate::new();
    let agreed = |fleet: &RunningFleet, wanted: &[&str]| {
        let client = TlsClient::new(&[&identity], None).with_alpn(wanted);
        client.get(fleet.addr()).map(|visit| visit.alpn)
    };
    let fleet = server("blocking", &identity).start();
    assert_eq!(agreed(&fleet, &["http/1.1", "h2"]).unwrap().as_deref(), Some("h2"), "the server's choice");
    assert_eq!(agreed(&fleet, &["http/1.1"]).unwrap().as_deref(), Some("http/1.1"));
    assert_eq!(agreed(&fleet, &[]).unwrap(), None);
    agreed(&fleet, &["gopher"]).unwrap_err();
    fleet.stop();
    let fleet = server("blocking", &identity).set("alpn", "gopher,http/1.1").start();
    assert_eq!(agreed(&fleet, &["http/1.1", "h2", "gopher"]).unwrap().as_deref(), Some("gopher"));
    agreed(&fleet, &["h2"]).unwrap_err();
    fleet.stop();
    let fleet = server("blocking", &identity).set("alpn", "").start();
    assert_eq!(agreed(&fleet, &["h2"]).unwrap(), None, "nothing is said");
    fleet.stop();
}

#[test]
fn both_versions_are_spoken() {
    let identity = TestCertificate::new();
    let fleet = server("blocking", &identity).start();
    for version in rustls::ALL_VERSIONS {
        TlsClient::with_versions(&[version], &[&identity], None).get(fleet.addr()).unwrap();
    }
    fleet.stop();
}

#[test]
fn a_renewed_certificate_is_taken_into_use_unnoticed() {
    for form in FORMS {
        for signal in RELOAD_AND_UPGRADE {
            let (identity, coming) = (TestCertificate::new(), TestCertificate::new());
            let fleet = server(form, &identity).start();
            let (addr, first) = (fleet.addr(), fleet.first_children());
            let client = TlsClient::new(&[&identity, &coming], None);
            let names = [(identity.der(), "old"), (coming.der(), "new")];
            let visitor = || -> load::LoadClient {
                let (client, names) = (client.clone(), names.clone());
                Box::new(move || {
                    let cert = client.get(addr)?.cert;
                    let name = names.iter().find(|(known, _)| *known == cert);
                    name.map(|(_, name)| (*name).to_owned()).ok_or_else(|| io::Error::other("a stranger"))
                })
            };
            let tally = load::run((0..VISITORS).map(|_| visitor()).collect(), || {
                wait::until("a visit", || client.get(addr).is_ok());
                fs::copy(coming.cert(), identity.cert()).unwrap();
                fs::copy(coming.key(), identity.key()).unwrap();
                fleet.operate(*signal, 1, "reloaded:");
            });
            tally.assert_all_answered();
            fleet.wait_for_children(2, &first);
            // Who remembers a session with the old one sees the new one too.
            let remembering = (0..20).map(|_| client.get(addr).unwrap());
            assert!(remembering.into_iter().all(|visit| visit.cert == coming.der()));
            fleet.stop();
        }
    }
}

#[test]
fn a_bad_new_certificate_changes_nothing() {
    let identity = TestCertificate::new();
    let fleet = server("blocking", &identity).start();
    let children = fleet.first_children();
    let client = TlsClient::new(&[&identity], None);
    let good = (fs::read(identity.cert()).unwrap(), fs::read(identity.key()).unwrap());
    let other = TestCertificate::new();
    let mut refused = 0;
    let mut refuse = |signal: Signal, reason: &str| {
        refused += 1;
        fleet.operate(signal, refused, "the fleet keeps its certificate");
        let lines = fleet.console.lines_with("the fleet keeps");
        assert!(lines[refused - 1].contains(reason), "{lines:#?}");
        assert_eq!(fleet.children_started(), children.len(), "no child is started");
        assert_eq!(client.get(fleet.addr()).unwrap().cert, identity.der());
    };
    fs::write(identity.cert(), "rubbish").unwrap();
    refuse(Signal::SIGHUP, "cannot reload: cannot use");
    #[cfg(unix)]
    refuse(Signal::SIGUSR2, "cannot upgrade: cannot use");
    fs::copy(other.cert(), identity.cert()).unwrap();
    refuse(Signal::SIGHUP, "does not belong to");
    fs::remove_file(identity.key()).unwrap();
    refuse(Signal::SIGHUP, "cannot be read");
    // A crash in this state: the successor serves what its siblings do. Elsewhere it reads the files.
    if cfg!(unix) {
        let now = fleet.replace(&children);
        let visits: Vec<TlsResponse> = (0..20).map(|_| client.get(fleet.addr()).unwrap()).collect();
        assert!(visits.iter().all(|visit| now.contains(&visit.pid) && visit.cert == identity.der()));
    }
    // And when the files are good again, so is a reload.
    fs::write(identity.cert(), good.0).unwrap();
    fs::write(identity.key(), good.1).unwrap();
    fleet.operate(Signal::SIGHUP, 1, "reloaded:");
    client.get(fleet.addr()).unwrap();
    fleet.stop();
}

// Elsewhere each child reads them itself.
#[cfg(unix)]
#[test]
fn children_need_no_access_to_the_files() {
    for form in FORMS {
        let identity = TestCertificate::new();
        let fleet = server(form, &identity).start();
        fs::remove_file(identity.key()).unwrap();
        fs::remove_file(identity.cert()).unwrap();
        let client = TlsClient::new(&[&identity], None);
        fleet.replace(&fleet.first_children());
        client.get(fleet.addr()).unwrap();
        fleet.stop();
    }
}

// No process can become another program elsewhere.
#[cfg(unix)]
#[test]
fn the_certificate_of_a_generation_outlives_an_upgrade() {
    let identity = TestCertificate::new();
    let fleet = server("blocking", &identity).start();
    fleet.operate(Signal::SIGUSR2, 1, "reloaded:");
    fs::remove_file(identity.key()).unwrap();
    let children = fleet.wait_for_children(2, &fleet.first_children());
    fleet.replace(&children);
    TlsClient::new(&[&identity], None).get(fleet.addr()).unwrap();
    fleet.stop();
}

#[test]
fn large_material_reaches_the_children() {
    let identity = TestCertificate::new();
    let mut chain = fs::read(identity.cert()).unwrap();
    chain.extend(b"a comment of no use\n".repeat(100_000));
    fs::write(identity.cert(), chain).unwrap();
    let fleet = server("blocking", &identity).start();
    TlsClient::new(&[&identity], None).get(fleet.addr()).unwrap();
    fleet.stop();
}

#[test]
fn clients_have_to_show_a_certificate_if_the_fleet_knows_whose() {
    for form in FORMS {
        for embedded in [false, true] {
            let (identity, ours, foreign) =
                (TestCertificate::new(), TestCertificate::new(), TestCertificate::new());
            let server = server(form, &identity).set("client_ca", ours.cert().display());
            let fleet = if embedded { server.set("embedded", "yes") } else { server }.start();
            TlsClient::new(&[&identity], Some(&ours)).get(fleet.addr()).unwrap();
            TlsClient::new(&[&identity], None).get(fleet.addr()).unwrap_err();
            TlsClient::new(&[&identity], Some(&foreign)).get(fleet.addr()).unwrap_err();
            fleet.stop();
        }
    }
}

#[test]
fn a_session_from_before_the_authorities_changed_is_not_resumed() {
    for version in rustls::ALL_VERSIONS {
        let (identity, ours, next) = (TestCertificate::new(), TestCertificate::new(), TestCertificate::new());
        let ca = identity.file("ca.pem");
        fs::copy(ours.cert(), &ca).unwrap();
        // On Windows a session is resumed by the child that began it.
        let workers = if cfg!(windows) { 1 } else { 2 };
        let server = server("blocking", &identity).set("client_ca", ca.display());
        let fleet = server.set("workers", workers).start();
        let client = TlsClient::with_versions(&[version], &[&identity], Some(&ours));
        client.get(fleet.addr()).unwrap();
        assert!(client.get(fleet.addr()).unwrap().resumed);
        fs::copy(next.cert(), &ca).unwrap();
        fleet.operate(Signal::SIGHUP, 1, "reloaded:");
        fleet.wait_for_children(workers, &fleet.first_children());
        client.get(fleet.addr()).unwrap_err();
        TlsClient::new(&[&identity], Some(&next)).get(fleet.addr()).unwrap();
        fleet.stop();
    }
}

#[test]
fn the_environment_names_certificate_key_and_authorities() {
    let (identity, ours) = (TestCertificate::new(), TestCertificate::new());
    let path = |path: std::path::PathBuf| path.display().to_string();
    let server = || Server::new(RUSTLS_CONFIG_SERVER).env("PREFORK_CERT", &path(identity.cert()));
    let fleet = server()
        .env("PREFORK_KEY", &path(identity.key()))
        .env("PREFORK_CLIENT_CA", &path(ours.cert()))
        .start();
    TlsClient::new(&[&identity], Some(&ours)).get(fleet.addr()).unwrap();
    TlsClient::new(&[&identity], None).get(fleet.addr()).unwrap_err();
    fleet.stop();
    server().run().assert_refused("PREFORK_KEY");
    Server::new(RUSTLS_CONFIG_SERVER).env("PREFORK_KEY", "key.pem").run().assert_refused("PREFORK_CERT");
    let plain = server().env("PREFORK_KEY", &path(identity.key())).set("form", "plain");
    plain.run().assert_refused("takes no certificate");
}

#[test]
fn what_cannot_be_is_refused_before_a_child_is_started() {
    let (identity, other) = (TestCertificate::new(), TestCertificate::new());
    for form in FORMS {
        let bare = Server::new(RUSTLS_CONFIG_SERVER).set("form", form);
        bare.run().assert_refused("PREFORK_CERT");
    }
    let file = |name: &str, content: &str| {
        let path = identity.file(name);
        fs::write(&path, content).unwrap();
        path
    };
    let with = |option: &str, path: &std::path::Path, reason: &str| {
        let outcome = server("blocking", &identity).set(option, path.display()).run();
        outcome.assert_refused(reason);
        outcome.assert_refused(&path.display().to_string());
    };
    let encrypted = file("encrypted.pem", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n");
    let empty = file("empty.pem", "");
    let hollow = file("hollow.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    with("key", &encrypted, "encrypted");
    with("key", &other.key(), "does not belong to");
    with("cert", &hollow, "cannot be understood");
    with("cert", identity.file("").as_path(), "not a file");
    #[cfg(unix)]
    with("cert", std::path::Path::new("/dev/zero"), "not a file");
    with("client_ca", &empty, "no certificate");
    with("client_ca", &identity.key(), "no certificate");
    with("client_ca", &hollow, "cannot be understood");
    with("client_ca", &identity.file("missing.pem"), "cannot be read");
    server("plain", &identity).set("client_ca", other.cert().display()).run().assert_refused("client_ca");
    server("blocking", &identity).set("alpn", "x".repeat(256)).run().assert_refused("alpn");
}

#[test]
fn an_expired_certificate_is_served_with_a_warning() {
    let identity = TestCertificate::new();
    let mut params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(2020, 2, 29);
    let key = rcgen::KeyPair::generate().unwrap();
    fs::write(identity.cert(), params.self_signed(&key).unwrap().pem()).unwrap();
    fs::write(identity.key(), key.serialize_pem()).unwrap();
    let fleet = server("blocking", &identity).start();
    fleet.console.wait_for("cert.pem has expired: it was valid until 2020-02-29T00:00:00Z");
    fleet.stop();
}

#[cfg(unix)]
#[test]
fn a_key_that_is_roots_alone_serves_a_fleet_that_is_nobodys() {
    use std::os::unix::fs::PermissionsExt;

    if !nix::unistd::geteuid().is_root() {
        return prefork_tests::skip::skipped("root");
    }
    let identity = TestCertificate::new();
    fs::set_permissions(identity.key(), fs::Permissions::from_mode(0o600)).unwrap();
    let client = TlsClient::new(&[&identity], None);
    for form in FORMS {
        // Where each child leaves a file is root's as well.
        let server = server(form, &identity).unset("started").env("PREFORK_USER", "nobody");
        let fleet = server.start();
        client.get(fleet.addr()).unwrap();
        fleet.replace(&fleet.first_children());
        client.get(fleet.addr()).unwrap();
        fleet.operate(Signal::SIGHUP, 1, "reloaded:");
        client.get(fleet.addr()).unwrap();
        fleet.stop();
    }
}
