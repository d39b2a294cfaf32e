#![deny(warnings)]
#![allow(dead_code)]

mod literals {
    use std::io;
    use std::net::TcpListener;
    use std::process::Command;

    #[prefork::main(
        addr = "127.0.0.1:8080",
        network = "tcp4",
        reuseport,
        workers = 4,
        max_workers = 8,
        environment = false,
        config = "/etc/app/prefork.toml",
        recover = 5u32,
        recover_window = "60s",
        recover_interval = "0s",
        shutdown_grace = "1m 30s",
        start_timeout = "500ms",
        ready = "auto",
        stop_delay = "0s",
        reload_parallel = 2,
        canary = 1,
        hold = "5m",
        max_lifetime = "24h",
        max_rss = "512MiB",
        hang_timeout = "100ms",
        health = "127.0.0.1:0",
        control = "/run/app.sock",
        pidfile = "/run/app.pid",
        backlog = 0x400,
        title = "app",
        user = "www-data",
        group = 33,
        no_new_privs,
        cpu_affinity = "0-3,8",
        nice = -5,
        rlimit_nofile = 65_536,
        landlock_read = ["/etc/ssl", "/srv/www"],
        landlock_write = [std::env::temp_dir()],
        on_master_death = || eprintln!("alone"),
        on_child_spawn = |pid| println!("{pid}"),
        on_master_ready = ready,
        on_child_recover = self::recovered,
        on_log_reopen = || {},
        on_canary = judge,
        command_producer = |mut command: Command| command.spawn(),
        logger = Stderr,
        init = || {},
    )]
    fn serve(_: TcpListener) -> io::Result<()> {
        Ok(())
    }

    fn ready(_: &[u32]) -> io::Result<()> {
        Ok(())
    }

    fn recovered(_: u32, _: u32) {}

    fn judge(_: &prefork::Canary) -> io::Result<prefork::CanaryVerdict> {
        Ok(prefork::CanaryVerdict::Promote)
    }

    struct Stderr;

    impl log::Log for Stderr {
        fn enabled(&self, _: &log::Metadata<'_>) -> bool {
            true
        }
        fn log(&self, record: &log::Record<'_>) {
            eprintln!("{}", record.args());
        }
        fn flush(&self) {}
    }
}

mod expressions {
    use std::net::TcpListener;
    use std::time::Duration;

    const GRACE: Duration = Duration::from_secs(5);

    fn port() -> u16 {
        8080
    }

    #[prefork::main(
        addr = format!("127.0.0.1:{}", port()),
        network = prefork::Network::Tcp4,
        reuseport = cfg!(windows),
        workers = 2 * 2,
        recover = u32::MAX,
        recover_window = GRACE * 12,
        shutdown_grace = GRACE,
        start_timeout = "5s".to_owned(),
        ready = prefork::Readiness::Manual,
        stop_delay = GRACE / 2,
        reload_parallel = usize::from(port()),
        canary = 1 + 1,
        hold = GRACE * 60,
        on_canary = |canary| match canary.new.counter("app_errors_total") {
            0 => prefork::CanaryVerdict::Hold,
            count => prefork::CanaryVerdict::roll_back(format_args!("{count} errors")),
        },
        max_lifetime = "1day".to_owned(),
        max_rss = 512 << 20,
        hang_timeout = GRACE,
        health = String::from(":0"),
        backlog = if cfg!(unix) { 128 } else { 64 },
        title = format!("app {}", port()),
        user = u32::from(port()),
        group = "www".to_owned() + "-data",
        no_new_privs = cfg!(unix),
        cpu_affinity = prefork::CpuAffinity::Auto,
        nice = 2 + 3,
        rlimit_nofile = 1 << 16,
        landlock_read = std::iter::once("/etc/ssl"),
        landlock_write = Vec::<String>::new(),
    )]
    fn serve(_: TcpListener) {}
}

fn main() {}
