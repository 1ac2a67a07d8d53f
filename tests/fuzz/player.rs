// SPDX-License-Identifier: GPL-2.0

//! Plays actions in a namespace, and looks at each answer.

use std::{
    collections::{BTreeMap, VecDeque},
    io::{Error, Result},
    net::{Ipv4Addr, TcpStream, UdpSocket},
};

use crate::{
    answer::{self, Answer, Object, Reply},
    generate::SOCKETS,
    model::{self, Before, Model},
    netlink::*,
    rules::Tables,
    script::Action,
    sys::{self, Buffers},
    wire::{requests, seal, Request, PROTOCOLS},
};

/// How often each command was answered with each error. All commands that do not exist count as
/// one, and putting rules in place counts as another.
pub type Tally = BTreeMap<(u8, i32), u64>;

const RULES: u8 = COMMANDS + 1;

/// The settings that all players share.
#[derive(Clone, Copy)]
pub struct Setting<'a> {
    pub tables: &'a Tables,
    pub limit: u32,
    pub detach_in_use: bool,
}

/// A dump that is not over: the policies that existed when it began, and those it has shown.
struct Dump {
    socket: Socket,
    before: Before,
    objects: Vec<Object>,
}

pub struct Player<'a> {
    setting: Setting<'a>,
    sockets: Vec<Socket>,
    udp: UdpSocket,
    /// Only of a player that is alone in the namespace.
    model: Option<Model>,
    dumps: VecDeque<Dump>,
    buffers: Buffers,
    received: Vec<u8>,
    pub tally: Tally,
    pub messages: u64,
}

/// An answer that is wrong, or a system call that failed.
fn wrong(text: impl Into<String>) -> Error {
    Error::other(text.into())
}

impl<'a> Player<'a> {
    /// A player in the namespace of this thread.
    pub fn new(setting: Setting<'a>) -> Result<Self> {
        let options: [&[i32]; SOCKETS] =
            [&[NETLINK_CAP_ACK, NETLINK_EXT_ACK], &[NETLINK_EXT_ACK], &[]];
        Ok(Self {
            setting,
            sockets: options
                .into_iter()
                .map(|options| Socket::new(options)?.with_room())
                .collect::<Result<_>>()?,
            udp: UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?,
            model: None,
            dumps: VecDeque::new(),
            buffers: Buffers::new(),
            received: Vec::new(),
            tally: Tally::new(),
            messages: 0,
        })
    }

    /// A player that is alone in a new namespace, and so can check each answer against a model.
    pub fn alone(setting: Setting<'a>) -> Result<Self> {
        sys::new_namespace()?;
        let mut player = Self::new(setting)?;
        let mut defaults = Vec::new();
        for (number, _) in PROTOCOLS {
            let mut attrs = Vec::new();
            put_attr(&mut attrs, L3PROTO, &2u16.to_be_bytes());
            put_attr(&mut attrs, L4PROTO, &[number]);
            defaults.extend(player.ask(DEFAULT_GET, 0, &attrs)?);
        }
        player.model = Some(Model::new(defaults, setting.limit, setting.detach_in_use));
        Ok(player)
    }

    /// Sends a well-formed request, and returns the objects that came back.
    pub fn ask(&mut self, command: u8, flags: u16, attrs: &[u8]) -> Result<Vec<Object>> {
        let mut datagram = request(command, flags, attrs);
        seal(&mut datagram, &mut 0);
        self.send(0, &datagram)
    }

    pub fn play(&mut self, action: &Action) -> Result<()> {
        self.messages += action.messages();
        match action {
            Action::Send(socket, datagram) => self.send(socket % SOCKETS, datagram).map(drop),
            Action::Rules(rules) => {
                let errno = match self.setting.tables.put(rules) {
                    Ok(()) => 0,
                    Err(error) => error
                        .raw_os_error()
                        .filter(|errno| model::RULE_ERRORS.contains(errno))
                        .ok_or(error)?,
                };
                *self.tally.entry((RULES, errno)).or_default() += 1;
                match &mut self.model {
                    Some(model) => model.ruled(rules, errno).map_err(wrong),
                    None => Ok(()),
                }
            }
            Action::Packet(protocol, port) => {
                // The port is closed, but conntrack sees the packet.
                match protocol {
                    6 => drop(TcpStream::connect((Ipv4Addr::LOCALHOST, *port))),
                    _ => drop(self.udp.send_to(b"x", (Ipv4Addr::LOCALHOST, *port))),
                }
                Ok(())
            }
            Action::DumpBegin => self.dump_begin(),
            Action::DumpEnd => self.dump_end(),
        }
    }

