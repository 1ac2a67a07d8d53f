// SPDX-License-Identifier: GPL-2.0

//! The steps from one place of the kernel's code to another that have been seen.

use std::io::Result;

use crate::sys::Coverage;

/// A bit for each step, found by a hash.
const BITS: usize = 1 << 20;

pub struct Steps {
    coverage: Coverage,
    seen: Vec<u64>,
    pub count: usize,
}

impl Steps {
    /// None if the kernel has no `CONFIG_KCOV`.
    pub fn new() -> Result<Option<Self>> {
        let coverage = Coverage::new()?;
        Ok(coverage.map(|coverage| Self {
            coverage,
            seen: vec![0; BITS / 64],
            count: 0,
        }))
    }

    /// Whether what the thread did since the last call has shown a new one.
    pub fn any_new(&mut self) -> bool {
        let before = self.count;
        let mut last = 0;
        for &address in self.coverage.addresses() {
            let step =
                (address ^ (last >> 1)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - BITS.ilog2());
            let (word, bit) = (&mut self.seen[step / 64], 1 << (step % 64));
            self.count += usize::from(*word & bit == 0);
            *word |= bit;
            last = address;
        }
        self.coverage.clear();
        self.count > before
    }
}
