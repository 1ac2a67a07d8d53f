// SPDX-License-Identifier: GPL-2.0

//! Pseudo-random numbers (SplitMix64), so that a seed and a round's number say all that follows.

pub struct Rng(u64);

impl Rng {
    /// The numbers of a round of one of the players.
    pub fn new(seed: u64, player: u64, round: u64) -> Self {
        let mut rng = Self(seed);
        for part in [player, round] {
            rng.0 = rng.next() ^ part;
        }
        rng
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, end: usize) -> usize {
        ((u128::from(self.next()) * end as u128) >> 64) as usize
    }

    pub fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }

    pub fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len())]
    }

    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next() as u8).collect()
    }
}
