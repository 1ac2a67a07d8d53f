// SPDX-License-Identifier: GPL-2.0

//! Messages worth trying again, with changes.
//!
//! A file of them has a message in hexadecimal digits on each line, and comments. What was found by
//! coverage has the number of the round before it, and only later rounds know of it.

use std::io::{Error, Result};

use crate::{rng::Rng, script};

#[derive(Default)]
pub struct Corpus(Vec<Vec<u8>>);

impl Corpus {
    /// Reads a file, as far as it was known when a round began.
    pub fn read(&mut self, path: &str, round: u64) -> Result<()> {
        for line in std::fs::read_to_string(path)?.lines() {
            let line = line.split('#').next().unwrap_or_default().trim();
            let (from, hex) = line.split_once(' ').unwrap_or(("", line));
            if hex.is_empty() || (!from.is_empty() && from.parse().is_ok_and(|r: u64| r >= round)) {
                continue;
            }
            let message =
                script::unhex(hex).ok_or_else(|| Error::other(format!("{path}: {line}")))?;
            self.add(message);
        }
        Ok(())
    }

    pub fn add(&mut self, message: Vec<u8>) {
        self.0.push(message);
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn pick(&self, rng: &mut Rng) -> Option<&[u8]> {
        (!self.0.is_empty()).then(|| rng.pick(&self.0).as_slice())
    }
}
