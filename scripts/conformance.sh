#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# make conformance: plays the same traffic to the kernel's C module and to this one, and
# compares them; then has Open vSwitch make many zones. "make check" has shorter runs of the
# same tests. Prints KTAP.
#
# SEED=1 selects the traffic. COUNT=170000 is the number of messages (with 131072 or more,
# 65,536 of them have one layer 3 protocol each), STEPS=300 the number of steps with rules
# and flows, ZONES=1000 the number of zones.

. "$(dirname "$0")/lib.sh"

say "==> without KVM, this takes about three quarters of an hour"
export SEED=${SEED:-1} COUNT=${COUNT:-170000} STEPS=${STEPS:-300} ZONES=${ZONES:-1000}
export KERNELS=plain TEST_TIMEOUT=7200
exec "$TOP/scripts/check.sh" cttimeout_conformance cttimeout_conformance_rules cttimeout_ovs
