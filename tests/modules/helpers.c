// SPDX-License-Identifier: GPL-2.0
/*
 * The helpers of the abstractions, for a module of its own: an object file
 * cannot be part of two.
 */
#include "../../src/helpers.c"
