// SPDX-License-Identifier: GPL-2.0

//! Makes the actions of a round from a seed and a corpus. The kernel's answers play no part, so a
//! round can be played again.

use crate::{
    corpus::Corpus,
    mutate,
    netlink::*,
    rng::Rng,
    script::{Action, Rule, NAME_FIELD},
    wire::{requests, seal, timeouts, PROTOCOLS},
};

const NEW_FLAGS: [u16; 6] = [
    0,
    NLM_F_CREATE,
    NLM_F_CREATE | NLM_F_EXCL,
    NLM_F_REPLACE,
    NLM_F_REPLACE | NLM_F_CREATE,
    NLM_F_REPLACE | NLM_F_EXCL,
];
const UNKNOWN_TYPES: [u16; 7] = [0, USE, 6, 7, 16, 255, 0x3fff];
const TYPE_FLAGS: [u16; 4] = [0, 0x8000, 0x4000, 0xc000];
const L3_NUMBERS: [u16; 10] = [0, 1, 2, 7, 10, 12, 255, 256, 0x200, 65535];
/// Names have numbers below this one; half of the time, one below `FREQUENT` is picked, so that
/// messages meet.
const NAMES: usize = 200;
const FREQUENT: usize = 20;
/// How many sockets a player has.
pub const SOCKETS: usize = 3;

pub struct Generator<'a> {
    rng: Rng,
    corpus: &'a Corpus,
    /// The longest time that conntrack can count, in seconds.
    limit: u32,
    seq: u32,
}

impl<'a> Generator<'a> {
    pub fn new(rng: Rng, corpus: &'a Corpus, limit: u32) -> Self {
        Self {
            rng,
            corpus,
            limit,
            seq: 0,
        }
    }

    /// Something to do.
    pub fn action(&mut self) -> Action {
        match self.rng.below(1000) {
            0..50 => Action::Rules(self.rules()),
            50..90 => Action::Packet(*self.rng.pick(&[6, 17, 17]), 1 + self.rng.below(8) as u16),
            90..100 => Action::DumpBegin,
            100..112 => Action::DumpEnd,
            _ => self.datagram(),
        }
    }

    /// The number of a name.
    fn name(&mut self) -> usize {
        let end = *self.rng.pick(&[FREQUENT, NAMES]);
        self.rng.below(end)
    }

    /// A datagram with one or many messages.
    fn datagram(&mut self) -> Action {
        let count = *self.rng.pick(&[1, 1, 2, 4, 8, 16, 24]);
        let mut out = Vec::new();
        for _ in 0..count {
            out.resize(out.len().next_multiple_of(4), 0);
            let message = self.message();
            out.extend(message);
        }
        if self.rng.percent(3) {
            // Cut off, or said to be longer or shorter than it is.
            mutate::header_lengths(&mut self.rng, &mut out);
        }
        self.spare(&mut out);
        seal(&mut out, &mut self.seq);
        Action::Send(self.rng.below(SOCKETS), out)
    }

    /// Leaves few of the messages that delete all policies. Each delete that has lost its name is
    /// one, and the table would always be empty.
    fn spare(&mut self, datagram: &mut [u8]) {
        let flushes: Vec<usize> = requests(datagram)
            .filter(|req| req.is_flush())
            .map(|req| req.at)
            .collect();
        for at in flushes {
            if !self.rng.percent(10) {
                datagram[at + 4] = GET;
            }
        }
    }

    fn message(&mut self) -> Vec<u8> {
        match self.rng.below(100) {
            0..75 => self.structured(),
            75..92 => {
                let mut message = self.structured();
                mutate::bytes(&mut self.rng, &mut message);
                message
            }
            _ => {
                let Some(entry) = self.corpus.pick(&mut self.rng) else {
                    return self.structured();
                };
                let mut message = entry.to_vec();
                if self.rng.percent(70) {
                    mutate::bytes(&mut self.rng, &mut message);
                }
                if self.rng.percent(20) {
                    let other = self.structured();
                    mutate::splice(&mut self.rng, &mut message, &other);
                }
                message
            }
        }
    }

    fn structured(&mut self) -> Vec<u8> {
        let command = match self.rng.below(100) {
            0..45 => NEW,
            45..65 => GET,
            65..81 => DELETE,
            81..88 => DEFAULT_SET,
            88..98 => DEFAULT_GET,
            _ => self.rng.next() as u8,
        };
        let name = self.name();
        let mut attrs = self.attributes(command, name);
        let mut behind = Vec::new();
        if self.rng.percent(30) {
            self.spoil(&mut attrs, &mut behind);
        }
        let mut payload = Vec::new();
        for (kind, content) in attrs {
            put_attr(&mut payload, kind, &content);
        }
        payload.extend(behind);
        if self.rng.percent(2) {
            mutate::attribute_length(&mut self.rng, &mut payload);
        }
        let family = *self.rng.pick(&[0, 0, 2, 10, 255]);
        let kind = SUBSYSTEM | u16::from(command);
        message(kind, self.flags(command), family, &payload)
    }

