//! Templates on a virtual clock.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::super::{Order, TemplateAction, TemplateRemark};
use super::template_driver::{Answer, Driver, TIMEOUT};
use super::*;

#[test]
fn orders_wait_until_the_template_has_loaded() {
    let mut driver = Driver::new();
    let children = [driver.order(0), driver.order(0)];
    assert_eq!((driver.started, driver.sent.len()), (1, 0));
    driver.load(driver.last());
    assert!(driver.sent.keys().eq(&children));
    driver.fork_all();
    assert_eq!(driver.answers.len(), 2);
    assert_eq!(driver.templates.next_deadline(), None, "an idle template wakes nobody");
}

#[test]
fn each_generation_has_a_template_as_long_as_it_is_needed() {
    let mut driver = Driver::ready();
    let child = driver.order(1);
    assert_eq!(driver.living.len(), 2);
    driver.load(driver.last());
    driver.keep(|generation| generation == 1);
    assert!(driver.living.values().eq(&[1]));
    driver.fork_all();
    assert_eq!(driver.answers[&child], Answer::Forked);
}

#[test]
fn template_that_was_ready_is_started_again_at_once() {
    let mut driver = Driver::ready();
    driver.end(driver.last());
    assert_eq!((driver.started, driver.living.len()), (2, 1));
    assert_eq!(driver.remarks, [TemplateRemark::StartedAgain { generation: 0 }]);
}

#[test]
fn templates_that_end_soon_one_after_the_other_are_started_again_ever_later() {
    let mut driver = Driver::ready();
    let mut waits = Vec::new();
    for _ in 0..4 {
        driver.end(driver.last());
        let before = driver.now;
        if driver.living.is_empty() {
            driver.run(driver.templates.next_deadline().unwrap() - before);
        }
        waits.push((driver.now - before).as_secs());
        driver.load(driver.last());
    }
    assert_eq!(waits, [0, 1, 2, 4]);
    driver.run(Duration::from_secs(10));
    driver.end(driver.last());
    assert_eq!(driver.living.len(), 1, "the last one was ready for long");
}

#[test]
fn order_fails_whose_link_does_not_end_though_what_the_template_has_forked_was_killed() {
    let mut driver = Driver::ready();
    let (child, template) = (driver.order(0), driver.last());
    driver.living.remove(&template);
    driver.templates.exited(driver.now, template);
    driver.act();
    driver.run(TIMEOUT);
    assert_eq!((driver.answers.get(&child), &driver.killed_forked), (None, &vec![template]));
    driver.run(TIMEOUT);
    assert_eq!(driver.answers[&child], Answer::Failed { transient: true });
}

#[test]
fn what_was_forked_is_killed_when_the_template_ends_long_after_its_kill() {
    let mut driver = Driver::ready();
    driver.order(0);
    let template = driver.last();
    driver.living.remove(&template);
    for killed in [0, 1] {
        driver.now += TIMEOUT;
        driver.templates.on_deadline(driver.now);
        let actions: Vec<_> = std::iter::from_fn(|| driver.templates.poll_action()).collect();
        let kills = actions.iter().filter(|action| **action == TemplateAction::KillForked(template));
        assert_eq!(kills.count(), killed, "it has no effect before the template's end");
    }
    driver.end_held(template);
    assert_eq!(driver.killed_forked, [template]);
}

#[test]
fn stop_does_not_wait_for_a_forked_child_that_has_not_told_its_pid() {
    let mut driver = Driver::ready();
    driver.order(0);
    let ended = driver.last();
    driver.end_held(ended);
    driver.keep(|_| false);
    assert_eq!(driver.killed_forked, [ended], "the template had ended before");
    let mut driver = Driver::ready();
    driver.order(0);
    let template = driver.last();
    driver.living.remove(&template);
    driver.templates.keep(|_| false);
    while driver.templates.poll_action().is_some() {}
    driver.end_held(template);
    assert_eq!(driver.killed_forked, [template], "it ends now");
}

#[test]
fn orders_that_are_late_together_are_not_given_up_before_the_template_has_ended() {
    let mut driver = Driver::ready();
    let children = [driver.order(0), driver.order(0), driver.order(0)];
    driver.now += TIMEOUT;
    driver.templates.on_deadline(driver.now);
    let actions: Vec<_> = std::iter::from_fn(|| driver.templates.poll_action()).collect();
    let is_kill = |action: &&TemplateAction| matches!(action, TemplateAction::Kill(_));
    assert_eq!(actions.iter().filter(is_kill).count(), 1, "{actions:?}");
    let fails = |action: &TemplateAction| matches!(action, TemplateAction::Fail { order, .. } if children.contains(&order.child));
    assert!(!actions.iter().any(fails), "{actions:?}");
}

