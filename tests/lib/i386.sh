#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Called by the name of a program (a link): runs the 32-bit program of that name,
# out of the file tree I386, with the libraries that are there.

root=$I386
program=${0##*/} loader='' file=''

# Debian 13 has under /usr what Debian 12 has not.
for dir in "$root/usr/lib" "$root/lib"; do
	[ ! -e "$dir/ld-linux.so.2" ] || loader=$dir/ld-linux.so.2
done
for dir in sbin bin; do
	[ ! -e "$root/usr/$dir/$program" ] || file=$root/usr/$dir/$program
done
if [ -z "$loader" ] || [ -z "$file" ]; then
	echo "$program is not in $root" >&2
	exit 127
fi

# What is loaded while it runs: the extensions of iptables, the modules of Python
export XTABLES_LIBDIR="$root/usr/lib/i386-linux-gnu/xtables" PYTHONHOME="$root/usr"
exec "$loader" --library-path "$root/lib/i386-linux-gnu:$root/usr/lib/i386-linux-gnu" \
	--argv0 "$program" "$file" "$@"
