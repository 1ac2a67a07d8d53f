// SPDX-License-Identifier: GPL-2.0

//! Company for the player that is alone: two threads that share a namespace, race each other in it,
//! and leave it to its end with policies, rules, flows and dumps in it; then another one, and so on.
//!
//! What they are answered depends on which is faster, so all that is looked at is whether it makes
//! sense at all.

use std::{
    io::{Error, Result},
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    thread,
};

use crate::{
    corpus::Corpus,
    generate::Generator,
    player::{Player, Setting},
    rng::Rng,
    sys,
};

/// So many messages in each namespace, by each of the two.
const ROUND: u64 = 1500;

pub struct Company<'a> {
    pub setting: Setting<'a>,
    pub corpus: &'a Corpus,
    pub seed: u64,
    pub stop: &'a AtomicBool,
    pub messages: &'a AtomicU64,
}

impl Company<'_> {
    /// Goes on until it is told to stop, or something is wrong.
    pub fn run(&self) -> Result<()> {
        let result = (0..)
            .take_while(|_| !self.stop.load(Relaxed))
            .try_for_each(|round| {
                sys::new_namespace()?;
                // A thread begins in the namespace of the one that starts it.
                thread::scope(|scope| {
                    let other = scope.spawn(|| self.play(1, round));
                    let own = self.play(2, round);
                    other
                        .join()
                        .map_err(|_| Error::other("a thread panicked"))?
                        .and(own)
                })
            });
        // Nobody needs to wait for the other's end.
        if result.is_err() {
            self.stop.store(true, Relaxed);
        }
        result
    }

    fn play(&self, number: u64, round: u64) -> Result<()> {
        let rng = Rng::new(self.seed, number, round);
        let mut generator = Generator::new(rng, self.corpus, self.setting.limit);
        let mut player = Player::new(self.setting)?;
        while player.messages < ROUND && !self.stop.load(Relaxed) {
            let action = generator.action();
            player
                .play(&action)
                .map_err(|error| Error::other(format!("{error}\n  in company, at: {action}")))?;
            self.messages.fetch_add(action.messages(), Relaxed);
        }
        Ok(())
    }
}
