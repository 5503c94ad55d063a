//! Coming, going and coming back; crowds; pages.

use std::time::Duration;

use super::*;
use crate::hub::{Keeping, Rooms};

const GRACE: Duration = Duration::from_secs(5);

fn presence(limit: u32) -> Presence {
    Presence::new(settings::Presence { grace: GRACE, limit })
}

fn room(id: i64) -> Arc<Room> {
    Rooms::new(1).open(RoomId(id), "garden", Keeping::Ephemeral, true)
}

fn user(n: u128) -> User {
    User { id: Uuid::from_u128(n), username: format!("u{n}").into() }
}

/// What a room is told, in short.
fn told(changes: impl IntoIterator<Item = Change>) -> Vec<String> {
    let short = |change: Change| match change.what {
        What::Present(user) => format!("+{}", user.username),
        What::Absent(user) => format!("-{}", user.username),
        What::Crowded => "crowded".to_owned(),
        What::Thinned => "thinned".to_owned(),
    };
    changes.into_iter().map(short).collect()
}

#[test]
fn a_user_with_two_subscriptions_comes_once_and_goes_once() {
    let (mut presence, room, ann, now) = (presence(9), room(1), user(1), Instant::now());
    assert_eq!(told(presence.came(&room, &user(2))), ["+u2"]);
    assert_eq!(told(presence.came(&room, &ann)), ["+u1"]);
    assert_eq!(told(presence.came(&room, &ann)), [""; 0]);
    assert_eq!(presence.went(room.id, ann.id, now), None);
    assert_eq!(presence.next(), None);
    assert_eq!(presence.went(room.id, ann.id, now), Some(now + GRACE));
    assert_eq!(told(presence.expire(now + GRACE, 9)), ["-u1"]);
    assert_eq!((presence.next(), presence.here(&room, None).count), (None, 1));
}

#[test]
fn who_comes_back_within_the_grace_was_never_away() {
    let (mut presence, room, now) = (presence(9), room(1), Instant::now());
    let (ann, second) = (user(1), Duration::from_secs(1));
    presence.came(&room, &user(2));
    presence.came(&room, &ann);
    for n in 0..4 {
        presence.went(room.id, ann.id, now + n * second);
        assert_eq!(presence.here(&room, None).count, 2, "still there");
        assert_eq!(told(presence.came(&room, &ann)), [""; 0]);
    }
    assert_eq!(told(presence.expire(now + 2 * GRACE, 9)), [""; 0]);
    presence.went(room.id, ann.id, now + second);
    assert_eq!(told(presence.expire(now + GRACE, 9)), [""; 0]);
    assert_eq!(told(presence.expire(now + second + GRACE, 9)), ["-u1"]);
    assert_eq!(told(presence.came(&room, &ann)), ["+u1"]);
}

#[test]
fn in_a_crowd_nothing_is_told_until_a_quarter_of_the_limit_is_gone() {
    let (mut presence, room, now) = (presence(4), room(1), Instant::now());
    let coming: Vec<_> = (1..=6).filter_map(|n| presence.came(&room, &user(n))).collect();
    assert_eq!(told(coming), ["+u1", "+u2", "+u3", "+u4", "crowded"]);
    assert!(!presence.here(&room, None).told);
    let mut leave = |n| {
        presence.went(room.id, Uuid::from_u128(n), now);
        told(presence.expire(now + GRACE, 9))
    };
    assert_eq!([leave(1), leave(2)], [[""; 0]; 2]);
    assert_eq!(leave(3), ["thinned"]);
    assert_eq!(leave(4), ["-u4"]);
    assert_eq!(told(presence.came(&room, &user(7))), ["+u7"]);
}

#[test]
fn a_room_is_listed_by_pages_and_no_other_with_it() {
    let (mut presence, rooms) = (presence(9), [room(1), room(2), room(3)]);
    for room in &rooms {
        for n in 1..=101 {
            presence.came(room, &user(n));
        }
    }
    let first = presence.here(&rooms[1], None);
    assert_eq!((first.count, first.users.len(), first.more), (101, PAGE, true));
    let last = first.users[PAGE - 1].id;
    let second = presence.here(&rooms[1], Some(last));
    assert_eq!((second.count, second.users.len(), second.more), (101, 1, false));
    assert_eq!(second.users[0].id, Uuid::from_u128(101));
    let empty = presence.here(&room(4), None);
    assert_eq!((empty.count, empty.users.len(), empty.more, empty.told), (0, 0, false, true));
}

#[test]
fn many_who_go_at_once_are_seen_off_by_and_by_and_leave_nothing() {
    let (mut presence, room, now) = (presence(9), room(1), Instant::now());
    for n in 1..=5 {
        presence.came(&room, &user(n));
        presence.went(room.id, Uuid::from_u128(n), now);
    }
    assert_eq!(presence.expire(now + GRACE, 2).len(), 2);
    assert_eq!(presence.next(), Some(now + GRACE));
    assert_eq!(told(presence.expire(now + GRACE, 9)), ["-u3", "-u4"], "the last is told to nobody");
    assert!(presence.stays.is_empty() && presence.crowds.is_empty() && presence.next().is_none());
}

#[test]
fn a_node_that_goes_away_tells_nobody() {
    let (mut presence, room, now) = (presence(9), room(1), Instant::now());
    presence.came(&room, &user(1));
    presence.came(&room, &user(2));
    presence.went(room.id, Uuid::from_u128(1), now);
    presence.end();
    assert_eq!(told(presence.expire(now + GRACE, 9)), [""; 0]);
    assert_eq!(told(presence.came(&room, &user(3))), [""; 0]);
}
