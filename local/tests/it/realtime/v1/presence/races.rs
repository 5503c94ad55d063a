//! Asking while others come and go: no change falls between the answer and the pushes.

use std::collections::BTreeSet;

use super::{QUICK, follower, in_room, names, short};
use crate::app::TestApp;
use crate::realtime::test_node::until;
use crate::realtime::v1::client::{Client, ann_with_room, token};

/// Users who come while others ask; every second one goes again. Each does so once, so that no later change
/// hides one that was lost.
const COMERS: usize = 40;
/// Connections that ask.
const WATCHERS: usize = 6;

fn take_in(views: &mut [BTreeSet<String>], change: &str) {
    let (sign, name) = change.split_at(1);
    for view in views {
        if sign == "+" {
            view.insert(name.to_owned())
        } else {
            view.remove(name)
        };
    }
}

/// Asks until somebody is there; what each answer has become by the changes that were told behind it.
async fn watch(mut client: Client, last: &str) -> Vec<BTreeSet<String>> {
    client.does(in_room("subscribe")).await;
    let mut views: Vec<BTreeSet<String>> = Vec::new();
    loop {
        let here = client.does(in_room("presence")).await;
        for change in client.changes() {
            take_in(&mut views, &short(&change));
        }
        views.push(names(&here).into_iter().map(str::to_owned).collect());
        if names(&here).contains(&last) {
            break;
        }
    }
    while views.iter().any(|view| !view.contains(last)) {
        let change = client.change().await;
        take_in(&mut views, &short(&change));
    }
    views
}

#[tokio::test]
async fn whatever_changes_after_the_answer_is_told_behind_it() {
    let mut settings = QUICK.to_vec();
    settings.extend([("LIMIT_MESSAGES", "off"), ("LIMIT_LOGIN_ADDRESS", "off")]);
    let app = TestApp::with(&settings).await;
    let mut ann = ann_with_room(&app, "general").await;
    let mut comers = Vec::new();
    for n in 0..COMERS {
        comers.push(Client::of(&app, &format!("user{n:02}")).await);
    }
    for name in ["bob", "zoe"] {
        app.user(name).await;
    }
    let bobs = token(&app, "bob").await;
    let mut watchers = tokio::task::JoinSet::new();
    for _ in 0..WATCHERS {
        watchers.spawn(watch(Client::with(&app, &bobs).await, "zoe"));
    }
    until("a watcher", async || ann.does(in_room("presence")).await["count"] == 1).await;
    for (n, comer) in comers.iter_mut().enumerate() {
        comer.does(in_room("subscribe")).await;
        if n % 2 == 1 {
            comer.does(in_room("unsubscribe")).await;
        }
    }
    let there = COMERS / 2 + 1;
    until("the last absence", async || ann.does(in_room("presence")).await["count"] == there).await;
    let _zoe = follower(&app, "zoe").await;
    let evens = (0..COMERS).step_by(2).map(|n| format!("user{n:02}"));
    let expected: BTreeSet<_> = evens.chain(["bob", "zoe"].map(str::to_owned)).collect();
    for views in watchers.join_all().await {
        assert!(views.iter().all(|view| *view == expected), "one of {}: {views:?}", views.len());
    }
}
