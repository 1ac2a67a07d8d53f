// SPDX-License-Identifier: GPL-2.0

//! Parses replies, and refuses those that are not well formed.

use crate::{netlink::*, wire::timeouts};

/// `enum nlmsgerr_attrs`
const MSG: u16 = 1;
const OFFS: u16 = 2;
const POLICY: u16 = 4;
const MISS_TYPE: u16 = 5;
const MISS_NEST: u16 = 6;

/// A policy, or the defaults of a protocol, which have no name.
#[derive(Debug)]
pub struct Object {
    pub name: Option<Vec<u8>>,
    pub uses: u32,
    pub l3proto: u16,
    pub l4proto: u8,
    pub values: Vec<u32>,
}

#[derive(Debug)]
pub enum Answer<'a> {
    /// An acknowledgment: 0 or an error number, and the text of the extack.
    Ack {
        errno: i32,
        header: &'a [u8],
        text: Option<String>,
    },
    Object(Object),
    /// The end of a dump.
    Done,
}

pub struct Reply<'a> {
    pub seq: u32,
    pub answer: Answer<'a>,
}

/// Parses the next message; returns it and the rest.
pub fn next<'a>(raw: &'a [u8], port: u32, limit: u32) -> Result<(Reply<'a>, &'a [u8]), String> {
    if raw.len() < 16 {
        return Err(format!("{} bytes are no message", raw.len()));
    }
    let len = u32_at(raw, 0) as usize;
    let Some(message) = raw.get(..len).filter(|m| m.len() >= 16) else {
        return Err(format!("a length of {len} in {} bytes", raw.len()));
    };
    if u32_at(raw, 12) != port {
        return Err(format!("it is for port {}, not {port}", u32_at(raw, 12)));
    }
    let flags = u16_at(raw, 6);
    let answer = match u16_at(raw, 4) {
        NLMSG_ERROR => ack(message, flags)?,
        // No other flag, and so never NLM_F_DUMP_INTR.
        NLMSG_DONE if flags == NLM_F_MULTI => done(&message[16..])?,
        kind if flags == NLM_F_MULTI => Answer::Object(object(kind, &message[16..], limit)?),
        kind => return Err(format!("type {kind:#x} with flags {flags:#x}")),
    };
    let seq = u32_at(raw, 8);
    let rest = &raw[len.next_multiple_of(4).min(raw.len())..];
    Ok((Reply { seq, answer }, rest))
}

fn errno(body: &[u8]) -> Result<i32, String> {
    let errno = body
        .first_chunk()
        .map(|code| i32::from_ne_bytes(*code).wrapping_neg());
    errno
        .filter(|errno| (0..4096).contains(errno))
        .ok_or_else(|| "no error number".into())
}

fn done(body: &[u8]) -> Result<Answer<'_>, String> {
    match errno(body)? {
        0 => Ok(Answer::Done),
        errno => Err(format!("a dump failed with error {errno}")),
    }
}

fn ack(message: &[u8], flags: u16) -> Result<Answer<'_>, String> {
    let body = &message[16..];
    let errno = errno(body)?;
    let header = body
        .get(4..20)
        .ok_or("an acknowledgment without the request's header")?;
    let asked = u32_at(header, 0) as usize;
    // Of a refused request, all comes back, unless the socket wants only the header.
    let echo = if flags & NLM_F_CAPPED != 0 {
        16
    } else {
        asked.next_multiple_of(4)
    };
    let said = body.get(4 + echo.min(body.len())..).unwrap_or_default();
    if errno == 0 && flags & NLM_F_CAPPED == 0 || (said.is_empty() == (flags & NLM_F_ACK_TLVS != 0))
    {
        return Err(format!(
            "flags {flags:#x} with error {errno} and {} bytes behind",
            said.len()
        ));
    }
    let mut text = None;
    for (kind, content) in attributes(said)? {
        let number = content
            .try_into()
            .map_or(usize::MAX, |number| u32::from_ne_bytes(number) as usize);
        let good = match kind & !NLA_F_NESTED {
            MSG => {
                text = Some(message_text(content)?);
                true
            }
            OFFS | MISS_NEST => errno != 0 && number % 4 == 0 && number < asked,
            MISS_TYPE => errno != 0 && (1..=5).contains(&number),
            POLICY => errno != 0 && attributes(content).is_ok(),
            _ => false,
        };
        if !good {
            return Err(format!(
                "what was said has an attribute {kind}: {content:?}"
            ));
        }
    }
    Ok(Answer::Ack {
        errno,
        header,
        text,
    })
}

