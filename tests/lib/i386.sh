#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# A link to this script has the name of a program. The script runs the 32-bit program of that
# name in the file tree I386, with the libraries in that tree.

root=$I386
program=${0##*/} loader='' file=''

# Debian 13 has the loader below /usr, Debian 12 has not.
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

# The program loads these later: the extensions of iptables, the modules of Python
export XTABLES_LIBDIR="$root/usr/lib/i386-linux-gnu/xtables" PYTHONHOME="$root/usr"
exec "$loader" --library-path "$root/lib/i386-linux-gnu:$root/usr/lib/i386-linux-gnu" \
	--argv0 "$program" "$file" "$@"
