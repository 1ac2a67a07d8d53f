// SPDX-License-Identifier: GPL-2.0
/*
 * For make bench: calls the hooks that rules find a policy with, as
 * nf_ct_set_timeout() does, and measures how long that takes.
 *
 * Writing "POLICIES CALLS NAMES" to the parameter "run" looks up names, over and
 * over again: NAMES of policy0, policy1 and so on, up to POLICIES, in no
 * particular order, in the writer's network namespace. Reading it tells what one
 * pair of timeout_find_get() and timeout_put() took, in picoseconds.
 */
#include <linux/ktime.h>
#include <linux/minmax.h>
#include <linux/module.h>
#include <linux/nsproxy.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <net/netfilter/nf_conntrack_timeout.h>

#define MAX_NAMES	4096
#define BATCHES		5

typedef char policy_name[CTNL_TIMEOUT_NAME_MAX];

static u64 picoseconds;

/*
 * Returns the time of one batch, or 0 if a policy is missing. A function of its
 * own, so that make profile finds it.
 */
static noinline u64 call_hooks(struct net *net, const policy_name *names,
			       unsigned int count, unsigned int calls,
			       unsigned int *at)
{
	u64 start = ktime_get_ns();
	unsigned int i, n = *at;

	for (i = 0; i < calls; i++) {
		const struct nf_ct_timeout_hooks *h;
		struct nf_ct_timeout *timeout;

		rcu_read_lock();
		h = rcu_dereference(nf_ct_timeout_hook);
		timeout = h ? h->timeout_find_get(net, names[n]) : NULL;
		if (timeout)
			h->timeout_put(timeout);
		rcu_read_unlock();
		if (!timeout)
			return 0;
		if (++n == count)
			n = 0;
	}
	*at = n;
	return ktime_get_ns() - start;
}

static int run_set(const char *val, const struct kernel_param *kp)
{
	struct net *net = current->nsproxy->net_ns;
	unsigned int policies, calls, wanted, count, i, at = 0;
	u64 best = U64_MAX;
	policy_name *names;

	if (sscanf(val, "%u %u %u", &policies, &calls, &wanted) != 3 ||
	    !policies || !calls || !wanted)
		return -EINVAL;
	count = min3(policies, wanted, MAX_NAMES);
	names = kvcalloc(count, sizeof(*names), GFP_KERNEL);
	if (!names)
		return -ENOMEM;
	/* A prime step visits the table in no particular order. */
	for (i = 0; i < count; i++)
		snprintf(names[i], sizeof(names[i]), "policy%llu",
			 (u64)i * 7919 % policies);

	/* The first batch warms up; interrupts make some of the others longer. */
	for (i = 0; i <= BATCHES; i++) {
		u64 time = call_hooks(net, names, count, calls, &at);

		cond_resched();
		if (!time) {
			kvfree(names);
			return -ENOENT;
		}
		if (i)
			best = min(best, time);
	}
	kvfree(names);
	picoseconds = div_u64(best * 1000, calls);
	return 0;
}

static int run_get(char *buffer, const struct kernel_param *kp)
{
	return sysfs_emit(buffer, "%llu\n", picoseconds);
}

static const struct kernel_param_ops run_ops = {
	.set = run_set,
	.get = run_get,
};
module_param_cb(run, &run_ops, NULL, 0600);
MODULE_PARM_DESC(run, "POLICIES CALLS NAMES to measure; picoseconds per call");

MODULE_DESCRIPTION("Measures the hooks of conntrack timeout policies");
MODULE_LICENSE("GPL");
