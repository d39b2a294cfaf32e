use std::error::Error as StdError;
use std::io::{self, ErrorKind};
use std::process::ExitStatus;
use std::time::Duration;

use super::*;

/// An error of user code with a cause, as anyhow or thiserror make them.
#[derive(Debug)]
struct Outer(io::Error);

impl fmt::Display for Outer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no pool")
    }
}

impl StdError for Outer {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&self.0)
    }
}

fn refused() -> io::Error {
    io::Error::new(ErrorKind::ConnectionRefused, "nothing listens at db:5432")
}

fn bind(network: Network, kind: ErrorKind) -> Error {
    Error::Bind { addr: "127.0.0.1:80".to_owned(), network, source: io::Error::new(kind, "the reason") }
}

/// One of each variant, and the line that a process prints for it, up to the hint.
fn all() -> Vec<(Error, &'static str)> {
    let timeout = Duration::from_secs(60);
    let over = |last| Error::OverRecovery { failures: 3, threshold: 2, last };
    vec![
        (bind(Network::Tcp4, ErrorKind::PermissionDenied), "cannot bind 127.0.0.1:80: the reason"),
        (
            Error::Resolve {
                addr: "rubbish".to_owned(),
                network: Network::Tcp4,
                reason: "it has no port".to_owned(),
            },
            "cannot listen on `rubbish` (tcp4): it has no port",
        ),
        (
            Error::BadOption {
                option: "workers".to_owned(),
                value: "0".to_owned(),
                expected: "a number from 1".to_owned(),
                set_by: Some("builder"),
            },
            "workers cannot be `0`: expected a number from 1 (set by the builder)",
        ),
        (
            over(Failure::Exited { slot: 1, pid: 7, ready: false, status: ExitStatus::default() }),
            if cfg!(windows) {
                "too many children failed: 3 failures, 2 allowed: child 1 (pid 7) exited before it was ready: \
                 code 0"
            } else {
                "too many children failed: 3 failures, 2 allowed: child 1 (pid 7) exited before it was ready: \
                 status 0"
            },
        ),
        (
            over(Failure::NotReady { slot: 1, pid: 7, timeout }),
            "too many children failed: 3 failures, 2 allowed: child 1 (pid 7) was not ready within 1m",
        ),
        (
            over(Failure::NotStarted { slot: 1, source: refused() }),
            "too many children failed: 3 failures, 2 allowed: child 1 could not be started: nothing listens at \
             db:5432",
        ),
        (
            Error::Hook { hook: "on_master_ready", source: Outer(refused()).into() },
            "hook on_master_ready failed: no pool: nothing listens at db:5432",
        ),
        (Error::Spawn { source: refused() }, "cannot start a child: nothing listens at db:5432"),
        (Error::CommandProducer { source: refused() }, "command_producer failed: nothing listens at db:5432"),
        (
            Error::Handshake { source: refused() },
            "handshake between master and child failed: nothing listens at db:5432",
        ),
        (
            Error::Privileges { attempt: "run children as www-data".to_owned(), source: refused() },
            "cannot run children as www-data: nothing listens at db:5432",
        ),
        (
            Error::Tls {
                path: Some("key.pem".into()),
                reason: "it cannot be read".to_owned(),
                source: Some(refused().into()),
            },
            "cannot use key.pem: it cannot be read: nothing listens at db:5432",
        ),
        (
            Error::Tls { path: None, reason: "it holds no certificate".to_owned(), source: None },
            "cannot use the embedded TLS material: it holds no certificate",
        ),
        (
            Error::PidFile { path: "/run/app.pid".into(), source: refused() },
            "cannot use the pid file /run/app.pid: nothing listens at db:5432",
        ),
        (
            Error::Control { path: "/run/app.sock".into(), source: refused() },
            "cannot open the control socket /run/app.sock: nothing listens at db:5432",
        ),
        (Error::OnlyReuseportOnWindows, "windows only supports reuseport = true"),
        (
            Error::Os { operation: "receive signals", source: refused() },
            "cannot receive signals: nothing listens at db:5432",
        ),
    ]
}

fn causes(error: &Error) -> Vec<String> {
    let causes = std::iter::successors(error.source(), |error| (*error).source());
    causes.map(ToString::to_string).collect()
}

