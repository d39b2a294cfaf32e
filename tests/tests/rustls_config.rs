//! The TLS configuration that prefork makes: its certificates over reloads, crashes and upgrades, ALPN, and
//! mutual TLS.
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
#[cfg(unix)]
use prefork_tests::{
    client,
    program::{ProgramCopy, public_directory},
};
use prefork_tests::{load, wait};

#[cfg(unix)]
const SERVER: &str = env!("CARGO_BIN_EXE_server");
const RUSTLS_CONFIG_SERVER: &str = env!("CARGO_BIN_EXE_rustls_config_server");
const FORMS: [&str; 2] = ["blocking", "async"];
/// The number of clients. On Windows a stopping child waits for a moment without connections.
const CLIENTS: usize = if cfg!(windows) { 1 } else { 3 };

fn server(form: &str, certificate: &TestCertificate) -> Server {
    Server::new(RUSTLS_CONFIG_SERVER)
        .set("form", form)
        .set("cert", certificate.cert().display())
        .set("key", certificate.key().display())
        .set("shutdown_grace", "30s")
}

#[test]
fn server_config_from_files_and_from_embedded_certificates_serves() {
    for form in FORMS {
        let certificate = TestCertificate::new();
        let client = TlsClient::new(&[&certificate], None);
        for server in [server(form, &certificate), server(form, &certificate).set("embedded", "yes")] {
            let fleet = server.start();
            let response = client.get(fleet.addr()).unwrap();
            assert!(fleet.first_children().contains(&response.pid), "{response:?}");
            assert_eq!(response.cert, certificate.der());
            let other_client = TlsClient::new(&[&TestCertificate::new()], None);
            other_client.get(fleet.addr()).unwrap_err();
            fleet.stop();
        }
    }
}

#[test]
fn alpn_default_is_http_and_option_replaces_it() {
    let certificate = TestCertificate::new();
    let agreed = |fleet: &RunningFleet, wanted: &[&str]| {
        let client = TlsClient::new(&[&certificate], None).with_alpn(wanted);
        client.get(fleet.addr()).map(|response| response.alpn)
    };
    let fleet = server("blocking", &certificate).start();
    assert_eq!(agreed(&fleet, &["http/1.1", "h2"]).unwrap().as_deref(), Some("h2"), "the server chooses");
    assert_eq!(agreed(&fleet, &["http/1.1"]).unwrap().as_deref(), Some("http/1.1"));
    assert_eq!(agreed(&fleet, &[]).unwrap(), None);
    agreed(&fleet, &["gopher"]).unwrap_err();
    fleet.stop();
    let fleet = server("blocking", &certificate).set("alpn", "gopher,http/1.1").start();
    assert_eq!(agreed(&fleet, &["http/1.1", "h2", "gopher"]).unwrap().as_deref(), Some("gopher"));
    agreed(&fleet, &["h2"]).unwrap_err();
    fleet.stop();
    let fleet = server("blocking", &certificate).set("alpn", "").start();
    assert_eq!(agreed(&fleet, &["h2"]).unwrap(), None, "ALPN is off");
    fleet.stop();
}

#[test]
fn given_or_installed_crypto_provider_is_used_by_master_and_children() {
    let certificate = TestCertificate::new();
    for provider in ["given", "installed"] {
        let fleet = server("blocking", &certificate).set("provider", provider).start();
        TlsClient::new(&[&certificate], None).get(fleet.addr()).unwrap();
        fleet.console.wait_for("key loaded, in a child: false");
        fleet.console.wait_for_nth(2, "key loaded, in a child: true");
        fleet.stop();
    }
}

#[test]
fn tls12_and_tls13_are_served() {
    let certificate = TestCertificate::new();
    let fleet = server("blocking", &certificate).start();
    for version in rustls::ALL_VERSIONS {
        TlsClient::with_versions(&[version], &[&certificate], None).get(fleet.addr()).unwrap();
    }
    fleet.stop();
}

