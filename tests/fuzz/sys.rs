// SPDX-License-Identifier: GPL-2.0

//! The system calls that the standard library does not have.

use std::{
    ffi::{c_int, c_long, c_uint, c_ulong, c_void},
    fs::File,
    io::{Error, ErrorKind, Read, Result, Seek, SeekFrom},
    mem::zeroed,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    os::unix::fs::OpenOptionsExt,
    ptr::null_mut,
};

const AF_INET: c_int = 2;
const AF_NETLINK: c_int = 16;
const SOCK_DGRAM: c_int = 2;
const SOCK_RAW: c_int = 3;
const SOCK_CLOEXEC: c_int = 0x80000;
const IPPROTO_RAW: c_int = 255;
const NETLINK_NETFILTER: c_int = 12;
const SOL_SOCKET: c_int = 1;
const SO_SNDBUFFORCE: c_int = 32;
const SO_RCVBUFFORCE: c_int = 33;
const SOL_NETLINK: c_int = 270;
pub const NETLINK_CAP_ACK: c_int = 10;
pub const NETLINK_EXT_ACK: c_int = 11;
const MSG_DONTWAIT: c_int = 0x40;
const CLONE_NEWNET: c_int = 0x4000_0000;
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
    fn socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int;
    fn send(fd: c_int, buf: *const c_void, len: usize, flags: c_int) -> isize;
    fn recv(fd: c_int, buf: *mut c_void, len: usize, flags: c_int) -> isize;
    fn recvmmsg(
        fd: c_int,
        msgs: *mut MMsgHdr,
        count: c_uint,
        flags: c_int,
        timeout: *mut c_void,
    ) -> c_int;
    fn setsockopt(fd: c_int, level: c_int, name: c_int, value: *const c_void, len: c_uint)
        -> c_int;
    fn getsockopt(
        fd: c_int,
        level: c_int,
        name: c_int,
        value: *mut c_void,
        len: *mut c_uint,
    ) -> c_int;
    fn getsockname(fd: c_int, address: *mut c_void, len: *mut c_uint) -> c_int;
    fn bind(fd: c_int, address: *const c_void, len: c_uint) -> c_int;
    fn unshare(flags: c_int) -> c_int;
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

fn checked(result: isize) -> Result<usize> {
    usize::try_from(result).map_err(|_| Error::last_os_error())
}

fn new_socket(domain: c_int, kind: c_int, protocol: c_int) -> Result<OwnedFd> {
    // SAFETY: A system call without pointers.
    let fd = unsafe { socket(domain, kind | SOCK_CLOEXEC, protocol) };
    checked(fd as isize)?;
    // SAFETY: Just opened, and ours alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Puts this thread, and those it will start, into a network namespace of its own, with a loopback
/// interface that works.
pub fn new_namespace() -> Result<()> {
    // SAFETY: A system call without pointers.
    checked(unsafe { unshare(CLONE_NEWNET) } as isize)?;
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

/// A netlink socket in the namespace of the thread that makes it.
pub struct Netlink {
    fd: OwnedFd,
    pub port: u32,
}

impl Netlink {
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
        socket.set(SOL_SOCKET, SO_SNDBUFFORCE, 8 << 20)?;
        socket.set(SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)?;
        options
            .iter()
            .try_for_each(|&option| socket.set(SOL_NETLINK, option, 1))?;
        Ok(socket)
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

    /// Receives all that there is, and appends it to `out` one datagram after the other.
    pub fn receive(&self, buffers: &mut Buffers, out: &mut Vec<u8>) -> Result<()> {
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

    /// Receives one datagram; the kernel makes the buffers of a dump as large as the largest that a
    /// socket has offered.
    pub fn receive_small<'a>(&self, buffers: &'a mut Buffers) -> Result<&'a [u8]> {
        // SAFETY: The buffer is larger than that.
        let len = unsafe {
            recv(
                self.fd.as_raw_fd(),
                buffers.0.as_mut_ptr().cast(),
                8192,
                MSG_DONTWAIT,
            )
        };
        checked(len).map(|len| &buffers.0[..len])
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
        // SAFETY: The value is valid for its length; the rest is by the caller's promise.
        let result =
            unsafe { setsockopt(self.0.as_raw_fd(), 0, option, value.as_ptr().cast(), len) };
        checked(result as isize).map(|_| ())
    }
}

/// So many bytes of the kernel log say what it is about; the log itself is kept.
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

    /// What has been said since, as far as it is a warning or worse. The parser of attributes warns
    /// of what it finds, which is what it is there for.
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

/// What a thread has run through in the kernel, if the kernel can tell (`CONFIG_KCOV`).
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

    /// Forgets what was recorded.
    pub fn clear(&mut self) {
        // SAFETY: The first word is the number of those that follow.
        unsafe { self.area.write_volatile(0) };
    }

    /// The addresses that were recorded.
    pub fn addresses(&self) -> &[usize] {
        // SAFETY: As above; the kernel writes only while this thread is in a system call.
        unsafe {
            let count = self.area.read_volatile().min(Self::WORDS - 1);
            std::slice::from_raw_parts(self.area.add(1), count)
        }
    }
}
