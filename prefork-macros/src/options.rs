//! The table of options, and the spellings that people bring along from elsewhere.

use std::time::Duration;

/// One option of the attribute.
pub(crate) struct Spec {
    pub(crate) name: &'static str,
    pub(crate) takes: Takes,
    pub(crate) role: Role,
    /// A value that fits, for messages that show the right spelling.
    pub(crate) example: &'static str,
}

/// What values an option takes. It decides how a literal is checked; any other expression is left
/// to the types of the runtime.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Takes {
    /// `"host:port"` or `"unix:/path"`, or several in brackets.
    Addr,
    /// `"host:port"`.
    TcpAddr,
    /// The spelling of a variant of one of the runtime's enums.
    Name(&'static Names),
    /// Nothing at all, or a `bool`.
    Switch,
    /// A whole number of this range.
    Count(u64, u64),
    /// A whole number of this range, in which there are negative ones.
    Signed(i64, i64),
    /// The name of a user or group, or its number.
    Account,
    /// What `ps` shows.
    Title,
    /// `"auto"` or a list such as `"0-3,8"`.
    Cpus,
    /// Several names of files.
    Files,
    /// A duration such as `"5s"`, of this length at least.
    Duration(Duration),
    /// A number of bytes, or text such as `"512MiB"`.
    Size,
    /// Permissions of a file, such as `0o660` or `"660"`.
    Mode,
    /// `"user"`, `"user:group"` or `":group"`.
    Owner,
    /// The name of a file.
    File,
    /// The material itself, as bytes.
    Pem,
    /// Names of protocols, in an array.
    Protocols,
    /// A function or closure.
    Function,
    /// A value that has no literal.
    Logger,
    /// The path of a crate.
    CratePath,
}

/// An enum of the runtime's whose variants have a spelling.
#[derive(PartialEq, Eq)]
pub(crate) struct Names {
    pub(crate) type_name: &'static str,
    /// Spelling and variant.
    pub(crate) variants: &'static [(&'static str, &'static str)],
}

const NETWORK: Takes = Takes::Name(&Names {
    type_name: "Network",
    variants: &[("tcp4", "Tcp4"), ("tcp6", "Tcp6"), ("tcp", "Tcp"), ("unix", "Unix")],
});
const RUNTIME: Takes = Takes::Name(&Names {
    type_name: "Runtime",
    variants: &[("current_thread", "CurrentThread"), ("multi_thread", "MultiThread")],
});
const READINESS: Takes =
    Takes::Name(&Names { type_name: "Readiness", variants: &[("auto", "Auto"), ("manual", "Manual")] });

/// What becomes of an option's value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Role {
    /// The builder's method of the same name takes it.
    Setter,
    /// As `Setter`, and rules across options ask for it.
    Addr,
    Network,
    Runtime,
    /// One half of a pair that a single builder method takes.
    Cert,
    Key,
    CertPem,
    KeyPem,
    /// As `Setter`, and for functions that take a rustls configuration only.
    TlsConfig,
    /// Runs before the builder does.
    Init,
    /// Where the generated code finds the runtime.
    Crate,
}

impl Spec {
    /// The right spelling, as messages show it.
    pub(crate) fn usage(&self) -> String {
        if self.takes == Takes::Switch {
            return self.name.to_owned();
        }
        format!("{} = {}", self.name, self.example)
    }
}

const fn setter(name: &'static str, takes: Takes, example: &'static str) -> Spec {
    special(name, takes, Role::Setter, example)
}

const fn special(name: &'static str, takes: Takes, role: Role, example: &'static str) -> Spec {
    Spec { name, takes, role, example }
}

/// More children than any machine has use for.
const WORKERS_MAX: u64 = 4096;
/// `listen` takes a C `int`.
const BACKLOG_MAX: u64 = 0x7fff_ffff;
/// The runtime counts failures in a `u32`.
const RECOVER_MAX: u64 = 0xffff_ffff;
/// The kernel's unit for sockets.
const SECOND: Duration = Duration::from_secs(1);
/// No kernel lets a process have more.
const OPEN_FILES_MAX: u64 = 1 << 30;
const ANY_DURATION: Takes = Takes::Duration(Duration::ZERO);
/// Where zero has no meaning; the runtime's timers do not tell shorter ones from it.
const SOME_DURATION: Takes = Takes::Duration(Duration::from_millis(1));
/// A child that is that late may just not have been scheduled.
const LEAST_HANG: Takes = Takes::Duration(Duration::from_millis(100));

