// SPDX-License-Identifier: GPL-2.0

//! KUnit tests of what can be tested without packets and without messages.
//!
//! They run when a module is loaded that was built with them.

use core::marker::PhantomData;

use kernel::{
    prelude::*,
    str::CString,
    sync::{
        rcu,
        Refcount, //
    },
};

use crate::{
    bindings,
    compat::EOPNOTSUPP,
    cttimeout::{
        error::Reason,
        policy::{
            Entry,
            Name,
            Policy,
            PolicyRef, //
        },
    },
    module::ModuleRef,
    net::{
        conntrack::{
            detach::DetachBatch,
            l4proto::{
                L4Proto,
                Timeouts, //
            },
            timeout::UniqueTimeout,
            MAX_TIMEOUT_SECS, //
        },
        netns::Net,
    },
    sync::{
        rcu_map::{
            Cursor,
            Place,
            RcuMap,
            RcuPointer,
            WriteLock, //
        },
        refcount::RefcountExt,
    },
    LocalModule,
};

/// Stands for a lock: the tests have only one thread. The pointer keeps it from being [`Sync`].
struct Alone(PhantomData<*mut ()>);

// SAFETY: Each test makes one value, and no two tests share a map. A raw pointer is not `Sync`.
unsafe impl WriteLock for Alone {}

type Map = RcuMap<Name, Policy, Alone>;

fn init_net() -> &'static Net {
    // SAFETY: The initial namespace does not go away.
    unsafe { Net::from_raw(&raw const bindings::init_net) }
}

fn name(number: u32) -> Result<Name> {
    let text = CString::try_from_fmt(fmt!("n{number}"))?;
    Name::new(text.to_bytes()).ok_or(EINVAL)
}

fn timeouts(proto: u8) -> Result<Timeouts> {
    let proto = L4Proto::find(proto).ok_or(EOPNOTSUPP)?;
    proto.no_attrs()?.to_timeouts(init_net())
}

fn unique(l3num: u16, proto: L4Proto, entry: Entry) -> Result<UniqueTimeout<Entry, LocalModule>> {
    let module = ModuleRef::try_get().ok_or(ENODEV)?;
    UniqueTimeout::new(
        l3num,
        proto.no_attrs()?,
        init_net(),
        entry,
        module,
        GFP_KERNEL,
    )
}

/// A policy of this name. Its number is in the field for the address family.
fn object(number: u32) -> Result<UniqueTimeout<Entry, LocalModule>> {
    let proto = L4Proto::find(1).ok_or(EOPNOTSUPP)?;
    let entry = Entry::new(name(number)?);
    let l3num = number.try_into().map_err(|_| EINVAL)?;
    unique(l3num, proto, entry)
}

fn insert(map: &Map, lock: &mut Alone, number: u32) -> Result {
    match map.entry(lock, &name(number)?) {
        Place::Vacant(place) => place.insert(object(number)?, GFP_KERNEL),
        Place::Occupied(_) => Err(EEXIST),
    }
}

/// A map of `0..count`.
fn map(count: u32, lock: &mut Alone) -> Result<Pin<KBox<Map>>> {
    let map = KBox::pin_init(Map::new(), GFP_KERNEL)?;
    for number in 0..count {
        insert(&map, lock, number)?;
    }
    Ok(map)
}

/// What a dump would show from `cursor` on, at most `limit` entries.
fn shown(map: &Map, cursor: &mut Cursor<Name>, limit: usize) -> Result<KVec<u32>> {
    let mut numbers = KVec::new();
    let visit = |policy: PolicyRef<'_>| {
        if numbers.len() == limit {
            return Err(EMSGSIZE);
        }
        Ok(numbers.push(policy.l3num().into(), GFP_ATOMIC)?)
    };
    match map.for_each_from(cursor, &rcu::read_lock(), visit) {
        Ok(()) | Err(EMSGSIZE) => Ok(numbers),
        Err(err) => Err(err),
    }
}

fn remove(map: &Map, lock: &mut Alone, number: u32) -> Result {
    match map.entry(lock, &name(number)?) {
        Place::Vacant(_) => Err(ENOENT),
        Place::Occupied(found) => {
            drop(found.remove());
            Ok(())
        }
    }
}

fn begin() -> Cursor<Name> {
    pin_init::zeroed()
}

#[kunit_tests(nfnetlink_cttimeout_rust)]
mod suite {
    use super::*;

    #[test]
    fn names_are_up_to_31_bytes() {
        assert!(Name::new(&[b'x'; 31]).is_some());
        assert!(Name::new(&[b'x'; 32]).is_none());
        assert!(Name::new(b"").is_some());
        assert!(Name::new(b"a\0junk") == Name::new(b"a"));
        assert!(Name::new(b"a") != Name::new(b"b"));
    }