fn message_text(content: &[u8]) -> Result<String, String> {
    let text = content
        .strip_suffix(b"\0")
        .filter(|text| !text.is_empty() && text.len() < 80);
    let text = text
        .and_then(|text| std::str::from_utf8(text).ok())
        .filter(|text| !text.contains('\0'));
    text.map(str::to_string)
        .ok_or_else(|| format!("what was said is no text: {content:?}"))
}

/// Attributes that leave nothing over.
fn attributes(mut rest: &[u8]) -> Result<Vec<(u16, &[u8])>, String> {
    let mut found = Vec::new();
    while !rest.is_empty() {
        let len = rest
            .first_chunk()
            .map_or(0, |len| usize::from(u16::from_ne_bytes(*len)));
        let attr = rest.get(..len).filter(|attr| attr.len() >= 4);
        let attr = attr.ok_or_else(|| format!("attributes that do not add up: {rest:?}"))?;
        found.push((u16_at(attr, 2), &attr[4..]));
        rest = &rest[len.next_multiple_of(4).min(rest.len())..];
    }
    Ok(found)
}

fn object(kind: u16, body: &[u8], limit: u32) -> Result<Object, String> {
    let bad = || format!("an object of type {kind:#x} that makes no sense: {body:?}");
    let attrs = body.get(4..).ok_or_else(bad)?;
    if body[..4] != [0; 4] {
        return Err(bad());
    }
    let attrs = attributes(attrs)?;
    let kinds: Vec<u16> = attrs.iter().map(|(kind, _)| *kind).collect();
    let (command, named) = (kind ^ SUBSYSTEM, kinds.first() == Some(&NAME));
    let expected: &[u16] = match named {
        true => &[NAME, L3PROTO, L4PROTO, USE, DATA | NLA_F_NESTED],
        false => &[L3PROTO, L4PROTO, DATA | NLA_F_NESTED],
    };
    if kinds != expected || command != u16::from(if named { NEW } else { DEFAULT_SET }) {
        return Err(bad());
    }
    let find = |wanted| {
        attrs
            .iter()
            .find(|(kind, _)| *kind == wanted)
            .map_or(&[][..], |attr| attr.1)
    };
    let name = match find(NAME).split_last() {
        Some((0, name)) if name.len() < 32 && !name.contains(&0) => Some(name.to_vec()),
        None if !named => None,
        _ => return Err(bad()),
    };
    let uses = match find(USE).try_into().map(u32::from_be_bytes) {
        Ok(uses @ 1..) if named => uses,
        Err(_) if !named => 0,
        _ => return Err(bad()),
    };
    let l3proto = find(L3PROTO)
        .try_into()
        .map(u16::from_be_bytes)
        .map_err(|_| bad())?;
    let [l4proto] = *find(L4PROTO) else {
        return Err(bad());
    };
    let mut values = Vec::new();
    for (kind, content) in attributes(find(DATA | NLA_F_NESTED))? {
        let value = content
            .try_into()
            .map(u32::from_be_bytes)
            .map_err(|_| bad())?;
        values.push(value);
        if usize::from(kind) != values.len() || value > limit {
            return Err(bad());
        }
    }
    if timeouts(l4proto) != Some(values.len()) {
        return Err(bad());
    }
    Ok(Object {
        name,
        uses,
        l3proto,
        l4proto,
        values,
    })
}