    fn flags(&mut self, command: u8) -> u16 {
        if self.rng.percent(5) {
            return self.rng.next() as u16;
        }
        let mut flags = NLM_F_REQUEST;
        if self.rng.percent(80) {
            flags |= NLM_F_ACK;
        }
        if command == NEW {
            flags |= *self.rng.pick(&NEW_FLAGS);
        } else if command == GET && self.rng.percent(5) {
            flags |= *self.rng.pick(&[0x100, 0x200, NLM_F_DUMP]);
        }
        flags
    }

    /// Type and content of the attributes of a good message.
    fn attributes(&mut self, command: u8, name: usize) -> Vec<(u16, Vec<u8>)> {
        let kinds: &[u16] = match command {
            GET => &[NAME],
            DELETE => &[NAME],
            DEFAULT_SET => &[L4PROTO, DATA],
            DEFAULT_GET => &[L3PROTO, L4PROTO],
            _ => &[NAME, L3PROTO, L4PROTO, DATA],
        };
        let nested = |kind| {
            if kind == DATA {
                kind | NLA_F_NESTED
            } else {
                kind
            }
        };
        kinds
            .iter()
            .map(|&kind| (nested(kind), self.content(kind, name)))
            .collect()
    }

    /// The content of an attribute in a good message for the name of that number: protocols go with
    /// names, so that replacing often works.
    fn content(&mut self, kind: u16, name: usize) -> Vec<u8> {
        let stray = self.rng.percent(6);
        match kind {
            NAME => [&name_of(name)[..], b"\0"].concat(),
            L3PROTO => match stray {
                true if self.rng.percent(20) => self.rng.bytes(2),
                true => self.rng.pick(&L3_NUMBERS).to_be_bytes().to_vec(),
                false => u16::to_be_bytes(if name % 4 == 3 { 10 } else { 2 }).to_vec(),
            },
            L4PROTO if stray => self.rng.bytes(1),
            L4PROTO => vec![protocol_of(name)],
            _ => self.values(protocol_of(name)),
        }
    }

    /// Some of a protocol's timeouts.
    fn values(&mut self, l4proto: u8) -> Vec<u8> {
        let mut out = Vec::new();
        let count = timeouts(l4proto).unwrap_or(3);
        for _ in 0..self.rng.below(count.min(4) + 1) {
            let value = self.value();
            put_attr(
                &mut out,
                1 + self.rng.below(count) as u16,
                &value.to_be_bytes(),
            );
        }
        out
    }

    fn value(&mut self) -> u32 {
        let limit = self.limit;
        match self.rng.below(100) {
            0 => *self
                .rng
                .pick(&[limit + 1, 2 * limit, 1 << 31, i32::MAX as u32, u32::MAX]),
            1..30 => *self.rng.pick(&[0, 1, 2, 59, 300, limit - 1, limit]),
            _ => self.rng.below(limit as usize) as u32,
        }
    }

    /// Does something wrong to attributes, as a whole.
    fn spoil(&mut self, attrs: &mut Vec<(u16, Vec<u8>)>, behind: &mut Vec<u8>) {
        let at = self.rng.below(attrs.len().max(1));
        let to = self.rng.below(attrs.len() + 1);
        match self.rng.below(11) {
            0 if attrs.len() > 1 => drop(attrs.remove(at)),
            1 if !attrs.is_empty() => {
                let name = self.name();
                let content = self.content(attrs[at].0 & 0x3fff, name);
                attrs.insert(to, (attrs[at].0, content));
            }
            2 if !attrs.is_empty() => {
                let attr = attrs.remove(at);
                attrs.insert(to.min(attrs.len()), attr);
            }
            3 | 4 if !attrs.is_empty() => {
                let len = attrs[at].1.len();
                let size =
                    *self
                        .rng
                        .pick(&[0, 1, 2, 3, 4, 31, 32, 33, len.saturating_sub(1), len + 3]);
                let fill = *self.rng.pick(&[0, 0, b'z']);
                attrs[at].1.resize(size, fill);
            }
            5 => {
                let (kind, size) = (*self.rng.pick(&UNKNOWN_TYPES), self.rng.below(9));
                attrs.insert(to, (kind, self.rng.bytes(size)));
            }
            6 => {
                for (kind, _) in attrs {
                    *kind = *kind & 0x3fff | *self.rng.pick(&TYPE_FLAGS);
                }
            }
            7 => {
                for (_, content) in attrs.iter_mut().filter(|(kind, _)| *kind == NAME) {
                    *content = self.odd_name();
                }
            }
            8 | 9 => {
                for (_, content) in attrs.iter_mut().filter(|(kind, _)| kind & 0x3fff == DATA) {
                    *content = self.odd_values();
                }
            }
            _ => {
                let size = 1 + self.rng.below(7);
                behind.extend(self.rng.bytes(size));
            }
        }
    }