    #[test]
    fn names_come_from_c_strings() {
        let mut name = Name::empty();
        // SAFETY: The strings are terminated.
        unsafe {
            let long = c"0123456789abcdef0123456789abcdef";
            assert_eq!(name.copy_from(long.as_char_ptr()), Err(E2BIG));
            // Begins at odd addresses, too.
            for at in 1..=long.to_bytes().len() {
                let tail = long.as_char_ptr().add(at);
                assert!(name.copy_from(tail).is_ok());
                assert!(Some(name) == Name::new(&long.to_bytes()[at..]));
            }
        }
    }

    #[test]
    fn names_know_their_length() {
        let long = [0xff; 31];
        for len in 0..=long.len() {
            let bytes = &long[..len];
            assert!(Name::new(bytes).is_some_and(|name| name.as_c_str().to_bytes() == bytes));
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
        let policy = Policy::publish(object(7)?);
        assert_eq!(policy.borrow().users(), 1);
        let rule = policy.borrow().try_use().ok_or(ENOENT)?;
        assert_eq!(policy.borrow().users(), 2);
        assert_eq!(policy.retire(), Err(1));
        drop(rule);
        assert_eq!(policy.retire(), Ok(()));
        assert!(policy.borrow().try_use().is_none());
        assert_eq!(policy.borrow().users(), 0);
        assert_eq!(policy.retire(), Ok(()));
        Ok(())
    }

    #[test]
    fn rules_keep_what_the_table_drops() -> Result {
        let policy = Policy::publish(object(7)?);
        let (first, second) = (policy.borrow().try_use(), policy.borrow().try_use());
        let second = second.ok_or(ENOENT)?;
        // A reference of its own, beside that of the two rules.
        let timeout = policy.into_timeout();
        let Err(timeout) = timeout.try_end() else {
            return Err(EINVAL);
        };
        drop(first);
        let Err(timeout) = timeout.try_end() else {
            return Err(EINVAL);
        };
        drop(second);
        assert!(timeout.try_end().is_ok());
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
            Reason::TooLong,
            Reason::InUse { rules: u32::MAX },
            Reason::GoingAway,
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
            let timeouts = timeouts(number)?;
            assert_eq!(timeouts.proto().number(), number);
            assert_eq!(timeouts.words().len(), count);
            assert!(timeouts.words().iter().any(|&word| word != 0));
        }
        assert!(L4Proto::find(254).is_none());
        Ok(())
    }

    #[test]
    fn objects_carry_their_value() -> Result {
        let tcp = L4Proto::find(6).ok_or(EOPNOTSUPP)?;
        let entry = Entry::new(name(7)?);
        let policy = Policy::publish(unique(10, tcp, entry)?);
        let borrowed = policy.borrow();
        assert_eq!(borrowed.l3num(), 10);
        assert_eq!(borrowed.proto().number(), 6);
        assert!(*borrowed.value().key() == name(7)?);
        let lock = Alone(PhantomData);
        assert!(borrowed.replace(&timeouts(17)?, &lock).is_err());
        assert!(borrowed.replace(&timeouts(6)?, &lock).is_ok());
        Ok(())
    }

    #[test]
    fn a_map_keeps_the_order_and_finds_by_key() -> Result {
        let mut lock = Alone(PhantomData);
        let map = map(1000, &mut lock)?;
        assert_eq!(insert(&map, &mut lock, 5), Err(EEXIST));
        assert!(shown(&map, &mut begin(), 2000)?.iter().copied().eq(0..1000));
        for number in [0, 1, 500, 999] {
            let name = name(number)?;
            let guard = rcu::read_lock();
            let found = map.get(&name, &guard).ok_or(ENOENT)?;
            assert_eq!(u32::from(found.l3num()), number);
        }
        assert!(map.get(&name(1000)?, &rcu::read_lock()).is_none());
        Ok(())
    }

    #[test]
    fn an_empty_map_has_nothing() -> Result {
        let mut lock = Alone(PhantomData);
        let map = map(0, &mut lock)?;
        assert!(map.is_empty(&rcu::read_lock()));
        assert!(map.get(&name(0)?, &rcu::read_lock()).is_none());
        assert_eq!(remove(&map, &mut lock, 0), Err(ENOENT));
        assert!(shown(&map, &mut begin(), 1)?.is_empty());
        Ok(())
    }