    fn send(&mut self, socket: usize, datagram: &[u8]) -> Result<Vec<Object>> {
        let mut received = std::mem::take(&mut self.received);
        received.clear();
        let socket = &self.sockets[socket];
        socket.send(datagram)?;
        socket.receive_all(&mut self.buffers, &mut received)?;
        let mut replies = Replies {
            rest: &received,
            port: socket.port,
            limit: self.setting.limit,
        };
        let mut objects = Vec::new();
        for req in requests(datagram) {
            let mut judge = Judge {
                model: self.model.as_mut(),
                tally: &mut self.tally,
                req: &req,
            };
            let result = match req.is_dump() {
                true => judge.dump(&mut replies, |out| {
                    socket.receive_all(&mut self.buffers, out)
                }),
                false => judge.answer(&mut replies),
            };
            let found = result.map_err(|error| wrong(format!("{}: {error}", describe(&req))))?;
            objects.extend(found);
        }
        if !replies.rest.is_empty() {
            return Err(wrong(format!(
                "answers that nobody asked for: {:?}",
                replies.rest
            )));
        }
        self.received = received;
        Ok(objects)
    }

    fn dump_begin(&mut self) -> Result<()> {
        // So that some never end but by the end of the socket.
        if self.dumps.len() == 3 {
            self.dumps.pop_front();
        }
        let socket = Socket::new(&[])?;
        socket.send(&request(GET, NLM_F_DUMP, &[]))?;
        let before = self.model.as_ref().map(Model::before).unwrap_or_default();
        let mut dump = Dump {
            socket,
            before,
            objects: Vec::new(),
        };
        if !self.dump_part(&mut dump)? {
            self.dumps.push_back(dump);
        }
        Ok(())
    }

    fn dump_end(&mut self) -> Result<()> {
        let Some(mut dump) = self.dumps.pop_front() else {
            return Ok(());
        };
        while !self.dump_part(&mut dump)? {}
        Ok(())
    }

    /// The next buffer of a dump; whether it was the last.
    fn dump_part(&mut self, dump: &mut Dump) -> Result<bool> {
        let mut rest = dump.socket.receive_small(&mut self.buffers)?;
        while !rest.is_empty() {
            let (reply, behind) =
                answer::next(rest, dump.socket.port, self.setting.limit).map_err(wrong)?;
            rest = behind;
            match reply.answer {
                Answer::Object(object) => dump.objects.push(object),
                Answer::Done => {
                    let model = self.model.as_ref();
                    let whole = model.map_or(Ok(()), |model| {
                        model.dumped_meanwhile(&dump.before, &dump.objects)
                    });
                    return whole.map(|()| true).map_err(wrong);
                }
                other => return Err(wrong(format!("a dump was answered with {other:?}"))),
            }
        }
        Ok(false)
    }

    /// The end of a round: checks the policies that are left, and deletes them.
    pub fn finish(&mut self) -> Result<()> {
        while !self.dumps.is_empty() {
            self.dump_end()?;
        }
        self.ask(GET, NLM_F_DUMP, &[])?;
        self.play(&Action::Rules(Vec::new()))?;
        let left = self.ask(GET, NLM_F_DUMP, &[])?;
        if let Some(used) = left.iter().find(|object| object.uses != 1) {
            return Err(wrong(format!("without rules, a policy is used: {used:?}")));
        }
        self.ask(DELETE, NLM_F_ACK, &[])?;
        match self.ask(GET, NLM_F_DUMP, &[])?.first() {
            Some(kept) => Err(wrong(format!(
                "it was not deleted with all the others: {kept:?}"
            ))),
            None => Ok(()),
        }
    }
}

fn describe(req: &Request<'_>) -> String {
    format!(
        "message {} of {} bytes, command {:?}, flags {:#x}",
        u32_at(req.header(), 8),
        req.len(),
        req.command(),
        req.flags()
    )
}

/// The replies that were received and not yet checked.
struct Replies<'a> {
    rest: &'a [u8],
    port: u32,
    limit: u32,
}

