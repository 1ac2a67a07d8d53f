// SPDX-License-Identifier: GPL-2.0

//! KUnit tests of what can be tested without packets and without messages.
//!
//! They run when a module is loaded that was built with them.

use core::ptr::NonNull;

use kernel::{
    prelude::*,
    str::CString,
    sync::{
        rcu,
        Refcount, //
    },
    time::{
        delay::fsleep,
        Delta, //
    },
};

use super::{
    l4proto::{
        L4Proto,
        TimeoutAttrs,
        MAX_TIMEOUT_SECS,
        MAX_WORDS, //
    },
    name::Name,
    table::{
        Cursor,
        Entry,
        Table, //
    },
    timeout::{
        Timeout,
        User, //
    },
};

use crate::{
    bindings,
    cttimeout::error::Reason,
    net::netns::{
        Net,
        PerNet, //
    },
    sync::refcount::RefcountExt,
};

fn init_net() -> &'static Net {
    // SAFETY: The initial namespace does not go away.
    unsafe { Net::from_raw(&raw const bindings::init_net) }
}

fn name(number: u32) -> Result<Name> {
    let text = CString::try_from_fmt(fmt!("n{number}"))?;
    Name::new(text.to_bytes_with_nul()).ok_or(EINVAL)
}

fn defaults(l4proto: u8) -> Result<TimeoutAttrs<'static, 'static>> {
    TimeoutAttrs::none(L4Proto::find(l4proto).ok_or(EOPNOTSUPP)?)
}

/// Creates a policy, whose number is in the field for the address family.
fn insert(table: &Table, number: u32) -> Result {
    let l3num = number.try_into().map_err(|_| EINVAL)?;
    match table.lock().entry(name(number)?) {
        Entry::Vacant(place) => place.insert(l3num, defaults(1)?, GFP_KERNEL).map(|_| ()),
        Entry::Occupied(_) => Err(EEXIST),
    }
}

/// A table of `0..count`.
fn table(count: u32) -> Result<Pin<KBox<Table>>> {
    // SAFETY: The initial namespace does not go away. A test drops the table before the module is
    // loaded.
    let table = KBox::pin_init(unsafe { Table::init(init_net()) }, GFP_KERNEL)?;
    for number in 0..count {
        insert(&table, number)?;
    }
    Ok(table)
}

/// The policies that a dump would show from `cursor` on, at most `limit`.
fn shown(table: &Table, cursor: &mut Cursor, limit: usize) -> Result<KVec<u32>> {
    let mut numbers = KVec::new();
    let result = table.for_each_from(cursor, &rcu::read_lock(), |policy| {
        if numbers.len() == limit {
            return Err(EMSGSIZE);
        }
        Ok(numbers.push(policy.l3num().into(), GFP_ATOMIC)?)
    });
    match result {
        Ok(()) | Err(EMSGSIZE) => Ok(numbers),
        Err(err) => Err(err),
    }
}

fn remove(table: &Table, number: u32) -> Result {
    match table.lock().entry(name(number)?) {
        Entry::Vacant(_) => Err(ENOENT),
        Entry::Occupied(policy) => {
            policy.retire().map_err(|_rules| EBUSY)?;
            policy.remove();
            Ok(())
        }
    }
}

fn has(table: &Table, number: u32) -> Result<bool> {
    Ok(table.get(&name(number)?, &rcu::read_lock()).is_some())
}

/// A rule becomes a user of a policy.
fn hold(table: &Table, number: u32) -> Result<NonNull<Timeout>> {
    let name = name(number)?;
    let guard = rcu::read_lock();
    let policy = table.get(&name, &guard).ok_or(ENOENT)?;
    let rule = policy.try_use(&guard).ok_or(ENOENT)?;
    Ok(rule.into_raw())
}

/// The rule is removed.
fn give_back(rule: NonNull<Timeout>) {
    // SAFETY: `rule` comes from `hold`, and each is given back once. Loading the module has not
    // ended.
    drop(unsafe { User::from_raw(rule) });
}

fn begin() -> Cursor {
    pin_init::zeroed()
}

#[kunit_tests(nfnetlink_cttimeout_rust)]
mod suite {
    use super::*;

    #[test]
    fn names_are_up_to_31_bytes() {
        assert!(Name::new(c"0123456789abcdef0123456789abcde".to_bytes_with_nul()).is_some());
        assert!(Name::new(c"0123456789abcdef0123456789abcdef".to_bytes_with_nul()).is_none());
        assert!(Name::new(b"\0").is_some());
        assert!(Name::new(b"").is_none());
        assert!(Name::new(b"a").is_none());
        assert!(Name::new(b"a\0junk") == Name::new(b"a\0"));
        assert!(Name::new(b"a\0") != Name::new(b"b\0"));
    }

