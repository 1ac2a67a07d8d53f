// SPDX-License-Identifier: GPL-2.0
/*
 * For make bench: calls the hooks that rules find a policy with, as
 * nf_ct_set_timeout() does, and measures how long that takes.
 *
 * Writing "POLICIES CALLS NAMES" to the parameter "run" looks up NAMES of
 * policy0, policy1 and so on, up to POLICIES, picked and ordered at random, over
 * and over again, in the writer's network namespace. Reading it tells what one
 * pair of timeout_find_get() and timeout_put() took, in picoseconds.
 *
 * With NAMES 0, no hook is called: this measures the least time that a lookup
 * among POLICIES can take, a chain of as many loads that depend on each other over
 * as much memory.
 */
#include <linux/ktime.h>
#include <linux/log2.h>
#include <linux/minmax.h>
#include <linux/module.h>
#include <linux/nsproxy.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <net/netfilter/nf_conntrack_timeout.h>

#define MAX_POLICIES	(1 << 20)
#define BATCHES		5

typedef char policy_name[CTNL_TIMEOUT_NAME_MAX];

/*
 * As large as the object of a TCP policy, and in the same slab cache. A lookup
 * loads from four cache lines that are not in the cache yet if the table is large:
 * the bucket; the line with the object's name and hash links, and the one with its
 * count of users; and the object's first line, in timeout_put(). The processor
 * loads the second and the third at the same time. The last has to wait for the
 * atomic operation on the count. So three loads wait for one another. The pointer
 * to the table, its head, and the count of the module's references are always in
 * the cache.
 */
struct link {
	unsigned long first ____cacheline_aligned;
	unsigned long users ____cacheline_aligned;
	struct link *self ____cacheline_aligned;
};

static_assert(sizeof(struct link) == 192);

struct bench {
	unsigned int policies;
	unsigned int count;		/* of names, or of places in the order */
	unsigned int *order;		/* numbers of policies */
	policy_name *names;
	unsigned int buckets;
	struct link **table;
};

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

/* Any two policies are in different buckets, which are no neighbours. */
static unsigned int bucket_of(const struct bench *b, unsigned int policy)
{
	return (policy * 2654435761U) & (b->buckets - 1);
}

/* The chain: the bucket, two lines of the link, its first line, and from all the next bucket. */
static noinline u64 follow_links(const struct bench *b, unsigned int calls,
				 unsigned int *at)
{
	u64 start = ktime_get_ns();
	unsigned int i, n = *at;
	unsigned long next = 0;		/* always, which only the loads tell */

	for (i = 0; i < calls; i++) {
		struct link *link = READ_ONCE(b->table[bucket_of(b, b->order[n] + next)]);
		unsigned long users = READ_ONCE(link->users);

		next = READ_ONCE(READ_ONCE(link->self)[users].first);
		if (++n == b->count)
			n = 0;
	}
	*at = n;
	return ktime_get_ns() - start;
}

static void release(struct bench *b)
{
	unsigned int i;

	for (i = 0; b->table && i < b->buckets; i++)
		kfree(b->table[i]);
	kvfree(b->table);
	kvfree(b->names);
	kvfree(b->order);
}

/* A permutation that looks random, and is the same each time. */
static int make_order(struct bench *b)
{
	u64 random = 1;
	unsigned int i;

	b->order = kvmalloc_array(b->policies, sizeof(*b->order), GFP_KERNEL);
	if (!b->order)
		return -ENOMEM;
	for (i = 0; i < b->policies; i++) {
		unsigned int other;

		random = random * 6364136223846793005ULL + 1442695040888963407ULL;
		other = (random >> 33) % (i + 1);
		b->order[i] = b->order[other];
		b->order[other] = i;
	}
	return 0;
}

static int make_names(struct bench *b)
{
	unsigned int i;

	b->names = kvcalloc(b->count, sizeof(*b->names), GFP_KERNEL);
	if (!b->names)
		return -ENOMEM;
	for (i = 0; i < b->count; i++)
		snprintf(b->names[i], sizeof(b->names[i]), "policy%u", b->order[i]);
	return 0;
}

/* As many buckets as an rhashtable has that has grown to so many elements. */
static int make_links(struct bench *b)
{
	unsigned int i;

	b->buckets = roundup_pow_of_two(DIV_ROUND_UP(b->policies * 4, 3));
	b->table = kvcalloc(b->buckets, sizeof(*b->table), GFP_KERNEL);
	if (!b->table)
		return -ENOMEM;
	for (i = 0; i < b->policies; i++) {
		struct link *link = kzalloc(sizeof(*link), GFP_KERNEL);

		if (!link)
			return -ENOMEM;
		link->self = link;
		b->table[bucket_of(b, i)] = link;
	}
	return 0;
}

/* Measures batches; the first warms up, interrupts make some of the others longer. */
static int measure(const struct bench *b, unsigned int calls)
{
	struct net *net = current->nsproxy->net_ns;
	u64 best = U64_MAX;
	unsigned int i, at = 0;

	for (i = 0; i <= BATCHES; i++) {
		u64 time = b->names ? call_hooks(net, b->names, b->count, calls, &at) :
				      follow_links(b, calls, &at);

		cond_resched();
		if (!time && b->names)
			return -ENOENT;
		if (i)
			best = min(best, time);
	}
	picoseconds = div_u64(best * 1000, calls);
	return 0;
}

static int run_set(const char *val, const struct kernel_param *kp)
{
	struct bench b = {};
	unsigned int calls, names;
	int err;

	if (sscanf(val, "%u %u %u", &b.policies, &calls, &names) != 3 ||
	    !b.policies || b.policies > MAX_POLICIES || !calls)
		return -EINVAL;
	b.count = names ? min(b.policies, names) : b.policies;
	err = make_order(&b);
	if (!err)
		err = names ? make_names(&b) : make_links(&b);
	if (!err)
		err = measure(&b, calls);
	release(&b);
	return err;
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