impl<'a> Replies<'a> {
    /// The next one, which has to be for this request.
    fn next(&mut self, req: &Request<'_>) -> Result<Answer<'a>> {
        let (reply, rest) = answer::next(self.rest, self.port, self.limit).map_err(wrong)?;
        self.rest = rest;
        let Reply { seq, answer } = reply;
        match seq == u32_at(req.header(), 8) {
            true => Ok(answer),
            false => Err(wrong(format!(
                "the answer to message {seq} comes next: {answer:?}"
            ))),
        }
    }

    /// Whether there is one for this request.
    fn any(&self, req: &Request<'_>) -> bool {
        self.rest.get(8..12) == Some(&req.header()[8..12])
    }
}

/// Looks at the answers to one request.
struct Judge<'a, 'r> {
    model: Option<&'a mut Model>,
    tally: &'a mut Tally,
    req: &'a Request<'r>,
}

impl Judge<'_, '_> {
    fn answer(&mut self, replies: &mut Replies<'_>) -> Result<Vec<Object>> {
        let wants_ack = self.req.has(NLM_F_ACK);
        let Some(command) = self.req.command() else {
            // The module does not see this message, but netlink acknowledges it.
            let acked =
                !wants_ack || matches!(replies.next(self.req)?, Answer::Ack { errno: 0, .. });
            return acked
                .then(Vec::new)
                .ok_or_else(|| wrong("it was not ignored"));
        };
        let mut objects = Vec::new();
        let mut errno = 0;
        let mut said = None;
        let mut answered = false;
        while replies.any(self.req) {
            match replies.next(self.req)? {
                Answer::Object(object) if objects.is_empty() && !answered => objects.push(object),
                Answer::Ack {
                    errno: number,
                    header,
                    text,
                } if !answered && header == self.req.header() => {
                    (errno, said, answered) = (number, text, true);
                }
                other => return Err(wrong(format!("it was answered with {other:?}"))),
            }
        }
        if answered != (wants_ack || errno != 0) {
            return Err(wrong("it was not acknowledged as it asked for"));
        }
        if errno != 0 && !model::errors(command).contains(&errno) {
            return Err(wrong(format!("it failed with error {errno} ({said:?})")));
        }
        let reads = matches!(command, GET | DEFAULT_GET);
        if objects.len() != usize::from(reads && errno == 0) {
            return Err(wrong(format!(
                "{} objects with error {errno}",
                objects.len()
            )));
        }
        *self
            .tally
            .entry((command.min(COMMANDS), errno))
            .or_default() += 1;
        if let Some(model) = &mut self.model {
            let result = match objects.first() {
                Some(object) => model.shown(command, self.req, object),
                None => model.answered(command, self.req, errno, said.as_deref()),
            };
            result.map_err(|error| {
                wrong(format!("error {errno}, {said:?}, {objects:?}, but {error}"))
            })?;
        }
        Ok(objects)
    }

    fn dump(
        &mut self,
        replies: &mut Replies<'_>,
        mut more: impl FnMut(&mut Vec<u8>) -> Result<()>,
    ) -> Result<Vec<Object>> {
        let mut objects = Vec::new();
        let mut received = replies.rest.to_vec();
        replies.rest = &[];
        loop {
            if received.is_empty() {
                return Err(wrong("the dump does not end"));
            }
            let mut part = Replies {
                rest: &received,
                ..*replies
            };
            while !part.rest.is_empty() {
                match part.next(self.req)? {
                    Answer::Object(object) => objects.push(object),
                    Answer::Done => {
                        if let Some(model) = &self.model {
                            model.dumped(&objects).map_err(wrong)?;
                        }
                        return Ok(objects);
                    }
                    Answer::Ack { errno, header, .. } => {
                        let refused = header == self.req.header() && objects.is_empty();
                        return match refused && model::errors(GET).contains(&errno) {
                            true => Ok(Vec::new()),
                            false => {
                                Err(wrong(format!("the dump was answered with error {errno}")))
                            }
                        };
                    }
                }
            }
            received.clear();
            more(&mut received)?;
        }
    }
}

/// Sends a well-formed request in the namespace of this thread, which has to succeed.
pub fn ask_once(command: u8, flags: u16, attrs: &[u8], limit: u32) -> Result<()> {
    let socket = Socket::new(&[])?;
    let mut datagram = request(command, flags, attrs);
    seal(&mut datagram, &mut 0);
    let mut received = Vec::new();
    socket.send(&datagram)?;
    socket.receive_all(&mut Buffers::new(), &mut received)?;
    match answer::next(&received, socket.port, limit)
        .map_err(wrong)?
        .0
        .answer
    {
        Answer::Ack { errno: 0, .. } => Ok(()),
        other => Err(wrong(format!("a request was answered with {other:?}"))),
    }
}
