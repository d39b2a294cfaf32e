//! Async children that a template forks, which has loaded for all of them.
#![cfg(all(target_os = "linux", target_env = "gnu"))]
#![allow(clippy::unwrap_used, reason = "a panic in a test helper fails the test")]

use prefork_tests::fleet::Server;
use prefork_tests::preload::template;
use prefork_tests::signal::Signal;
use prefork_tests::{client, proc, wait};

fn server(runtime: &str) -> Server {
    Server::new(env!("CARGO_BIN_EXE_preload_server")).set("form", "async").set("runtime", runtime)
}

#[test]
fn runtime_of_each_kind_is_made_in_the_child_and_its_tasks_have_what_was_loaded() {
    let cores = std::thread::available_parallelism().unwrap().get();
    for (runtime, workers) in [("current_thread", 0), ("multi_thread", cores)] {
        let fleet = server(runtime).start();
        let old = template(&fleet);
        assert_eq!(proc::thread_count(old), 1);
        for child in fleet.children() {
            wait::until("the threads of the runtime", || proc::thread_count(child) == 2 + workers);
        }
        let tally = client::under_load(fleet.addr(), "/value", 4, || {
            fleet.replace(&fleet.first_children()[..1]);
            fleet.operate(Signal::SIGHUP, 1, "is of generation 1");
        });
        // Requests of the killed child are lost.
        let answer = (1 << 20).to_string();
        assert!(tally.answers.len() == 1 && tally.answers.contains_key(&answer), "{tally:?}");
        assert!(tally.failures.values().sum::<usize>() <= 4, "{tally:?}");
        assert_ne!(template(&fleet), old);
        assert_eq!(client::get(fleet.addr(), "/loaded-by"), template(&fleet).to_string());
        fleet.stop();
    }
}

#[test]
fn forked_child_that_hangs_is_aborted_and_forked_again_on_its_cpu() {
    let server = server("current_thread").set("workers", 1).env("PREFORK_CPU_AFFINITY", "0");
    let fleet = server.env("PREFORK_HANG_TIMEOUT", "500ms").start();
    let (first, template) = (fleet.children(), template(&fleet));
    client::get(fleet.addr(), "/value");
    let blocked = client::send(fleet.addr(), "/block").unwrap();
    fleet.console.wait_for("hangs; its threads:");
    let cpus = |pid: u32| proc::status_field(pid, "Cpus_allowed_list");
    let second = fleet.wait_for_children(1, &first);
    blocked.finish().unwrap_err();
    fleet.console.wait_for("SIGABRT");
    assert_eq!(client::get(fleet.addr(), "/loaded-by"), template.to_string());
    assert_eq!(cpus(second[0]).as_deref(), Some("0"));
    // The first one has pinned itself only.
    assert_eq!(cpus(template), cpus(fleet.master()));
    wait::until("no zombie", || proc::zombies(fleet.master()).is_empty());
    fleet.stop();
}
