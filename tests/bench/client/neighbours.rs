// SPDX-License-Identifier: GPL-2.0

//! Two namespaces at work at the same time, each on a CPU: one does some work, and its neighbour
//! creates and deletes a policy over and over.

use std::{
    ffi::c_int,
    io::{Error, Result},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use crate::{
    client::{create, delete, flush, noop, Client},
    figure,
    netlink::{checked, TCP}, //
};

extern "C" {
    fn sched_setaffinity(thread: c_int, len: usize, mask: *const u64) -> c_int;
}

/// Keeps this thread on one CPU.
fn stay_on(cpu: usize) -> Result<()> {
    let mask = 1u64 << cpu;
    // SAFETY: The mask is valid for its length.
    checked(unsafe { sched_setaffinity(0, 8, &mask) } as isize).map(|_| ())
}

/// Sends pairs of messages on a CPU until `stop` returns true; returns the times of the pairs, in
/// nanoseconds.
fn pairs_of(
    messages: [Vec<u8>; 2],
    client: &mut Client,
    cpu: usize,
    stop: impl Fn() -> bool,
) -> Result<Vec<u64>> {
    stay_on(cpu)?;
    let mut times = Vec::new();
    while !stop() {
        let start = Instant::now();
        for message in &messages {
            client.request(message)?;
        }
        times.push(start.elapsed().as_nanos() as u64);
    }
    times.sort_unstable();
    match times.is_empty() {
        true => Err(Error::other("there was no time for a single pair")),
        false => Ok(times),
    }
}

/// Creates and deletes policies on a CPU until `stop` returns true.
fn pairs(client: &mut Client, cpu: usize, stop: impl Fn() -> bool) -> Result<Vec<u64>> {
    pairs_of([create(0, TCP), delete(0)], client, cpu, stop)
}

/// The same for some time.
fn pairs_for(client: &mut Client, cpu: usize, time: Duration) -> Result<Vec<u64>> {
    let start = Instant::now();
    pairs(client, cpu, || start.elapsed() >= time)
}

/// Runs `work` on the first CPU, and the neighbour on the second until it is over.
fn beside<T: Send>(
    neighbour: &mut Client,
    work: impl FnOnce() -> Result<T> + Send,
) -> Result<(T, Vec<u64>)> {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let worker = scope.spawn(|| {
            let result = stay_on(0).and_then(|()| work());
            over.store(true, Relaxed);
            result
        });
        let times = pairs(neighbour, 1, || over.load(Relaxed));
        let result = worker
            .join()
            .map_err(|_| Error::other("a thread panicked"))?;
        Ok((result?, times?))
    })
}

/// The longest pair while another namespace flushes policies, and in as much time without.
pub fn wait(policies: usize) -> Result<()> {
    let (mut other, mut neighbour) = (Client::in_new_namespace()?, Client::in_new_namespace()?);
    other.fill(0..policies, |_| TCP)?;
    let (flush, times) = beside(&mut neighbour, || other.request(&flush()))?;
    figure("wait-flush", policies, flush as f64);
    figure("wait-beside", policies, times[times.len() - 1] as f64);
    // The kernel takes some seconds to free the flushed policies.
    thread::sleep(Duration::from_secs(7));
    let times = pairs_for(&mut neighbour, 1, Duration::from_nanos(flush))?;
    figure("wait-alone", policies, times[times.len() - 1] as f64);
    Ok(())
}

fn report(name: &str, policies: usize, times: &[u64]) {
    let mean = times.iter().sum::<u64>() as f64 / times.len() as f64;
    figure(&format!("pair-{name}"), policies, mean);
    let percentile = times[times.len() * 99 / 100];
    figure(&format!("pair-{name}-99"), policies, percentile as f64);
}

/// The pair alone; beside a client whose messages netlink itself acknowledges, which shows what a
/// second busy CPU of this machine does to it; and while another namespace fills and flushes a table
/// over and over.
pub fn pair(milliseconds: u64, policies: usize) -> Result<()> {
    let (mut other, mut neighbour) = (Client::in_new_namespace()?, Client::in_new_namespace()?);
    let time = Duration::from_millis(milliseconds);
    let alone = pairs_for(&mut neighbour, 1, time)?;
    let ((), noops) = beside(&mut neighbour, || {
        let start = Instant::now();
        while start.elapsed() < time {
            other.request(&noop())?;
        }
        Ok(())
    })?;
    let (cycles, times) = beside(&mut neighbour, || {
        let (start, mut cycles) = (Instant::now(), 0);
        while start.elapsed() < time {
            other.fill(0..policies, |_| TCP)?;
            other.request(&flush())?;
            cycles += 1;
        }
        Ok(cycles)
    })?;
    report("alone", policies, &alone);
    report("noops", policies, &noops);
    report("beside", policies, &times);
    figure("pair-cycles", policies, f64::from(cycles));
    Ok(())
}

/// Pairs per second of one namespace, and of two at once; and the same for messages that netlink
/// itself acknowledges, which shows how far two CPUs of this machine get beyond one.
pub fn two(milliseconds: u64) -> Result<()> {
    let (mut first, mut second) = (Client::in_new_namespace()?, Client::in_new_namespace()?);
    let time = Duration::from_millis(milliseconds);
    for (name, messages) in [
        ("pairs", [create(0, TCP), delete(0)]),
        ("noops", [noop(), noop()]),
    ] {
        let count = |client: &mut Client, cpu| -> Result<usize> {
            let start = Instant::now();
            Ok(pairs_of(messages.clone(), client, cpu, || start.elapsed() >= time)?.len())
        };
        let one = count(&mut first, 0)?;
        let both = thread::scope(|scope| -> Result<usize> {
            let other = scope.spawn(|| count(&mut second, 1));
            let one = count(&mut first, 0)?;
            let other = other
                .join()
                .map_err(|_| Error::other("a thread panicked"))?;
            Ok(one + other?)
        })?;
        figure(&format!("{name}-one"), 1, one as f64 / time.as_secs_f64());
        figure(&format!("{name}-two"), 1, both as f64 / time.as_secs_f64());
    }
    Ok(())
}
