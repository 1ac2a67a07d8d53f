// SPDX-License-Identifier: GPL-2.0

//! Measures what the commands cost, one request at a time.
//!
//! usage: client POLICIES ROUNDS
//!
//! Creates POLICIES policies, then times ROUNDS rounds of create, get, replace and delete of one
//! more, and dumps of all; prints the medians in nanoseconds (dump: per policy). In a guest whose
//! clock counts instructions, those are instructions, system call and this client included.
//!
//! Needs nothing but the standard library, so that rustc alone builds it.

use std::{
    ffi::c_int,
    io::{Error, Result},
    time::Instant,
};

const AF_NETLINK: c_int = 16;
const SOCK_RAW: c_int = 3;
const NETLINK_NETFILTER: c_int = 12;
const SOL_SOCKET: c_int = 1;
const SO_RCVBUF: c_int = 8;

const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_REPLACE: u16 = 0x100;
const NLM_F_DUMP: u16 = 0x300;
const NLM_F_CREATE: u16 = 0x400;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;

const NEW: u16 = 8 << 8;
const GET: u16 = NEW | 1;
const DELETE: u16 = NEW | 2;

extern "C" {
    fn socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int;
    fn send(fd: c_int, buf: *const u8, len: usize, flags: c_int) -> isize;
    fn recv(fd: c_int, buf: *mut u8, len: usize, flags: c_int) -> isize;
    fn setsockopt(fd: c_int, level: c_int, name: c_int, value: *const c_int, len: u32) -> c_int;
}

struct Client {
    fd: c_int,
    seq: u32,
    buf: Vec<u8>,
}

fn attr(out: &mut Vec<u8>, kind: u16, payload: &[u8]) {
    let len = 4 + payload.len();
    out.extend((len as u16).to_ne_bytes());
    out.extend(kind.to_ne_bytes());
    out.extend(payload);
    out.resize(out.len().next_multiple_of(4), 0);
}

fn name(index: usize) -> Vec<u8> {
    format!("policy{index}\0").into_bytes()
}

impl Client {
    fn new() -> Result<Self> {
        // SAFETY: A system call without pointers.
        let fd = unsafe { socket(AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER) };
        if fd < 0 {
            return Err(Error::last_os_error());
        }
        let size: c_int = 4 << 20;
        // SAFETY: The value is valid for its length.
        unsafe { setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, 4) };
        Ok(Self {
            fd,
            seq: 0,
            buf: vec![0; 32768],
        })
    }

    fn message(&mut self, kind: u16, flags: u16, attrs: &[u8]) -> Vec<u8> {
        self.seq += 1;
        let mut out = Vec::with_capacity(256);
        out.extend(((20 + attrs.len()) as u32).to_ne_bytes());
        out.extend(kind.to_ne_bytes());
        out.extend((NLM_F_REQUEST | flags).to_ne_bytes());
        out.extend(self.seq.to_ne_bytes());
        out.extend([0; 8]);
        out.extend(attrs);
        out
    }

    fn send(&self, message: &[u8]) -> Result<()> {
        // SAFETY: The buffer is valid for its length.
        match unsafe { send(self.fd, message.as_ptr(), message.len(), 0) } {
            ..0 => Err(Error::last_os_error()),
            _ => Ok(()),
        }
    }

    /// Receives a datagram, and calls `each` with the type and the body of its messages until that
    /// returns true; tells whether it did.
    fn receive(&mut self, mut each: impl FnMut(u16, &[u8]) -> Result<bool>) -> Result<bool> {
        // SAFETY: The buffer is valid for its length.
        let len = unsafe { recv(self.fd, self.buf.as_mut_ptr(), self.buf.len(), 0) };
        let mut rest = match usize::try_from(len) {
            Ok(len) => &self.buf[..len],
            Err(_) => return Err(Error::last_os_error()),
        };
        while rest.len() >= 16 {
            let len = u32::from_ne_bytes([rest[0], rest[1], rest[2], rest[3]]) as usize;
            if each(u16::from_ne_bytes([rest[4], rest[5]]), &rest[16..len])? {
                return Ok(true);
            }
            rest = &rest[len.next_multiple_of(4).min(rest.len())..];
        }
        Ok(false)
    }

    /// Sends a request and waits for its answer: an object, or an acknowledgment.
    fn request(&mut self, message: &[u8]) -> Result<u64> {
        let start = Instant::now();
        self.send(message)?;
        self.receive(|kind, body| match kind {
            NLMSG_ERROR => match i32::from_ne_bytes([body[0], body[1], body[2], body[3]]) {
                0 => Ok(true),
                errno => Err(Error::from_raw_os_error(-errno)),
            },
            _ => Ok(true),
        })?;
        Ok(start.elapsed().as_nanos() as u64)
    }

    fn new_policy(&mut self, index: usize, seconds: u32, flags: u16) -> Vec<u8> {
        let mut attrs = Vec::new();
        attr(&mut attrs, 1, &name(index));
        attr(&mut attrs, 2, &2u16.to_be_bytes());
        attr(&mut attrs, 3, &[6]);
        let mut data = Vec::new();
        attr(&mut data, 3, &seconds.to_be_bytes());
        attr(&mut attrs, 4 | 0x8000, &data);
        self.message(NEW, NLM_F_ACK | flags, &attrs)
    }

    fn named(&mut self, command: u16, flags: u16, index: usize) -> Vec<u8> {
        let mut attrs = Vec::new();
        attr(&mut attrs, 1, &name(index));
        self.message(command, flags, &attrs)
    }

    /// Dumps all policies; returns how many there are, and the time.
    fn dump(&mut self) -> Result<(usize, u64)> {
        let message = self.message(GET, NLM_F_DUMP, &[]);
        let mut count = 0;
        let start = Instant::now();
        self.send(&message)?;
        while !self.receive(|kind, _| {
            count += usize::from(kind != NLMSG_DONE);
            Ok(kind == NLMSG_DONE)
        })? {}
        Ok((count, start.elapsed().as_nanos() as u64))
    }
}

fn median(times: &mut [u64]) -> u64 {
    times.sort_unstable();
    times[times.len() / 2]
}

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1).map(|arg| arg.parse::<usize>());
    let (Some(Ok(policies)), Some(Ok(rounds))) = (args.next(), args.next()) else {
        return Err(Error::other("usage: client POLICIES ROUNDS"));
    };
    let mut client = Client::new()?;
    for index in 0..policies {
        let message = client.new_policy(index, 100, NLM_F_CREATE);
        client.request(&message)?;
    }

    let mut times = [const { Vec::new() }; 4];
    for round in 0..rounds {
        let messages = [
            client.new_policy(policies, 100, NLM_F_CREATE),
            client.named(GET, 0, policies),
            client.new_policy(policies, 200 + round as u32, NLM_F_REPLACE),
            client.named(DELETE, NLM_F_ACK, policies),
        ];
        for (message, times) in messages.iter().zip(&mut times) {
            times.push(client.request(message)?);
        }
    }
    let mut dumps = Vec::new();
    for _ in 0..5 {
        let (count, time) = client.dump()?;
        if count != policies {
            return Err(Error::other(format!("{count} of {policies} policies dumped")));
        }
        dumps.push(time / policies.max(1) as u64);
    }
    let message = client.message(DELETE, NLM_F_ACK, &[]);
    client.request(&message)?;

    let [create, get, replace, delete] = &mut times;
    println!(
        "{policies} {} {} {} {} {}",
        median(create),
        median(get),
        median(replace),
        median(delete),
        median(&mut dumps)
    );
    Ok(())
}
