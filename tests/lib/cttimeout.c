// SPDX-License-Identifier: GPL-2.0
/*
 * A client that is linked with libnetfilter_cttimeout, for tests. nfct is one,
 * too, but leaves parts of the library alone: flags, and requests that lack
 * something.
 *
 * usage: cttimeout COMMAND [create] [excl] [replace] [name=NAME] [l3=NUMBER]
 *                  [l4=NUMBER] [STATE=SECONDS]...
 *
 * COMMAND is new, get, list, delete, default-set or default-get; STATE is as
 * the library names it, and comes after l4. Prints what the kernel answers, as
 * the library writes it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <libmnl/libmnl.h>
#include <libnetfilter_cttimeout/libnetfilter_cttimeout.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_cttimeout.h>

static const struct {
	const char *name;
	int cmd;
	int flags;
} commands[] = {
	{ "new", IPCTNL_MSG_TIMEOUT_NEW, NLM_F_ACK },
	{ "get", IPCTNL_MSG_TIMEOUT_GET, NLM_F_ACK },
	{ "list", IPCTNL_MSG_TIMEOUT_GET, NLM_F_DUMP },
	{ "delete", IPCTNL_MSG_TIMEOUT_DELETE, NLM_F_ACK },
	{ "default-set", IPCTNL_MSG_TIMEOUT_DEFAULT_SET, NLM_F_ACK },
	{ "default-get", IPCTNL_MSG_TIMEOUT_DEFAULT_GET, NLM_F_ACK },
}, flags[] = {
	{ "create", 0, NLM_F_CREATE },
	{ "excl", 0, NLM_F_EXCL },
	{ "replace", 0, NLM_F_REPLACE },
};

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static int print(const struct nlmsghdr *nlh, void *data)
{
	char text[4096];
	struct nfct_timeout *t = nfct_timeout_alloc();

	(void)data;
	if (!t || nfct_timeout_nlmsg_parse_payload(nlh, t) < 0)
		die("parse");
	nfct_timeout_snprintf(text, sizeof(text), t, NFCT_TIMEOUT_O_DEFAULT, 0);
	puts(text);
	nfct_timeout_free(t);
	return MNL_CB_OK;
}

static int set_state(struct nfct_timeout *t, int l4, const char *name, unsigned int seconds)
{
	const char *known;

	for (int state = 0; (known = nfct_timeout_policy_attr_to_name(l4, state)); state++) {
		if (!strcmp(known, name))
			return nfct_timeout_policy_attr_set_u32(t, state, seconds);
	}
	return -1;
}

int main(int argc, char *argv[])
{
	char buf[MNL_SOCKET_BUFFER_SIZE];
	struct nfct_timeout *t = nfct_timeout_alloc();
	unsigned int seq = time(NULL), i;
	int cmd = -1, nl_flags = NLM_F_REQUEST, l4 = 0, rc;
	struct mnl_socket *nl;
	struct nlmsghdr *nlh;

	for (i = 0; argc > 1 && i < ARRAY_SIZE(commands); i++) {
		if (!strcmp(argv[1], commands[i].name)) {
			cmd = commands[i].cmd;
			nl_flags |= commands[i].flags;
		}
	}
	if (cmd < 0 || !t) {
		fprintf(stderr, "usage: %s COMMAND [ARGUMENT]...\n", argv[0]);
		return 2;
	}

	for (int arg = 2; arg < argc; arg++) {
		char *value = strchr(argv[arg], '=');

		for (i = 0; !value && i < ARRAY_SIZE(flags); i++) {
			if (!strcmp(argv[arg], flags[i].name))
				nl_flags |= flags[i].flags;
		}
		if (!value)
			continue;
		*value++ = '\0';
		if (!strcmp(argv[arg], "name")) {
			nfct_timeout_attr_set(t, NFCT_TIMEOUT_ATTR_NAME, value);
		} else if (!strcmp(argv[arg], "l3")) {
			nfct_timeout_attr_set_u16(t, NFCT_TIMEOUT_ATTR_L3PROTO, atoi(value));
		} else if (!strcmp(argv[arg], "l4")) {
			l4 = atoi(value);
			nfct_timeout_attr_set_u8(t, NFCT_TIMEOUT_ATTR_L4PROTO, l4);
		} else if (set_state(t, l4, argv[arg], strtoul(value, NULL, 10)) < 0) {
			fprintf(stderr, "%s: no such state\n", argv[arg]);
			return 2;
		}
	}

	nl = mnl_socket_open(NETLINK_NETFILTER);
	if (!nl || mnl_socket_bind(nl, 0, MNL_SOCKET_AUTOPID) < 0)
		die("socket");
	nlh = nfct_timeout_nlmsg_build_hdr(buf, cmd, nl_flags, seq);
	nfct_timeout_nlmsg_build_payload(nlh, t);
	if (mnl_socket_sendto(nl, nlh, nlh->nlmsg_len) < 0)
		die("send");

	/* An object comes before the acknowledgment, in a message of its own. */
	do {
		rc = mnl_socket_recvfrom(nl, buf, sizeof(buf));
		if (rc < 0)
			die("receive");
		rc = mnl_cb_run(buf, rc, seq, mnl_socket_get_portid(nl), print, NULL);
	} while (rc > 0);
	if (rc < 0)
		die(argv[1]);

	mnl_socket_close(nl);
	nfct_timeout_free(t);
	return 0;
}
