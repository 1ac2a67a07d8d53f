// SPDX-License-Identifier: GPL-2.0

//! How long the end of a namespace takes, with and without another that ends at the same time.
//!
//! The kernel counts a namespace until the last step of `cleanup_net()`. So in a user namespace that
//! may have one, the end is over when the next can be made.

use std::{
    fs,
    io::{stdin, Error, ErrorKind, Read, Result},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::{
    client::Client,
    figure,
    netlink::{unshare, CLONE_NEWNET, CLONE_NEWUSER, TCP}, //
};

/// The last process of a namespace with that many policies, until its input ends.
pub fn hold(policies: usize) -> Result<()> {
    unshare(CLONE_NEWNET)?;
    Client::new()?.fill(0..policies, |_| TCP)?;
    println!("ready");
    stdin().read_to_end(&mut Vec::new()).map(|_| ())
}

fn start(policies: usize) -> Result<Child> {
    let mut child = Command::new("/proc/self/exe")
        .args(["hold", &policies.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut word = [0; 6];
    let output = child.stdout.as_mut();
    output.map_or(Err(ErrorKind::BrokenPipe.into()), |out| {
        out.read_exact(&mut word)
    })?;
    Ok(child)
}

fn end(mut child: Child) -> Result<()> {
    // This closes its input first.
    match child.wait()?.success() {
        true => Ok(()),
        false => Err(Error::other("a process that held a namespace failed")),
    }
}

/// The time from the last process's exit to the end of `cleanup_net()`, of a namespace with
/// `policies`, beside one with `others`, if any, that ends just before.
pub fn run(name: &str, n: usize, policies: usize, others: usize) -> Result<()> {
    let other = match others {
        0 => None,
        _ => Some(start(others)?),
    };
    unshare(CLONE_NEWUSER)?;
    fs::write("/proc/self/uid_map", "0 0 1")?;
    fs::write("/proc/sys/user/max_net_namespaces", "1")?;
    let child = start(policies)?;
    other.map_or(Ok(()), end)?;
    end(child)?;
    let begin = Instant::now();
    while let Err(error) = unshare(CLONE_NEWNET) {
        const ENOSPC: i32 = 28;
        if error.raw_os_error() != Some(ENOSPC) {
            return Err(error);
        }
        thread::sleep(Duration::from_micros(200));
    }
    figure(name, n, begin.elapsed().as_nanos() as f64);
    Ok(())
}
