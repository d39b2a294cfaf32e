//! Rules across options, and between the options and the function.

use std::net::IpAddr;

use prefork_options::address::{self, Host, Tcp};
use prefork_options::{self as options, Network, OptionRow};
use proc_macro2::Ident;
use syn::{Expr, Path};

use crate::args::Args;
use crate::diagnostics::Diagnostics;
use crate::literal::{self, BuilderArgument};
use crate::signature::{Function, Tls};

/// The checked content of the generated `main`.
#[derive(Default)]
pub(crate) struct Expansion {
    /// The path of the runtime crate; `::prefork` unless the option `crate` names another.
    pub(crate) runtime: Option<Path>,
    /// The function and the name of its option, which the compiler's errors point at.
    pub(crate) init: Option<(Ident, Expr)>,
    pub(crate) calls: Vec<BuilderCall>,
}

/// One method call on the builder.
pub(crate) struct BuilderCall {
    /// Carries the span of the option's name, so that the compiler's errors about a value point at the
    /// option.
    pub(crate) method: Ident,
    pub(crate) values: Vec<BuilderArgument>,
}

/// Reports every mistake. The plan is valid only if there is none.
pub(crate) fn check(args: &Args, function: &Function, report: &mut Diagnostics) -> Expansion {
    let plan = plan(args, report);
    check_addresses(args, report);
    check_runtime(args, function, report);
    check_config(args, report);
    function.check(report);
    check_tls(args, function, report);
    check_tls_config(args, function, report);
    plan
}

fn plan(args: &Args, report: &mut Diagnostics) -> Expansion {
    let mut plan = Expansion::default();
    let (mut cert, mut key) = (None, None);
    for given in args.iter() {
        if *given.row == options::CRATE {
            plan.runtime = literal::check_path(given, report);
            continue;
        }
        let Some(value) = literal::check(given, report) else {
            continue;
        };
        let method = |name: &str| Ident::new(name, given.name.span());
        match (given.row.name, value) {
            ("cert", value) => cert = Some((method("cert_files"), value)),
            ("cert_pem", value) => cert = Some((method("cert_pem"), value)),
            ("key" | "key_pem", value) => key = Some(value),
            ("init", BuilderArgument::Expr(function)) => plan.init = Some((given.name.clone(), function)),
            ("preload", BuilderArgument::Expr(function)) => {
                let values = vec![BuilderArgument::Loader(function)];
                plan.calls.push(BuilderCall { method: method("with_load"), values });
            }
            ("addr", value @ BuilderArgument::List(_)) => {
                plan.calls.push(BuilderCall { method: method("addrs"), values: vec![value] });
            }
            (name, value) => plan.calls.push(BuilderCall { method: method(name), values: vec![value] }),
        }
    }
    if let (Some((method, cert)), Some(key)) = (cert, key) {
        plan.calls.push(BuilderCall { method, values: vec![cert, key] });
    }
    plan
}

/// Checks the form of every literal address, and that it belongs to the network if that is a literal too.
fn check_addresses(args: &Args, report: &mut Diagnostics) {
    let value = |row| args.get(row).and_then(|given| given.value.as_ref());
    let Some(addr) = value(&options::ADDR) else { return };
    let network = match args.get(&options::NETWORK) {
        None => Some(None),
        Some(given) => {
            given.value.as_ref().and_then(literal::text).and_then(|name| name.parse().ok()).map(Some)
        }
    };
    literal::check_addresses(addr, network, report);
    if let (Some(written), Some(Some(network))) = (literal::text(addr), network) {
        check_family(addr, &written, network, report);
    }
}

/// Checks that a literal IP address and a literal network are of one family.
fn check_family(addr: &Expr, written: &str, network: Network, report: &mut Diagnostics) {
    let Ok(Tcp { host: Host::Ip(ip), .. }) = address::parse_tcp(written) else {
        return;
    };
    let (family, fitting) = match ip {
        IpAddr::V4(_) if network == Network::Tcp6 => ("an IPv4", "tcp4"),
        IpAddr::V6(_) if network == Network::Tcp4 => ("an IPv6", "tcp6"),
        _ => return,
    };
    report.error(
        addr,
        format!(
            "`{ip}` is {family} address, which `network = \"{network}\"` does not admit: \
             write `network = \"{fitting}\"`"
        ),
    );
}

