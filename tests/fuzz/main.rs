// SPDX-License-Identifier: GPL-2.0

//! The fuzzer, which `make fuzz` runs inside the guest: sends messages of all kinds to the module,
//! and checks whether its answers make sense.
//!
//! A round is some thousand messages, with rules and packets, in a new namespace where only one
//! thread is at work, so that the thread knows each answer, and the policies left in the end.
//! Meanwhile, other threads race in other namespaces. A round follows from the seed, its number and
//! the corpus, so it can be played again. A round with a wrong answer is made shorter, and printed.
//!
//! Needs nothing but the standard library, so that rustc alone builds it.

mod answer;
mod company;
mod corpus;
mod coverage;
mod generate;
mod minimize;
mod model;
mod mutate;
#[path = "../lib/netlink.rs"]
mod netlink;
mod player;
mod rng;
mod rules;
mod script;
mod sys;
mod wire;

use std::{
    env,
    io::{Error, Result},
    process::ExitCode,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use crate::{
    company::Company,
    corpus::Corpus,
    coverage::Steps,
    generate::Generator,
    netlink::*,
    player::{Player, Setting, Tally},
    rng::Rng,
    rules::Tables,
    script::Action,
    sys::KernelLog,
};

const USAGE: &str = "usage:
  fuzz run SEED ROUND SECONDS MESSAGES    from that round on, until one of the two is reached (0: never)
  fuzz print SEED ROUND                   what the round consists of
  fuzz replay FILE                        plays what is in the file
  fuzz minimize FILE                      prints less, if that fails, too
environment:
  LIMIT=      the longest time that conntrack can count, in seconds
  DETACH=1    the module was loaded with detach_in_use=1
  CORPUS=     files with messages to begin with
";

/// So many messages in a round, about.
const ROUND: u64 = 5000;
/// A round that fails is made shorter for so long at most.
const PATIENCE: Duration = Duration::from_secs(120);

/// The actions of a round.
fn round(seed: u64, number: u64, corpus: &Corpus, limit: u32) -> Vec<Action> {
    let mut generator = Generator::new(Rng::new(seed, 0, number), corpus, limit);
    let mut messages = 0;
    let mut actions = Vec::new();
    while messages < ROUND {
        let action = generator.action();
        messages += action.messages();
        actions.push(action);
    }
    actions
}

/// Plays actions in a new namespace; returns the number of those played, and the first failure.
fn play(
    setting: Setting<'_>,
    actions: &[Action],
    log: &mut KernelLog,
    mut each: impl FnMut(&Action),
) -> Result<(usize, Option<String>, Tally)> {
    let mut player = Player::alone(setting)?;
    let mut failed = None;
    let mut played = actions.len();
    for (number, action) in actions.iter().enumerate() {
        if let Err(error) = player.play(action) {
            failed = Some(error.to_string());
            played = number + 1;
            break;
        }
        each(action);
    }
    let failed = failed.or_else(|| {
        player
            .finish()
            .err()
            .map(|error| format!("at the end: {error}"))
    });
    let said = log.warnings()?;
    let failed = failed.or_else(|| (!said.is_empty()).then(|| format!("the kernel says: {said}")));
    Ok((played, failed, player.tally))
}

struct Run<'a> {
    setting: Setting<'a>,
    seed: u64,
    corpus: Corpus,
    /// With those of company.
    messages: &'a AtomicU64,
    stop: &'a AtomicBool,
    log: KernelLog,
    tally: Tally,
}

impl Run<'_> {
    /// Plays rounds, from one on, until it is enough; returns the number of the next.
    fn rounds(&mut self, from: u64, seconds: u64, messages: u64) -> Result<(u64, Option<Find>)> {
        let start = Instant::now();
        let mut steps = Steps::new()?;
        match &steps {
            Some(_) => println!(
                "the kernel tells which code is run (KCOV): what shows new code is tried again"
            ),
            None => println!("the kernel cannot tell which code is run (no CONFIG_KCOV)"),
        }
        let mut number = from;
        let enough = |count| {
            messages > 0 && count >= messages || seconds > 0 && start.elapsed().as_secs() >= seconds
        };
        while !enough(self.messages.load(Relaxed)) && !self.stop.load(Relaxed) {
            let actions = round(self.seed, number, &self.corpus, self.setting.limit);
            let mut new = Vec::new();
            let counter = self.messages;
            let (played, failed, tally) = play(self.setting, &actions, &mut self.log, |action| {
                counter.fetch_add(action.messages(), Relaxed);
                if let (Some(steps), Action::Send(_, datagram)) = (&mut steps, action) {
                    if steps.any_new() {
                        new.push(datagram.clone());
                    }
                }
            })?;
            for (key, count) in tally {
                *self.tally.entry(key).or_default() += count;
            }
            if let Some(failed) = failed {
                let actions = actions[..played].to_vec();
                return Ok((number, Some(Find { actions, failed })));
            }
            for datagram in new {
                println!("CORPUS {number} {}", script::hex(&datagram));
                self.corpus.add(datagram);
            }
            number += 1;
            // After a guest has died, the last of these lines names its round.
            let count = self.messages.load(Relaxed);
            let rate = count as f64 / start.elapsed().as_secs_f64();
            let code = steps.as_ref().map_or(String::new(), |steps| {
                let (steps, corpus) = (steps.count, self.corpus.len());
                format!(", {steps} steps of code, {corpus} in the corpus")
            });
            println!("PROGRESS {number} {count} messages, {rate:.0} per second{code}");
        }
        Ok((number, None))
    }
}

