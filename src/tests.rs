// SPDX-License-Identifier: GPL-2.0

//! KUnit tests of what can be tested without packets and without messages.
//!
//! Built into the module by `make KUNIT=1`; they run when it is loaded.

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
    cttimeout::{
        error::Reason,
        policy::{
            Name,
            Uses, //
        },
    },
    net::{
        conntrack::{
            l4proto::{
                L4Proto,
                Timeouts, //
            },
            timeout::{
                DetachBatch,
                Timeout,
                TimeoutRef,
                UniqueTimeout, //
            },
            MAX_TIMEOUT_SECS,
        },
        netns::Net,
    },
    sync::{
        rcu_map::{
            Cursor,
            Node,
            RcuMap,
            WriteLock, //
        },
        refcount::RefcountExt,
    },
};

/// Stands for a lock: the tests have only one thread.
struct Alone(());

// SAFETY: Each test makes one value, and no two tests share a map.
unsafe impl WriteLock for Alone {}

type Entry = Node<Name, u32>;
type Map = RcuMap<Name, u32, Timeout<Entry>, Alone>;

fn init_net() -> &'static Net {
    // SAFETY: The initial namespace does not go away.
    unsafe { Net::from_raw(&raw const bindings::init_net) }
}

fn name(number: u32) -> Result<Name> {
    let text = CString::try_from_fmt(fmt!("n{number}"))?;
    Name::new(text.to_bytes()).ok_or(EINVAL)
}

fn timeouts(proto: u8) -> Result<Timeouts> {
    L4Proto::find(proto).ok_or(EOPNOTSUPP)?.defaults(init_net())
}

fn object(number: u32) -> Result<UniqueTimeout<Entry>> {
    let entry = Entry::new(name(number)?, number);
    UniqueTimeout::new(2, &timeouts(1)?, entry, GFP_KERNEL)
}

/// A map of `0..count`.
fn map(count: u32, lock: &mut Alone) -> Result<Pin<KBox<Map>>> {
    let map = KBox::pin_init(Map::new(), GFP_KERNEL)?;
    for number in 0..count {
        map.insert(lock, object(number)?)?;
    }
    Ok(map)
}

/// What a dump would show from `cursor` on, at most `limit` entries.
fn shown(map: &Map, cursor: &mut Cursor<Name>, limit: usize) -> Result<KVec<u32>> {
    let mut numbers = KVec::new();
    let visit = |entry: TimeoutRef<'_, Entry>| {
        if numbers.len() == limit {
            return Err(EMSGSIZE);
        }
        Ok(numbers.push(*entry.value().value(), GFP_ATOMIC)?)
    };
    match map.for_each_from(cursor, &rcu::read_lock(), visit) {
        Ok(()) | Err(EMSGSIZE) => Ok(numbers),
        Err(err) => Err(err),
    }
}

