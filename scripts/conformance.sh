#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# make conformance: plays the same traffic to the C module of the kernel and to
# this one, at length, and compares what they do; and has Open vSwitch make many
# zones. "make check" has the same in short. Prints KTAP.
#
# SEED=1 says which traffic, COUNT=170000 how many messages (65,536 of them, from
# a COUNT of 131072 on, one for each layer 3 protocol), STEPS=300 how many steps
# with rules and flows, ZONES=1000 how many zones.

. "$(dirname "$0")/lib.sh"

say "==> without KVM, this takes about three quarters of an hour"
export SEED=${SEED:-1} COUNT=${COUNT:-170000} STEPS=${STEPS:-300} ZONES=${ZONES:-1000}
export KERNELS=plain TEST_TIMEOUT=7200
exec "$TOP/scripts/check.sh" cttimeout_conformance cttimeout_conformance_rules cttimeout_ovs
