// SPDX-License-Identifier: GPL-2.0

//! Counted references to a loaded module.
//!
//! C header: [`include/linux/module.h`](srctree/include/linux/module.h)

use core::{
    marker::PhantomData,
    mem, //
};

use kernel::ModuleMetadata;

use crate::{
    bindings,
    compat::this_module, //
};

/// A reference that keeps the module `M` loaded.
///
/// As long as one exists, `rmmod` answers `EWOULDBLOCK` ("module is in use").
///
/// If code of the module itself drops the last one, something else must make the module's exit wait
/// until that code has returned: a registration whose callback the code is in (unregistering waits
/// for those), or RCU.
///
/// # Examples
///
/// ```ignore
/// # use kernel::module_ref::ModuleRef;
/// let stay = ModuleRef::<LocalModule>::try_get().ok_or(ENODEV)?;
/// // The module cannot be unloaded here.
/// drop(stay);
/// # Ok::<(), Error>(())
/// ```
///
/// # Invariants
///
/// Each value stands for one count on the module's reference counter.
pub(crate) struct ModuleRef<M: ModuleMetadata>(PhantomData<fn() -> M>);

impl<M: ModuleMetadata> ModuleRef<M> {
    /// Takes a reference, unless the module is already being unloaded.
    ///
    /// May be called from any context.
    pub(crate) fn try_get() -> Option<Self> {
        // SAFETY: `THIS_MODULE` of the running module is valid (null when it is built in, which
        // `try_module_get` accepts).
        let live =
            unsafe { bindings::cttimeout_helper_try_module_get(this_module::<M>().as_ptr()) };
        // INVARIANT: The count was just taken. (Not `then_some`: that would make a value in any case,
        // and drop it.)
        live.then(|| Self(PhantomData))
    }

    /// Gives up ownership of the count without returning it.
    ///
    /// For counts that travel through C; [`ModuleRef::reclaim`] is the way back.
    pub(crate) fn leak(self) {
        mem::forget(self);
    }

    /// Takes ownership of a count that [`ModuleRef::leak`] gave up.
    ///
    /// # Safety
    ///
    /// There must be a leaked count that nobody else reclaims.
    pub(crate) unsafe fn reclaim() -> Self {
        // INVARIANT: The caller hands over one leaked count.
        Self(PhantomData)
    }
}

impl<M: ModuleMetadata> Drop for ModuleRef<M> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant there is a count to give back.
        unsafe { bindings::cttimeout_helper_module_put(this_module::<M>().as_ptr()) };
    }
}