/// A round up to the first failure.
struct Find {
    actions: Vec<Action>,
    failed: String,
}

/// Prints a failure, as comments to the actions that follow.
fn found(text: &str) {
    text.lines().for_each(|line| println!("FIND # {line}"));
}

/// Makes actions that fail fewer, and prints them.
fn print_shortest(setting: Setting<'_>, actions: Vec<Action>, log: &mut KernelLog) {
    let (start, count) = (Instant::now(), actions.len());
    let (shortest, tries) = minimize::minimize(actions, |actions| {
        // Without an answer, it does not count as a failure.
        start.elapsed() < PATIENCE
            && matches!(play(setting, actions, log, |_| ()), Ok((_, Some(_), _)))
    });
    let again = play(setting, &shortest, log, |_| ());
    found(&format!(
        "{} of {count} actions are left after {tries} tries",
        shortest.len()
    ));
    match again {
        Ok((_, Some(failed), _)) => found(&format!("of them: {failed}")),
        Ok(_) => found("these do not fail once more"),
        Err(error) => found(&format!("these cannot be played: {error}")),
    }
    shortest.iter().for_each(|action| println!("FIND {action}"));
}

fn number(args: &[String], index: usize) -> Result<u64> {
    args.get(index)
        .and_then(|arg| arg.parse().ok())
        .ok_or_else(|| Error::other(USAGE))
}

fn read_corpus(round: u64) -> Result<Corpus> {
    let mut corpus = Corpus::default();
    for path in env::var("CORPUS").unwrap_or_default().split_whitespace() {
        corpus.read(path, round)?;
    }
    Ok(corpus)
}

fn tables(limit: u32) -> Result<Tables> {
    sys::new_namespace()?;
    Tables::new(|name| {
        let mut attrs = Vec::new();
        put_attr(&mut attrs, NAME, format!("{name}\0").as_bytes());
        put_attr(&mut attrs, L3PROTO, &2u16.to_be_bytes());
        put_attr(&mut attrs, L4PROTO, &[UDP]);
        put_attr(&mut attrs, DATA | NLA_F_NESTED, &[]);
        player::ask_once(NEW, NLM_F_ACK | NLM_F_CREATE, &attrs, limit)
    })
}

fn run(args: &[String], setting: Setting<'_>) -> Result<bool> {
    let (seed, from) = (number(args, 1)?, number(args, 2)?);
    let (seconds, messages) = (number(args, 3)?, number(args, 4)?);
    let (stop, count) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut run = Run {
        setting,
        seed,
        corpus: read_corpus(from)?,
        messages: &count,
        stop: &stop,
        log: KernelLog::new()?,
        tally: Tally::new(),
    };
    let corpus = read_corpus(from)?;
    let (next, find, others) = thread::scope(|scope| -> Result<_> {
        let company = Company {
            setting,
            corpus: &corpus,
            seed: seed ^ from << 32,
            stop: &stop,
            messages: &count,
        };
        let others = scope.spawn(move || company.run());
        let rounds = run.rounds(from, seconds, messages);
        stop.store(true, Relaxed);
        let others = others
            .join()
            .map_err(|_| Error::other("a thread panicked"))?;
        let (next, find) = rounds?;
        Ok((next, find, others))
    })?;
    let good = find.is_none() && others.is_ok();
    if let Err(error) = others {
        found(&format!("seed {seed} from round {from}: {error}"));
    }
    if let Some(Find { actions, failed }) = find {
        let messages: u64 = actions.iter().map(Action::messages).sum();
        let detach = u8::from(setting.detach_in_use);
        found(&format!(
            "seed {seed} round {next} message {messages}, detach_in_use={detach}"
        ));
        found(&failed);
        // From here on, no other thread causes messages of the kernel.
        run.log.warnings()?;
        print_shortest(setting, actions, &mut run.log);
    }
    for ((command, errno), count) in &run.tally {
        println!("command {command}, error {errno}: {count} times");
    }
    println!("DONE {next} {} messages", count.load(Relaxed));
    Ok(good)
}

fn try_main() -> Result<bool> {
    let args: Vec<String> = env::args().skip(1).collect();
    let limit = env::var("LIMIT")
        .ok()
        .and_then(|limit| limit.parse().ok())
        .ok_or_else(|| Error::other(USAGE))?;
    let command = args.first().map(String::as_str);
    if command == Some("print") {
        let (seed, number) = (number(&args, 1)?, number(&args, 2)?);
        round(seed, number, &read_corpus(number)?, limit)
            .iter()
            .for_each(|action| println!("{action}"));
        return Ok(true);
    }
    let tables = tables(limit)?;
    let setting = Setting {
        tables: &tables,
        limit,
        detach_in_use: env::var("DETACH").is_ok_and(|on| on == "1"),
    };
    match command {
        Some("run") => run(&args, setting),
        Some(what @ ("replay" | "minimize")) if args.len() == 2 => {
            let actions = script::read(&args[1])?;
            let mut log = KernelLog::new()?;
            let (played, failed, _) = play(setting, &actions, &mut log, |_| ())?;
            let Some(failed) = failed else {
                println!("{played} actions, nothing is wrong");
                return Ok(true);
            };
            found(&format!("action {played} of {}: {failed}", actions.len()));
            if what == "minimize" {
                print_shortest(setting, actions, &mut log);
            }
            Ok(false)
        }
        _ => Err(Error::other(USAGE)),
    }
}

fn main() -> ExitCode {
    match try_main() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