    #[test]
    fn a_cursor_survives_removals() -> Result {
        let mut lock = Alone(PhantomData);
        let map = map(10, &mut lock)?;
        let mut cursor = begin();
        assert!(shown(&map, &mut cursor, 3)?.iter().copied().eq(0..3));
        // The entry that the cursor names, the one behind it, and one that was shown.
        for number in [3, 4, 1] {
            remove(&map, &mut lock, number)?;
        }
        assert!(shown(&map, &mut cursor, 2)?.iter().copied().eq(5..7));
        // The same name again is another entry, at the end.
        remove(&map, &mut lock, 7)?;
        insert(&map, &mut lock, 7)?;
        assert!(shown(&map, &mut cursor, 10)?.iter().copied().eq([8, 9, 7]));
        assert!(shown(&map, &mut cursor, 10)?.is_empty());
        Ok(())
    }

    #[test]
    fn a_cursor_behind_the_end_shows_nothing() -> Result {
        let mut lock = Alone(PhantomData);
        let map = map(4, &mut lock)?;
        let mut cursor = begin();
        assert_eq!(shown(&map, &mut cursor, 3)?.len(), 3);
        map.remove_if(&mut lock, |_| true, drop);
        assert!(shown(&map, &mut cursor, 3)?.is_empty());
        Ok(())
    }

    #[test]
    fn changes_change_the_generation() -> Result {
        let mut lock = Alone(PhantomData);
        let map = map(1, &mut lock)?;
        let mut last = map.generation();
        assert!(last != 0);
        insert(&map, &mut lock, 1)?;
        assert!(map.generation() != last);
        last = map.generation();
        assert_eq!(insert(&map, &mut lock, 1), Err(EEXIST));
        assert_eq!(map.generation(), last);
        remove(&map, &mut lock, 1)?;
        assert!(map.generation() != last);
        Ok(())
    }

    #[test]
    fn entries_are_removed_by_condition() -> Result {
        let mut lock = Alone(PhantomData);
        let map = map(100, &mut lock)?;
        let mut batch = DetachBatch::new(init_net());
        let mut removed = 0;
        map.remove_if(
            &mut lock,
            |policy| policy.borrow().l3num() % 2 == 0,
            |timeout| {
                removed += 1;
                batch.push(timeout);
            },
        );
        drop(batch);
        assert_eq!(removed, 50);
        assert!(shown(&map, &mut begin(), 100)?
            .iter()
            .copied()
            .eq((1..100).step_by(2)));
        assert!(map.get(&name(2)?, &rcu::read_lock()).is_none());
        assert!(map.get(&name(3)?, &rcu::read_lock()).is_some());
        Ok(())
    }

    #[test]
    fn a_batch_walks_for_what_others_hold() -> Result {
        let mut lock = Alone(PhantomData);
        let map = map(20, &mut lock)?;
        let mut rules = KVec::new();
        let visit =
            |policy: PolicyRef<'_>| Ok(rules.push(policy.try_use().ok_or(ENOENT)?, GFP_ATOMIC)?);
        map.for_each_from(&mut begin(), &rcu::read_lock(), visit)?;
        let mut batch = DetachBatch::new(init_net());
        map.remove_if(&mut lock, |_| true, |policy| batch.push(policy));
        drop(batch);
        // Who uses an object keeps it: KASAN would tell, and kmemleak if it stayed after this.
        drop(rules);
        Ok(())
    }

    #[test]
    fn a_place_takes_the_key_it_was_found_for() -> Result {
        let mut lock = Alone(PhantomData);
        let map = map(3, &mut lock)?;
        let Place::Vacant(place) = map.entry(&mut lock, &name(3)?) else {
            return Err(EEXIST);
        };
        assert_eq!(place.insert(object(2)?, GFP_KERNEL), Err(EINVAL));
        assert!(shown(&map, &mut begin(), 10)?.iter().copied().eq(0..3));
        Ok(())
    }

    #[test]
    fn a_map_finds_by_list_and_by_table() -> Result {
        let mut lock = Alone(PhantomData);
        let map = map(0, &mut lock)?;
        // Up and down across the size from which on there is a table, twice.
        for _ in 0..2 {
            for count in 0..40 {
                insert(&map, &mut lock, count)?;
                for number in 0..=40 {
                    let found = map.get(&name(number)?, &rcu::read_lock()).is_some();
                    assert_eq!(found, number <= count);
                }
            }
            for count in (0..40).rev() {
                remove(&map, &mut lock, count)?;
                for number in 0..=40 {
                    let found = map.get(&name(number)?, &rcu::read_lock()).is_some();
                    assert_eq!(found, number < count);
                }
            }
        }
        Ok(())
    }
}
