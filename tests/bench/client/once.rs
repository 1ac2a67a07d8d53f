// SPDX-License-Identifier: GPL-2.0

//! One request, for `make profile` to follow.

use std::io::{Error, Result};

use crate::{
    client::{create, default_get, delete, flush, get, replace, Client},
    netlink::TCP,
};

pub fn run(operation: &str, index: usize) -> Result<()> {
    let mut client = Client::new()?;
    let message = match operation {
        "create" => create(index, TCP),
        "get" => get(index),
        "default-get" => default_get(),
        "replace" => replace(index, 100),
        "delete" => delete(index),
        "flush" => flush(),
        "dump" => return client.dump().map(|_| ()),
        _ => return Err(Error::other("there is no such operation")),
    };
    client.request(&message).map(|_| ())
}
