// SPDX-License-Identifier: GPL-2.0

//! How much kernel memory policies and namespaces take.

use std::{
    fs::{self, File},
    io::{Error, Result},
    process::Command,
    thread,
    time::Duration,
};

use crate::{
    client::{flush, Client},
    figure,
    netlink::{unshare, CLONE_NEWNET, ICMP, TCP, UDP}, //
};

/// The memory that the kernel's allocators have handed out, in bytes.
pub struct Memory {
    /// Objects of kmalloc().
    objects: f64,
    /// Whole pages: allocations too large for a cache, and vmalloc.
    pages: f64,
}

impl Memory {
    /// Reads the numbers once all freed memory has been returned.
    pub fn settled() -> Result<Self> {
        // kfree_rcu() collects for up to five seconds.
        thread::sleep(Duration::from_secs(6));
        // Objects that processors keep at hand count as handed out.
        for cache in fs::read_dir("/sys/kernel/slab")? {
            fs::write(cache?.path().join("shrink"), "1")?;
        }
        // Brings the counters of all processors together.
        fs::read("/proc/sys/vm/stat_refresh")?;

        let mut objects = 0.0;
        let mut slabs = 0.0;
        for line in fs::read_to_string("/proc/slabinfo")?.lines().skip(2) {
            let field: Vec<&str> = line.split_whitespace().collect();
            let number = |index: usize| -> Result<f64> {
                let text: &str = field.get(index).copied().unwrap_or_default();
                text.parse().map_err(Error::other)
            };
            // name active_objs num_objs objsize objperslab pagesperslab : tunables ... : slabdata
            // active_slabs num_slabs sharedavail
            // The modules allocate from these, and other parts of the kernel from the others.
            if line.starts_with("kmalloc-") {
                objects += number(1)? * number(3)?;
            }
            slabs += number(14)? * number(5)? * 4096.0;
        }
        let meminfo = fs::read_to_string("/proc/meminfo")?;
        let bytes = |key: &str| -> Result<f64> {
            let line = meminfo.lines().find_map(|line| line.strip_prefix(key));
            let text = line.and_then(|line| line.split_whitespace().next());
            let text = text.ok_or_else(|| Error::other("a line of /proc/meminfo is missing"))?;
            Ok(text.parse::<f64>().map_err(Error::other)? * 1024.0)
        };
        Ok(Self {
            objects,
            pages: bytes("Slab:")? - slabs + bytes("VmallocUsed:")?,
        })
    }

    pub fn since(&self, before: &Self) -> f64 {
        self.objects - before.objects + self.pages - before.pages
    }
}

/// Memory and time of a policy, of those that Open vSwitch makes for `count` zones: six for each,
/// two for each of three protocols; and the time of each of the first thousand.
pub fn zones(count: usize) -> Result<()> {
    let mut client = Client::new()?;
    let before = Memory::settled().and_then(|_| Memory::settled())?;
    let size = 6 * count;
    let first = size.min(1000);
    let protocol = |index| [ICMP, TCP, UDP][index % 3];
    let start = client.fill(0..first, protocol)?;
    let all = start + client.fill(first..size, protocol)?;
    figure("load-first", size, start as f64 / first as f64);
    figure("load", size, all as f64 / size as f64);
    let bytes = Memory::settled()?.since(&before);
    figure("memory-zones", size, bytes / size as f64);
    client.request(&flush()).map(|_| ())
}

/// The memory of a namespace without policies: that of loading the module with `count` namespaces,
/// less that of loading it with one.
pub fn namespaces(count: usize, modules: &[String]) -> Result<()> {
    let mut alone = Vec::new();
    for module in modules {
        alone.push(load(module)?);
    }
    let mut namespaces = Vec::new();
    for _ in 0..count {
        unshare(CLONE_NEWNET)?;
        namespaces.push(File::open("/proc/self/ns/net")?);
    }
    for (module, alone) in modules.iter().zip(alone) {
        let name = module.rsplit('/').next().unwrap_or_default();
        println!("RUN {} 1", name.trim_end_matches(".ko"));
        figure("namespace", count, (load(module)? - alone) / count as f64);
    }
    Ok(())
}

/// The memory that loading a module takes: the median of three, after one that sets things up.
fn load(module: &str) -> Result<f64> {
    let run = |program: &str| match Command::new(program).arg(module).status()?.success() {
        true => Ok(()),
        false => Err(Error::other(format!("{program} {module} failed"))),
    };
    let mut bytes = Vec::new();
    for round in 0..4 {
        let before = Memory::settled()?;
        run("insmod")?;
        if round > 0 {
            bytes.push(Memory::settled()?.since(&before));
        }
        run("rmmod")?;
    }
    bytes.sort_by(f64::total_cmp);
    Ok(bytes[1])
}