#[test]
fn display_does_not_repeat_a_cause() {
    for (error, _) in all() {
        let text = error.to_string();
        assert!(!text.contains('\n'), "{text}");
        assert!(text.starts_with(|letter: char| !letter.is_uppercase()), "{text}");
        for cause in causes(&error) {
            assert!(!text.contains(&cause), "`{text}` repeats `{cause}`");
        }
    }
}

#[test]
fn chain_has_each_text_once_on_one_line() {
    for (error, line) in all() {
        let printed = format!("{error:?}");
        let expected = error.hint().map_or(line.to_owned(), |hint| format!("{line}; {hint}"));
        assert_eq!(printed, expected);
        let texts = std::iter::once(error.to_string()).chain(causes(&error));
        for text in texts {
            assert_eq!(printed.matches(&text).count(), 1, "`{text}` in `{printed}`");
        }
    }
}

#[test]
fn chain_walk_as_anyhow_does_it_equals_the_printed_line_without_hint() {
    for (error, line) in all() {
        let walked = std::iter::once(error.to_string()).chain(causes(&error));
        assert_eq!(walked.collect::<Vec<_>>().join(": "), line);
    }
}

#[test]
fn hints_follow_the_cause() {
    let port = bind(Network::Tcp4, ErrorKind::AddrInUse);
    assert_eq!(port.hint(), Some("another process listens there: stop it or choose another port"));
    let path = bind(Network::Unix, ErrorKind::AddrInUse);
    assert_eq!(path.hint(), Some("another process listens there: stop it or choose another path"));
    assert_eq!(bind(Network::Tcp4, ErrorKind::Other).hint(), None);
    assert_eq!(Error::OnlyReuseportOnWindows.hint(), None);
}

#[test]
fn hint_of_a_wrapped_error_is_printed() {
    let inner = bind(Network::Tcp4, ErrorKind::AddrInUse);
    let outer = Error::Hook { hook: "on_master_ready", source: inner.into() };
    let line = format!("{outer:?}");
    assert!(
        line.starts_with("hook on_master_ready failed: cannot bind 127.0.0.1:80: the reason; "),
        "{line}"
    );
    assert!(line.ends_with("choose another port"), "{line}");
}

#[test]
fn user_errors_are_put_on_one_line_without_repetition() {
    let lines: BoxError = "first\n  second\n".into();
    let error = Error::Hook { hook: "on_child_spawn", source: lines };
    assert_eq!(format!("{error:?}"), "hook on_child_spawn failed: first second");

    #[derive(Debug)]
    struct Repeats(io::Error);
    impl fmt::Display for Repeats {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "no pool: {}", self.0)
        }
    }
    impl StdError for Repeats {
        fn source(&self) -> Option<&(dyn StdError + 'static)> {
            Some(&self.0)
        }
    }
    let error = Error::Hook { hook: "on_child_spawn", source: Repeats(refused()).into() };
    assert_eq!(format!("{error:?}"), "hook on_child_spawn failed: no pool: nothing listens at db:5432");
}

#[test]
fn system_errors_are_lower_case_and_without_number() {
    assert_eq!(chain::without_number("Permission denied (os error 13)"), "permission denied");
    assert_eq!(chain::without_number("Access is denied. (os error 5)"), "access is denied");
    assert!(!plain(&io::Error::from_raw_os_error(2)).contains("os error 2"));
    assert_eq!(plain(&io::Error::other("Own words")), "Own words");
    let source = io::Error::from_raw_os_error(2);
    let line = format!("{:?}", Error::Os { operation: "find the program", source });
    assert!(line.starts_with("cannot find the program: ") && !line.contains("os error"), "{line}");
}

#[test]
fn value_with_control_characters_is_shown_on_one_line() {
    let error = Error::Resolve {
        addr: "a\nb".to_owned(),
        network: Network::Tcp,
        reason: "`a\r` has no port\u{1b}".to_owned(),
    };
    assert_eq!(error.to_string(), r"cannot listen on `a\nb` (tcp): `a\r` has no port\u{1b}");
    let source = io::Error::other("the reason");
    let line = format!("{:?}", Error::PidFile { path: "/run/a\n\nb".into(), source });
    assert!(line.starts_with(r"cannot use the pid file /run/a\n\nb: the reason"), "{line}");
}
