// SPDX-License-Identifier: GPL-2.0

//! A netlink client: the numbers of the module's interface, messages, and a socket.
//!
//! The fuzzer and the benchmark's client share this file by `#[path]`. It needs nothing but the
//! standard library, so that rustc alone builds it.

// Neither of the two uses all of it.
#![allow(dead_code)]

use std::{
    ffi::{c_int, c_uint, c_void},
    io::{Error, Result},
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

pub const AF_INET: c_int = 2;
const AF_NETLINK: c_int = 16;
pub const SOCK_DGRAM: c_int = 2;
pub const SOCK_RAW: c_int = 3;
const SOCK_CLOEXEC: c_int = 0x80000;
const NETLINK_NETFILTER: c_int = 12;
const SOL_SOCKET: c_int = 1;
const SO_SNDBUFFORCE: c_int = 32;
const SO_RCVBUFFORCE: c_int = 33;
const SOL_NETLINK: c_int = 270;
pub const NETLINK_CAP_ACK: c_int = 10;
pub const NETLINK_EXT_ACK: c_int = 11;
pub const MSG_DONTWAIT: c_int = 0x40;
pub const CLONE_NEWUSER: c_int = 0x1000_0000;
pub const CLONE_NEWNET: c_int = 0x4000_0000;

pub const NLM_F_REQUEST: u16 = 1;
pub const NLM_F_MULTI: u16 = 2;
pub const NLM_F_ACK: u16 = 4;
pub const NLM_F_REPLACE: u16 = 0x100;
pub const NLM_F_EXCL: u16 = 0x200;
pub const NLM_F_CREATE: u16 = 0x400;
pub const NLM_F_DUMP: u16 = 0x300;
/// Of acknowledgments.
pub const NLM_F_CAPPED: u16 = 0x100;
pub const NLM_F_ACK_TLVS: u16 = 0x200;
pub const NLMSG_NOOP: u16 = 1;
pub const NLMSG_ERROR: u16 = 2;
pub const NLMSG_DONE: u16 = 3;
/// Types below this one are for netlink itself.
pub const NLMSG_MIN_TYPE: u16 = 0x10;

/// `NFNL_SUBSYS_CTNETLINK_TIMEOUT`, as part of a type.
pub const SUBSYSTEM: u16 = 8 << 8;
/// The commands, `enum ctnl_timeout_msg_types`.
pub const NEW: u8 = 0;
pub const GET: u8 = 1;
pub const DELETE: u8 = 2;
pub const DEFAULT_SET: u8 = 3;
pub const DEFAULT_GET: u8 = 4;
/// The first number that is no command.
pub const COMMANDS: u8 = 5;
/// `IPCTNL_MSG_CT_DELETE` of conntrack's own subsystem, as a type.
pub const CT_DELETE: u16 = 1 << 8 | 2;

/// The attributes, `enum ctattr_timeout`.
pub const NAME: u16 = 1;
pub const L3PROTO: u16 = 2;
pub const L4PROTO: u16 = 3;
pub const DATA: u16 = 4;
pub const USE: u16 = 5;
pub const NLA_F_NESTED: u16 = 0x8000;

pub const ICMP: u8 = 1;
pub const TCP: u8 = 6;
pub const UDP: u8 = 17;

extern "C" {
    fn socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int;
    fn send(fd: c_int, buf: *const c_void, len: usize, flags: c_int) -> isize;
    fn recv(fd: c_int, buf: *mut c_void, len: usize, flags: c_int) -> isize;
    pub fn setsockopt(
        fd: c_int,
        level: c_int,
        name: c_int,
        value: *const c_void,
        len: c_uint,
    ) -> c_int;
    fn getsockname(fd: c_int, address: *mut c_void, len: *mut c_uint) -> c_int;
    fn bind(fd: c_int, address: *const c_void, len: c_uint) -> c_int;
    #[link_name = "unshare"]
    fn c_unshare(flags: c_int) -> c_int;
}

/// The result of a system call.
pub fn checked(result: isize) -> Result<usize> {
    usize::try_from(result).map_err(|_| Error::last_os_error())
}

/// Puts this thread into new namespaces.
pub fn unshare(flags: c_int) -> Result<()> {
    // SAFETY: A system call without pointers.
    checked(unsafe { c_unshare(flags) } as isize).map(|_| ())
}

pub fn new_socket(domain: c_int, kind: c_int, protocol: c_int) -> Result<OwnedFd> {
    // SAFETY: A system call without pointers.
    let fd = unsafe { socket(domain, kind | SOCK_CLOEXEC, protocol) };
    checked(fd as isize)?;
    // SAFETY: `fd` was just opened, and nothing else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

pub fn u16_at(raw: &[u8], at: usize) -> u16 {
    u16::from_ne_bytes([raw[at], raw[at + 1]])
}

pub fn u32_at(raw: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes([raw[at], raw[at + 1], raw[at + 2], raw[at + 3]])
}

/// Appends an attribute with its padding.
pub fn put_attr(out: &mut Vec<u8>, kind: u16, payload: &[u8]) {
    out.extend(((4 + payload.len()) as u16).to_ne_bytes());
    out.extend(kind.to_ne_bytes());
    out.extend(payload);
    out.resize(out.len().next_multiple_of(4), 0);
}

/// A message with the sequence number 0.
pub fn message(kind: u16, flags: u16, family: u8, attrs: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(20 + attrs.len());
    out.extend(((20 + attrs.len()) as u32).to_ne_bytes());
    out.extend(kind.to_ne_bytes());
    out.extend(flags.to_ne_bytes());
    out.extend([0; 8]);
    out.extend([family, 0, 0, 0]);
    out.extend(attrs);
    out
}

/// A request to the module.
pub fn request(command: u8, flags: u16, attrs: &[u8]) -> Vec<u8> {
    let kind = SUBSYSTEM | u16::from(command);
    message(kind, NLM_F_REQUEST | flags, 0, attrs)
}

/// A netlink socket in the namespace of the thread that makes it.
pub struct Socket {
    pub fd: OwnedFd,
    pub port: u32,
}

impl Socket {
    /// A socket with options of netlink (`NETLINK_*`).
    pub fn new(options: &[c_int]) -> Result<Self> {
        let fd = new_socket(AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER)?;
        let mut address = [0u32; 3]; // struct sockaddr_nl: the port is the second word
        address[0] = AF_NETLINK as u32;
        let mut size = size_of_val(&address) as c_uint;
        // SAFETY: The addresses are valid for their length.
        unsafe {
            checked(bind(fd.as_raw_fd(), address.as_ptr().cast(), size) as isize)?;
            checked(getsockname(fd.as_raw_fd(), address.as_mut_ptr().cast(), &mut size) as isize)?;
        }
        let socket = Self {
            fd,
            port: address[1],
        };
        options
            .iter()
            .try_for_each(|&option| socket.set(SOL_NETLINK, option, 1))?;
        Ok(socket)
    }

    /// The same socket with room for large requests and many answers, which takes privileges.
    pub fn with_room(self) -> Result<Self> {
        self.set(SOL_SOCKET, SO_SNDBUFFORCE, 8 << 20)?;
        self.set(SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)?;
        Ok(self)
    }

    fn set(&self, level: c_int, option: c_int, value: c_int) -> Result<()> {
        // SAFETY: The value is valid for its length.
        let result = unsafe {
            setsockopt(
                self.fd.as_raw_fd(),
                level,
                option,
                (&raw const value).cast(),
                4,
            )
        };
        checked(result as isize).map(|_| ())
    }

    pub fn send(&self, datagram: &[u8]) -> Result<()> {
        // SAFETY: The buffer is valid for its length.
        let sent = unsafe {
            send(
                self.fd.as_raw_fd(),
                datagram.as_ptr().cast(),
                datagram.len(),
                0,
            )
        };
        checked(sent).map(|_| ())
    }

    /// Receives one datagram. The kernel makes the buffers of a dump as large as the largest that a
    /// socket has offered.
    pub fn receive<'a>(&self, buffer: &'a mut [u8], flags: c_int) -> Result<&'a [u8]> {
        // SAFETY: The buffer is valid for its length.
        let len = unsafe {
            recv(
                self.fd.as_raw_fd(),
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                flags,
            )
        };
        checked(len).map(|len| &buffer[..len])
    }
}
