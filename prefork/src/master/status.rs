//! `/status`: the fleet in JSON.

use std::collections::BTreeMap;
use std::time::{Instant, SystemTime};

use super::metrics::{History, ProcessUsages, reuse_of, since_epoch};
use super::templates::TemplateStatus;
use crate::json;
use crate::listen::{ListenerQueues, WatchedListeners};
use crate::shared;
use crate::supervisor::{ChangeKind, ChangeStatus, ChildStatus, FleetStatus, HoldStatus, WaitingSlot};
use crate::sys::ProcessUsage;

/// A change of the fleet that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) name: &'static str,
    /// The generation that it leads to.
    pub(super) generation: u32,
    /// Children that were replaced, started or ended so far.
    pub(super) replaced: usize,
    pub(super) of: usize,
}

impl From<ChangeStatus> for Change {
    fn from(change: ChangeStatus) -> Self {
        let ChangeStatus { kind, generation, replaced, of } = change;
        let name = match kind {
            ChangeKind::Reload { .. } => "reload",
            ChangeKind::Rollback => "rollback",
            ChangeKind::Upgrade => "upgrade",
        };
        Self { name, generation, replaced, of }
    }
}

impl Change {
    fn to_json(self, now: Instant, hold: Option<&HoldStatus>) -> String {
        let Self { name, generation, replaced, of } = self;
        let until = hold.and_then(|hold| hold.until);
        let left = until.map(|until| until.saturating_duration_since(now));
        format!(
            "{{\"name\":\"{name}\",\"generation\":{generation},\"replaced\":{replaced},\"of\":{of},\
             \"holding\":{},\"hold_seconds_left\":{}}}",
            hold.is_some(),
            left.map_or_else(|| "null".to_owned(), json::seconds)
        )
    }
}

/// Makes the text of `/status`.
#[derive(Debug)]
pub(super) struct StatusPage {
    history: History,
    /// How many requests the children have counted, by pid.
    requests: BTreeMap<u32, u64>,
    /// Until then, that is used again.
    usable_until: Instant,
}

impl StatusPage {
    pub(super) fn new(history: History) -> Self {
        Self { history, requests: BTreeMap::new(), usable_until: Instant::now() }
    }

    pub(super) fn make(
        &mut self,
        now: Instant,
        fleet: &FleetStatus,
        templates: &[TemplateStatus],
        listeners: &[WatchedListeners],
        change: Option<Change>,
        usages: &mut ProcessUsages,
    ) -> String {
        usages.update(now, fleet, templates);
        self.read_requests(now);
        let FleetStatus { state, generation, slots, ready, failures, children, waiting, .. } = fleet;
        let change = change.or(fleet.change.map(Change::from));
        let change = change.map(|change| change.to_json(now, fleet.hold.as_ref()));
        let listeners: Vec<String> = listeners.iter().map(|watched| listener(&watched.queues())).collect();
        let children: Vec<String> = children.iter().map(|child| self.child(child, usages)).collect();
        let waiting: Vec<String> = waiting.iter().map(|slot| waiting_slot(now, slot)).collect();
        let templates =
            templates.iter().map(|one| template(now, one, one.pid.and_then(|pid| usages.of_process(pid))));
        let templates: Vec<String> = templates.collect();
        format!(
            "{{\"state\":\"{}\",\"master\":{},\"version\":\"{}\",\"generation\":{generation},\"slots\":{slots},\
             \"ready\":{ready},\"failures\":{failures},\"started_at\":{},\"operation\":{},\"listeners\":[{}],\
             \"children\":[{}],\"waiting\":[{}],\"templates\":[{}]}}\n",
            state.name(),
            std::process::id(),
            env!("CARGO_PKG_VERSION"),
            since_epoch(self.history.started_at()).as_secs(),
            json::or_null(change),
            listeners.join(","),
            children.join(","),
            waiting.join(","),
            templates.join(",")
        )
    }

    fn read_requests(&mut self, now: Instant) {
        if now >= self.usable_until {
            let start = Instant::now();
            self.requests = shared::requests();
            self.usable_until = now + reuse_of(start.elapsed());
        }
    }

    fn child(&self, child: &ChildStatus, usages: &ProcessUsages) -> String {
        let ChildStatus { slot, pid, generation, state, leader } = child;
        let usage = usages.of_process(*pid);
        format!(
            "{{\"slot\":{slot},\"pid\":{pid},\"generation\":{generation},\"state\":\"{}\",\"leader\":{leader},\
             \"age_seconds\":{},\"cpu_seconds\":{},\"resident_bytes\":{},\"private_bytes\":{},\
             \"open_files\":{},\"requests\":{}}}",
            state.name(),
            age_seconds(usage),
            json::or_null(usage.map(|usage| json::seconds(usage.cpu))),
            json::or_null(usage.map(|usage| usage.resident)),
            json::or_null(usages.private_of(*pid)),
            json::or_null(usage.and_then(|usage| usage.open_files)),
            json::or_null(self.requests.get(pid)),
        )
    }
}

