// SPDX-License-Identifier: GPL-2.0

//! The policies and defaults of a namespace, as they follow from the answers so far. An answer that
//! contradicts them is wrong.

use std::collections::{BTreeMap, HashMap};

use crate::{
    answer::Object,
    netlink::*,
    script::{Rule, NAME_FIELD},
    wire::{timeouts, Attrs, Request},
};

const ENOENT: i32 = 2;
const EAGAIN: i32 = 11;
const EBUSY: i32 = 16;
const EEXIST: i32 = 17;
const EINVAL: i32 = 22;
const ERANGE: i32 = 34;
const ENAMETOOLONG: i32 = 36;
const EOPNOTSUPP: i32 = 95;

/// The errors that a command may answer with.
pub fn errors(command: u8) -> &'static [i32] {
    match command {
        NEW => &[EINVAL, ERANGE, EEXIST, EBUSY, EOPNOTSUPP],
        GET => &[EINVAL, ERANGE, ENOENT],
        DELETE => &[EINVAL, ERANGE, ENOENT, EBUSY],
        DEFAULT_SET | DEFAULT_GET => &[EINVAL, ERANGE, EOPNOTSUPP],
        // There is no such command.
        _ => &[EINVAL],
    }
}

/// The errors that putting rules in place may fail with.
pub const RULE_ERRORS: [i32; 4] = [ENOENT, EAGAIN, EINVAL, ENAMETOOLONG];

/// The policies that existed when a dump began, by the order of their creation, and their names.
pub type Before = Vec<(u64, Vec<u8>)>;

struct Policy {
    name: Vec<u8>,
    l3proto: u16,
    l4proto: u8,
    values: Vec<u32>,
}

/// The state of a namespace with a single player.
pub struct Model {
    /// By the order of their creation.
    policies: BTreeMap<u64, Policy>,
    names: HashMap<Vec<u8>, u64>,
    next: u64,
    /// The policies of the rules there are.
    rules: Vec<u64>,
    defaults: HashMap<u8, Vec<u32>>,
    limit: u32,
    detach_in_use: bool,
}

impl Model {
    pub fn new(defaults: Vec<Object>, limit: u32, detach_in_use: bool) -> Self {
        Self {
            policies: BTreeMap::new(),
            names: HashMap::new(),
            next: 0,
            rules: Vec::new(),
            defaults: defaults
                .into_iter()
                .map(|object| (object.l4proto, object.values))
                .collect(),
            limit,
            detach_in_use,
        }
    }

    fn find(&self, attrs: &Attrs<'_>) -> Result<Option<u64>, String> {
        let name = attrs.name().ok_or("it has no name")?;
        Ok(self.names.get(name).copied())
    }

    fn uses(&self, id: u64) -> u32 {
        1 + self.rules.iter().filter(|&&rule| rule == id).count() as u32
    }

    /// A command was answered by an error, or by success.
    pub fn answered(
        &mut self,
        command: u8,
        req: &Request<'_>,
        errno: i32,
        text: Option<&str>,
    ) -> Result<(), String> {
        let attrs = req.attrs();
        match (command, errno) {
            (NEW, 0) => self.stored(req, &attrs),
            (NEW, EEXIST) => self.expect(&attrs, true, req.has(NLM_F_EXCL)),
            (NEW, EBUSY) => self.expect(
                &attrs,
                true,
                req.flags() & (NLM_F_EXCL | NLM_F_REPLACE) == 0,
            ),
            (NEW | DEFAULT_SET | DEFAULT_GET, EOPNOTSUPP) => match attrs.l4proto() {
                Some(number) if timeouts(number).is_none() => Ok(()),
                number => Err(format!("protocol {number:?} is tracked")),
            },
            (DELETE, 0) if attrs.get(NAME).is_some() => self.deleted(&attrs),
            (DELETE, 0) => self.flushed(text),
            (DELETE, EBUSY) => {
                let id = self.find(&attrs)?.ok_or("there is no such policy")?;
                let rules = self.uses(id) - 1;
                let expected = format!(
                    "policy is used by {rules} rule{}",
                    if rules == 1 { "" } else { "s" }
                );
                let said = text.is_none_or(|text| text == expected);
                (rules > 0 && !self.detach_in_use && said)
                    .then_some(())
                    .ok_or_else(|| format!("{rules} rules use it, and {text:?} was said"))
            }
            (GET | DELETE, ENOENT) => self.expect(&attrs, false, true),
            (DEFAULT_SET, 0) => self.set(&attrs),
            _ => Ok(()),
        }
    }