    fn odd_name(&mut self) -> Vec<u8> {
        match self.rng.below(9) {
            0 => Vec::new(),
            1 => b"unterminated".to_vec(),
            2 => vec![b'x'; 31],
            3 => vec![b'x'; 32],
            4 => [&[b'x'; 32][..], b"\0"].concat(),
            5 => [&[b'x'; 200][..], b"\0"].concat(),
            6 => b"policy\0behind\0".to_vec(),
            7 => vec![0; 3],
            _ => {
                let size = self.rng.below(40);
                self.rng.bytes(size)
            }
        }
    }

    fn odd_values(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        let value = self.value().to_be_bytes();
        match self.rng.below(9) {
            0 => {
                let junk: [&[u8]; 5] = [
                    b"\0\0\0\0",
                    b"\x03\0\x01\0",
                    b"\xff\xff\x01\0",
                    b"\x05\0\x01\0",
                    b"abc",
                ];
                out.extend(*self.rng.pick(&junk));
            }
            1 => put_attr(
                &mut out,
                *self.rng.pick(&[0, 12, 14, 16, 17, 0x3fff]),
                &value,
            ),
            2 => {
                let size = *self.rng.pick(&[0, 1, 2, 3, 5, 8]);
                put_attr(&mut out, 1, &vec![0; size]);
            }
            3 => put_attr(&mut out, 1 | self.rng.pick(&TYPE_FLAGS), &value),
            4 => {
                put_attr(&mut out, 1, &value);
                out.extend(b"???");
            }
            // All the types there are in any protocol, and some more.
            5 => (0..18).for_each(|kind| put_attr(&mut out, kind, &value)),
            // Large, but for a few bytes as large as an attribute can be.
            6 if self.rng.below(50) == 0 => {
                (0..8100).for_each(|_| put_attr(&mut out, 1, &value));
            }
            7 => {
                // A nest in the nest.
                let mut inner = Vec::new();
                put_attr(&mut inner, 1, &value);
                put_attr(&mut out, 1 | NLA_F_NESTED, &inner);
            }
            _ => {
                let size = self.rng.below(24);
                out = self.rng.bytes(size);
            }
        }
        out
    }

    /// The content of the raw table: some rules, each with a policy, often the same.
    fn rules(&mut self) -> Vec<Rule> {
        let count = *self.rng.pick(&[0, 1, 2, 3, 4]);
        let (first, same) = (self.rule(), self.rng.percent(40));
        let mut next = || if same { first.clone() } else { self.rule() };
        (0..count).map(|_| next()).collect()
    }

    fn rule(&mut self) -> Rule {
        let number = match self.rng.percent(80) {
            true => self.rng.below(FREQUENT),
            false => self.name(),
        };
        let text = match self.rng.below(20) {
            0 => self.odd_name(),
            // Without an end.
            1 => vec![b'x'; NAME_FIELD],
            _ => name_of(number),
        };
        let mut name = [0; NAME_FIELD];
        let size = text.len().min(NAME_FIELD);
        name[..size].copy_from_slice(&text[..size]);
        // conntrack has no tracker for 99.
        let l4proto = match protocol_of(number) {
            _ if self.rng.percent(5) => *self.rng.pick(&[1, 6, 17, 99]),
            255 => 99,
            l4proto => l4proto,
        };
        Rule { l4proto, name }
    }
}

fn name_of(number: usize) -> Vec<u8> {
    match number {
        0 => Vec::new(),
        1 => vec![b'x'; 31],
        2 => vec![b'x'; 30],
        3 => [&[b'x'; 30][..], b"y"].concat(),
        4 => b"\xff\xfe\n%s".to_vec(),
        _ => format!("policy {number}").into_bytes(),
    }
}

/// UDP, which is what packets are of, more often than the others.
fn protocol_of(name: usize) -> u8 {
    PROTOCOLS.get(name % 10).map_or(17, |protocol| protocol.0)
}
