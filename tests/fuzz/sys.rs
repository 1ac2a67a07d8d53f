// SPDX-License-Identifier: GPL-2.0

//! The system calls that the standard library does not have.

use std::{
    ffi::{c_int, c_long, c_uint, c_ulong, c_void},
    fs::File,
    io::{Error, ErrorKind, Read, Result, Seek, SeekFrom},
    mem::zeroed,
    os::fd::{AsRawFd, OwnedFd},
    os::unix::fs::OpenOptionsExt,
    ptr::null_mut,
};

use crate::netlink::*;

const IPPROTO_RAW: c_int = 255;
const SIOCSIFFLAGS: c_ulong = 0x8914;
const IFF_UP: u16 = 1;
const O_NONBLOCK: c_int = 0x800;
const EPIPE: i32 = 32;
const PROT_READ_WRITE: c_int = 3;
const MAP_SHARED: c_int = 1;

#[repr(C)]
struct IoVec {
    base: *mut c_void,
    len: usize,
}

#[repr(C)]
struct MsgHdr {
    name: *mut c_void,
    namelen: c_uint,
    iov: *mut IoVec,
    iovlen: usize,
    control: *mut c_void,
    controllen: usize,
    flags: c_int,
}

#[repr(C)]
struct MMsgHdr {
    header: MsgHdr,
    len: c_uint,
}

extern "C" {
    fn recvmmsg(
        fd: c_int,
        msgs: *mut MMsgHdr,
        count: c_uint,
        flags: c_int,
        timeout: *mut c_void,
    ) -> c_int;
    fn getsockopt(
        fd: c_int,
        level: c_int,
        name: c_int,
        value: *mut c_void,
        len: *mut c_uint,
    ) -> c_int;
    fn ioctl(fd: c_int, request: c_ulong, ...) -> c_int;
    fn mmap(
        addr: *mut c_void,
        len: usize,
        prot: c_int,
        flags: c_int,
        fd: c_int,
        offset: c_long,
    ) -> *mut c_void;
}

/// Puts this thread, and those it will start, into a network namespace of its own, with a loopback
/// interface that works.
pub fn new_namespace() -> Result<()> {
    unshare(CLONE_NEWNET)?;
    let socket = new_socket(AF_INET, SOCK_DGRAM, 0)?;
    // struct ifreq
    let mut request = [0u8; 40];
    request[..2].copy_from_slice(b"lo");
    request[16..18].copy_from_slice(&IFF_UP.to_ne_bytes());
    // SAFETY: The structure is as large as the call takes it for.
    checked(unsafe { ioctl(socket.as_raw_fd(), SIOCSIFFLAGS, request.as_ptr()) } as isize)?;
    Ok(())
}

/// So many datagrams are received at once.
const BATCH: usize = 16;
/// The largest answer: a refused request of nearly 64 KiB, and why.
const LARGEST: usize = 72 << 10;

/// Where answers are received.
pub struct Buffers(Vec<u8>);

impl Buffers {
    pub fn new() -> Self {
        Self(vec![0; BATCH * LARGEST])
    }
}

impl Socket {
    /// Receives all that there is, and appends it to `out` one datagram after the other.
    pub fn receive_all(&self, buffers: &mut Buffers, out: &mut Vec<u8>) -> Result<()> {
        loop {
            let mut vectors: [IoVec; BATCH] = std::array::from_fn(|i| IoVec {
                base: buffers.0[i * LARGEST..].as_mut_ptr().cast(),
                len: LARGEST,
            });
            // SAFETY: All zeros is a valid value.
            let mut headers: [MMsgHdr; BATCH] = unsafe { zeroed() };
            for (header, vector) in headers.iter_mut().zip(&mut vectors) {
                header.header.iov = vector;
                header.header.iovlen = 1;
            }
            // SAFETY: The headers lead to buffers that are valid for their length.
            let received = unsafe {
                recvmmsg(
                    self.fd.as_raw_fd(),
                    headers.as_mut_ptr(),
                    BATCH as c_uint,
                    MSG_DONTWAIT,
                    null_mut(),
                )
            };
            let count = match checked(received as isize) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                result => result?,
            };
            for (i, header) in headers[..count].iter().enumerate() {
                out.extend(&buffers.0[i * LARGEST..][..header.len as usize]);
            }
            if count < BATCH {
                return Ok(());
            }
        }
    }

    /// Receives one datagram of a dump, with a small buffer, so that a dump has many parts.
    pub fn receive_small<'a>(&self, buffers: &'a mut Buffers) -> Result<&'a [u8]> {
        self.receive(&mut buffers.0[..8192], MSG_DONTWAIT)
    }
}

