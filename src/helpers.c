// SPDX-License-Identifier: GPL-2.0
/*
 * Wrappers of static inlines and macros, for Rust to call: one line each, no
 * logic. Grouped by the header they come from.
 */
#include <linux/list.h>
#include <linux/module.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <linux/rculist.h>
#include <linux/refcount.h>
#include <linux/rhashtable.h>
#include <net/net_namespace.h>
#include <net/netfilter/nf_conntrack_l4proto.h>
#include <net/netfilter/nf_conntrack_timeout.h>
#include <net/netlink.h>
#include <net/netns/generic.h>
#include <net/sock.h>

#include "../include/helpers.h"

/* linux/module.h */

bool cttimeout_helper_try_module_get(struct module *module)
{
	return try_module_get(module);
}

void cttimeout_helper_module_put(struct module *module)
{
	module_put(module);
}

/* linux/refcount.h */

bool cttimeout_helper_refcount_inc_not_zero(refcount_t *r)
{
	return refcount_inc_not_zero(r);
}

unsigned int cttimeout_helper_refcount_read(const refcount_t *r)
{
	return refcount_read(r);
}

/* linux/rculist.h */

void cttimeout_helper_list_add_tail_rcu(struct list_head *entry,
					struct list_head *head)
{
	list_add_tail_rcu(entry, head);
}

void cttimeout_helper_list_del_rcu(struct list_head *entry)
{
	list_del_rcu(entry);
}

/*
 * linux/rhashtable.h: its functions are inlined for parameters that are known at
 * compile time. An element is a name, with its links behind it.
 */

static const struct rhashtable_params index_params = {
	.nelem_hint = 24,
	.key_len = CTNL_TIMEOUT_NAME_MAX,
	.head_offset = CTNL_TIMEOUT_NAME_MAX,
	.automatic_shrinking = true,
};

int cttimeout_helper_index_init(struct rhashtable *ht)
{
	return rhashtable_init(ht, &index_params);
}

void *cttimeout_helper_index_lookup(struct rhashtable *ht, const void *name)
{
	return rhashtable_lookup(ht, name, index_params);
}

int cttimeout_helper_index_insert(struct rhashtable *ht, struct rhash_head *obj)
{
	return rhashtable_insert_fast(ht, obj, index_params);
}

int cttimeout_helper_index_remove(struct rhashtable *ht, struct rhash_head *obj)
{
	return rhashtable_remove_fast(ht, obj, index_params);
}

/* net/netns/generic.h */

void *cttimeout_helper_net_generic(const struct net *net, unsigned int id)
{
	return net_generic(net, id);
}

/* linux/netlink.h, net/netlink.h, net/sock.h */

struct sk_buff *cttimeout_helper_nlmsg_new(size_t payload, gfp_t flags)
{
	return nlmsg_new(payload, flags);
}

void cttimeout_helper_nlmsg_end(struct sk_buff *skb, struct nlmsghdr *nlh)
{
	nlmsg_end(skb, nlh);
}

void cttimeout_helper_nlmsg_cancel(struct sk_buff *skb, struct nlmsghdr *nlh)
{
	nlmsg_cancel(skb, nlh);
}

void *cttimeout_helper_nlmsg_append(struct sk_buff *skb, u32 size)
{
	return nlmsg_append(skb, size);
}

struct nlattr *cttimeout_helper_nla_nest_start(struct sk_buff *skb, int type)
{
	return nla_nest_start(skb, type);
}

int cttimeout_helper_nla_nest_end(struct sk_buff *skb, struct nlattr *start)
{
	return nla_nest_end(skb, start);
}

struct netlink_skb_parms *cttimeout_helper_NETLINK_CB(struct sk_buff *skb)
{
	return &NETLINK_CB(skb);
}

struct net *cttimeout_helper_sock_net(const struct sock *sk)
{
	return sock_net(sk);
}

/* linux/netfilter/nfnetlink.h */

struct nlmsghdr *cttimeout_helper_nfnl_msg_put(struct sk_buff *skb, u32 portid,
					       u32 seq, int type, int flags,
					       u8 family, u8 version,
					       __be16 res_id)
{
	return nfnl_msg_put(skb, portid, seq, type, flags, family, version,
			    res_id);
}

/* net/netfilter/nf_conntrack_timeout.h, net/netfilter/nf_conntrack_l4proto.h */

struct nf_conn_timeout *
cttimeout_helper_nf_ct_timeout_find(const struct nf_conn *ct)
{
	return nf_ct_timeout_find(ct);
}

struct nf_generic_net *cttimeout_helper_nf_generic_pernet(struct net *net)
{
	return nf_generic_pernet(net);
}

struct nf_tcp_net *cttimeout_helper_nf_tcp_pernet(struct net *net)
{
	return nf_tcp_pernet(net);
}

struct nf_udp_net *cttimeout_helper_nf_udp_pernet(struct net *net)
{
	return nf_udp_pernet(net);
}

struct nf_icmp_net *cttimeout_helper_nf_icmp_pernet(struct net *net)
{
	return nf_icmp_pernet(net);
}

struct nf_icmp_net *cttimeout_helper_nf_icmpv6_pernet(struct net *net)
{
	return nf_icmpv6_pernet(net);
}

#ifdef CONFIG_NF_CT_PROTO_SCTP
struct nf_sctp_net *cttimeout_helper_nf_sctp_pernet(struct net *net)
{
	return nf_sctp_pernet(net);
}
#endif

#ifdef CONFIG_NF_CT_PROTO_GRE
struct nf_gre_net *cttimeout_helper_nf_gre_pernet(struct net *net)
{
	return nf_gre_pernet(net);
}
#endif
