// SPDX-License-Identifier: GPL-2.0

//! The cost of commands, dumps and hooks as the table grows.

use std::{
    fs,
    io::{Error, Result},
    thread,
    time::Duration,
};

use crate::{
    client::{create, default_get, delete, flush, get, replace, Client},
    figure,
    median,
    memory::Memory,
    netlink::TCP, //
};

/// Where the benchmark module takes orders, if it is loaded.
const HOOKS: &str = "/sys/module/hookbench/parameters/run";

/// Numbers that look random, and are the same in each run.
struct Lcg(u64);

impl Lcg {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        ((self.0 >> 33) as usize) % limit
    }
}

pub fn run(rounds: usize, memory_at: usize, sizes: &[usize]) -> Result<()> {
    let mut client = Client::new()?;
    let mut random = Lcg(1);
    let mut count = 0;
    let before = match memory_at {
        0 => None,
        // Reading it for the first time takes memory itself.
        _ => Some(Memory::settled().and_then(|_| Memory::settled())?),
    };
    for &size in sizes {
        client.fill(count..size, |_| TCP)?;
        count = size;
        // The hash table may still be growing. Growth is part of the row for loading.
        thread::sleep(Duration::from_secs(1));
        if let Some(before) = before.as_ref().filter(|_| size == memory_at) {
            let bytes = Memory::settled()?.since(before);
            figure("memory", size, bytes / size as f64);
        }
        commands(&mut client, &mut random, rounds, size)?;
        dumps(&mut client, size)?;
        hooks(size)?;
    }
    figure("flush", count, client.request(&flush())? as f64);
    Ok(())
}

/// The commands on policies anywhere in the table. One that was deleted comes back at its end,
/// so the table is always as large.
fn commands(client: &mut Client, random: &mut Lcg, rounds: usize, size: usize) -> Result<()> {
    let mut times = [const { Vec::new() }; 5];
    for round in 0..rounds {
        let index = random.below(size);
        let messages = [
            get(index),
            replace(index, 200 + round as u32),
            delete(index),
            create(index, TCP),
            default_get(),
        ];
        for (message, times) in messages.iter().zip(&mut times) {
            times.push(client.request(message)?);
        }
    }
    for (name, times) in ["get", "replace", "delete", "create", "default-get"]
        .iter()
        .zip(&mut times)
    {
        figure(name, size, median(times));
    }
    Ok(())
}

/// Dumps, per policy: the shortest, because anything can make one longer.
fn dumps(client: &mut Client, size: usize) -> Result<()> {
    let mut best = u64::MAX;
    for _ in 0..5 {
        let (count, time) = client.dump()?;
        if count != size {
            return Err(Error::other(format!("{count} of {size} policies dumped")));
        }
        best = best.min(time);
    }
    figure("dump", size, best as f64 / size as f64);
    Ok(())
}

/// The pair of hooks, inside the kernel: by the names of all policies, which is about memory and
/// its caches, and by the same few; and the time of a chain of loads in as much memory.
fn hooks(size: usize) -> Result<()> {
    if fs::metadata(HOOKS).is_err() {
        return Ok(());
    }
    for (name, names) in [("hooks", size), ("hooks-few", 64.min(size)), ("floor", 0)] {
        let first = nanoseconds(size, 250, names)?;
        // As many calls as names, or more, unless each takes long, in a table that is a list.
        let calls = (1e7 / first) as usize;
        let time = match calls {
            ..=250 => first,
            251..5000 => nanoseconds(size, calls, names)?,
            _ => nanoseconds(size, calls.max(size).min(100_000), names)?,
        };
        figure(name, size, time);
    }
    Ok(())
}

/// The time of one of `calls`, or, with `names` 0, of one step of the chain.
fn nanoseconds(size: usize, calls: usize, names: usize) -> Result<f64> {
    fs::write(HOOKS, format!("{size} {calls} {names}"))?;
    let picoseconds: u64 = fs::read_to_string(HOOKS)?
        .trim()
        .parse()
        .map_err(|_| Error::other("the benchmark module has no figure"))?;
    Ok(picoseconds.max(1) as f64 / 1000.0)
}
