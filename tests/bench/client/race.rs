// SPDX-License-Identifier: GPL-2.0

//! How much two readers get done at once, with and without a writer.

use std::{
    io::{Error, Result},
    sync::{
        atomic::{AtomicBool, Ordering::Relaxed},
        Barrier,
    },
    thread,
    time::{Duration, Instant},
};

use crate::{
    client::{create, default_get, delete, flush, get, replace, Client},
    figure,
    netlink::TCP, //
};

pub fn run(milliseconds: u64, policies: usize, writer: bool) -> Result<()> {
    let mut client = Client::new()?;
    client.fill(0..policies, |_| TCP)?;
    let suffix = if writer { "-writer" } else { "" };
    for default in [false, true] {
        let rate = round(milliseconds, policies, writer, default)?;
        let name = if default { "default-get" } else { "get" };
        figure(&format!("race-{name}{suffix}"), policies, rate);
    }
    client.request(&flush()).map(|_| ())
}

/// Requests answered per second, by both readers.
fn round(milliseconds: u64, policies: usize, writer: bool, default: bool) -> Result<f64> {
    let start = Barrier::new(3 + usize::from(writer));
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let readers = [0, policies / 2].map(|from| {
            let (start, stop) = (&start, &stop);
            scope.spawn(move || -> Result<u64> {
                let mut client = Client::new()?;
                start.wait();
                let mut count = 0;
                while !stop.load(Relaxed) {
                    let message = match default {
                        true => default_get(),
                        false => get((from + count as usize) % policies),
                    };
                    client.request(&message)?;
                    count += 1;
                }
                Ok(count)
            })
        });
        let writer = writer.then(|| {
            scope.spawn(|| -> Result<()> {
                let mut client = Client::new()?;
                start.wait();
                // Besides the policies that are read, so that each of those is always there.
                while !stop.load(Relaxed) {
                    client.request(&create(policies, TCP))?;
                    client.request(&replace(policies, 100))?;
                    client.request(&delete(policies))?;
                }
                Ok(())
            })
        });
        start.wait();
        let begin = Instant::now();
        thread::sleep(Duration::from_millis(milliseconds));
        stop.store(true, Relaxed);
        let seconds = begin.elapsed().as_secs_f64();

        let panicked = |_| Error::other("a thread panicked");
        let mut count = 0;
        for reader in readers {
            count += reader.join().map_err(panicked)??;
        }
        if let Some(writer) = writer {
            writer.join().map_err(panicked)??;
        }
        Ok(count as f64 / seconds)
    })
}
