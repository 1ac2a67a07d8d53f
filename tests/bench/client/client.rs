// SPDX-License-Identifier: GPL-2.0

//! Requests about policies that are named policy0, policy1 and so on, over one socket.

use std::{
    io::{Error, Result},
    ops::Range,
    thread,
    time::Instant,
};

use crate::netlink::*;

/// So many messages are in one send where many policies are made.
const MANY: usize = 100;

pub struct Client {
    socket: Socket,
    buffer: Vec<u8>,
}

fn name(index: usize) -> Vec<u8> {
    let mut attrs = Vec::with_capacity(256);
    put_attr(&mut attrs, NAME, format!("policy{index}\0").as_bytes());
    attrs
}

fn policy(index: usize, protocol: u8, seconds: u32, flags: u16) -> Vec<u8> {
    let mut attrs = name(index);
    put_attr(&mut attrs, L3PROTO, &2u16.to_be_bytes());
    put_attr(&mut attrs, L4PROTO, &[protocol]);
    let mut data = Vec::new();
    // TCP: established. UDP: unreplied. ICMP has one.
    let state = if protocol == TCP { 3 } else { 1 };
    put_attr(&mut data, state, &seconds.to_be_bytes());
    put_attr(&mut attrs, DATA | NLA_F_NESTED, &data);
    request(NEW, flags, &attrs)
}

/// The request for a new policy.
pub fn create(index: usize, protocol: u8) -> Vec<u8> {
    policy(index, protocol, 3000, NLM_F_ACK | NLM_F_CREATE)
}

/// The request for another timeout.
pub fn replace(index: usize, seconds: u32) -> Vec<u8> {
    policy(index, TCP, seconds, NLM_F_ACK | NLM_F_REPLACE)
}

pub fn get(index: usize) -> Vec<u8> {
    request(GET, 0, &name(index))
}

pub fn delete(index: usize) -> Vec<u8> {
    request(DELETE, NLM_F_ACK, &name(index))
}

/// The request to delete all policies.
pub fn flush() -> Vec<u8> {
    request(DELETE, NLM_F_ACK, &[])
}

pub fn default_get() -> Vec<u8> {
    let mut attrs = Vec::new();
    put_attr(&mut attrs, L3PROTO, &2u16.to_be_bytes());
    put_attr(&mut attrs, L4PROTO, &[TCP]);
    request(DEFAULT_GET, 0, &attrs)
}

/// A message that netlink itself acknowledges.
pub fn noop() -> Vec<u8> {
    message(NLMSG_NOOP, NLM_F_REQUEST | NLM_F_ACK, 0, &[])
}

/// The request to forget all flows.
pub fn flush_flows() -> Vec<u8> {
    message(CT_DELETE, NLM_F_REQUEST | NLM_F_ACK, 0, &[])
}

impl Client {
    pub fn new() -> Result<Self> {
        Ok(Self {
            socket: Socket::new(&[])?,
            buffer: vec![0; 32768],
        })
    }

    /// A client in a namespace of its own, which lasts as long as the client.
    pub fn in_new_namespace() -> Result<Self> {
        thread::spawn(|| {
            unshare(CLONE_NEWNET)?;
            Self::new()
        })
        .join()
        .map_err(|_| Error::other("a thread panicked"))?
    }

    /// Receives a datagram, and calls `each` with the type and the body of its messages until that
    /// returns true; returns whether it did.
    fn receive(&mut self, mut each: impl FnMut(u16, &[u8]) -> Result<bool>) -> Result<bool> {
        let mut rest = self.socket.receive(&mut self.buffer, 0)?;
        while rest.len() >= 16 {
            let len = u32_at(rest, 0) as usize;
            if each(u16_at(rest, 4), &rest[16..len])? {
                return Ok(true);
            }
            rest = &rest[len.next_multiple_of(4).min(rest.len())..];
        }
        Ok(false)
    }

    /// Sends a request and waits for its answer, an object or an acknowledgment; returns the time
    /// in nanoseconds.
    pub fn request(&mut self, message: &[u8]) -> Result<u64> {
        let start = Instant::now();
        self.socket.send(message)?;
        self.receive(|kind, body| match kind {
            NLMSG_ERROR => match u32_at(body, 0) as i32 {
                0 => Ok(true),
                errno => Err(Error::from_raw_os_error(-errno)),
            },
            _ => Ok(true),
        })?;
        Ok(start.elapsed().as_nanos() as u64)
    }

    /// Makes policies, many in each send, of which the last message is acknowledged; returns the
    /// time in nanoseconds.
    pub fn fill(&mut self, indices: Range<usize>, protocol: impl Fn(usize) -> u8) -> Result<u64> {
        let mut time = 0;
        for from in indices.clone().step_by(MANY) {
            let to = indices.end.min(from + MANY);
            let mut datagram = Vec::with_capacity(MANY * 128);
            for index in from..to {
                let ack = if index + 1 == to { NLM_F_ACK } else { 0 };
                datagram.extend(policy(index, protocol(index), 3000, NLM_F_CREATE | ack));
            }
            time += self.request(&datagram)?;
        }
        Ok(time)
    }

    /// Dumps all policies; returns how many there are, and the time in nanoseconds.
    pub fn dump(&mut self) -> Result<(usize, u64)> {
        let message = request(GET, NLM_F_DUMP, &[]);
        let mut count = 0;
        let start = Instant::now();
        self.socket.send(&message)?;
        while !self.receive(|kind, _| {
            count += usize::from(kind != NLMSG_DONE);
            Ok(kind == NLMSG_DONE)
        })? {}
        Ok((count, start.elapsed().as_nanos() as u64))
    }
}