    #[test]
    fn names_come_from_c_strings() {
        let long = c"0123456789abcdef0123456789abcdef";
        // SAFETY: The string has a NUL.
        assert!(unsafe { Name::from_char_ptr(long.as_char_ptr()) }.is_none());
        // Strings begin at odd addresses, too.
        for at in 1..=long.to_bytes().len() {
            // SAFETY: The string has a NUL at its end, or behind `at`.
            let name = unsafe { Name::from_char_ptr(long.as_char_ptr().add(at)) };
            assert!(name.is_some() && name == Name::new(&long.to_bytes_with_nul()[at..]));
        }
    }

    #[test]
    fn names_know_their_length() {
        for len in 0..32 {
            let mut bytes = [0xff; 32];
            bytes[len] = 0;
            let name = Name::new(&bytes);
            assert!(name.is_some_and(|name| name.as_c_str().to_bytes() == &bytes[..len]));
        }
    }

    #[test]
    fn counts_end_in_one_step() {
        let count = Refcount::new(2);
        assert!(!count.dec_if_one());
        assert!(!count.dec_and_test());
        assert_eq!(count.read(), 1);
        assert!(count.dec_if_one());
        assert!(!count.dec_if_one());
        assert!(!count.inc_not_zero());
        assert_eq!(count.read(), 0);
    }

    #[test]
    fn a_retired_policy_cannot_be_used() -> Result {
        let table = table(8)?;
        let rule = hold(&table, 7)?;
        let mut writer = table.lock();
        let Entry::Occupied(policy) = writer.entry(name(7)?) else {
            return Err(ENOENT);
        };
        assert_eq!(policy.users(), 2);
        assert_eq!(policy.retire(), Err(1));
        give_back(rule);
        assert_eq!(policy.users(), 1);
        assert_eq!(policy.retire(), Ok(()));
        assert!(policy.try_use(&rcu::read_lock()).is_none());
        assert_eq!(policy.users(), 0);
        assert_eq!(policy.retire(), Ok(()));
        policy.remove();
        Ok(())
    }

    #[test]
    fn rules_keep_a_removed_policy() -> Result {
        let table = table(20)?;
        let rules = [hold(&table, 3)?, hold(&table, 3)?, hold(&table, 5)?];
        table.lock().for_each(|policy| policy.remove());
        assert!(!has(&table, 3)?);
        for rule in rules {
            // SAFETY: The rule keeps the object; otherwise KASAN reports it.
            assert!(unsafe { rule.as_ref() }.users() > 0);
            give_back(rule);
        }
        Ok(())
    }

    #[test]
    fn a_table_drops_retired_and_used_policies() -> Result {
        let table = table(3)?;
        let rule = hold(&table, 1)?;
        if let Entry::Occupied(policy) = table.lock().entry(name(2)?) {
            assert_eq!(policy.retire(), Ok(()));
        }
        drop(table);
        // SAFETY: The rule keeps the object; otherwise KASAN reports it.
        let policy = unsafe { rule.as_ref() };
        // A worker thread drops the table's user.
        for _ in 0..1000 {
            if policy.users() == 1 {
                break;
            }
            fsleep(Delta::from_millis(1));
        }
        assert_eq!(policy.users(), 1);
        give_back(rule);
        Ok(())
    }

    #[test]
    fn messages_fit_an_extack() -> Result {
        // The longest that each variant can get; NETLINK_MAX_FMTMSG_LEN is 80 with the NUL.
        for reason in [
            Reason::Missing(u16::MAX),
            Reason::NotFound,
            Reason::Exists,
            Reason::NotReplaced,
            Reason::OtherL3 {
                old: 65535,
                new: 65534,
            },
            Reason::OtherL4 { old: 254, new: 253 },
            Reason::Untracked(254),
            Reason::InUse { rules: u32::MAX },
        ] {
            let text = CString::try_from_fmt(fmt!("{reason}"))?;
            assert!(!text.is_empty());
            assert!(text.to_bytes_with_nul().len() <= 80);
        }
        Ok(())
    }

    #[test]
    fn the_largest_timeout_does_not_wrap() {
        let hz = bindings::CONFIG_HZ;
        assert!(MAX_TIMEOUT_SECS * hz <= i32::MAX as u32);
        assert!((u64::from(MAX_TIMEOUT_SECS) + 1) * u64::from(hz) > i32::MAX as u64);
    }

