//! The judge itself: a history in which all was kept, and each way to break it.

use super::*;

fn entry(seq: u64, user: &str, key: &str, text: &str) -> Entry {
    let (user, key, text) = (user.to_owned(), key.to_owned(), Some(text.to_owned()));
    Entry { seq, kind: "message".to_owned(), user, key, text }
}

fn came(entry: Entry) -> Event {
    Event::Entry { room: "r".to_owned(), entry }
}

fn sent(key: &str, text: &str) -> Event {
    Event::Sent { room: "r".to_owned(), key: key.to_owned(), text: text.to_owned() }
}

fn acked(key: &str, seq: u64) -> Event {
    Event::Acked { key: key.to_owned(), seq, duplicate: false }
}

fn subscribed(since: Option<u64>, seq: u64) -> Event {
    let since = since.map(|seq| ("7".to_owned(), seq));
    Event::Subscribed { room: "r".to_owned(), since, epoch: "7".to_owned(), seq }
}

/// Ann publishes three messages, one of them twice because her connection broke; Bob reads, resumes once.
fn kept() -> (Vec<History>, Logs) {
    let log = vec![
        entry(1, "ann", "a", "one"),
        entry(2, "ann", "b", "two"),
        entry(3, "ann", "c", "three"),
    ];
    let (one, two, three) = (came(log[0].clone()), came(log[1].clone()), came(log[2].clone()));
    let ann = vec![
        Event::Connected,
        subscribed(None, 0),
        sent("a", "one"),
        sent("b", "two"),
        acked("a", 1),
        one.clone(),
        Event::Connected,
        subscribed(Some(1), 1),
        sent("b", "two"),
        Event::Acked { key: "b".to_owned(), seq: 2, duplicate: true },
        sent("c", "three"),
        two.clone(),
        three.clone(),
        acked("c", 3),
    ];
    let bob = vec![
        Event::Connected,
        subscribed(None, 0),
        one,
        Event::Unsubscribed { room: "r".to_owned() },
        Event::Connected,
        subscribed(Some(1), 1),
        two,
        three,
    ];
    let histories = [("ann", ann), ("bob", bob)];
    let histories =
        histories.map(|(user, events)| History { user: user.to_owned(), events }).into();
    (histories, Logs::from([("r".to_owned(), log)]))
}

/// What is said when the kept history is broken so: `part` of it, and nothing about anything else.
#[track_caller]
fn finds(part: &str, breaks: impl FnOnce(&mut Vec<Event>, &mut Vec<Event>, &mut Vec<Entry>)) {
    let (mut histories, mut logs) = kept();
    let [ann, bob] = &mut histories[..] else { panic!("two clients") };
    breaks(&mut ann.events, &mut bob.events, logs.get_mut("r").unwrap());
    let wrong = judge(&histories, &logs);
    assert!(wrong.iter().any(|what| what.contains(part)), "{part} is not in {wrong:?}");
}

#[test]
fn nothing_is_wrong_where_all_was_kept() {
    let (histories, logs) = kept();
    assert_eq!(judge(&histories, &logs), [""; 0]);
}

#[test]
fn a_hole_a_duplicate_a_swap_and_a_jump_over_the_resume_are_found() {
    finds("bob: 3 came in r instead of 2", |_, bob, _| drop(bob.remove(6)));
    finds("bob: 2 came in r instead of 3", |_, bob, _| bob.insert(7, bob[6].clone()));
    finds("bob: 3 came in r instead of 2", |_, bob, _| bob.swap(6, 7));
    finds("bob: asked for Some((\"7\", 1)) in r, got 2 of 7", |_, bob, _| {
        bob[5] = Event::Subscribed {
            room: "r".to_owned(),
            since: Some(("7".to_owned(), 1)),
            epoch: "7".to_owned(),
            seq: 2,
        };
        bob.remove(6);
    });
    finds("bob: 1 came in r without a subscription", |_, bob, _| drop(bob.remove(1)));
}

#[test]
fn an_end_that_is_not_reached_a_reset_and_a_refusal_are_found() {
    finds("bob: ends at Some(2) in r, whose last is 3", |_, bob, _| drop(bob.pop()));
    finds("bob: ends at None in r", |_, bob, _| {
        bob.push(Event::Unsubscribed { room: "r".to_owned() });
    });
    finds("bob: ends at None in r", |_, bob, _| bob.push(Event::Connected));
    finds("bob: a reset in r", |_, bob, _| bob.push(Event::Reset { room: "r".to_owned() }));
    finds("bob: refused: internal", |_, bob, _| bob.push(Event::Refused("internal".to_owned())));
}

#[test]
fn an_acknowledged_message_that_is_missing_elsewhere_or_anothers_is_found() {
    finds("c is not at 3 in r", |_, bob, log| {
        log.pop();
        bob.pop();
    });
    finds("a is not at 2 in r", |ann, _, _| ann[4] = acked("a", 2));
    finds("a is not at 1 in r", |_, _, log| "bob".clone_into(&mut log[0].user));
    finds("c in r was never acknowledged", |ann, _, _| drop(ann.pop()));
    finds("x was acknowledged and never sent", |ann, _, _| ann.push(acked("x", 1)));
}

#[test]
fn what_is_stored_twice_changed_or_never_sent_is_found() {
    finds("c of ann is stored again, at 4", |_, _, log| log.push(entry(4, "ann", "c", "three")));
    finds("b of ann, at 2 in r, is not what was sent", |_, _, log| {
        log[1] = entry(2, "ann", "b", "too");
    });
    finds("x of ann, at 4 in r, is not what was sent", |_, _, log| {
        log.push(entry(4, "ann", "x", "four"));
    });
    finds("the log of r has 4 at place 3", |_, _, log| log[2].seq = 4);
    finds("came in r, and the log has", |_, bob, _| bob[2] = came(entry(1, "ann", "a", "won")));
}

#[test]
fn messages_of_a_connection_that_are_stored_in_another_order_are_found() {
    finds("is out of the order it was sent in", |ann, _, _| {
        ann.splice(..9, [Event::Connected, sent("b", "two"), sent("a", "one"), acked("a", 1)]);
        ann[4] = acked("b", 2);
    });
}
