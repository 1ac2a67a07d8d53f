// SPDX-License-Identifier: GPL-2.0

//! Requests as the kernel reads them, whether they are well formed or not.

use crate::netlink::*;

/// The protocols that conntrack tracks, and how many timeouts each has. 255 is all others.
pub const PROTOCOLS: [(u8, usize); 7] = [
    (1, 1),
    (6, 11),
    (17, 2),
    (47, 2),
    (58, 1),
    (132, 9),
    (255, 1),
];

/// How many timeouts a protocol has, if it is tracked.
pub fn timeouts(l4proto: u8) -> Option<usize> {
    let found = PROTOCOLS.iter().find(|(number, _)| *number == l4proto)?;
    Some(found.1)
}

/// A message that the kernel finds in a datagram.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    raw: &'a [u8],
    /// Where in the datagram it is.
    pub at: usize,
}

/// The messages that the kernel finds in a datagram.
pub fn requests(datagram: &[u8]) -> impl Iterator<Item = Request<'_>> {
    let mut next = 0;
    std::iter::from_fn(move || {
        let (at, rest) = (next, datagram.get(next..)?);
        let len = rest.get(..16).map(|header| u32_at(header, 0) as usize)?;
        let raw = rest.get(..len).filter(|raw| raw.len() >= 16)?;
        next += len.next_multiple_of(4);
        Some(Request { raw, at })
    })
}

impl<'a> Request<'a> {
    pub fn header(&self) -> &'a [u8] {
        &self.raw[..16]
    }

    pub fn len(&self) -> usize {
        self.raw.len()
    }

    pub fn flags(&self) -> u16 {
        u16_at(self.raw, 6)
    }

    pub fn has(&self, flags: u16) -> bool {
        self.flags() & flags == flags
    }

    /// The command, if the kernel takes it for one.
    pub fn command(&self) -> Option<u8> {
        let kind = u16_at(self.raw, 4);
        let known = self.has(NLM_F_REQUEST) && kind >= NLMSG_MIN_TYPE && self.raw.len() >= 20;
        known.then_some(kind as u8)
    }

    /// Whether it deletes all policies.
    pub fn is_flush(&self) -> bool {
        self.command() == Some(DELETE) && self.attrs().get(NAME).is_none()
    }

    pub fn is_dump(&self) -> bool {
        self.command() == Some(GET) && self.flags() & NLM_F_DUMP != 0
    }

    pub fn attrs(&self) -> Attrs<'a> {
        Attrs::parse(&self.raw[20..])
    }
}

/// Attributes as the kernel finds them: of several of a type the last, none behind a bad one.
pub struct Attrs<'a>([Option<&'a [u8]>; 16]);

impl<'a> Attrs<'a> {
    pub fn parse(mut rest: &'a [u8]) -> Self {
        let mut found = [None; 16];
        while rest.len() >= 4 {
            let Some(attr) = rest.get(..u16_at(rest, 0).into()).filter(|a| a.len() >= 4) else {
                break;
            };
            if let Some(slot) = found.get_mut(usize::from(u16_at(attr, 2) & 0x3fff)) {
                *slot = Some(&attr[4..]);
            }
            rest = &rest[attr.len().next_multiple_of(4).min(rest.len())..];
        }
        Self(found)
    }

    pub fn get(&self, kind: u16) -> Option<&'a [u8]> {
        self.0[usize::from(kind)]
    }

    pub fn name(&self) -> Option<&'a [u8]> {
        self.get(NAME)?.split(|&byte| byte == 0).next()
    }

    pub fn l3proto(&self) -> Option<u16> {
        Some(u16::from_be_bytes(
            self.get(L3PROTO)?.first_chunk().copied()?,
        ))
    }

    pub fn l4proto(&self) -> Option<u8> {
        self.get(L4PROTO)?.first().copied()
    }

    /// The timeouts in the nested attribute, by number, of a protocol that has `count` of them.
    pub fn timeouts(&self, count: usize) -> Option<Vec<Option<u32>>> {
        let nested = Self::parse(self.get(DATA)?);
        let value = |kind| {
            let payload: &[u8] = nested.0[kind]?;
            Some(u32::from_be_bytes(payload.first_chunk().copied()?))
        };
        Some((1..=count).map(value).collect())
    }
}

/// Makes a datagram one whose answers can be told apart: each message the kernel finds in it gets
/// the next number and goes to the module, and a dump among others becomes a get.
pub fn seal(datagram: &mut [u8], seq: &mut u32) {
    let places: Vec<usize> = requests(datagram).map(|req| req.at).collect();
    for &at in &places {
        *seq += 1;
        let kind = u16_at(datagram, at + 4);
        if kind >= NLMSG_MIN_TYPE {
            let kind = SUBSYSTEM | (kind & 0xff);
            datagram[at + 4..at + 6].copy_from_slice(&kind.to_ne_bytes());
        }
        let flags = u16_at(datagram, at + 6);
        let is_get = (kind & 0xff) as u8 == GET;
        if places.len() > 1 && is_get && flags & NLM_F_DUMP != 0 {
            let flags = flags & !NLM_F_DUMP;
            datagram[at + 6..at + 8].copy_from_slice(&flags.to_ne_bytes());
        }
        datagram[at + 8..at + 12].copy_from_slice(&seq.to_ne_bytes());
    }
}
