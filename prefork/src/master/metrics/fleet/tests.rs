//! The text as a whole, and the guide's table of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::super::tests::{child, status};
use super::*;

fn view() -> HistoryView {
    let at = |seconds: u64| SystemTime::UNIX_EPOCH + Duration::from_millis(seconds * 1000 + 500);
    HistoryView {
        started_at: at(1000),
        last_change: Some(LastChange { at: at(2000), done: false }),
        log_dropped: 12,
        ended_cpu: Vec::new(),
    }
}

fn usage(resident: u64, seconds: u64) -> ProcessUsage {
    ProcessUsage {
        cpu: Duration::from_millis(seconds * 1000 + 250),
        resident,
        started_at: SystemTime::UNIX_EPOCH + Duration::from_secs(seconds),
        open_files: Some(9),
    }
}

/// The text of a fleet that has everything.
fn text() -> String {
    let fleet = FleetStatus {
        generation: 3,
        elects: true,
        ..status(&[
            child(0, ChildState::Ready),
            child(1, ChildState::Starting),
            child(1, ChildState::Stopping),
        ])
    };
    let ProcessUsage { cpu, resident, open_files, started_at } = usage(4096, 77);
    let living = Some(LivingUsage { resident, private: Some(1024), open_files, started_at });
    let slots = [SlotUsage { slot: 0, cpu, living }, SlotUsage { slot: 1, cpu, living: None }];
    let queue = |length| Some(ListenQueue { length, limit: 128, drops: Some(2) });
    let queues = [
        ListenerQueues { listener: "127.0.0.1:80".to_owned(), per_slot: false, queues: vec![queue(1)] },
        ListenerQueues { listener: "[::1]:80".to_owned(), per_slot: true, queues: vec![queue(0), queue(5)] },
        ListenerQueues { listener: "unix:/a\"b".to_owned(), per_slot: false, queues: vec![None] },
    ];
    let template =
        |generation, state| TemplateStatus { generation, pid: Some(u32::MAX), state, starts_at: None };
    let templates = [template(2, TemplateState::Ready), template(3, TemplateState::Loading)];
    let mut out = Exposition::default();
    write_fleet(
        &mut out,
        &Sources {
            fleet: &fleet,
            templates: &templates,
            template_resident: Some(2048),
            history: &view(),
            queues: &queues,
            slots: &slots,
            master: Some(usage(8192, 5)),
            dropped: Some(DroppedConnections { overflows: 7, drops: 8 }),
            shared: true,
            unplaced: 4,
            health_connections: 3,
        },
    );
    out.into_text()
}

#[test]
fn every_family_is_written_with_its_labels() {
    let text = text();
    let mut labels: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, rest) = line.split_at(line.find(['{', ' ']).unwrap());
        let inside = rest.split(['{', '}']).nth(1).unwrap_or_default();
        let names = inside.split(',').filter_map(|label| Some(label.split_once('=')?.0));
        let names: Vec<&str> = names.collect();
        let longest = labels.entry(name).or_default();
        if names.len() > longest.len() {
            *longest = names;
        }
    }
    let written: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    let wanted: Vec<String> =
        ALL.iter().map(|family| format!("{} {}", family.name, family.kind.name())).collect();
    assert_eq!(written, wanted);
    for family in ALL {
        assert_eq!(labels[family.name], family.labels, "{}", family.name);
    }
}

#[test]
fn values_are_those_of_the_sources() {
    let text = text();
    for line in [
        "prefork_start_time_seconds 1000.5",
        "prefork_state{state=\"serving\"} 1",
        "prefork_state{state=\"reloading\"} 0",
        "prefork_generation 3",
        "prefork_slots 2",
        "prefork_slots_ready 1",
        "prefork_children{state=\"ready\"} 1",
        "prefork_children{state=\"stopping\"} 1",
        "prefork_templates{state=\"loading\"} 1",
        "prefork_templates{state=\"waiting\"} 0",
        "prefork_template_resident_memory_bytes 2048",
        "prefork_child_starts_total{reason=\"start\"} 0",
        "prefork_child_failures_total{kind=\"signal\",phase=\"ready\"} 0",
        "prefork_last_reload_successful 0",
        "prefork_last_reload_timestamp_seconds 2000.5",
        "prefork_slot_cpu_seconds_total{slot=\"1\"} 77.25",
        "prefork_slot_resident_memory_bytes{slot=\"0\"} 4096",
        "prefork_slot_private_memory_bytes{slot=\"0\"} 1024",
        "prefork_slot_start_time_seconds{slot=\"0\"} 77",
        "prefork_master_cpu_seconds_total 5.25",
        "prefork_listener_queue_length{listener=\"127.0.0.1:80\"} 1",
        "prefork_listener_queue_length{listener=\"[::1]:80\",slot=\"1\"} 5",
        "prefork_listener_queue_limit{listener=\"[::1]:80\",slot=\"0\"} 128",
        "prefork_namespace_listen_overflows_total 7",
        "prefork_log_messages_dropped_total 12",
        "prefork_shared_region 1",
        "prefork_shared_full 4",
        "prefork_health_connections 3",
    ] {
        assert!(text.lines().any(|other| other == line), "{line} is missing:\n{text}");
    }
    assert!(!text.contains("unix:"), "the system tells nothing of this queue");
    assert!(!text.contains("memory_bytes{slot=\"1\"}"), "the slot has no child");
}

#[test]
fn what_the_system_does_not_tell_is_absent() {
    let mut out = Exposition::default();
    let sources = Sources {
        fleet: &status(&[]),
        templates: &[],
        template_resident: None,
        history: &HistoryView { last_change: None, ..view() },
        queues: &[ListenerQueues { listener: "a".to_owned(), per_slot: false, queues: vec![None] }],
        slots: &[],
        master: None,
        dropped: None,
        shared: false,
        unplaced: 0,
        health_connections: 0,
    };
    write_fleet(&mut out, &sources);
    let text = out.into_text();
    for absent in [
        "prefork_slot_",
        "prefork_master_",
        "prefork_template_",
        "prefork_listener",
        "prefork_namespace",
        "prefork_last_",
    ] {
        assert!(!text.contains(absent), "{text}");
    }
}

/// The guide's table has a row for each family, in their order. To fix a failure, replace the table.
#[test]
fn guide_lists_every_family() {
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
    let guide = fs::read_to_string(guide).unwrap();
    let rows: Vec<&str> = guide.lines().filter(|line| line.starts_with("| `prefork_")).collect();
    let wanted: Vec<String> = ALL
        .iter()
        .map(|Family { name, kind, labels, help }| {
            let labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
            format!("| `{name}` | {} | {} | {help} |", kind.name(), labels.join(", "))
        })
        .collect();
    assert!(rows == wanted, "the table in prefork/docs/metrics.md should be:\n{}", wanted.join("\n"));
    let text = text();
    let values = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .flat_map(|line| line.split('"').skip(1).step_by(2));
    for value in values.filter(|value| value.starts_with(|first: char| first.is_ascii_lowercase())) {
        assert!(
            guide.contains(&format!("`{value}`")),
            "the guide does not explain the label's value `{value}`"
        );
    }
}
