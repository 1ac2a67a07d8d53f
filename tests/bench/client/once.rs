// SPDX-License-Identifier: GPL-2.0

//! One request, for somebody who watches what the kernel makes of it.

use std::io::{Error, Result};

use crate::netlink::{Client, TCP};

pub fn run(operation: &str, index: usize) -> Result<()> {
    let mut client = Client::new()?;
    let message = match operation {
        "create" => client.create(index, TCP),
        "get" => client.get(index),
        "default-get" => client.default_get(),
        "replace" => client.replace(index, 100),
        "delete" => client.delete(index),
        "flush" => client.flush(),
        "dump" => return client.dump().map(|_| ()),
        _ => return Err(Error::other("there is no such operation")),
    };
    client.request(&message).map(|_| ())
}