fn check_runtime(args: &Args, function: &Function, report: &mut Diagnostics) {
    match args.get(&options::RUNTIME) {
        Some(given) if !function.is_async() => report.error(
            &given.name,
            "`runtime` selects the tokio runtime of an `async fn`, which this function is not",
        ),
        _ => {}
    }
}

fn check_config(args: &Args, report: &mut Diagnostics) {
    match args.get(&options::CONFIG) {
        Some(given) if !cfg!(feature = "config") => report.error(
            &given.name,
            "`config` needs the feature `config` of prefork: add `features = [\"config\"]` to the dependency",
        ),
        _ => {}
    }
}

/// Checks certificate and key: both or neither, of one kind, and taken by the function if given.
fn check_tls(args: &Args, function: &Function, report: &mut Diagnostics) {
    let files = mentioned(args, Tls::File);
    let pem = mentioned(args, Tls::Pem);
    match (files, pem) {
        (Some(file), Some(pem)) => report.error(
            pem,
            format!(
                "`{pem}` does not go with `{file}`: give either `cert` and `key`, which name \
                 files, or `cert_pem` and `key_pem`"
            ),
        ),
        (Some(name), None) => check_tls_pair(args, function, Tls::File, name, report),
        (None, Some(name)) => check_tls_pair(args, function, Tls::Pem, name, report),
        (None, None) => {
            if let Some(kind) = function.tls() {
                let [cert, key] = kind.rows().map(OptionRow::usage);
                report.error(
                    function.tls_arguments(),
                    format!("certificate and key need options: add `{cert}, {key}`"),
                );
            }
        }
    }
}

/// Checks that options of a rustls configuration have a function that can take one.
fn check_tls_config(args: &Args, function: &Function, report: &mut Diagnostics) {
    for given in args.iter().filter(|given| given.row.feature == Some("rustls")) {
        let name = &given.name;
        if !cfg!(feature = "rustls") {
            report.error(
                name,
                format!(
                    "`{name}` needs the feature `rustls` of prefork: add `features = [\"rustls\"]` to the \
                     dependency"
                ),
            );
        } else if function.tls().is_some() || function.takes_no_tls() {
            report.error(
                name,
                format!(
                    "`{name}` is for a function that takes its configuration from prefork: add `config: \
                     Arc<rustls::ServerConfig>` to its arguments"
                ),
            );
        }
    }
    if let (Some(file), Some(pem)) = (args.get(&options::CLIENT_CA), args.get(&options::CLIENT_CA_PEM)) {
        report.error(&pem.name, format!("`{}` does not go with `{}`: give one of them", pem.name, file.name));
    }
}

/// `name` is the option of the pair that messages about both point at.
fn check_tls_pair(args: &Args, function: &Function, kind: Tls, name: &Ident, report: &mut Diagnostics) {
    let [cert, key] = kind.rows();
    for (present, absent) in [(cert, key), (key, cert)] {
        if args.mention(present).is_some() && args.mention(absent).is_none() {
            let missing = absent.usage();
            report.error(name, format!("`{name}` is one half of a pair: add `{missing}`"));
        }
    }
    let arguments = kind.arguments();
    match function.tls() {
        Some(taken) if taken != kind => {
            let [cert, key] = taken.rows().map(OptionRow::usage);
            report.error(
                function.tls_arguments(),
                format!("with the option `{name}` these are `{arguments}`; or give `{cert}, {key}`"),
            );
        }
        // A function that takes only parts of the pair, or no listener, has its own message. Only the type
        // of another argument tells whether it is made from the pair.
        None if function.takes_no_tls() => report.error(
            name,
            format!(
                "`{name}` needs a function that takes it: add `{arguments}` after the listener, or, with the \
                 feature `rustls`, `config: Arc<rustls::ServerConfig>`"
            ),
        ),
        _ => {}
    }
}

/// One of the pair's options, if the user gave any.
fn mentioned(args: &Args, kind: Tls) -> Option<&Ident> {
    kind.rows().into_iter().find_map(|row| args.mention(row))
}
