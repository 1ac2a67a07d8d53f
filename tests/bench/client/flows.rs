// SPDX-License-Identifier: GPL-2.0

//! The cost of deleting policies beside tracked flows.

use std::{
    io::{Error, Result},
    net::UdpSocket,
};

use crate::{
    client::{self, Client},
    figure,
    median,
    netlink::UDP, //
};

pub fn create(indices: &[usize]) -> Result<()> {
    let mut client = Client::new()?;
    for &index in indices {
        client.request(&client::create(index, UDP))?;
    }
    Ok(())
}

pub fn fill(count: usize) -> Result<()> {
    let mut client = Client::new()?;
    for index in 0..count {
        match client.request(&client::create(index, UDP)) {
            // Those that rules use are there already.
            Err(err) if err.raw_os_error() != Some(16) => return Err(err),
            _ => (),
        }
    }
    Ok(())
}

/// Deletes a policy that flows use.
pub fn delete(index: usize) -> Result<()> {
    let mut client = Client::new()?;
    let time = client.request(&client::delete(index))?;
    figure("delete-used", flow_count()?, time as f64);
    Ok(())
}

/// Deletes policies that no flow uses.
pub fn unused(rounds: usize, flows: usize) -> Result<()> {
    let mut client = Client::new()?;
    let mut times = Vec::new();
    for _ in 0..rounds {
        client.request(&client::create(0, UDP))?;
        times.push(client.request(&client::delete(0))?);
    }
    expect_flows(flows)?;
    figure("delete-unused", flows, median(&mut times));
    Ok(())
}

/// Deletes all policies.
pub fn flush(policies: usize) -> Result<()> {
    let mut client = Client::new()?;
    let (count, _) = client.dump()?;
    if count != policies {
        return Err(Error::other(format!(
            "{count} policies instead of {policies}"
        )));
    }
    let name = if flow_count()? == 0 {
        "flush"
    } else {
        "flush-flows"
    };
    figure(name, policies, client.request(&client::flush())? as f64);
    match client.dump()? {
        (0, _) => Ok(()),
        (left, _) => Err(Error::other(format!("{left} policies were not flushed"))),
    }
}

/// Makes flows, each by one packet.
pub fn flood(count: usize, address: &str) -> Result<()> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    let before = flow_count()?;
    for port in 1..=count {
        let port = u16::try_from(port).map_err(Error::other)?;
        socket.send_to(b"x", (address, port))?;
    }
    expect_flows(before + count)
}

pub fn forget() -> Result<()> {
    let mut client = Client::new()?;
    client.request(&client::flush_flows())?;
    expect_flows(0)
}

fn flow_count() -> Result<usize> {
    std::fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_count")?
        .trim()
        .parse()
        .map_err(Error::other)
}

fn expect_flows(expected: usize) -> Result<()> {
    match flow_count()? {
        count if count == expected => Ok(()),
        count => Err(Error::other(format!("{count} flows instead of {expected}"))),
    }
}
