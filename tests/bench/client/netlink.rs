// SPDX-License-Identifier: GPL-2.0

//! Requests to the module, and to conntrack, over one netlink socket.

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

const TIMEOUT: u16 = 8 << 8;
const NEW: u16 = TIMEOUT;
const GET: u16 = TIMEOUT | 1;
const DELETE: u16 = TIMEOUT | 2;
const DEFAULT_GET: u16 = TIMEOUT | 4;
/// `IPCTNL_MSG_CT_DELETE` of conntrack's own subsystem.
const CT_DELETE: u16 = 1 << 8 | 2;

pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
pub const ICMP: u8 = 1;

extern "C" {
    fn socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int;
    fn send(fd: c_int, buf: *const u8, len: usize, flags: c_int) -> isize;
    fn recv(fd: c_int, buf: *mut u8, len: usize, flags: c_int) -> isize;
    fn setsockopt(fd: c_int, level: c_int, name: c_int, value: *const c_int, len: u32) -> c_int;
}

pub struct Client {
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
    pub fn new() -> Result<Self> {
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
        // The port, and the nfnetlink header.
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

    /// Sends a request and waits for its answer, an object or an acknowledgment; returns the time
    /// in nanoseconds.
    pub fn request(&mut self, message: &[u8]) -> Result<u64> {
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

    /// The request for a new policy.
    pub fn create(&mut self, index: usize, protocol: u8) -> Vec<u8> {
        self.new_policy(index, protocol, 3000, NLM_F_CREATE)
    }

    /// The request for another timeout.
    pub fn replace(&mut self, index: usize, seconds: u32) -> Vec<u8> {
        self.new_policy(index, TCP, seconds, NLM_F_REPLACE)
    }

    fn new_policy(&mut self, index: usize, protocol: u8, seconds: u32, flags: u16) -> Vec<u8> {
        let mut attrs = Vec::new();
        attr(&mut attrs, 1, &name(index));
        attr(&mut attrs, 2, &2u16.to_be_bytes());
        attr(&mut attrs, 3, &[protocol]);
        let mut data = Vec::new();
        // TCP: established. UDP: unreplied. ICMP has one.
        let state = if protocol == TCP { 3 } else { 1 };
        attr(&mut data, state, &seconds.to_be_bytes());
        attr(&mut attrs, 4 | 0x8000, &data);
        self.message(NEW, NLM_F_ACK | flags, &attrs)
    }

    pub fn get(&mut self, index: usize) -> Vec<u8> {
        self.named(GET, 0, index)
    }

    pub fn delete(&mut self, index: usize) -> Vec<u8> {
        self.named(DELETE, NLM_F_ACK, index)
    }

    fn named(&mut self, command: u16, flags: u16, index: usize) -> Vec<u8> {
        let mut attrs = Vec::new();
        attr(&mut attrs, 1, &name(index));
        self.message(command, flags, &attrs)
    }

    /// The request to delete all policies.
    pub fn flush(&mut self) -> Vec<u8> {
        self.message(DELETE, NLM_F_ACK, &[])
    }

    pub fn default_get(&mut self) -> Vec<u8> {
        let mut attrs = Vec::new();
        attr(&mut attrs, 2, &2u16.to_be_bytes());
        attr(&mut attrs, 3, &[TCP]);
        self.message(DEFAULT_GET, 0, &attrs)
    }

    /// The request to forget all flows.
    pub fn flush_flows(&mut self) -> Vec<u8> {
        self.message(CT_DELETE, NLM_F_ACK, &[])
    }

    /// Dumps all policies; returns how many there are, and the time in nanoseconds.
    pub fn dump(&mut self) -> Result<(usize, u64)> {
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
