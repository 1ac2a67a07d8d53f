// SPDX-License-Identifier: GPL-2.0

//! Rules that give flows a policy: the raw table, put in place as a whole by one system call.
//!
//! iptables-legacy makes a few tables, once; later only names and protocols in them are changed.

use std::{
    io::{Error, Result},
    process::Command,
};

use crate::{
    netlink::{u16_at, u32_at},
    script::{Rule, NAME_FIELD},
    sys::{self, Iptables},
};

const IPT_SO_GET_INFO: i32 = 64;
const IPT_SO_GET_ENTRIES: i32 = 65;
const IPT_SO_SET_REPLACE: i32 = 64;
/// `struct ipt_getinfo`: the name, valid_hooks, hook_entry[5], underflow[5], num_entries, size.
const INFO: usize = 32 + 13 * 4;
const NUM_ENTRIES: usize = INFO - 8;
const SIZE: usize = INFO - 4;
/// `struct xt_counters`
const COUNTERS: usize = 16;
/// Where the protocol is in `struct ipt_entry`, and where the offset of the next one.
const PROTOCOL: usize = 80;
const NEXT_OFFSET: usize = 90;
/// So many rules at most.
const MOST: usize = 4;

struct Table {
    info: Vec<u8>,
    entries: Vec<u8>,
    /// Where each rule and its name are.
    rules: Vec<(usize, usize)>,
}

/// Tables with no, one, two... rules.
pub struct Tables(Vec<Table>);

fn placeholder(number: usize) -> String {
    format!("the name of policy number {number:04}")
}

fn info(socket: &Iptables) -> Result<Vec<u8>> {
    let mut info = vec![0; INFO];
    info[..3].copy_from_slice(b"raw");
    socket.get(IPT_SO_GET_INFO, &mut info)?;
    Ok(info)
}

fn read() -> Result<Table> {
    let socket = Iptables::new()?;
    let info = info(&socket)?;
    let size = u32_at(&info, SIZE) as usize;
    // struct ipt_get_entries: name, size, and the entries, aligned to 8 bytes
    let mut got = vec![0; 40 + size];
    got[..3].copy_from_slice(b"raw");
    got[32..36].copy_from_slice(&info[SIZE..]);
    socket.get(IPT_SO_GET_ENTRIES, &mut got)?;
    let entries = got.split_off(40);
    let mut rules = Vec::new();
    let mut at = 0;
    while at < entries.len() {
        let end = at + usize::from(u16_at(&entries, at + NEXT_OFFSET));
        let text = placeholder(rules.len());
        let found = entries[at..end]
            .windows(text.len())
            .position(|w| w == text.as_bytes());
        if let Some(name) = found {
            rules.push((at, at + name));
        }
        at = end;
    }
    Ok(Table {
        info,
        entries,
        rules,
    })
}

impl Tables {
    /// Makes them in a namespace, where policies have to be for them, with one request each.
    pub fn new(create: impl Fn(&str) -> Result<()>) -> Result<Self> {
        let mut tables = Vec::new();
        for number in 0..=MOST {
            let table = read()?;
            if table.rules.len() != number {
                return Err(Error::other("a rule was not found where it should be"));
            }
            tables.push(table);
            if number < MOST {
                let name = placeholder(number);
                create(&name)?;
                let words = [
                    "-t",
                    "raw",
                    "-A",
                    "OUTPUT",
                    "-p",
                    "udp",
                    "-j",
                    "CT",
                    "--timeout",
                    &name,
                ];
                if !Command::new("iptables-legacy")
                    .args(words)
                    .status()?
                    .success()
                {
                    return Err(Error::other("iptables-legacy failed"));
                }
            }
        }
        sys::new_namespace()?;
        Ok(Self(tables))
    }

    /// Puts a table into this thread's namespace.
    pub fn put(&self, rules: &[Rule]) -> Result<()> {
        let table = self
            .0
            .get(rules.len())
            .ok_or_else(|| Error::other("too many rules"))?;
        let mut entries = table.entries.clone();
        for (rule, &(at, name)) in rules.iter().zip(&table.rules) {
            entries[at + PROTOCOL] = rule.l4proto;
            entries[name..name + NAME_FIELD].copy_from_slice(&rule.name);
        }
        let socket = Iptables::new()?;
        let old = u32_at(&info(&socket)?, NUM_ENTRIES);
        let counters = vec![0u64; old as usize * COUNTERS / 8];
        // struct ipt_replace: as in the info, but with number and size before the offsets
        let mut replace = table.info[..36].to_vec();
        replace.extend(&table.info[NUM_ENTRIES..]);
        replace.extend(&table.info[36..NUM_ENTRIES]);
        replace.extend(old.to_ne_bytes());
        replace.extend((counters.as_ptr() as usize).to_ne_bytes());
        replace.extend(entries);
        // SAFETY: The pointer leads to room for as many counters as the old table has entries.
        unsafe { socket.set(IPT_SO_SET_REPLACE, &replace) }
    }
}