fn template(now: Instant, template: &TemplateStatus, usage: Option<&ProcessUsage>) -> String {
    let TemplateStatus { generation, pid, state, starts_at } = template;
    format!(
        "{{\"generation\":{generation},\"pid\":{},\"state\":\"{}\",\"age_seconds\":{},\"resident_bytes\":{},\
         \"starts_in_seconds\":{}}}",
        json::or_null(*pid),
        state.name(),
        age_seconds(usage),
        json::or_null(usage.map(|usage| usage.resident)),
        seconds_until(now, *starts_at),
    )
}

fn seconds_until(now: Instant, at: Option<Instant>) -> String {
    json::or_null(at.map(|at| json::seconds(at.saturating_duration_since(now))))
}

fn age_seconds(usage: Option<&ProcessUsage>) -> String {
    let age = usage.and_then(|usage| SystemTime::now().duration_since(usage.started_at).ok());
    json::or_null(age.map(json::seconds))
}

fn waiting_slot(now: Instant, waiting: &WaitingSlot) -> String {
    let WaitingSlot { slot, generation, starts_at } = waiting;
    let left = seconds_until(now, *starts_at);
    format!("{{\"slot\":{slot},\"generation\":{generation},\"starts_in_seconds\":{left}}}")
}

/// A listener with the connections that wait in all of its queues; `null` where the system does not tell.
fn listener(queues: &ListenerQueues) -> String {
    let sum = |number: fn(&crate::sys::ListenQueue) -> u32| {
        let numbers = queues.queues.iter().map(|queue| queue.as_ref().map(number).map(u64::from));
        numbers.sum::<Option<u64>>().filter(|_| !queues.queues.is_empty())
    };
    format!(
        "{{\"addr\":{},\"queue\":{},\"limit\":{}}}",
        json::text(&queues.listener),
        json::or_null(sum(|queue| queue.length)),
        json::or_null(sum(|queue| queue.limit))
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::supervisor::{ChildState, FleetState, TemplateState};
    use crate::sys::ListenQueue;

    #[test]
    fn queues_of_a_listener_are_added_and_may_be_unknown() {
        let queue = |length| Some(ListenQueue { length, limit: 8, drops: None });
        let queues = |queues| ListenerQueues { listener: "a:\"1".to_owned(), per_slot: true, queues };
        assert_eq!(listener(&queues(vec![queue(1), queue(2)])), r#"{"addr":"a:\"1","queue":3,"limit":16}"#);
        let unknown = r#"{"addr":"a:\"1","queue":null,"limit":null}"#;
        assert_eq!(listener(&queues(vec![queue(1), None])), unknown);
        assert_eq!(listener(&queues(Vec::new())), unknown);
    }

    #[test]
    fn slot_that_waits_has_the_time_until_its_next_child() {
        let now = Instant::now();
        let waiting = |starts_at| waiting_slot(now, &WaitingSlot { slot: 3, generation: 2, starts_at });
        let text = |left: &str| format!(r#"{{"slot":3,"generation":2,"starts_in_seconds":{left}}}"#);
        assert_eq!(waiting(Some(now + Duration::from_millis(4200))), text("4.200"));
        assert_eq!(waiting(now.checked_sub(Duration::from_millis(1))), text("0.000"));
        assert_eq!(waiting(None), text("null"));
    }

    #[test]
    fn template_that_waits_has_no_process_and_the_time_until_the_next_one() {
        let now = Instant::now();
        let text = |pid, state, starts_at| {
            template(now, &TemplateStatus { generation: 2, pid, state, starts_at }, None)
        };
        assert_eq!(
            text(None, TemplateState::Waiting, Some(now + Duration::from_millis(4200))),
            r#"{"generation":2,"pid":null,"state":"waiting","age_seconds":null,"resident_bytes":null,"starts_in_seconds":4.200}"#
        );
        let loading = text(Some(7), TemplateState::Loading, None);
        assert!(loading.contains(r#""pid":7,"state":"loading","#), "{loading}");
        assert!(loading.ends_with(r#""starts_in_seconds":null}"#), "{loading}");
    }

    #[test]
    fn change_of_an_operator_goes_before_that_of_the_supervisor() {
        let (mut page, mut usages) = (StatusPage::new(History::new()), ProcessUsages::new());
        let of_supervisor = ChangeStatus {
            kind: ChangeKind::Reload { is_revocable: false },
            generation: 3,
            replaced: 1,
            of: 2,
        };
        let child =
            ChildStatus { slot: 0, pid: u32::MAX, generation: 2, state: ChildState::Ready, leader: false };
        let fleet = FleetStatus {
            change: Some(of_supervisor),
            children: vec![child],
            ..FleetStatus::without_children(FleetState::Reloading)
        };
        let text = page.make(Instant::now(), &fleet, &[], &[], None, &mut usages);
        assert!(
            text.contains(r#""operation":{"name":"reload","generation":3,"replaced":1,"of":2,"#),
            "{text}"
        );
        assert!(text.contains(r#""leader":false,"age_seconds":null,"cpu_seconds":null,"#), "{text}");
        let change = Change { name: "upgrade", ..of_supervisor.into() };
        let text = page.make(Instant::now(), &fleet, &[], &[], Some(change), &mut usages);
        assert!(text.contains(r#""operation":{"name":"upgrade","#), "{text}");
    }
}
