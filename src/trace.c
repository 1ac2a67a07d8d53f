// SPDX-License-Identifier: GPL-2.0
/*
 * The tracepoints, and what Rust calls to hit one. Not in helpers.c: whoever
 * makes another module of those must not define the same events again.
 */
#define CREATE_TRACE_POINTS
#define CREATE_RUST_TRACE_POINTS
#include <trace/events/cttimeout.h>