#[test]
fn reload_and_upgrade_with_new_certificate_lose_no_request() {
    for form in FORMS {
        for signal in RELOAD_AND_UPGRADE {
            let (certificate, renewed) = (TestCertificate::new(), TestCertificate::new());
            let fleet = server(form, &certificate).start();
            let (addr, first) = (fleet.addr(), fleet.first_children());
            let client = TlsClient::new(&[&certificate, &renewed], None);
            let names = [(certificate.der(), "old"), (renewed.der(), "new")];
            let load_client = || -> load::LoadClient {
                let (client, names) = (client.clone(), names.clone());
                Box::new(move || {
                    let cert = client.get(addr)?.cert;
                    let name = names.iter().find(|(known, _)| *known == cert);
                    name.map(|(_, name)| (*name).to_owned())
                        .ok_or_else(|| io::Error::other("unknown certificate"))
                })
            };
            let tally = load::run((0..CLIENTS).map(|_| load_client()).collect(), || {
                wait::until("answered request", || client.get(addr).is_ok());
                fs::copy(renewed.cert(), certificate.cert()).unwrap();
                fs::copy(renewed.key(), certificate.key()).unwrap();
                fleet.operate(*signal, 1, "reloaded:");
            });
            tally.assert_all_answered();
            fleet.wait_for_children(2, &first);
            // A client with a session of the old certificate gets the new one too.
            let responses = (0..20).map(|_| client.get(addr).unwrap());
            assert!(responses.into_iter().all(|response| response.cert == renewed.der()));
            fleet.stop();
        }
    }
}

#[test]
fn reload_with_bad_certificate_keeps_old() {
    let certificate = TestCertificate::new();
    let fleet = server("blocking", &certificate).start();
    let children = fleet.first_children();
    let client = TlsClient::new(&[&certificate], None);
    let good = (fs::read(certificate.cert()).unwrap(), fs::read(certificate.key()).unwrap());
    let other = TestCertificate::new();
    let mut refused = 0;
    let mut refuse = |signal: Signal, reason: &str| {
        refused += 1;
        fleet.operate(signal, refused, "the fleet keeps its certificate");
        let lines = fleet.console.lines_with("the fleet keeps");
        assert!(lines[refused - 1].contains(reason), "{lines:#?}");
        assert_eq!(fleet.children_started(), children.len(), "no child is started");
        assert_eq!(client.get(fleet.addr()).unwrap().cert, certificate.der());
    };
    fs::write(certificate.cert(), "rubbish").unwrap();
    refuse(Signal::SIGHUP, "cannot reload: cannot use");
    fs::copy(other.cert(), certificate.cert()).unwrap();
    refuse(Signal::SIGHUP, "does not belong to");
    fs::remove_file(certificate.key()).unwrap();
    refuse(Signal::SIGHUP, "cannot be read");
    // A successor has the certificate of its siblings. On Windows it reads the files.
    if cfg!(unix) {
        let now = fleet.replace(&children);
        let responses: Vec<TlsResponse> = (0..20).map(|_| client.get(fleet.addr()).unwrap()).collect();
        assert!(
            responses
                .iter()
                .all(|response| now.contains(&response.pid) && response.cert == certificate.der())
        );
    }
    // A reload with valid files succeeds.
    fs::write(certificate.cert(), good.0).unwrap();
    fs::write(certificate.key(), good.1).unwrap();
    fleet.operate(Signal::SIGHUP, 1, "reloaded:");
    client.get(fleet.addr()).unwrap();
    fleet.stop();
}

// Windows has no upgrade.
#[cfg(unix)]
#[test]
fn upgrade_with_bad_certificate_keeps_old() {
    let certificate = TestCertificate::new();
    let fleet = server("blocking", &certificate).start();
    let children = fleet.first_children();
    fs::write(certificate.cert(), "rubbish").unwrap();
    fleet.operate(Signal::SIGUSR2, 1, "upgrade aborted: the trial child (pid ");
    let reason = &fleet.console.lines_with("upgrade aborted: ")[0];
    assert!(reason.contains(") cannot start: cannot use"), "{reason}");
    fs::remove_file(certificate.key()).unwrap();
    fleet.operate(Signal::SIGUSR2, 1, "upgrade aborted: cannot use");
    fleet.wait_for_children(2, &[]);
    assert_eq!(fleet.children(), children);
    let client = TlsClient::new(&[&certificate], None);
    assert_eq!(client.get(fleet.addr()).unwrap().cert, certificate.der());
    fleet.stop();
}

