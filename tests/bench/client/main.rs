// SPDX-License-Identifier: GPL-2.0

//! The client of `make bench` inside the guest: makes policies, flows and namespaces, and measures
//! the time that the module takes.
//!
//! Each figure is printed as a line "FIGURE NAME N VALUE". Times are in nanoseconds; in a guest
//! whose clock counts instructions, those are instructions, system call and this client included.
//!
//! Needs nothing but the standard library, so that rustc alone builds it.

mod client;
mod curve;
mod ends;
mod flows;
mod memory;
mod neighbours;
#[path = "../../lib/netlink.rs"]
mod netlink;
mod once;
mod race;

use std::io::{Error, Result};

const USAGE: &str = "usage:
  client curve ROUNDS MEMORY_AT N...      commands, dumps and hooks with N policies, growing
  client zones COUNT                      memory and time of policies, for Open vSwitch zones
  client unused ROUNDS FLOWS              delete of a policy that none of FLOWS flows uses
  client create INDEX...                  UDP policies
  client delete INDEX                     one, and how long it takes
  client fill N                           policies up to number N
  client flush N                          all, and how long it takes; N is for the figure
  client flood COUNT ADDRESS              a UDP packet to each of COUNT ports
  client forget                           all flows
  client once OPERATION INDEX             create, get, replace, delete, flush or dump
  client wait N                           longest create and delete beside the flush of N policies
  client pair MILLISECONDS N              create and delete beside the filling of a table with N
  client two MILLISECONDS                 create and delete in one namespace, and in two at once
  client end NAME N OWN OTHERS            end of one with OWN policies, beside one with OTHERS
  client hold N                           a namespace with N policies, until the input ends
  client race MILLISECONDS N WRITER       gets by 2 threads; WRITER (0 or 1) more that write
  client namespaces COUNT MODULE.ko...    what an idle namespace costs with each module
  client poweroff                         ends this machine";

pub fn figure(name: &str, n: usize, value: f64) {
    println!("FIGURE {name} {n} {value:.3}");
}

pub fn median(times: &mut [u64]) -> f64 {
    times.sort_unstable();
    times[times.len() / 2] as f64
}

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |index: usize| -> Result<usize> {
        args.get(index)
            .and_then(|arg| arg.parse().ok())
            .ok_or_else(|| Error::other(USAGE))
    };
    let numbers = |from: usize| (from..args.len()).map(number).collect::<Result<Vec<_>>>();
    match args.first().map(String::as_str) {
        Some("curve") => curve::run(number(1)?, number(2)?, &numbers(3)?),
        Some("zones") => memory::zones(number(1)?),
        Some("unused") => flows::unused(number(1)?, number(2)?),
        Some("create") => flows::create(&numbers(1)?),
        Some("delete") => flows::delete(number(1)?),
        Some("fill") => flows::fill(number(1)?),
        Some("flush") => flows::flush(number(1)?),
        Some("flood") if args.len() == 3 => flows::flood(number(1)?, &args[2]),
        Some("forget") => flows::forget(),
        Some("once") if args.len() == 3 => once::run(&args[1], number(2)?),
        Some("wait") => neighbours::wait(number(1)?),
        Some("pair") => neighbours::pair(number(1)? as u64, number(2)?),
        Some("two") => neighbours::two(number(1)? as u64),
        Some("end") if args.len() == 5 => ends::run(&args[1], number(2)?, number(3)?, number(4)?),
        Some("hold") => ends::hold(number(1)?),
        Some("race") => race::run(number(1)? as u64, number(2)?, number(3)? == 1),
        Some("namespaces") if args.len() > 2 => memory::namespaces(number(1)?, &args[2..]),
        Some("poweroff") => poweroff(),
        _ => Err(Error::other(USAGE)),
    }
}

extern "C" {
    fn reboot(how: i32) -> i32;
}

fn poweroff() -> Result<()> {
    const RB_POWER_OFF: i32 = 0x4321_fedc;
    // SAFETY: A system call without pointers.
    unsafe { reboot(RB_POWER_OFF) };
    Err(Error::last_os_error())
}