    #[test]
    fn trackers_have_defaults() -> Result {
        for (number, count) in [(1, 1), (6, 14), (17, 2), (58, 1), (255, 1)] {
            let mut words = [0; MAX_WORDS];
            assert_eq!(defaults(number)?.l4proto().number(), number);
            assert_eq!(defaults(number)?.to_words(init_net(), &mut words)?, count);
            assert!(words.iter().any(|&word| word != 0));
        }
        assert!(L4Proto::find(254).is_none());
        Ok(())
    }

    #[test]
    fn a_policy_is_for_one_protocol() -> Result {
        let table = table(0)?;
        let mut writer = table.lock();
        let Entry::Vacant(place) = writer.entry(name(7)?) else {
            return Err(EEXIST);
        };
        place.insert(10, defaults(6)?, GFP_KERNEL)?;
        let Entry::Occupied(mut policy) = writer.entry(name(7)?) else {
            return Err(ENOENT);
        };
        assert_eq!(policy.l3num(), 10);
        assert_eq!(policy.l4proto().number(), 6);
        assert!(*policy.name() == name(7)?);
        assert_eq!(policy.replace(defaults(17)?), Err(EINVAL));
        assert!(policy.replace(defaults(6)?).is_ok());
        Ok(())
    }

    #[test]
    fn a_table_keeps_the_order_and_finds_by_name() -> Result {
        let table = table(1000)?;
        assert_eq!(insert(&table, 5), Err(EEXIST));
        assert!(shown(&table, &mut begin(), 2000)?
            .iter()
            .copied()
            .eq(0..1000));
        for number in [0, 1, 500, 999] {
            let name = name(number)?;
            let guard = rcu::read_lock();
            let found = table.get(&name, &guard).ok_or(ENOENT)?;
            assert_eq!(u32::from(found.l3num()), number);
        }
        assert!(!has(&table, 1000)?);
        Ok(())
    }

    #[test]
    fn an_empty_table_has_nothing() -> Result {
        let table = table(0)?;
        assert!(!has(&table, 0)?);
        assert_eq!(remove(&table, 0), Err(ENOENT));
        assert!(shown(&table, &mut begin(), 1)?.is_empty());
        Ok(())
    }

    #[test]
    fn a_cursor_survives_removals() -> Result {
        let table = table(10)?;
        let mut cursor = begin();
        assert!(shown(&table, &mut cursor, 4)?.iter().copied().eq(0..4));
        // The policy that the cursor names, the one behind it, and one that was shown.
        for number in [3, 4, 1] {
            remove(&table, number)?;
        }
        assert!(shown(&table, &mut cursor, 2)?.iter().copied().eq(5..7));
        // The same name again is another policy, created after the dump began.
        for number in [6, 7] {
            remove(&table, number)?;
            insert(&table, number)?;
        }
        assert!(shown(&table, &mut cursor, 10)?.iter().copied().eq([8, 9]));
        assert!(shown(&table, &mut cursor, 10)?.is_empty());
        Ok(())
    }

    #[test]
    fn a_dump_ends_although_policies_are_created() -> Result {
        let table = table(20)?;
        let mut cursor = begin();
        for number in 0..20 {
            assert!(shown(&table, &mut cursor, 1)?.iter().copied().eq([number]));
            insert(&table, 100 + 2 * number)?;
            insert(&table, 101 + 2 * number)?;
        }
        assert!(shown(&table, &mut cursor, 1)?.is_empty());
        Ok(())
    }

    #[test]
    fn a_cursor_behind_the_end_shows_nothing() -> Result {
        let table = table(4)?;
        let mut cursor = begin();
        assert_eq!(shown(&table, &mut cursor, 3)?.len(), 3);
        table.lock().for_each(|policy| policy.remove());
        assert!(shown(&table, &mut cursor, 3)?.is_empty());
        Ok(())
    }

    #[test]
    fn policies_are_removed_by_condition() -> Result {
        let table = table(100)?;
        let mut removed = 0;
        table.lock().for_each(|policy| {
            if policy.l3num() % 2 == 0 {
                removed += 1;
                policy.remove();
            }
        });
        assert_eq!(removed, 50);
        assert!(shown(&table, &mut begin(), 100)?
            .iter()
            .copied()
            .eq((1..100).step_by(2)));
        assert!(!has(&table, 2)?);
        assert!(has(&table, 3)?);
        Ok(())
    }

    #[test]
    fn a_table_finds_by_list_and_by_index() -> Result {
        let table = table(0)?;
        // Up and down across the size from which on there is an index, twice.
        for _ in 0..2 {
            for count in 0..40 {
                insert(&table, count)?;
                for number in 0..=40 {
                    assert_eq!(has(&table, number)?, number <= count);
                }
            }
            for count in (0..40).rev() {
                remove(&table, count)?;
                for number in 0..=40 {
                    assert_eq!(has(&table, number)?, number < count);
                }
            }
        }
        Ok(())
    }
}
