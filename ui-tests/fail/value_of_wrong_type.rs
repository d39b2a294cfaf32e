//! The compiler checks the types of expressions, and reports them at the expression or the name of its option.

#[prefork::main(
    addr = 8000 + 80,
    network = Some("tcp4"),
    workers = "four".trim(),
    recover = u64::MAX,
    shutdown_grace = 2 + 3,
    on_child_spawn = |pid: String| drop(pid),
    on_master_ready = ready,
    on_child_recover = |old, new| old + new,
    command_producer = produce,
    init = || 7,
)]
fn serve(_: std::net::TcpListener) {}

fn ready(_pids: Vec<u32>) {}

fn produce(_command: &mut std::process::Command) -> std::io::Result<std::process::Child> {
    unimplemented!()
}
