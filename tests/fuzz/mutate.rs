// SPDX-License-Identifier: GPL-2.0

//! Changes to messages without regard to the meaning of their bytes.

use crate::rng::Rng;

const LENGTHS: [u16; 11] = [0, 1, 3, 4, 5, 6, 7, 60, 1000, 0x7fff, 65535];
const EDGES: [u8; 6] = [0, 1, 0x7f, 0x80, 0xfe, 0xff];
/// The length of the headers of netlink and nfnetlink.
const HEADERS: usize = 20;

/// Changes a few bytes of a message, and then updates the length in its header to match.
pub fn bytes(rng: &mut Rng, message: &mut Vec<u8>) {
    for _ in 0..1 + rng.below(3) {
        // Most often behind the headers.
        let from = if rng.percent(85) { HEADERS } else { 4 };
        if message.len() <= from {
            return;
        }
        let at = from + rng.below(message.len() - from);
        match rng.below(7) {
            0 => message[at] ^= 1 << rng.below(8),
            1 => message[at] = *rng.pick(&EDGES),
            2 => message[at] = rng.next() as u8,
            3 => message[at] = message[at].wrapping_add(*rng.pick(&[1, 4, 0xfc, 0xff])),
            4 => {
                let end = (at + 1 + rng.below(8)).min(message.len());
                message.drain(at..end);
            }
            5 => {
                let size = 1 + rng.below(8);
                let inserted = rng.bytes(size);
                message.splice(at..at, inserted);
            }
            _ => {
                // The same once more.
                let end = (at + 4 * (1 + rng.below(8))).min(message.len());
                let piece = message[at..end].to_vec();
                message.splice(at..at, piece);
            }
        }
    }
    fit(message);
}

/// Puts the end of another message in the place of a message's own.
pub fn splice(rng: &mut Rng, message: &mut Vec<u8>, other: &[u8]) {
    let words = |len: usize| len.saturating_sub(HEADERS) / 4 + 1;
    let to = HEADERS + 4 * rng.below(words(message.len()));
    let from = HEADERS + 4 * rng.below(words(other.len()));
    message.truncate(to);
    message.extend(other.get(from..).unwrap_or_default());
    fit(message);
}

/// The length in the header, as it should be.
fn fit(message: &mut [u8]) {
    let len = message.len() as u32;
    if let Some(field) = message.first_chunk_mut() {
        *field = len.to_ne_bytes();
    }
}

/// Makes the length of the first attribute a wrong one.
pub fn attribute_length(rng: &mut Rng, payload: &mut [u8]) {
    if let Some(field) = payload.first_chunk_mut() {
        *field = rng.pick(&LENGTHS).to_ne_bytes();
    }
}

/// Cuts a datagram off, or makes the length in its first header a wrong one.
pub fn header_lengths(rng: &mut Rng, datagram: &mut Vec<u8>) {
    let len = rng.below(datagram.len() + 3);
    if rng.percent(50) {
        // The kernel warns of an empty one.
        datagram.truncate(len.max(1));
    } else if let Some(field) = datagram.first_chunk_mut() {
        *field = (len as u32).to_ne_bytes();
    }
}