fn remove(map: &Map, lock: &mut Alone, number: u32) -> Result {
    let found = map.entry(lock, &name(number)?).ok_or(ENOENT)?;
    drop(found.remove());
    Ok(())
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
        // SAFETY: The strings are terminated.
        unsafe {
            let long = c"0123456789abcdef0123456789abcdef";
            assert!(Name::from_char_ptr(long.as_char_ptr()).is_none());
            assert!(Name::from_char_ptr(c"ab".as_char_ptr()) == Name::new(b"ab"));
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
    fn a_dead_policy_cannot_be_held() {
        let uses = Uses::new();
        assert_eq!(uses.count(), 1);
        assert!(uses.hold());
        assert_eq!(uses.count(), 2);
        assert!(matches!(uses.retire(), Err(Reason::InUse { rules: 1 })));
        uses.release();
        assert!(uses.retire().is_ok());
        assert!(!uses.hold());
        assert_eq!(uses.count(), 0);
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
        let hz = bindings::CTTIMEOUT_CONST_HZ;
        assert!(MAX_TIMEOUT_SECS * hz <= i32::MAX as u32);
        assert!((MAX_TIMEOUT_SECS as u64 + 1) * hz as u64 > i32::MAX as u64);
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
        let entry = Entry::new(name(7)?, 7);
        let timeout = UniqueTimeout::new(10, &timeouts(6)?, entry, GFP_KERNEL)?;
        let timeout = <Timeout<Entry> as crate::sync::rcu_map::RcuPointer>::publish(timeout);
        let borrowed = timeout.borrow();
        assert_eq!(borrowed.l3num(), 10);
        assert_eq!(borrowed.proto().number(), 6);
        assert_eq!(*borrowed.value().value(), 7);
        assert!(borrowed.replace(&timeouts(17)?).is_err());
        assert!(borrowed.replace(&timeouts(6)?).is_ok());

        let second = borrowed.try_get().ok_or(ENOENT)?;
        let first = timeout.try_end().err().ok_or(EINVAL)?;
        drop(second);
        assert!(first.try_end().is_ok());
        Ok(())
    }

    #[test]
    fn a_map_keeps_the_order_and_finds_by_key() -> Result {
        let mut lock = Alone(());
        let map = map(1000, &mut lock)?;
        assert_eq!(map.insert(&mut lock, object(5)?), Err(EEXIST));
        assert!(shown(&map, &mut begin(), 2000)?.iter().copied().eq(0..1000));
        for number in [0, 1, 500, 999] {
            let name = name(number)?;
            let guard = rcu::read_lock();
            let found = map.get(&name, &guard).ok_or(ENOENT)?;
            assert_eq!(*found.value().value(), number);
        }
        assert!(map.get(&name(1000)?, &rcu::read_lock()).is_none());
        Ok(())
    }

    #[test]
    fn an_empty_map_has_nothing() -> Result {
        let mut lock = Alone(());
        let map = map(0, &mut lock)?;
        assert!(map.is_empty(&rcu::read_lock()));
        assert!(map.get(&name(0)?, &rcu::read_lock()).is_none());
        assert!(map.entry(&mut lock, &name(0)?).is_none());
        assert!(shown(&map, &mut begin(), 1)?.is_empty());
        Ok(())
    }

    #[test]
    fn a_cursor_survives_removals() -> Result {
        let mut lock = Alone(());
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
        map.insert(&mut lock, object(7)?)?;
        assert!(shown(&map, &mut cursor, 10)?.iter().copied().eq([8, 9, 7]));
        assert!(shown(&map, &mut cursor, 10)?.is_empty());
        Ok(())
    }

    #[test]
    fn a_cursor_behind_the_end_shows_nothing() -> Result {
        let mut lock = Alone(());
        let map = map(4, &mut lock)?;
        let mut cursor = begin();
        assert_eq!(shown(&map, &mut cursor, 3)?.len(), 3);
        map.remove_if(&mut lock, |_| true, drop);
        assert!(shown(&map, &mut cursor, 3)?.is_empty());
        Ok(())
    }

    #[test]
    fn changes_change_the_generation() -> Result {
        let mut lock = Alone(());
        let map = map(1, &mut lock)?;
        let mut last = map.generation();
        assert!(last != 0);
        map.insert(&mut lock, object(1)?)?;
        assert!(map.generation() != last);
        last = map.generation();
        assert_eq!(map.insert(&mut lock, object(1)?), Err(EEXIST));
        assert_eq!(map.generation(), last);
        remove(&map, &mut lock, 1)?;
        assert!(map.generation() != last);
        Ok(())
    }

    #[test]
    fn entries_are_removed_by_condition() -> Result {
        let mut lock = Alone(());
        let map = map(100, &mut lock)?;
        let mut batch = DetachBatch::new(init_net());
        let mut removed = 0;
        map.remove_if(
            &mut lock,
            |entry| entry.value().value() % 2 == 0,
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
        let mut lock = Alone(());
        let map = map(20, &mut lock)?;
        let mut held = KVec::new();
        let visit = |entry: TimeoutRef<'_, Entry>| {
            Ok(held.push(entry.try_get().ok_or(ENOENT)?, GFP_ATOMIC)?)
        };
        map.for_each_from(&mut begin(), &rcu::read_lock(), visit)?;
        let mut batch = DetachBatch::new(init_net());
        map.remove_if(&mut lock, |_| true, |timeout| batch.push(timeout));
        drop(batch);
        // Who has a reference keeps the object; the table's is gone.
        for timeout in held {
            assert!(timeout.try_end().is_ok());
        }
        Ok(())
    }
}
