/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Tracepoints: changes to policies, and rules that start or stop using them.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM cttimeout

#if !defined(_TRACE_CTTIMEOUT_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_CTTIMEOUT_H

#include <linux/tracepoint.h>
#include <net/net_namespace.h>

/* A policy is changed by a request, in the namespace netns (an inode number). */
DECLARE_EVENT_CLASS(cttimeout_policy,
	TP_PROTO(const struct net *net, const char *name, u16 l3num, u8 l4proto),
	TP_ARGS(net, name, l3num, l4proto),
	TP_STRUCT__entry(
		__field(unsigned int, netns)
		__string(name, name)
		__field(u16, l3num)
		__field(u8, l4proto)
	),
	TP_fast_assign(
		__entry->netns = net->ns.inum;
		__assign_str(name);
		__entry->l3num = l3num;
		__entry->l4proto = l4proto;
	),
	TP_printk("netns=%u name=%s l3num=%u l4proto=%u", __entry->netns,
		  __get_str(name), __entry->l3num, __entry->l4proto)
);

DEFINE_EVENT(cttimeout_policy, cttimeout_create,
	TP_PROTO(const struct net *net, const char *name, u16 l3num, u8 l4proto),
	TP_ARGS(net, name, l3num, l4proto)
);

DEFINE_EVENT(cttimeout_policy, cttimeout_replace,
	TP_PROTO(const struct net *net, const char *name, u16 l3num, u8 l4proto),
	TP_ARGS(net, name, l3num, l4proto)
);

DEFINE_EVENT(cttimeout_policy, cttimeout_delete,
	TP_PROTO(const struct net *net, const char *name, u16 l3num, u8 l4proto),
	TP_ARGS(net, name, l3num, l4proto)
);

/*
 * A rule starts or stops using a policy. It may outlive its namespace, which is
 * therefore not recorded. use is the count after the event: 1 plus 1 for each
 * rule, or without the first 1 if the policy has been deleted meanwhile. If
 * several rules go at once, their events may show the same count.
 */
DECLARE_EVENT_CLASS(cttimeout_rule,
	TP_PROTO(const char *name, u32 use),
	TP_ARGS(name, use),
	TP_STRUCT__entry(
		__string(name, name)
		__field(u32, use)
	),
	TP_fast_assign(
		__assign_str(name);
		__entry->use = use;
	),
	TP_printk("name=%s use=%u", __get_str(name), __entry->use)
);

DEFINE_EVENT(cttimeout_rule, cttimeout_hold,
	TP_PROTO(const char *name, u32 use),
	TP_ARGS(name, use)
);

DEFINE_EVENT(cttimeout_rule, cttimeout_release,
	TP_PROTO(const char *name, u32 use),
	TP_ARGS(name, use)
);

#endif /* _TRACE_CTTIMEOUT_H */

/* This part must be outside of the guard. */
#include <trace/define_trace.h>
