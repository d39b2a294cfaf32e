use std::net::TcpListener;

#[prefork::main(
    user = "",
    group = true,
    no_new_privs = "yes",
    cpu_affinity = "3-1",
    nice = 20,
    rlimit_nofile = 3,
    landlock_read = "/etc/ssl",
    landlock_write = 5,
    title = "app\n",
)]
fn serve(_: TcpListener) {}

mod kinds {
    #[prefork::main(cpu_affinity = 0, nice = "-5", readonly_paths = ["/etc"], uid = 33)]
    fn serve(_: std::net::TcpListener) {}
}