/// The socket that iptables-legacy talks to the kernel by.
pub struct Iptables(OwnedFd);

impl Iptables {
    pub fn new() -> Result<Self> {
        new_socket(AF_INET, SOCK_RAW, IPPROTO_RAW).map(Self)
    }

    pub fn get(&self, option: c_int, value: &mut [u8]) -> Result<()> {
        let mut len = value.len() as c_uint;
        // SAFETY: The value is valid for its length.
        let result = unsafe {
            getsockopt(
                self.0.as_raw_fd(),
                0,
                option,
                value.as_mut_ptr().cast(),
                &mut len,
            )
        };
        checked(result as isize).map(|_| ())
    }

    /// # Safety
    ///
    /// The pointers in the value must be those that the option asks for.
    pub unsafe fn set(&self, option: c_int, value: &[u8]) -> Result<()> {
        let len = value.len() as c_uint;
        // SAFETY: The value is valid for its length. By the safety requirements of this function, the
        // pointers in it are valid.
        let result =
            unsafe { setsockopt(self.0.as_raw_fd(), 0, option, value.as_ptr().cast(), len) };
        checked(result as isize).map(|_| ())
    }
}

/// At most so many bytes of the kernel log are shown with a failure; the whole log is kept.
const ENOUGH: usize = 2000;

/// The kernel log, from now on.
pub struct KernelLog(File);

impl KernelLog {
    pub fn new() -> Result<Self> {
        let mut file = File::options()
            .read(true)
            .custom_flags(O_NONBLOCK)
            .open("/dev/kmsg")?;
        file.seek(SeekFrom::End(0))?;
        Ok(Self(file))
    }

    /// The warnings and errors since the last call, except those of the attribute parser, which has
    /// reason to warn here.
    pub fn warnings(&mut self) -> Result<String> {
        let mut said = String::new();
        let mut record = [0; 8192];
        loop {
            let len = match self.0.read(&mut record) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(said),
                // Older records have been overwritten.
                Err(error) if error.raw_os_error() == Some(EPIPE) => continue,
                result => result?,
            };
            let text = String::from_utf8_lossy(&record[..len]);
            let Some((header, message)) = text.split_once(';') else {
                continue;
            };
            let level = header
                .split(',')
                .next()
                .and_then(|prio| prio.parse::<u32>().ok())
                .unwrap_or(0)
                & 7;
            let known =
                message.starts_with("netlink: ") || message.contains(" callbacks suppressed");
            if level <= 4 && !known && said.len() < ENOUGH {
                said += message;
            }
        }
    }
}

/// The code that a thread has run in the kernel, if that has `CONFIG_KCOV`.
pub struct Coverage {
    _file: File,
    area: *mut usize,
}

impl Coverage {
    const WORDS: usize = 1 << 18;
    const KCOV_INIT_TRACE: c_ulong = 0x8008_6301;
    const KCOV_ENABLE: c_ulong = 0x6364;
    const TRACE_PC: c_ulong = 0;

    /// Begins to record this thread. There is none if the kernel is not made for it.
    pub fn new() -> Result<Option<Self>> {
        let file = match File::options()
            .read(true)
            .write(true)
            .open("/sys/kernel/debug/kcov")
        {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            result => result?,
        };
        // SAFETY: The first call takes a number of words, which the second maps; the third has this
        // thread write there from now on.
        unsafe {
            checked(ioctl(file.as_raw_fd(), Self::KCOV_INIT_TRACE, Self::WORDS) as isize)?;
            let area = mmap(
                null_mut(),
                8 * Self::WORDS,
                PROT_READ_WRITE,
                MAP_SHARED,
                file.as_raw_fd(),
                0,
            );
            if area as isize == -1 {
                return Err(Error::last_os_error());
            }
            checked(ioctl(file.as_raw_fd(), Self::KCOV_ENABLE, Self::TRACE_PC) as isize)?;
            Ok(Some(Self {
                _file: file,
                area: area.cast(),
            }))
        }
    }

    /// Drops the addresses recorded so far.
    pub fn clear(&mut self) {
        // SAFETY: The first word is the number of those that follow.
        unsafe { self.area.write_volatile(0) };
    }

    /// The addresses that were recorded.
    pub fn addresses(&self) -> &[usize] {
        // SAFETY: The first word is the number of those that follow, all within the mapping. The
        // kernel writes only while this thread is in a system call.
        unsafe {
            let count = self.area.read_volatile().min(Self::WORDS - 1);
            std::slice::from_raw_parts(self.area.add(1), count)
        }
    }
}
