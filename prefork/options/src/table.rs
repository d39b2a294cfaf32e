//! The rows. Their order is that of messages and of the reference.

use std::time::Duration;

use crate::kind::LONGEST;
use crate::{Kind, OptionDefault, OptionRow};

/// A bound for typing mistakes. The layout of the shared values has room for twice as many.
pub const WORKERS_MAX: u32 = 8192;
/// `listen` and the socket options take a C `int`.
const I32_MAX: u64 = 0x7fff_ffff;
/// The runtime counts failures in a `u32`.
const FAILURES_MAX: u64 = 0xffff_ffff;
/// The kernel's largest limit (`fs.nr_open`). Below 16 a child cannot take its listener.
const OPEN_FILES_MAX: u64 = 1 << 30;
/// The least duration where zero has no meaning; timers treat shorter durations as zero.
const MILLISECOND: Duration = Duration::from_millis(1);
/// The kernel's unit for socket timeouts.
const SECOND: Duration = Duration::from_secs(1);
/// The kernel keeps seconds in 16 bits.
const KEEPALIVE_MAX: Duration = Duration::from_secs(32_767);
/// A shorter pause may only mean that the child was not scheduled.
const HANG_MIN: Duration = Duration::from_millis(100);

/// Defines each row as a constant, and the list of all.
macro_rules! rows {
    ($($constant:ident = $row:expr;)*) => {
        $(
            #[doc = concat!("See [`OPTIONS`]: the row of `", stringify!($constant), "`.")]
            pub const $constant: OptionRow = $row;
        )*

        /// Every option, in the order of the reference.
        pub static OPTIONS: &[&OptionRow] = &[$(&$constant),*];
    };
}

/// What most rows share: no alias, no feature, not in the environment.
const PLAIN: OptionRow = OptionRow {
    name: "",
    kind: Kind::Switch,
    default: OptionDefault::Value("false"),
    example: "true",
    environment: false,
    aliases: &[],
    feature: None,
    sets: None,
    doc: "",
};

