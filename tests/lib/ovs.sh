# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Open vSwitch for shell tests: its daemons run in a namespace and in a directory of their
# own. To be sourced after ktap.sh and netns.sh.
#
# OVS is the root of the file tree that Open vSwitch is unpacked in, by default CLIENTS/ovs.

OVS=${OVS:-${CLIENTS:-}/ovs}
export PATH=$OVS/usr/bin:$OVS/usr/sbin:$OVS/usr/lib/openvswitch-switch:$PATH

ovs_installed() { [ -f "$OVS/usr/share/openvswitch/vswitch.ovsschema" ]; }

# ovs_in NS DIR: the namespace and the directory for the daemons
ovs_in() {
	OVS_NS=$1
	export OVS_RUNDIR=$2 OVS_LOGDIR=$2 OVS_DBDIR=$2 OVS_SYSCONFDIR=$2
}

# ovs_start: both daemons, with a new database
ovs_start() {
	local db=$OVS_DBDIR/conf.db
	ovsdb-tool create "$db" "$OVS/usr/share/openvswitch/vswitch.ovsschema" &&
		in_ns "$OVS_NS" ovsdb-server "$db" --remote="punix:$OVS_RUNDIR/db.sock" \
			--no-chdir --pidfile --log-file --detach 2>/dev/null &&
		ovs-vsctl --no-wait init && vswitchd_start
}

# The daemon's messages are in its log.
vswitchd_start() {
	in_ns "$OVS_NS" ovs-vswitchd "unix:$OVS_RUNDIR/db.sock" --no-chdir --pidfile \
		--log-file --detach 2>/dev/null
}

# vswitchd_stop [--cleanup]: without --cleanup, the datapath stays in the kernel
vswitchd_stop() {
	ovs-appctl exit "$@" && wait_until 60 [ ! -e "$OVS_RUNDIR/ovs-vswitchd.pid" ]
}

ovs_stop() {
	vswitchd_stop --cleanup
	ovs-appctl -t ovsdb-server exit
}

# ovs_log_has TEXT: whether vswitchd has logged TEXT since ovs_log_mark
ovs_log_mark() { OVS_MARK=$(($(wc -l <"$OVS_LOGDIR/ovs-vswitchd.log") + 1)); }
ovs_log_has() { tail -n "+$OVS_MARK" "$OVS_LOGDIR/ovs-vswitchd.log" | grep -q -e "$1"; }

# zones_stir SECONDS: changes udp_multiple in the timeouts of all zones. Until timeouts
# change, version 3.5.0 applies neither those of a new zone nor those that it finds when it
# starts.
zones_stir() {
	local policy args=()
	for policy in $(ovs-vsctl --bare --columns=_uuid list CT_Timeout_Policy); do
		args+=(-- set CT_Timeout_Policy "$policy" "timeouts:udp_multiple=$1")
	done
	ovs-vsctl "${args[@]}"
}