    /// There is a policy of that name, or not, and something else holds.
    fn expect(&self, attrs: &Attrs<'_>, present: bool, condition: bool) -> Result<(), String> {
        let found = self.find(attrs)?.is_some();
        (found == present && condition)
            .then_some(())
            .ok_or_else(|| {
                format!(
                    "a policy of that name is {}there",
                    if found { "" } else { "not " }
                )
            })
    }

    fn stored(&mut self, req: &Request<'_>, attrs: &Attrs<'_>) -> Result<(), String> {
        let name = attrs.name().ok_or("it has no name")?;
        let l3proto = attrs.l3proto().ok_or("it has no layer 3 protocol")?;
        let l4proto = attrs.l4proto().ok_or("it has no layer 4 protocol")?;
        let mut values = self
            .defaults
            .get(&l4proto)
            .ok_or("its protocol is not tracked")?
            .clone();
        self.update(&mut values, attrs)?;
        match self.names.get(name) {
            Some(id) => {
                let policy = self.policies.get_mut(id).expect("a name leads to a policy");
                if req.has(NLM_F_EXCL)
                    || !req.has(NLM_F_REPLACE)
                    || (policy.l3proto, policy.l4proto) != (l3proto, l4proto)
                {
                    return Err("such a policy was there, and cannot be replaced so".into());
                }
                policy.values = values;
            }
            None => {
                self.next += 1;
                self.names.insert(name.to_vec(), self.next);
                self.policies.insert(
                    self.next,
                    Policy {
                        name: name.to_vec(),
                        l3proto,
                        l4proto,
                        values,
                    },
                );
            }
        }
        Ok(())
    }

    fn update(&self, values: &mut [u32], attrs: &Attrs<'_>) -> Result<(), String> {
        let given = attrs.timeouts(values.len()).ok_or("it has no timeouts")?;
        for (value, given) in values.iter_mut().zip(given) {
            *value = given.unwrap_or(*value).min(self.limit);
        }
        Ok(())
    }

    fn set(&mut self, attrs: &Attrs<'_>) -> Result<(), String> {
        let l4proto = attrs.l4proto().ok_or("it has no layer 4 protocol")?;
        let mut values = self
            .defaults
            .get(&l4proto)
            .ok_or("its protocol is not tracked")?
            .clone();
        self.update(&mut values, attrs)?;
        self.defaults.insert(l4proto, values);
        Ok(())
    }

    fn deleted(&mut self, attrs: &Attrs<'_>) -> Result<(), String> {
        let id = self.find(attrs)?.ok_or("there was no such policy")?;
        if self.uses(id) > 1 && !self.detach_in_use {
            return Err("a rule uses it".into());
        }
        let policy = self.policies.remove(&id).expect("a name leads to a policy");
        self.names.remove(&policy.name);
        Ok(())
    }

    fn flushed(&mut self, text: Option<&str>) -> Result<(), String> {
        let rules = &self.rules;
        let detach = self.detach_in_use;
        self.policies.retain(|id, _| rules.contains(id) && !detach);
        let policies = &self.policies;
        self.names.retain(|_, id| policies.contains_key(id));
        let expected = match self.policies.len() {
            0 => None,
            1 => Some("1 policy is used by rules and was kept".to_string()),
            kept => Some(format!("{kept} policies are used by rules and were kept")),
        };
        // Not every socket gets texts, and a request with another warning gets that one.
        match text {
            Some(text) if text.contains("used by rules") && Some(text) != expected.as_deref() => {
                Err(format!("{text:?} was said instead of {expected:?}"))
            }
            _ => Ok(()),
        }
    }

