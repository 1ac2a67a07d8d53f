// SPDX-License-Identifier: GPL-2.0

//! Company for the player that is alone: two threads that share a namespace, and so its mutex, race
//! each other in it, and leave it to its end with policies, rules, flows and dumps in it. Then they
//! share another one, and so on. The player's namespace has a mutex of its own.
//!
//! Their answers depend on which thread is faster, so the check is only whether each makes sense.

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
    /// Plays until `stop` is set or an answer is wrong.
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
        // The other threads can end as well.
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