#[test]
fn failed_load_fails_what_waits_and_is_tried_again_ever_later() {
    let mut driver = Driver::ready();
    driver.end(driver.last());
    let child = driver.order(0);
    driver.end(driver.last());
    driver.keep(|_| true);
    assert_eq!(driver.answers[&child], Answer::Failed { transient: false });
    let mut waits = Vec::new();
    for _ in 0..7 {
        let before = driver.now;
        driver.run(driver.templates.next_deadline().unwrap() - before);
        waits.push((driver.now - before).as_secs());
        driver.end(driver.last());
        driver.keep(|_| true);
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
    let again = driver.remarks.iter().filter_map(|remark| match remark {
        TemplateRemark::AgainIn { delay, .. } => Some(delay.as_secs()),
        _ => None,
    });
    assert_eq!(again.take(7).collect::<Vec<_>>(), waits, "what is logged is what happens");
}

#[test]
fn child_whose_template_was_ready_does_not_wait_before_it_is_started_again() {
    let mut driver = Driver::ready();
    driver.end(driver.last());
    driver.load(driver.last());
    driver.end(driver.last());
    assert!(driver.living.is_empty());
    driver.order(0);
    assert_eq!(driver.living.len(), 1);
}

#[test]
fn child_waits_as_long_as_its_template_that_could_not_load_is_not_started_again() {
    let mut driver = Driver::ready();
    driver.end(driver.last());
    driver.end(driver.last());
    driver.remarks.clear();
    let children = [driver.order(0), driver.order(0)];
    assert!(driver.living.is_empty() && driver.answers.is_empty());
    let first = Order { child: children[0], slot: 0, generation: 0 };
    assert_eq!(driver.remarks, [TemplateRemark::Awaited(first)], "once");
    driver.run(secs(1));
    driver.load(driver.last());
    driver.fork_all();
    assert!(driver.answers.keys().eq(&children));
}

#[test]
fn delay_of_a_template_that_is_not_needed_is_not_logged() {
    let mut driver = Driver::new();
    driver.order(0);
    driver.end(driver.last());
    driver.keep(|_| false);
    assert!(driver.remarks.iter().all(|remark| !matches!(remark, TemplateRemark::AgainIn { .. })));
}

#[test]
fn template_has_a_few_orders_at_the_same_time_and_the_others_wait() {
    let mut driver = Driver::new();
    let children: Vec<_> = (0..100).map(|_| driver.order(0)).collect();
    driver.load(driver.last());
    assert!(driver.sent.keys().eq(&children[..8]), "{:?}", driver.sent);
    driver.sent.remove(&children[3]);
    assert!(driver.templates.answered(driver.now, children[3]));
    driver.act();
    assert!(driver.sent.contains_key(&children[8]) && driver.sent.len() == 8);
    driver.answer(children[3], Answer::Forked);
    driver.fork_all();
    assert_eq!(driver.answers.len(), 100);
}

#[test]
fn order_that_could_not_be_sent_waits_for_the_next_template() {
    let mut driver = Driver::ready();
    driver.run(secs(10));
    let child = driver.order(0);
    driver.sent.remove(&child);
    driver.templates.not_sent(child);
    driver.act();
    assert!(driver.sent.is_empty(), "it is not sent to the same one again");
    driver.end(driver.last());
    driver.load(driver.last());
    driver.fork_all();
    assert_eq!(driver.answers[&child], Answer::Forked);
}

#[test]
fn templates_that_were_killed_for_a_program_that_is_not_executed_are_started_again() {
    let mut driver = Driver::ready();
    driver.living.clear();
    driver.templates.restart(driver.now);
    driver.act();
    assert_eq!((driver.started, driver.living.len()), (2, 1));
}

#[test]
fn order_of_a_template_that_is_killed_waits_for_the_next_one() {
    let mut driver = Driver::ready();
    driver.run(secs(10));
    let children: Vec<_> = (0..40).map(|_| driver.order(0)).collect();
    driver.end(driver.last());
    assert!(driver.sent.is_empty() && driver.answers.is_empty());
    driver.load(driver.last());
    driver.fork_all();
    assert!(driver.answers.keys().eq(&children));
}

#[test]
fn template_that_does_not_load_in_time_is_killed() {
    let mut driver = Driver::new();
    let (child, template) = (driver.order(0), driver.last());
    driver.run(TIMEOUT);
    assert!(!driver.living.contains_key(&template));
    assert!(driver.remarks.contains(&TemplateRemark::LoadTimeout(template)), "{:?}", driver.remarks);
    assert_eq!(driver.answers[&child], Answer::Failed { transient: false });
}

#[test]
fn time_to_load_begins_when_the_process_exists() {
    let mut driver = Driver::new();
    driver.start_takes = TIMEOUT * 2;
    driver.order(0);
    let template = driver.last();
    driver.run(TIMEOUT - ms(1));
    assert!(driver.living.contains_key(&template));
    driver.run(ms(1));
    assert!(!driver.living.contains_key(&template));
}

#[test]
fn load_that_takes_long_is_told_once_and_one_that_is_killed_sooner_is_not() {
    let (mut driver, still) =
        (Driver::new(), |remark: &&TemplateRemark| matches!(remark, TemplateRemark::StillLoading { .. }));
    driver.templates.set_timeout(secs(60));
    driver.order(0);
    let limit = driver.templates.next_limit().unwrap();
    assert_eq!(limit - driver.now, secs(60), "it may load on after it is told");
    driver.run(secs(50));
    let (template, time) = (driver.last(), secs(10));
    assert_eq!(driver.remarks.last(), Some(&TemplateRemark::StillLoading { template, time }));
    driver.load(template);
    assert_eq!(driver.remarks.iter().filter(still).count(), 1);
    let mut driver = Driver::new();
    driver.order(0);
    driver.run(TIMEOUT);
    assert_eq!(driver.remarks.iter().filter(still).count(), 0);
}

#[test]
fn template_that_does_not_answer_is_killed_and_the_order_fails() {
    let mut driver = Driver::ready();
    let (child, template) = (driver.order(0), driver.last());
    driver.run(TIMEOUT);
    assert!(!driver.living.contains_key(&template));
    assert!(driver.remarks.contains(&TemplateRemark::Unanswered(template)), "{:?}", driver.remarks);
    assert_eq!(driver.answers[&child], Answer::Failed { transient: true });
}

#[test]
fn withdrawn_order_is_not_sent_and_one_that_was_sent_is_answered() {
    let mut driver = Driver::new();
    let child = driver.order(0);
    driver.templates.withdraw(child);
    driver.act();
    assert_eq!(driver.answers[&child], Answer::Withdrawn);
    driver.load(driver.last());
    let child = driver.order(0);
    driver.templates.withdraw(child);
    driver.act();
    assert_eq!(driver.answers.get(&child), None);
    driver.fork_all();
    assert_eq!(driver.answers[&child], Answer::Forked);
    let child = driver.order(0);
    driver.templates.withdraw(child);
    driver.end(driver.last());
    assert_eq!(driver.answers[&child], Answer::Withdrawn);
}

#[test]
fn end_of_a_childs_link_counts_only_after_that_of_its_template() {
    let mut driver = Driver::ready();
    let child = driver.order(0);
    driver.templates.link_ended(driver.now, child);
    driver.act();
    assert!(driver.sent.contains_key(&child), "the template is about to answer");
    driver.end(driver.last());
    assert!(driver.sent.is_empty());
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Order(u32),
    Withdraw(u64),
    Load,
    Fork,
    End,
    /// A template refuses what it is ordered.
    Refuse,
    /// A template does not start.
    NotStarted,
    /// A template ends, and something else holds the links of what it has not forked.
    EndHeld,
    Keep(u32),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..3_u32).prop_map(Step::Order),
        (0..20_u64).prop_map(Step::Withdraw),
        Just(Step::Load),
        Just(Step::Fork),
        Just(Step::End),
        Just(Step::Refuse),
        Just(Step::NotStarted),
        Just(Step::EndHeld),
        (0..3_u32).prop_map(Step::Keep),
        (0..20_u64).prop_map(Step::Pass),
    ]
}