    /// A get was answered by a policy, or by defaults.
    pub fn shown(&self, command: u8, req: &Request<'_>, object: &Object) -> Result<(), String> {
        let attrs = req.attrs();
        if command == GET {
            let id = self.find(&attrs)?.ok_or("there is no such policy")?;
            return self.compare(id, object);
        }
        let asked = (attrs.l3proto(), attrs.l4proto());
        let same = object.name.is_none()
            && asked == (Some(object.l3proto), Some(object.l4proto))
            && self.defaults.get(&object.l4proto) == Some(&object.values);
        same.then_some(())
            .ok_or_else(|| format!("the defaults are {:?}", self.defaults.get(&object.l4proto)))
    }

    fn compare(&self, id: u64, object: &Object) -> Result<(), String> {
        let policy = &self.policies[&id];
        let same = object.name.as_ref() == Some(&policy.name)
            && object.l3proto == policy.l3proto
            && object.l4proto == policy.l4proto
            && object.uses == self.uses(id)
            && object.values == policy.values;
        same.then_some(()).ok_or_else(|| {
            let Policy {
                name,
                l3proto,
                l4proto,
                values,
            } = policy;
            format!(
                "it should be {name:?}, {l3proto}, {l4proto}, used {}, {values:?}",
                self.uses(id)
            )
        })
    }

    /// A dump has shown all there is, in order.
    pub fn dumped(&self, objects: &[Object]) -> Result<(), String> {
        if objects.len() != self.policies.len() {
            return Err(format!(
                "a dump has {} policies instead of {}",
                objects.len(),
                self.policies.len()
            ));
        }
        self.policies
            .keys()
            .zip(objects)
            .try_for_each(|(&id, object)| {
                self.compare(id, object)
                    .map_err(|error| format!("in a dump, {object:?}: {error}"))
            })
    }

    /// The policies there are now.
    pub fn before(&self) -> Before {
        self.policies
            .iter()
            .map(|(&id, policy)| (id, policy.name.clone()))
            .collect()
    }

    /// A dump that took a while: of the policies that existed at its beginning, those that still do
    /// are each in it once, and the others at most once. No other policy is in it.
    pub fn dumped_meanwhile(&self, before: &Before, objects: &[Object]) -> Result<(), String> {
        let mut shown = HashMap::new();
        for name in objects.iter().filter_map(|object| object.name.as_ref()) {
            *shown.entry(name).or_insert(0) += 1;
        }
        let missing = before
            .iter()
            .find(|(id, name)| self.policies.contains_key(id) && !shown.contains_key(name));
        if let Some((_, name)) = missing {
            return Err(format!("a dump lacks {name:?}, which existed throughout"));
        }
        match shown.into_iter().find(|(name, count)| {
            *count != 1 || !before.iter().any(|(_, existed)| existed == *name)
        }) {
            Some((name, 1)) => Err(format!(
                "a dump shows {name:?}, which was created after it began"
            )),
            Some((name, count)) => Err(format!("a dump shows {name:?} {count} times")),
            None => Ok(()),
        }
    }

    /// Rules were put in place, or refused.
    pub fn ruled(&mut self, rules: &[Rule], errno: i32) -> Result<(), String> {
        let found: Result<Vec<_>, i32> = rules
            .iter()
            .filter(|rule| rule.name[0] != 0)
            .map(|rule| self.rule(rule))
            .collect();
        if found.as_ref().err().copied().unwrap_or(0) != errno {
            return Err(format!(
                "rules were answered with {errno} instead of {found:?}"
            ));
        }
        if let Ok(found) = found {
            self.rules = found;
        }
        Ok(())
    }

    fn rule(&self, rule: &Rule) -> Result<u64, i32> {
        let end = rule
            .name
            .iter()
            .position(|&byte| byte == 0)
            .filter(|&end| end < NAME_FIELD)
            .ok_or(ENAMETOOLONG)?;
        let id = self.names.get(&rule.name[..end]).ok_or(ENOENT)?;
        let policy = &self.policies[id];
        let tracked = if timeouts(rule.l4proto).is_some() {
            rule.l4proto
        } else {
            255
        };
        ((policy.l3proto, policy.l4proto) == (AF_INET as u16, tracked))
            .then_some(*id)
            .ok_or(EINVAL)
    }
}