rows! {
    ADDR = OptionRow {
        name: "addr",
        kind: Kind::Addrs,
        default: OptionDefault::Rule("port 8080 of the loopback interface"),
        example: r#""127.0.0.1:8080""#,
        environment: true,
        aliases: &["address", "bind", "host", "listen", "listenaddr", "port", "addresses", "addrs"],
        doc: "Where to listen; several addresses in brackets, or with commas in the environment. `host:port`, `:port` (every interface), `[v6 address]:port`; port 0 is any free port. `unix:/path` is a Unix socket, on Linux `unix:@name` one with an abstract name. `systemd:name` is a socket that the service manager opened.",
        ..PLAIN
    };
    NETWORK = OptionRow {
        name: "network",
        kind: Kind::Network,
        default: OptionDefault::Rule("`tcp4`, or `tcp6` for an IPv6 address"),
        example: r#""tcp4""#,
        environment: true,
        aliases: &["protocol"],
        doc: "The IP versions to listen on, or `unix` if the address is a path. `tcp6` is IPv6 only; `tcp` without a host is both on one socket.",
        ..PLAIN
    };
    REUSEPORT = OptionRow {
        name: "reuseport",
        kind: Kind::Switch,
        default: OptionDefault::Rule("`false`; `true` on Windows"),
        example: "true",
        environment: true,
        doc: "A listening socket for each slot, over which the kernel spreads new connections, in place of one socket that all children share. Windows refuses `false`. A Unix socket is always shared.",
        ..PLAIN
    };
    WORKERS = OptionRow {
        name: "workers",
        kind: Kind::Count(0, WORKERS_MAX as u64),
        default: OptionDefault::Rule("one per core available to the process"),
        example: "4",
        environment: true,
        aliases: &["children", "concurrency", "numworkers", "processes", "threads", "workerprocesses"],
        doc: "Number of children. The default respects CPU affinity and cgroup quotas. With 0 the serve function runs in the master's own process, without children: for debuggers, profilers and tests.",
        ..PLAIN
    };
    MAX_WORKERS = OptionRow {
        name: "max_workers",
        kind: Kind::Count(1, WORKERS_MAX as u64),
        default: OptionDefault::Rule("no limit"),
        example: "8",
        environment: true,
        aliases: &["maxchildren", "maxprocs", "maxprocesses"],
        doc: "Largest number of children that the default of `workers` chooses.",
        ..PLAIN
    };
    RECOVER = OptionRow {
        name: "recover",
        kind: Kind::Count(0, FAILURES_MAX),
        default: OptionDefault::Rule("failures before ready only: the fifth within 60 s, if no child serves or becomes ready"),
        example: "5",
        environment: true,
        aliases: &["maxrestarts", "recoverthreshold", "restarts", "retries"],
        doc: "Number of child failures that are recovered; one more stops the fleet with an error. Counted in `recover_window`, without it over the master's whole life.",
        ..PLAIN
    };
    RECOVER_WINDOW = OptionRow {
        name: "recover_window",
        kind: Kind::Duration(MILLISECOND, LONGEST),
        default: OptionDefault::Rule("the master's life if `recover` is set"),
        example: r#""60s""#,
        environment: true,
        doc: "Time for which a failure counts. With it alone, 5 failures are recovered.",
        ..PLAIN
    };
    RECOVER_INTERVAL = OptionRow {
        name: "recover_interval",
        kind: Kind::Duration(Duration::ZERO, LONGEST),
        default: OptionDefault::Value("0s"),
        example: r#""1s""#,
        environment: true,
        aliases: &["recoverdelay", "restartdelay"],
        doc: "Delay before a child that ended is replaced. A slot whose children keep failing waits longer, up to 30 s.",
        ..PLAIN
    };
    SHUTDOWN_GRACE = OptionRow {
        name: "shutdown_grace",
        kind: Kind::Duration(Duration::ZERO, LONGEST),
        default: OptionDefault::Value("5s"),
        example: r#""5s""#,
        environment: true,
        aliases: &["grace", "graceperiod", "gracefultimeout", "shutdowngraceperiod", "shutdowntimeout", "stoptimeout"],
        doc: "Time a child has to finish accepted connections once it is asked to stop; then it is killed.",
        ..PLAIN
    };
    START_TIMEOUT = OptionRow {
        name: "start_timeout",
        kind: Kind::Duration(MILLISECOND, LONGEST),
        default: OptionDefault::Value("60s"),
        example: r#""60s""#,
        environment: true,
        aliases: &["boottimeout", "readytimeout", "startuptimeout"],
        doc: "Time a child has to become ready; then it is killed, which counts as a failure. With `preload` also the time to load, and the time a template has to fork a child.",
        ..PLAIN
    };
    READY = OptionRow {
        name: "ready",
        kind: Kind::Readiness,
        default: OptionDefault::Value("auto"),
        example: r#""manual""#,
        aliases: &["readiness"],
        doc: "When a child is ready: when its serve function is about to be called (`auto`), or when it calls `ChildContext::ready` (`manual`).",
        ..PLAIN
    };
    STOP_DELAY = OptionRow {
        name: "stop_delay",
        kind: Kind::Duration(Duration::ZERO, LONGEST),
        default: OptionDefault::Value("0s"),
        example: r#""10s""#,
        environment: true,
        aliases: &["draindelay"],
        doc: "Time during which the fleet goes on accepting after it was asked to stop, for load balancers that notice late.",
        ..PLAIN
    };
    RELOAD_PARALLEL = OptionRow {
        name: "reload_parallel",
        kind: Kind::Count(1, WORKERS_MAX as u64),
        default: OptionDefault::Value("1"),
        example: "2",
        environment: true,
        doc: "Number of children that a reload replaces at the same time.",
        ..PLAIN
    };
    CANARY = OptionRow {
        name: "canary",
        kind: Kind::Count(0, WORKERS_MAX as u64),
        default: OptionDefault::Value("0"),
        example: "1",
        environment: true,
        aliases: &["canaries"],
        doc: "Number of children after which a reload stops and holds, with the new children beside the old ones. A failure of a new child, or a rollback, restores the old generation. With 0 a reload does not hold.",
        ..PLAIN
    };
    HOLD = OptionRow {
        name: "hold",
        kind: Kind::Duration(MILLISECOND, LONGEST),
        default: OptionDefault::Rule("until it is promoted or rolled back"),
        example: r#""5m""#,
        environment: true,
        aliases: &["canaryhold", "holdtime"],
        doc: "Time for which a reload with a `canary` holds; then it is completed.",
        ..PLAIN
    };
    MAX_LIFETIME = OptionRow {
        name: "max_lifetime",
        kind: Kind::Duration(MILLISECOND, LONGEST),
        default: OptionDefault::Rule("unlimited"),
        example: r#""24h""#,
        environment: true,
        aliases: &["maxage", "lifetime"],
        doc: "Age at which a child is replaced, new before old. Each child's own limit is up to a tenth shorter, so that children of the same age are not replaced at once.",
        ..PLAIN
    };
    MAX_RSS = OptionRow {
        name: "max_rss",
        kind: Kind::Size,
        default: OptionDefault::Rule("unlimited"),
        example: r#""512MiB""#,
        environment: true,
        aliases: &["maxmemory", "memorylimit"],
        doc: "Resident memory at which a child is replaced, new before old, in bytes or with a unit. Of a child that a template has forked (`preload`), memory that it shares does not count.",
        ..PLAIN
    };
    HANG_TIMEOUT = OptionRow {
        name: "hang_timeout",
        kind: Kind::Duration(HANG_MIN, LONGEST),
        default: OptionDefault::Rule("unlimited"),
        example: r#""30s""#,
        environment: true,
        aliases: &["watchdog", "timeout"],
        doc: "Time that an `async` child's runtime may make no progress, and that a `ChildContext::busy` may last; then the child logs where its threads are, aborts, and has failed. Neither an idle child nor a suspended machine counts as a hang.",
        ..PLAIN
    };
    NODELAY = OptionRow {
        name: "nodelay",
        kind: Kind::Switch,
        default: OptionDefault::Value("false"),
        example: "true",
        environment: true,
        aliases: &["tcpnodelay"],
        doc: "Sends small segments at once (`TCP_NODELAY`, inherited by accepted connections).",
        ..PLAIN
    };
    KEEPALIVE = OptionRow {
        name: "keepalive",
        kind: Kind::Duration(SECOND, KEEPALIVE_MAX),
        default: OptionDefault::Rule("off"),
        example: r#""60s""#,
        environment: true,
        aliases: &["keepalivetimeout"],
        doc: "Idle time after which the kernel probes whether the other end is alive (`SO_KEEPALIVE`, `TCP_KEEPIDLE`, inherited by accepted connections). The kernel's limit is 32,767 s.",
        ..PLAIN
    };
    DEFER_ACCEPT = OptionRow {
        name: "defer_accept",
        kind: Kind::Duration(SECOND, LONGEST),
        default: OptionDefault::Rule("off"),
        example: r#""5s""#,
        environment: true,
        doc: "`accept` returns a connection only when its first data has arrived, or after about this time (`TCP_DEFER_ACCEPT`). Linux only.",
        ..PLAIN
    };
    FASTOPEN = OptionRow {
        name: "fastopen",
        kind: Kind::Count(1, I32_MAX),
        default: OptionDefault::Rule("off"),
        example: "256",
        environment: true,
        aliases: &["tcpfastopen"],
        doc: "Accepts data with the first packet of up to so many pending connections (`TCP_FASTOPEN`; needs bit 2 of `net.ipv4.tcp_fastopen`). Such data may arrive twice. Linux only.",
        ..PLAIN
    };
    UNIX_MODE = OptionRow {
        name: "unix_mode",
        kind: Kind::Mode,
        default: OptionDefault::Rule("those that the process's umask allows"),
        example: "0o660",
        environment: true,
        aliases: &["socketmode", "mode", "umask"],
        doc: "Permissions of a Unix socket's file: who may connect.",
        ..PLAIN
    };
    UNIX_OWNER = OptionRow {
        name: "unix_owner",
        kind: Kind::Owner,
        default: OptionDefault::Rule("the master's user"),
        example: r#""www-data""#,
        environment: true,
        aliases: &["socketowner"],
        doc: "Owner of a Unix socket's file: `user`, `user:group` or `:group`, by name or number. Changing the user needs root.",
        ..PLAIN
    };
    HEALTH = OptionRow {
        name: "health",
        kind: Kind::TcpAddr,
        default: OptionDefault::Rule("off"),
        example: r#""127.0.0.1:9090""#,
        environment: true,
        aliases: &["healthaddr", "healthcheck", "livez", "readyz", "probe"],
        doc: "Address of the health endpoint, served by the master over HTTP: `/livez`, `/readyz`, `/status`, `/metrics`, and a page for people at `/`.",
        ..PLAIN
    };
    CONTROL = OptionRow {
        name: "control",
        kind: Kind::File,
        default: OptionDefault::Rule("none"),
        example: r#""/run/app.sock""#,
        environment: true,
        aliases: &["controlsocket", "ctl", "ctlsocket", "admin", "adminsocket", "management"],
        doc: "Path of the control socket, by which root and the master's own user operate the fleet over HTTP; its mode is 0600. Unix only.",
        ..PLAIN
    };
    PIDFILE = OptionRow {
        name: "pidfile",
        kind: Kind::File,
        default: OptionDefault::Rule("none"),
        example: r#""/run/app.pid""#,
        environment: true,
        aliases: &["pid", "pidpath", "pidfilepath"],
        doc: "A file with the master's pid, locked while it lives and removed at its end. A file that another process holds is refused.",
        ..PLAIN
    };
    BACKLOG = OptionRow {
        name: "backlog",
        kind: Kind::Count(1, I32_MAX),
        default: OptionDefault::Rule("the system's maximum"),
        example: "1024",
        environment: true,
        doc: "Number of connections that may wait to be accepted.",
        ..PLAIN
    };
    CERT = OptionRow {
        name: "cert",
        kind: Kind::File,
        default: OptionDefault::Rule("no TLS"),
        example: r#""cert.pem""#,
        environment: true,
        aliases: &["certfile", "certificate", "tlscert"],
        doc: "TLS certificate chain, a PEM file; goes with `key`.",
        ..PLAIN
    };
    KEY = OptionRow {
        name: "key",
        kind: Kind::File,
        default: OptionDefault::Rule("no TLS"),
        example: r#""key.pem""#,
        environment: true,
        aliases: &["keyfile", "privatekey", "tlskey"],
        doc: "The certificate's private key, a PEM file; goes with `cert`.",
        ..PLAIN
    };
    CERT_PEM = OptionRow {
        name: "cert_pem",
        kind: Kind::Pem,
        default: OptionDefault::Rule("no TLS"),
        example: r#"include_bytes!("cert.pem")"#,
        aliases: &["certdata"],
        sets: Some("cert"),
        doc: "TLS certificate chain as PEM text in the program; goes with `key_pem`.",
        ..PLAIN
    };
    KEY_PEM = OptionRow {
        name: "key_pem",
        kind: Kind::Pem,
        default: OptionDefault::Rule("no TLS"),
        example: r#"include_bytes!("key.pem")"#,
        aliases: &["keydata"],
        sets: Some("key"),
        doc: "The certificate's private key as PEM text in the program; goes with `cert_pem`.",
        ..PLAIN
    };
    CLIENT_CA = OptionRow {
        name: "client_ca",
        kind: Kind::File,
        default: OptionDefault::Rule("no client certificates"),
        example: r#""ca.pem""#,
        environment: true,
        aliases: &["cafile", "clientcas", "clientcacert"],
        feature: Some("rustls"),
        doc: "CA certificates for mutual TLS, a PEM file: clients must present a certificate signed by one of them. For functions that take an `Arc<rustls::ServerConfig>`.",
        ..PLAIN
    };
    CLIENT_CA_PEM = OptionRow {
        name: "client_ca_pem",
        kind: Kind::Pem,
        default: OptionDefault::Rule("no client certificates"),
        example: r#"include_bytes!("ca.pem")"#,
        feature: Some("rustls"),
        sets: Some("client_ca"),
        doc: "CA certificates for mutual TLS, as PEM text in the program.",
        ..PLAIN
    };
    ALPN = OptionRow {
        name: "alpn",
        kind: Kind::Protocols,
        default: OptionDefault::Rule("`h2` and `http/1.1`"),
        example: r#"["h2", "http/1.1"]"#,
        aliases: &["alpnprotocols", "nextprotos"],
        feature: Some("rustls"),
        doc: "ALPN protocols, in order of preference. For functions that take an `Arc<rustls::ServerConfig>`.",
        ..PLAIN
    };
    TITLE = OptionRow {
        name: "title",
        kind: Kind::Title,
        default: OptionDefault::Rule("the program's name"),
        example: r#""app""#,
        environment: true,
        aliases: &["proctitle", "procname", "processtitle"],
        doc: "Name in process titles: `app: master`, `app: child 3`. Empty: titles are left alone. Linux and BSD.",
        ..PLAIN
    };
    USER = OptionRow {
        name: "user",
        kind: Kind::Account,
        default: OptionDefault::Rule("the master's user"),
        example: r#""www-data""#,
        environment: true,
        aliases: &["runas", "uid", "username"],
        doc: "User that children run as, by name or number; the master stays root. On Linux a child also drops every capability.",
        ..PLAIN
    };
    GROUP = OptionRow {
        name: "group",
        kind: Kind::Account,
        default: OptionDefault::Rule("the user's primary group"),
        example: r#""www-data""#,
        environment: true,
        aliases: &["gid"],
        doc: "Primary group of children, by name or number; goes with `user`.",
        ..PLAIN
    };
    NO_NEW_PRIVS = OptionRow {
        name: "no_new_privs",
        kind: Kind::Switch,
        default: OptionDefault::Value("false"),
        example: "true",
        environment: true,
        aliases: &["nonewprivileges"],
        doc: "Programs that children execute cannot gain privileges (set-user-id programs have no effect). Linux only.",
        ..PLAIN
    };
    CPU_AFFINITY = OptionRow {
        name: "cpu_affinity",
        kind: Kind::Cpus,
        default: OptionDefault::Rule("any CPU"),
        example: r#""auto""#,
        environment: true,
        aliases: &["affinity", "workercpuaffinity"],
        doc: "Pins each child to one CPU of the list, the child of slot i to the i-th, cyclically; `auto` is every CPU that the master may use. Linux only.",
        ..PLAIN
    };
    NICE = OptionRow {
        name: "nice",
        kind: Kind::Signed(-20, 19),
        default: OptionDefault::Rule("the master's priority"),
        example: "5",
        environment: true,
        aliases: &["niceness", "priority"],
        doc: "Scheduling priority of children, from -20 (highest) to 19. A value below the master's own needs root.",
        ..PLAIN
    };
    RLIMIT_NOFILE = OptionRow {
        name: "rlimit_nofile",
        kind: Kind::Count(16, OPEN_FILES_MAX),
        default: OptionDefault::Rule("the master's limit"),
        example: "65536",
        environment: true,
        aliases: &["limitnofile", "maxopenfiles", "workerrlimitnofile"],
        doc: "Soft limit on open files and sockets of a child. A value above the hard limit needs root.",
        ..PLAIN
    };
    LANDLOCK_READ = OptionRow {
        name: "landlock_read",
        kind: Kind::Files,
        default: OptionDefault::Rule("everything"),
        example: r#"["/etc/ssl"]"#,
        environment: true,
        aliases: &["readonlypaths"],
        doc: "Paths that children can read and execute, with those of `landlock_write`: files, and directories with everything beneath. All other paths are denied. Implies `no_new_privs`. Linux 6.2, feature `landlock`.",
        ..PLAIN
    };
    LANDLOCK_WRITE = OptionRow {
        name: "landlock_write",
        kind: Kind::Files,
        default: OptionDefault::Rule("everything"),
        example: r#"["/var/lib/app"]"#,
        environment: true,
        aliases: &["readwritepaths"],
        doc: "Paths that children can also write, create and remove. Linux 6.2, feature `landlock`.",
        ..PLAIN
    };
    ON_MASTER_DEATH = OptionRow {
        name: "on_master_death",
        kind: Kind::Function,
        default: OptionDefault::Rule("none"),
        example: "my_function",
        doc: "`Fn()`; runs in each child when its master has died. The child then drains and exits with status 1.",
        ..PLAIN
    };
    ON_CHILD_SPAWN = OptionRow {
        name: "on_child_spawn",
        kind: Kind::Function,
        default: OptionDefault::Rule("none"),
        example: "my_function",
        aliases: &["onspawn"],
        doc: "`Fn(u32)`; runs in the master after each start of a child, with its pid.",
        ..PLAIN
    };
    ON_MASTER_READY = OptionRow {
        name: "on_master_ready",
        kind: Kind::Function,
        default: OptionDefault::Rule("none"),
        example: "my_function",
        aliases: &["onready"],
        doc: "`Fn(&[u32])`; runs in the master once, when every slot is ready for the first time, with the pids.",
        ..PLAIN
    };
    ON_CHILD_RECOVER = OptionRow {
        name: "on_child_recover",
        kind: Kind::Function,
        default: OptionDefault::Rule("none"),
        example: "my_function",
        aliases: &["onrecover"],
        doc: "`Fn(u32, u32)`; runs in the master when a child replaces one that ended, with the old pid and the new.",
        ..PLAIN
    };
    ON_LOG_REOPEN = OptionRow {
        name: "on_log_reopen",
        kind: Kind::Function,
        default: OptionDefault::Rule("none"),
        example: "my_function",
        aliases: &["onreopen", "reopenlogs", "logrotate", "onusr1", "onlogrotate"],
        doc: "`Fn()`; runs in the master and in every child when the master receives SIGUSR1: opens log files again, after they were rotated.",
        ..PLAIN
    };
    ON_CANARY = OptionRow {
        name: "on_canary",
        kind: Kind::Function,
        default: OptionDefault::Rule("none"),
        example: "my_function",
        doc: "`Fn(&Canary) -> CanaryVerdict`; runs in the master each second while a reload with a `canary` holds, with what the new and the old children have counted: holds on, promotes or rolls back.",
        ..PLAIN
    };
    COMMAND_PRODUCER = OptionRow {
        name: "command_producer",
        kind: Kind::Function,
        default: OptionDefault::Rule("`Command::spawn`"),
        example: "my_function",
        doc: "`Fn(Command) -> io::Result<Child>`; starts a child from a complete command.",
        ..PLAIN
    };
    LOGGER = OptionRow {
        name: "logger",
        kind: Kind::Logger,
        default: OptionDefault::Rule("the `tracing` subscriber, the installed `log` logger, else standard error"),
        example: "MyLogger",
        aliases: &["log"],
        doc: "A `log::Log` that receives the runtime's own messages.",
        ..PLAIN
    };
    INIT = OptionRow {
        name: "init",
        kind: Kind::Function,
        default: OptionDefault::Rule("none"),
        example: "my_function",
        aliases: &["setup"],
        doc: "`FnOnce()`; runs first, in the master and in every child, or with templates (`preload`) in each template and not in its children: set up logging, read arguments. Attribute only; with the builder, `main` does this.",
        ..PLAIN
    };
    PRELOAD = OptionRow {
        name: "preload",
        kind: Kind::Function,
        default: OptionDefault::Rule("none"),
        example: "my_function",
        aliases: &["preloadapp", "load", "loadonce"],
        doc: "`FnOnce() -> T` or `FnOnce() -> Result<T, E>`; loads what every child needs, once for all of them: the serve function takes it as `Preloaded<T>`. With the builder, `try_preload` is for a `Result`.",
        ..PLAIN
    };
    RUNTIME = OptionRow {
        name: "runtime",
        kind: Kind::Runtime,
        default: OptionDefault::Value("current_thread"),
        example: r#""current_thread""#,
        environment: true,
        aliases: &["flavor"],
        feature: Some("tokio"),
        doc: "The tokio runtime of an `async` serve function, one in each child.",
        ..PLAIN
    };
    CONFIG = OptionRow {
        name: "config",
        kind: Kind::File,
        default: OptionDefault::Rule("none"),
        example: r#""/etc/app/prefork.toml""#,
        environment: true,
        aliases: &["configfile", "configpath", "settings"],
        feature: Some("config"),
        doc: "A configuration file in TOML, which sets the options that have a variable, by name. It is read again by a reload. It overrides the attribute, and variables override it.",
        ..PLAIN
    };
    ENVIRONMENT = OptionRow {
        name: "environment",
        kind: Kind::Switch,
        default: OptionDefault::Value("true"),
        example: "false",
        aliases: &["env", "envvars"],
        doc: "Whether environment variables set options.",
        ..PLAIN
    };
    CRATE = OptionRow {
        name: "crate",
        kind: Kind::CratePath,
        default: OptionDefault::Rule("`::prefork`"),
        example: "::prefork",
        doc: "Path of this crate in generated code. Attribute only.",
        ..PLAIN
    };
}
