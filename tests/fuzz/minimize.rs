// SPDX-License-Identifier: GPL-2.0

//! Makes a round that fails as short as it can be and still fails: leaves out halves, quarters and so
//! on, down to single messages.

use crate::{script::Action, wire};

/// The shortest list found, and how often `fails` was asked.
pub fn minimize(
    mut actions: Vec<Action>,
    mut fails: impl FnMut(&[Action]) -> bool,
) -> (Vec<Action>, usize) {
    let mut tries = 0;
    let mut fails = |actions: &[Action]| {
        tries += 1;
        fails(actions)
    };
    shorten(&mut actions, &mut fails);
    let single: Vec<Action> = actions.iter().flat_map(split).collect();
    if single.len() > actions.len() && fails(&single) {
        actions = single;
        shorten(&mut actions, &mut fails);
    }
    (actions, tries)
}

fn shorten(actions: &mut Vec<Action>, fails: &mut impl FnMut(&[Action]) -> bool) {
    let mut size = actions.len().div_ceil(2);
    while size > 0 {
        let mut at = 0;
        let before = actions.len();
        while at < actions.len() {
            let end = (at + size).min(actions.len());
            let without = [&actions[..at], &actions[end..]].concat();
            match fails(&without) {
                true => *actions = without,
                false => at = end,
            }
        }
        // Once more in single steps, as long as that helps.
        if size > 1 || actions.len() == before {
            size /= 2;
        }
    }
}

/// The messages of a datagram, each in one of its own.
fn split(action: &Action) -> Vec<Action> {
    let Action::Send(socket, datagram) = action else {
        return vec![action.clone()];
    };
    let mut at = 0;
    let mut parts = Vec::new();
    for request in wire::requests(datagram) {
        let end = request.at + request.len();
        parts.push(Action::Send(*socket, datagram[request.at..end].to_vec()));
        at = end.next_multiple_of(4);
    }
    // Bytes in which the kernel finds no message belong to the last one.
    match parts.last_mut() {
        Some(Action::Send(_, last)) if at < datagram.len() => {
            last.resize(last.len().next_multiple_of(4), 0);
            last.extend(&datagram[at..]);
        }
        Some(_) => (),
        None => parts.push(action.clone()),
    }
    parts
}