proptest! {
    #[test]
    fn every_order_is_answered_once(steps in prop::collection::vec(step(), 0..60)) {
        let mut driver = Driver::new();
        let mut ordered = BTreeSet::new();
        for step in steps {
            match step {
                Step::Order(generation) => drop(ordered.insert(driver.order(generation))),
                Step::Withdraw(child) => driver.templates.withdraw(ChildId(child)),
                Step::Load => driver.living.clone().into_keys().for_each(|template| driver.load(template)),
                Step::Fork => driver.fork_all(),
                Step::End => {
                    let one = driver.living.keys().next().copied();
                    one.into_iter().for_each(|template| driver.end(template));
                }
                Step::Refuse => driver.refuse_all(),
                Step::NotStarted => {
                    let one = driver.living.keys().next().copied();
                    one.into_iter().for_each(|template| driver.not_started(template));
                }
                Step::EndHeld => {
                    let one = driver.living.keys().next().copied();
                    one.into_iter().for_each(|template| driver.end_held(template));
                }
                Step::Keep(from) => driver.keep(|generation| generation >= from),
                Step::Pass(seconds) => driver.run(secs(seconds)),
            }
            driver.act();
        }
        driver.keep(|_| false);
        // Twice: what holds a link is killed, and then given up.
        driver.run(TIMEOUT * 3);
        prop_assert!(driver.living.is_empty());
        prop_assert!(driver.answers.keys().eq(&ordered));
    }
}
