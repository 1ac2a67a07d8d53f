// SPDX-License-Identifier: GPL-2.0

//! The actions of a round, and the file format in which they are kept.

use std::{
    fmt,
    io::{Error, Result},
};

/// The size of the name in a rule (`struct xt_ct_target_info_v1`).
pub const NAME_FIELD: usize = 32;

/// A rule of the raw table: flows of a protocol get a policy.
#[derive(Clone)]
pub struct Rule {
    pub l4proto: u8,
    pub name: [u8; NAME_FIELD],
}

#[derive(Clone)]
pub enum Action {
    /// A datagram, to the socket of that number.
    Send(usize, Vec<u8>),
    /// The raw table, in place of the old one.
    Rules(Vec<Rule>),
    /// A packet of a protocol to a port.
    Packet(u8, u16),
    /// Begins a dump, of which `DumpEnd` reads the rest.
    DumpBegin,
    /// The oldest dump that was begun is read to its end.
    DumpEnd,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::Send(socket, datagram) => write!(f, "send {socket} {}", hex(datagram)),
            Action::Rules(rules) => {
                write!(f, "rules")?;
                rules
                    .iter()
                    .try_for_each(|rule| write!(f, " {} {}", rule.l4proto, hex(&rule.name)))
            }
            Action::Packet(protocol, port) => write!(f, "packet {protocol} {port}"),
            Action::DumpBegin => write!(f, "dump-begin"),
            Action::DumpEnd => write!(f, "dump-end"),
        }
    }
}

impl Action {
    /// How many messages the kernel finds in it.
    pub fn messages(&self) -> u64 {
        match self {
            Action::Send(_, datagram) => crate::wire::requests(datagram).count() as u64,
            Action::DumpBegin => 1,
            _ => 0,
        }
    }

    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let action = match words.next()? {
            "send" => Action::Send(words.next()?.parse().ok()?, unhex(words.next()?)?),
            "rules" => {
                let mut rules = Vec::new();
                while let Some(l4proto) = words.next() {
                    rules.push(Rule {
                        l4proto: l4proto.parse().ok()?,
                        name: unhex(words.next()?)?.try_into().ok()?,
                    });
                }
                Action::Rules(rules)
            }
            "packet" => Action::Packet(words.next()?.parse().ok()?, words.next()?.parse().ok()?),
            "dump-begin" => Action::DumpBegin,
            "dump-end" => Action::DumpEnd,
            _ => return None,
        };
        words.next().is_none().then_some(action)
    }
}

/// Reads a file of actions, one a line; the rest of a line that begins with # is for people.
pub fn read(path: &str) -> Result<Vec<Action>> {
    let text = std::fs::read_to_string(path)?;
    let lines = text.lines().map(str::trim);
    lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| Action::parse(line).ok_or_else(|| Error::other(format!("{path}: {line}"))))
        .collect()
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return None;
    }
    pairs
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}