/// Every option, in the order in which messages list them. An option whose builder method has its
/// name and takes its value is complete with its line here, and its lines in the documentation.
pub(crate) const OPTIONS: &[Spec] = &[
    special("addr", Takes::Addr, Role::Addr, r#""127.0.0.1:8080""#),
    special("network", NETWORK, Role::Network, r#""tcp4""#),
    setter("reuseport", Takes::Switch, "true"),
    setter("workers", Takes::Count(1, WORKERS_MAX), "4"),
    setter("recover", Takes::Count(0, RECOVER_MAX), "5"),
    setter("recover_window", SOME_DURATION, r#""60s""#),
    setter("recover_interval", ANY_DURATION, r#""1s""#),
    setter("shutdown_grace", ANY_DURATION, r#""5s""#),
    setter("start_timeout", SOME_DURATION, r#""60s""#),
    setter("ready", READINESS, r#""manual""#),
    setter("stop_delay", ANY_DURATION, r#""10s""#),
    setter("reload_parallel", Takes::Count(1, WORKERS_MAX), "2"),
    setter("max_lifetime", SOME_DURATION, r#""24h""#),
    setter("max_rss", Takes::Size, r#""512MiB""#),
    setter("hang_timeout", LEAST_HANG, r#""30s""#),
    setter("nodelay", Takes::Switch, "true"),
    setter("keepalive", Takes::Duration(SECOND), r#""60s""#),
    setter("defer_accept", Takes::Duration(SECOND), r#""5s""#),
    setter("fastopen", Takes::Count(1, BACKLOG_MAX), "256"),
    setter("unix_mode", Takes::Mode, "0o660"),
    setter("unix_owner", Takes::Owner, r#""www-data""#),
    setter("health", Takes::TcpAddr, r#""127.0.0.1:9090""#),
    setter("backlog", Takes::Count(1, BACKLOG_MAX), "1024"),
    special("cert", Takes::File, Role::Cert, r#""cert.pem""#),
    special("key", Takes::File, Role::Key, r#""key.pem""#),
    special("cert_pem", Takes::Pem, Role::CertPem, r#"include_bytes!("cert.pem")"#),
    special("key_pem", Takes::Pem, Role::KeyPem, r#"include_bytes!("key.pem")"#),
    special("client_ca", Takes::File, Role::TlsConfig, r#""ca.pem""#),
    special("client_ca_pem", Takes::Pem, Role::TlsConfig, r#"include_bytes!("ca.pem")"#),
    special("alpn", Takes::Protocols, Role::TlsConfig, r#"["h2", "http/1.1"]"#),
    setter("title", Takes::Title, r#""app""#),
    setter("user", Takes::Account, r#""www-data""#),
    setter("group", Takes::Account, r#""www-data""#),
    setter("no_new_privs", Takes::Switch, "true"),
    setter("cpu_affinity", Takes::Cpus, r#""auto""#),
    setter("nice", Takes::Signed(-20, 19), "5"),
    setter("rlimit_nofile", Takes::Count(16, OPEN_FILES_MAX), "65536"),
    setter("landlock_read", Takes::Files, r#"["/etc/ssl"]"#),
    setter("landlock_write", Takes::Files, r#"["/var/lib/app"]"#),
    setter("on_master_death", Takes::Function, "my_function"),
    setter("on_child_spawn", Takes::Function, "my_function"),
    setter("on_master_ready", Takes::Function, "my_function"),
    setter("on_child_recover", Takes::Function, "my_function"),
    setter("command_producer", Takes::Function, "my_function"),
    setter("logger", Takes::Logger, "MyLogger"),
    special("init", Takes::Function, Role::Init, "my_function"),
    special("runtime", RUNTIME, Role::Runtime, r#""current_thread""#),
    special("crate", Takes::CratePath, Role::Crate, "::prefork"),
];

/// What other servers call these things. Compared without case and underscores, so that Go's
/// `RecoverThreshold` and `recover_threshold` are one entry.
const ALIASES: &[(&str, &str)] = &[
    ("address", "addr"),
    ("bind", "addr"),
    ("host", "addr"),
    ("listen", "addr"),
    ("listenaddr", "addr"),
    ("port", "addr"),
    ("protocol", "network"),
    ("children", "workers"),
    ("concurrency", "workers"),
    ("numworkers", "workers"),
    ("processes", "workers"),
    ("threads", "workers"),
    ("workerprocesses", "workers"),
    ("maxrestarts", "recover"),
    ("recoverthreshold", "recover"),
    ("restarts", "recover"),
    ("retries", "recover"),
    ("recoverdelay", "recover_interval"),
    ("restartdelay", "recover_interval"),
    ("grace", "shutdown_grace"),
    ("graceperiod", "shutdown_grace"),
    ("gracefultimeout", "shutdown_grace"),
    ("shutdowngraceperiod", "shutdown_grace"),
    ("shutdowntimeout", "shutdown_grace"),
    ("stoptimeout", "shutdown_grace"),
    ("boottimeout", "start_timeout"),
    ("readytimeout", "start_timeout"),
    ("startuptimeout", "start_timeout"),
    ("readiness", "ready"),
    ("draindelay", "stop_delay"),
    ("maxage", "max_lifetime"),
    ("lifetime", "max_lifetime"),
    ("maxmemory", "max_rss"),
    ("memorylimit", "max_rss"),
    ("watchdog", "hang_timeout"),
    ("timeout", "hang_timeout"),
    ("tcpnodelay", "nodelay"),
    ("keepalivetimeout", "keepalive"),
    ("tcpfastopen", "fastopen"),
    ("socketmode", "unix_mode"),
    ("mode", "unix_mode"),
    ("umask", "unix_mode"),
    ("socketowner", "unix_owner"),
    ("addresses", "addr"),
    ("addrs", "addr"),
    ("proctitle", "title"),
    ("procname", "title"),
    ("processtitle", "title"),
    ("runas", "user"),
    ("uid", "user"),
    ("username", "user"),
    ("gid", "group"),
    ("nonewprivileges", "no_new_privs"),
    ("affinity", "cpu_affinity"),
    ("cpuaffinity", "cpu_affinity"),
    ("workercpuaffinity", "cpu_affinity"),
    ("niceness", "nice"),
    ("priority", "nice"),
    ("limitnofile", "rlimit_nofile"),
    ("maxopenfiles", "rlimit_nofile"),
    ("workerrlimitnofile", "rlimit_nofile"),
    ("readonlypaths", "landlock_read"),
    ("readwritepaths", "landlock_write"),
    ("healthaddr", "health"),
    ("healthcheck", "health"),
    ("livez", "health"),
    ("readyz", "health"),
    ("probe", "health"),
    ("certfile", "cert"),
    ("certificate", "cert"),
    ("tlscert", "cert"),
    ("keyfile", "key"),
    ("privatekey", "key"),
    ("tlskey", "key"),
    ("certdata", "cert_pem"),
    ("keydata", "key_pem"),
    ("cafile", "client_ca"),
    ("clientcas", "client_ca"),
    ("clientcacert", "client_ca"),
    ("alpnprotocols", "alpn"),
    ("nextprotos", "alpn"),
    ("onspawn", "on_child_spawn"),
    ("onready", "on_master_ready"),
    ("onrecover", "on_child_recover"),
    ("log", "logger"),
    ("setup", "init"),
    ("flavor", "runtime"),
];

pub(crate) fn find(name: &str) -> Option<&'static Spec> {
    OPTIONS.iter().find(|spec| spec.name == name)
}

/// The right spelling of the option with this role.
pub(crate) fn usage(role: Role) -> String {
    OPTIONS.iter().find(|spec| spec.role == role).map(Spec::usage).unwrap_or_default()
}

/// The option that somebody who wrote `name` most likely meant.
pub(crate) fn meant_by(name: &str) -> Option<&'static Spec> {
    let wanted = normalized(name);
    let alias = ALIASES.iter().find(|(alias, _)| *alias == wanted);
    if let Some((_, name)) = alias {
        return find(name);
    }
    let known = OPTIONS.iter().map(|spec| (spec, normalized(spec.name)));
    closest(&wanted, known)
}

/// The entry of `known` that is a typing mistake away from `wanted`, if there is one.
pub(crate) fn closest<T>(wanted: &str, known: impl Iterator<Item = (T, String)>) -> Option<T> {
    // A third of the letters wrong is still a slip; more than that is another word.
    let tolerance = wanted.chars().count().div_ceil(3);
    known
        .map(|(entry, name)| (strsim::levenshtein(wanted, &name), entry))
        .filter(|(distance, _)| *distance <= tolerance)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, entry)| entry)
}

/// All option names, for a message.
pub(crate) fn list() -> String {
    let names: Vec<String> = OPTIONS.iter().map(|spec| format!("`{}`", spec.name)).collect();
    names.join(", ")
}

fn normalized(name: &str) -> String {
    name.chars().filter(|c| *c != '_').flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_alias_names_an_option_and_is_not_one_itself() {
        for (alias, name) in ALIASES {
            assert!(find(name).is_some(), "{alias} stands for {name}, which is no option");
            assert!(find(alias).is_none(), "{alias} is an option");
            assert_eq!(*alias, normalized(alias), "aliases are compared in this form");
        }
    }

    #[test]
    fn slips_and_foreign_spellings_find_the_option() {
        let cases = [
            ("reuse_port", "reuseport"),
            ("Reuseport", "reuseport"),
            ("RecoverThreshold", "recover"),
            ("ShutdownGracePeriod", "shutdown_grace"),
            ("OnChildSpawn", "on_child_spawn"),
            ("worker", "workers"),
            ("adrr", "addr"),
            ("netwrok", "network"),
            ("on_child_recovered", "on_child_recover"),
            ("port", "addr"),
        ];
        for (written, meant) in cases {
            assert_eq!(meant_by(written).map(|spec| spec.name), Some(meant), "{written}");
        }
        assert!(meant_by("colour").is_none());
        assert!(meant_by("x").is_none());
    }

    #[test]
    fn every_option_is_documented() {
        let docs = include_str!("lib.rs");
        for spec in OPTIONS {
            assert!(docs.contains(&format!("| `{}", spec.name)), "{} has no row", spec.name);
        }
    }
}