/// The master reads the files, which only root can read.
#[cfg(unix)]
#[test]
fn upgrade_turns_tls_on_and_off_and_changes_the_certificate() {
    let (one, other) = (TestCertificate::new(), TestCertificate::new());
    let directory = public_directory();
    let next = directory.path().join("next");
    let as_user = if nix::unistd::geteuid().is_root() { "nobody" } else { "" };
    let write = |form: &str, certificate: Option<&TestCertificate>| {
        let paths =
            certificate.map(|one| (one.cert().display().to_string(), one.key().display().to_string()));
        let (cert, key) = paths.unwrap_or_default();
        fs::write(&next, format!("form={form}\ncert={cert}\nkey={key}\nuser={as_user}\n")).unwrap();
    };
    write("", None);
    let program = ProgramCopy::new(SERVER);
    let server = Server::new(program.path()).set("next", next.display());
    let fleet = server.set("shutdown_grace", "30s").start();
    let addr = fleet.addr();
    client::get(addr, "/");
    let mut gone = fleet.first_children();
    for (time, (form, certificate)) in
        [("blocking", Some(&one)), ("blocking", Some(&other)), ("", None)].into_iter().enumerate()
    {
        program.replace_with(if certificate.is_some() { RUSTLS_CONFIG_SERVER } else { SERVER });
        write(form, certificate);
        fleet.operate(Signal::SIGUSR2, time + 1, "reloaded:");
        let children = fleet.wait_for_children(2, &gone);
        gone.extend(&children);
        // What the children have is the master's: the files can be gone.
        match certificate {
            Some(certificate) => {
                fs::remove_file(certificate.key()).unwrap();
                let client = TlsClient::new(&[certificate], None);
                assert_eq!(client.get(addr).unwrap().cert, certificate.der());
                gone.extend(fleet.replace(&children[..1]));
                assert_eq!(client.get(addr).unwrap().cert, certificate.der());
                gone.retain(|child| !fleet.children().contains(child));
                gone.extend(fleet.children());
            }
            None => drop(client::get(addr, "/")),
        }
    }
    fleet.stop();
}

// On Windows each child reads the files.
#[cfg(unix)]
#[test]
fn removed_certificate_files_do_not_affect_successors() {
    for form in FORMS {
        let certificate = TestCertificate::new();
        let fleet = server(form, &certificate).start();
        fs::remove_file(certificate.key()).unwrap();
        fs::remove_file(certificate.cert()).unwrap();
        let client = TlsClient::new(&[&certificate], None);
        fleet.replace(&fleet.first_children());
        client.get(fleet.addr()).unwrap();
        fleet.stop();
    }
}

// Windows has no upgrade.
#[cfg(unix)]
#[test]
fn upgrade_keeps_certificate_of_generation() {
    let certificate = TestCertificate::new();
    let fleet = server("blocking", &certificate).start();
    fleet.operate(Signal::SIGUSR2, 1, "reloaded:");
    fs::remove_file(certificate.key()).unwrap();
    let children = fleet.wait_for_children(2, &fleet.first_children());
    fleet.replace(&children);
    TlsClient::new(&[&certificate], None).get(fleet.addr()).unwrap();
    fleet.stop();
}

#[test]
fn large_certificate_file_reaches_children() {
    let certificate = TestCertificate::new();
    let mut chain = fs::read(certificate.cert()).unwrap();
    chain.extend(b"a comment in the file\n".repeat(100_000));
    fs::write(certificate.cert(), chain).unwrap();
    let fleet = server("blocking", &certificate).start();
    TlsClient::new(&[&certificate], None).get(fleet.addr()).unwrap();
    fleet.stop();
}

#[test]
fn certificate_reaches_children_with_a_long_handshake() {
    let certificate = TestCertificate::new();
    let fleet = server("blocking", &certificate).set("title", "t".repeat(2000)).start();
    TlsClient::new(&[&certificate], None).get(fleet.addr()).unwrap();
    fleet.stop();
}

#[test]
fn client_ca_requires_client_certificate() {
    for form in FORMS {
        for embedded in [false, true] {
            let (certificate, ours, foreign) =
                (TestCertificate::new(), TestCertificate::new(), TestCertificate::new());
            let server = server(form, &certificate).set("client_ca", ours.cert().display());
            let fleet = if embedded { server.set("embedded", "yes") } else { server }.start();
            TlsClient::new(&[&certificate], Some(&ours)).get(fleet.addr()).unwrap();
            TlsClient::new(&[&certificate], None).get(fleet.addr()).unwrap_err();
            TlsClient::new(&[&certificate], Some(&foreign)).get(fleet.addr()).unwrap_err();
            fleet.stop();
        }
    }
}

#[test]
fn reload_with_other_client_ca_resumes_no_old_session() {
    for version in rustls::ALL_VERSIONS {
        let (certificate, ours, next) =
            (TestCertificate::new(), TestCertificate::new(), TestCertificate::new());
        let ca = certificate.file("ca.pem");
        fs::copy(ours.cert(), &ca).unwrap();
        // On Windows only the child that started a session resumes it.
        let workers = if cfg!(windows) { 1 } else { 2 };
        let server = server("blocking", &certificate).set("client_ca", ca.display());
        let fleet = server.set("workers", workers).start();
        let client = TlsClient::with_versions(&[version], &[&certificate], Some(&ours));
        client.get(fleet.addr()).unwrap();
        assert!(client.get(fleet.addr()).unwrap().resumed);
        fs::copy(next.cert(), &ca).unwrap();
        fleet.operate(Signal::SIGHUP, 1, "reloaded:");
        fleet.wait_for_children(workers, &fleet.first_children());
        client.get(fleet.addr()).unwrap_err();
        TlsClient::new(&[&certificate], Some(&next)).get(fleet.addr()).unwrap();
        fleet.stop();
    }
}

