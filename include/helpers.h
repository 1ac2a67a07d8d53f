/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Prototypes of the wrappers in src/helpers.c: one for each static inline or
 * macro of the kernel's headers that Rust has to call.
 */
#ifndef _CTTIMEOUT_HELPERS_H
#define _CTTIMEOUT_HELPERS_H

#include <linux/refcount.h>
#include <linux/types.h>

struct list_head;
struct module;
struct net;
struct netlink_skb_parms;
struct nf_conn;
struct nf_conn_timeout;
struct nf_ct_timeout;
struct nf_generic_net;
struct nf_gre_net;
struct nf_icmp_net;
struct nf_sctp_net;
struct nf_tcp_net;
struct nf_udp_net;
struct nlattr;
struct nlmsghdr;
struct rhash_head;
struct rhashtable;
struct sk_buff;
struct sock;

bool cttimeout_helper_try_module_get(struct module *module);
void cttimeout_helper_module_put(struct module *module);

bool cttimeout_helper_refcount_inc_not_zero(refcount_t *r);
unsigned int cttimeout_helper_refcount_read(const refcount_t *r);

void cttimeout_helper_list_add_tail_rcu(struct list_head *entry,
					struct list_head *head);
void cttimeout_helper_list_del_rcu(struct list_head *entry);

int cttimeout_helper_index_init(struct rhashtable *ht);
void *cttimeout_helper_index_lookup(struct rhashtable *ht, const void *name);
int cttimeout_helper_index_insert(struct rhashtable *ht,
				  struct rhash_head *obj);
int cttimeout_helper_index_remove(struct rhashtable *ht,
				  struct rhash_head *obj);

void *cttimeout_helper_net_generic(const struct net *net, unsigned int id);

struct sk_buff *cttimeout_helper_nlmsg_new(size_t payload, gfp_t flags);
void cttimeout_helper_nlmsg_end(struct sk_buff *skb, struct nlmsghdr *nlh);
void cttimeout_helper_nlmsg_cancel(struct sk_buff *skb, struct nlmsghdr *nlh);
void *cttimeout_helper_nlmsg_append(struct sk_buff *skb, u32 size);
struct nlattr *cttimeout_helper_nla_nest_start(struct sk_buff *skb, int type);
int cttimeout_helper_nla_nest_end(struct sk_buff *skb, struct nlattr *start);
struct netlink_skb_parms *cttimeout_helper_NETLINK_CB(struct sk_buff *skb);
struct net *cttimeout_helper_sock_net(const struct sock *sk);
struct nlmsghdr *cttimeout_helper_nfnl_msg_put(struct sk_buff *skb, u32 portid,
					       u32 seq, int type, int flags,
					       u8 family, u8 version,
					       __be16 res_id);

struct nf_conn_timeout *
cttimeout_helper_nf_ct_timeout_find(const struct nf_conn *ct);
struct nf_generic_net *cttimeout_helper_nf_generic_pernet(struct net *net);
struct nf_tcp_net *cttimeout_helper_nf_tcp_pernet(struct net *net);
struct nf_udp_net *cttimeout_helper_nf_udp_pernet(struct net *net);
struct nf_icmp_net *cttimeout_helper_nf_icmp_pernet(struct net *net);
struct nf_icmp_net *cttimeout_helper_nf_icmpv6_pernet(struct net *net);
#ifdef CONFIG_NF_CT_PROTO_SCTP
struct nf_sctp_net *cttimeout_helper_nf_sctp_pernet(struct net *net);
#endif
#ifdef CONFIG_NF_CT_PROTO_GRE
struct nf_gre_net *cttimeout_helper_nf_gre_pernet(struct net *net);
#endif

#endif /* _CTTIMEOUT_HELPERS_H */
