use std::time::Duration;

use super::*;

pub(in crate::top) fn status(cpu: f64, requests: u64) -> Status {
    let text = format!(
        r#"{{"state":"serving","master":1,"generation":2,"slots":2,"ready":2,"failures":0,"children":[
        {{"slot":1,"pid":12,"generation":2,"state":"ready","age_seconds":75.0,"resident_bytes":2097152}},
        {{"slot":0,"pid":7,"generation":2,"state":"ready","leader":true,"cpu_seconds":{cpu},"requests":{requests}}}]}}"#
    );
    serde_json::from_str(&text).unwrap()
}

pub(in crate::top) fn model() -> Model {
    let (mut model, start) = (Model::default(), Instant::now());
    model.update(status(1.0, 100), start);
    model.update(status(2.0, 150), start + Duration::from_secs(2));
    model
}

#[test]
fn rates_are_of_the_time_between_two_looks() {
    let model = model();
    let Rates { cpu, requests, .. } = &model.rates[&7];
    assert_eq!((cpu.as_slices().0, *requests), ([50.0].as_slice(), Some(25.0)));
    assert_eq!(model.requests(), Some(25.0));
    assert_eq!(model.rates[&12].requests, None);
}

#[test]
fn child_that_has_gone_is_forgotten() {
    let mut model = model();
    let mut status = status(3.0, 200);
    status.children.truncate(1);
    model.selected = 1;
    model.update(status, Instant::now());
    assert_eq!(model.rates.keys().collect::<Vec<_>>(), [&12]);
    assert_eq!(model.selected, 0);
}

#[test]
fn change_is_made_when_it_was_confirmed() {
    let (mut model, now) = (model(), Instant::now());
    for (key, path) in [('r', "/recycle?slot=0"), ('+', "/workers?count=3"), ('-', "/workers?count=1")] {
        assert_eq!(model.press(key, now), None);
        assert_eq!(model.press('y', now), Some(Wish::Operate(path.to_owned())));
        assert_eq!(model.press(key, now), None);
        assert_eq!(model.press('q', now), None, "any other key cancels");
    }
    assert_eq!(model.press('q', now), Some(Wish::Quit));
}

#[test]
fn rows_are_chosen_by_slot() {
    let (mut model, now) = (model(), Instant::now());
    for key in ['k', 'j', 'j', 'r'] {
        assert_eq!(model.press(key, now), None);
    }
    assert_eq!(model.question.unwrap().text, "recycle slot 1");
}

/// A reload that holds.
pub(in crate::top) fn holding() -> Status {
    let operation = r#"{"name":"reload","replaced":1,"of":2,"holding":true}"#;
    let operation = Some(serde_json::from_str(operation).unwrap());
    Status { generation: 3, operation, ..status(2.0, 150) }
}

#[test]
fn canary_is_promoted_and_rolled_back_while_it_holds() {
    let (mut model, now) = (model(), Instant::now());
    for key in ['P', 'R'] {
        assert_eq!(model.press(key, now), None);
        assert_eq!((model.question.take(), model.held()), (None, None));
        assert_eq!(model.message.take().unwrap().text, "no reload holds");
    }
    model.update(holding(), now);
    for (key, text, path) in [
        ('P', "replace the other children by generation 3", "/promote"),
        ('R', "roll back generation 3", "/rollback"),
    ] {
        assert_eq!(model.press(key, now), None);
        assert_eq!(model.question.as_ref().unwrap().text, text);
        assert_eq!(model.press('y', now), Some(Wish::Operate(path.to_owned())));
    }
}

#[test]
fn last_child_stays() {
    let (mut model, now) = (model(), Instant::now());
    model.update(Status { slots: 1, ..status(1.0, 1) }, now);
    assert_eq!(model.press('-', now), None);
    assert!(model.question.is_none() && model.message.unwrap().text.starts_with("the last child stays"));
}

#[test]
fn message_goes_after_a_time_or_with_a_key_and_not_while_it_is_under_way() {
    let (mut model, now) = (model(), Instant::now());
    model.tell("done", now);
    model.tick(now + MESSAGE_TIME / 2);
    assert!(model.message.is_some());
    model.tick(now + MESSAGE_TIME);
    assert_eq!(model.message, None);
    model.tell("done", now);
    model.press('j', now);
    assert_eq!(model.message, None);
    for key in ['+', 'y', 'j'] {
        model.press(key, now);
        model.tick(now + MESSAGE_TIME);
    }
    assert_eq!(model.message.unwrap().text, "change the number of children to 3: under way");
}

#[test]
fn fleet_that_is_gone_is_not_changed() {
    let (mut model, now) = (model(), Instant::now());
    model.press('r', now);
    model.update(holding(), now);
    model.lose("no fleet".to_owned(), now);
    for key in ['y', 'r', '+', '-', 'P', 'R', 'j'] {
        assert_eq!(model.press(key, now), None);
        assert_eq!((&model.question, &model.message), (&None, &None), "{key}");
    }
    assert_eq!((model.selected, model.held(), model.requests()), (1, None, None));
    assert_eq!(model.press('q', now), Some(Wish::Quit));
}