#[test]
fn tls_variables_set_certificate_key_and_client_ca() {
    let (certificate, ours) = (TestCertificate::new(), TestCertificate::new());
    let path = |path: std::path::PathBuf| path.display().to_string();
    let server = || Server::new(RUSTLS_CONFIG_SERVER).env("PREFORK_CERT", &path(certificate.cert()));
    let fleet = server()
        .env("PREFORK_KEY", &path(certificate.key()))
        .env("PREFORK_CLIENT_CA", &path(ours.cert()))
        .start();
    TlsClient::new(&[&certificate], Some(&ours)).get(fleet.addr()).unwrap();
    TlsClient::new(&[&certificate], None).get(fleet.addr()).unwrap_err();
    fleet.stop();
    server().run().assert_refused("PREFORK_KEY");
    Server::new(RUSTLS_CONFIG_SERVER).env("PREFORK_KEY", "key.pem").run().assert_refused("PREFORK_CERT");
    let plain = server().env("PREFORK_KEY", &path(certificate.key())).set("form", "plain");
    plain.run().assert_refused("takes no certificate");
}

#[test]
fn unusable_tls_files_are_refused_before_start() {
    let (certificate, other) = (TestCertificate::new(), TestCertificate::new());
    for form in FORMS {
        let bare = Server::new(RUSTLS_CONFIG_SERVER).set("form", form);
        bare.run().assert_refused("PREFORK_CERT");
    }
    let file = |name: &str, content: &str| {
        let path = certificate.file(name);
        fs::write(&path, content).unwrap();
        path
    };
    let with = |option: &str, path: &std::path::Path, reason: &str| {
        let outcome = server("blocking", &certificate).set(option, path.display()).run();
        outcome.assert_refused(reason);
        outcome.assert_refused(&path.display().to_string());
    };
    let encrypted = file("encrypted.pem", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n");
    let empty = file("empty.pem", "");
    let hollow = file("hollow.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    with("key", &encrypted, "encrypted");
    with("key", &other.key(), "does not belong to");
    with("cert", &hollow, "cannot be understood");
    with("cert", certificate.file("").as_path(), "not a file");
    #[cfg(unix)]
    with("cert", std::path::Path::new("/dev/zero"), "not a file");
    with("client_ca", &empty, "no certificate");
    with("client_ca", &certificate.key(), "no certificate");
    with("client_ca", &hollow, "cannot be understood");
    with("client_ca", &certificate.file("missing.pem"), "cannot be read");
    server("plain", &certificate).set("client_ca", other.cert().display()).run().assert_refused("client_ca");
    server("blocking", &certificate).set("alpn", "x".repeat(256)).run().assert_refused("alpn");
}

#[test]
fn expired_certificate_is_served_with_warning() {
    let certificate = TestCertificate::new();
    let mut params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(2020, 2, 29);
    let key = rcgen::KeyPair::generate().unwrap();
    fs::write(certificate.cert(), params.self_signed(&key).unwrap().pem()).unwrap();
    fs::write(certificate.key(), key.serialize_pem()).unwrap();
    let fleet = server("blocking", &certificate).start();
    fleet.console.wait_for("cert.pem has expired: it was valid until 2020-02-29T00:00:00Z");
    fleet.stop();
}

#[cfg(unix)]
#[test]
fn key_readable_by_root_only_serves_with_user_nobody() {
    use std::os::unix::fs::PermissionsExt;

    if !nix::unistd::geteuid().is_root() {
        return prefork_tests::skip::skipped("root");
    }
    let certificate = TestCertificate::new();
    fs::set_permissions(certificate.key(), fs::Permissions::from_mode(0o600)).unwrap();
    let client = TlsClient::new(&[&certificate], None);
    for form in FORMS {
        // The directory of the option `started` is readable by root only.
        let server = server(form, &certificate).unset("started").env("PREFORK_USER", "nobody");
        let fleet = server.start();
        client.get(fleet.addr()).unwrap();
        fleet.replace(&fleet.first_children());
        client.get(fleet.addr()).unwrap();
        fleet.operate(Signal::SIGHUP, 1, "reloaded:");
        client.get(fleet.addr()).unwrap();
        fleet.stop();
    }
}
