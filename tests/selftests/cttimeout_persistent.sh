#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# check: plain/s390x; slow: 9
# needs: iptables-nft nfct
#
# The plugin of netfilter-persistent keeps policies and default timeouts, with this module and
# with the C module, and from one to the other. A new namespace and a module that is loaded
# anew stand for a reboot; tests/packaging.sh has a real one.
# shellcheck source-path=SCRIPTDIR/../lib

. ../lib/ktap.sh
. ../lib/netns.sh
. ../lib/conntrack.sh

NS=cttimeout-persistent
C_MODULE=nfnetlink_cttimeout
PROTOCOLS="tcp udp icmp icmpv6 sctp gre generic"
work=/run/cttimeout-persistent
plugins=$work/plugins.d file=$work/etc/timeouts.nfct harmless=/run/harmless
odd='#$(touch${IFS}oops)`oops`;*?"'"'\\"

nfct() { in_ns "$NS" nfct "$@"; }
loaded() { lsmod | awk '{ print $1 }' | grep -x -e "$MODULE" -e "$C_MODULE" | xargs; }
free() { [ -z "$(loaded)" ] || unload "$(loaded)"; }
choose() { printf 'blacklist %s\n' "$@" >"$MODCONF/choice.conf"; }
other() { if [ "$1" = "$MODULE" ]; then echo "$C_MODULE"; else echo "$MODULE"; fi; }

# persistent save|start|flush: runs all plugins in their order, as netfilter-persistent does
persistent() {
	local plugin failed=0
	for plugin in "$plugins"/*; do in_ns "$NS" "$plugin" "$1" || failed=1; done
	return "$failed"
}

defaults() { for proto in $PROTOCOLS; do nfct default-get timeout inet "$proto"; done; }
rules() { in_ns "$NS" iptables-nft -t raw -S && in_ns "$NS" ip6tables-nft -t raw -S; }
all() { nfct list timeout && defaults && rules; }

# numbers PROTOCOL FIRST: each state with a number of its own
numbers() {
	nfct default-get timeout inet "$1" |
		awk -v n="$2" '/^\t\t/ { print tolower(substr($1, 2)), n++ }'
}

# fill: default timeouts and policies for each protocol, and rules
fill() {
	local proto n=100
	for proto in $PROTOCOLS; do
		n=$((n + 100))
		# shellcheck disable=SC2046 # the values are words
		nfct default-set timeout inet "$proto" $(numbers "$proto" $n) &&
			nfct add timeout "inet-$proto" inet "$proto" $(numbers "$proto" $((n + 30))) &&
			nfct add timeout "inet6-$proto" inet6 "$proto" $(numbers "$proto" $((n + 60))) || return
	done
	nfct add timeout "$odd" inet udp replied 7 && nfct add timeout '*' inet udp replied 8 &&
		in_ns "$NS" iptables-nft -t raw -A OUTPUT -p tcp -j CT --timeout inet-tcp &&
		in_ns "$NS" ip6tables-nft -t raw -A OUTPUT -p sctp -j CT --timeout inet6-sctp
}

# reboot: nothing is left but the file
reboot() { netns_cleanup && NETNS_MADE=() && wait_until 60 free && netns_add "$NS"; }

leftovers() { find "${file%/*}" -type f ! -path "$file"; }

# save_fails TITLE TEXT: a save fails, says TEXT, and leaves the old file
save_fails() {
	cp "$file" "$work/old"
	check_fails "$module: save fails if $1" "$2" persistent save
	check_eq "$module: save leaves the old file, and no other, if $1" \
		"$(cmp "$file" "$work/old" 2>&1; leftovers)" ""
}

# with_nfct COMMAND STATEMENTS: an nfct that runs STATEMENTS if its arguments begin with COMMAND
with_nfct() {
	printf '#!/bin/sh\ncase "$*" in "%s"*) %s ;; esac\nexec %s "$@"\n' "$1" "$2" "$work/nfct" >"$work/fake"
	chmod +x "$work/fake"
	mount --bind "$work/fake" "$real"
}

check_start() {
	local before policy
	choose "$(other "$module")"
	reboot || exit
	rm -f "$file"
	check "$module: start without a file" in_ns "$NS" "$plugins/10-cttimeout" start
	check "$module: save of an empty table" persistent save
	check_eq "$module: the save made the kernel load the module" "$(loaded)" "$module"
	check_eq "$module: without policies, the default timeouts of each protocol are saved" \
		"$(grep -c '^nfct default-set ' "$file") $(grep -vc '^nfct default-set ' "$file")" "7 1"

	check "$module: default timeouts, policies and rules" fill
	before=$(all)
	check "$module: save" persistent save
	check_eq "$module: a line of the file is a command of nfct" "$(grep ' inet6-udp ' "$file")" \
		"nfct add timeout inet6-udp inet6 udp unreplied 360 replied 361"
	check_eq "$module: the file has the mode of iptables' files" "$(stat -c %a "$file")" 640
	reboot || exit
	check_eq "$module: after the reboot, no module is loaded" "$(loaded)" ""
	check "$module: start after a reboot" persistent start
	check_eq "$module: start made the kernel load the module" "$(loaded)" "$module"
	check_eq "$module: policies, default timeouts and rules are as before the reboot" "$(all)" "$before"
	check "$module: a second start" persistent start
	check_eq "$module: a second start changes nothing" "$(all)" "$before"
	cp "$file" "$work/old"
	check "$module: a second save" persistent save
	check "$module: a second save writes the same" cmp "$file" "$work/old"

	# Policies that exist
	policy=$(nfct get timeout inet-udp)
	nfct delete timeout inet-udp
	nfct add timeout inet-udp inet6 sctp closed 1
	check "$module: start with a policy that has other values" persistent start
	check_eq "$module: a policy that exists gets the saved values" "$(nfct get timeout inet-udp)" "$policy"
	policy=$(nfct get timeout inet-tcp)
	sed -i '/ inet-tcp /s/ established [0-9]*/ established 7777/' "$file"
	if [ "$module" = "$MODULE" ]; then
		check_fails "$module: start reports a policy that keeps its values because a rule uses it" \
			"Device or resource busy
the policy keeps its values; remove the rules first" persistent start
		check_eq "$module: the policy that a rule uses keeps its values" "$(nfct get timeout inet-tcp)" "$policy"
	else
		check "$module: start with other values for a policy that a rule uses" persistent start
		check_eq "$module: the policy that a rule uses has the saved values" \
			"$(nfct get timeout inet-tcp)" "$(sed '/ESTABLISHED/s/[0-9]\+/7777/' <<<"$policy")"
		check "$module: the loaded rule uses the new policy" test "$(policy_use "$NS" inet-tcp)" -gt 1
	fi

	# Flush
	if [ "$module" = "$MODULE" ]; then
		check_fails "$module: a flush reports the policies that rules use" "kept, because rules use them: inet-tcp
inet6-sctp" in_ns "$NS" "$plugins/35-cttimeout" flush
		check_eq "$module: a flush keeps the policies that rules use" "$(nfct list timeout | grep -c '^\.')" 2
	fi
	before=$(defaults)
	check "$module: flush of rules and policies" persistent flush
	check_eq "$module: a flush leaves no policy" "$(nfct list timeout)" ""
	check_eq "$module: a flush leaves the default timeouts" "$(defaults)" "$before"
}

check_broken() {
	local good errors
	choose "$(other "$module")"
	reboot || exit
	touch $harmless
	cat >"$file" <<-END
		# A comment, and an empty line

		nfct add timeout good1 inet tcp established 11
		nfct add timeout bad inet tcp established 12 close
		nfct add timeout bad inet tcp established 12x
		nfct add timeout bad inet tcp nowhere 12
		nfct add timeout bad inet tcp established 4294967396
		nfct add timeout bad inet tcp
		nfct add timeout
		nfct delete timeout good1
		nfct add timeout bad inet tcp established 12; rm $harmless
		rm $harmless
		nfct add timeout a2345678901234567890123456789012 inet udp replied 13
		nfct add timeout bad ipx udp replied 13
		nfct default-set timeout inet udp replied x
		nfct default-set timeout inet nothing replied 13
		nfct add timeout \$(rm\${IFS}$harmless) inet udp replied 14
		  nfct	add timeout  good2 inet6 udp replied 15  
		nfct default-set timeout inet udp replied 16
	END
	printf 'nfct add timeout good3 inet gre replied 17' >>"$file"
	errors=$(in_ns "$NS" "$plugins/10-cttimeout" start 2>&1)
	check_eq "$module: start exits with 1 if the file has broken lines" "$?" 1
	check_eq "$module: start reports the number of each broken line" \
		"$(sed -n "s,^cttimeout: $file:\([0-9]*\): .*,\1,p" <<<"$errors" | xargs)" "$(seq -s ' ' 4 16)"
	check_eq "$module: start says what is wrong with a line" \
		"$(sed -n "s,^cttimeout: $file:\(5\|10\): ,,p" <<<"$errors")" "\"12x\" is not a number of seconds
neither \"nfct add timeout ...\" nor \"nfct default-set timeout ...\""
	good="good1 \$(rm\${IFS}$harmless) good2 good3"
	check_eq "$module: start does what the other lines say" \
		"$(nfct list timeout | sed -n 's/^\.\(.*\) = {/\1/p' | paste -sd ' ') $(nfct default-get timeout inet udp | grep -c 'REPLIED = 16')" \
		"$good 1"
	check_eq "$module: no line is run by a shell" "$(ls $harmless)" $harmless
	nfct flush timeout
}

check_save() {
	local real
	choose "$(other "$module")"
	reboot || exit
	nfct add timeout kept inet tcp established 5
	nfct add timeout "white space" inet tcp established 6
	in_ns "$NS" python3 -c 'import nfnl; nfnl.Socket().create("seven", 6, {1: 9}, 7)'
	check_fails "$module: save names policies that nfct has no command for" "create it: .white space = {
cttimeout: not saved, because nfct cannot create it: .seven = {" in_ns "$NS" "$plugins/10-cttimeout" save
	check_eq "$module: save of such policies saves the others" "$(grep -c ^nfct.add "$file") $(grep -c ' kept ' "$file")" "1 1"

	real=$(type -P nfct) && cp "$real" "$work/nfct"
	with_nfct "list timeout" 'printf ".one = {\n\t.l3proto = 2,\n\t.l4proto = 6,\n};\n"; exit 1'
	save_fails "nfct list fails after one policy" ""
	umount "$real"
	with_nfct "list timeout" 'printf ".half = {\n\t.l3proto = 2,\n"; exit 0'
	save_fails "nfct's list has no end" "the output of nfct is cut off"
	umount "$real"
	with_nfct "default-get timeout inet udp" 'echo "no memory" >&2; exit 1'
	save_fails "nfct default-get fails" "cttimeout: no memory"
	umount "$real"
	nfct flush timeout
	choose "$MODULE" "$C_MODULE"
	reboot || exit
	save_fails "no module can be loaded" "netlink error"
}

# switch FROM TO: the steps of docs/INSTALL.md
switch() {
	local before
	before=$(all)
	check "from $1 to $2: save" persistent save
	in_ns "$NS" iptables-nft -t raw -F
	in_ns "$NS" ip6tables-nft -t raw -F
	nfct flush timeout
	check "from $1 to $2: the module can be unloaded" unload "$1"
	check "from $1 to $2: the other module can be loaded" load "$2"
	check "from $1 to $2: start" persistent start
	check_eq "from $1 to $2: policies, default timeouts and rules are the same" "$(all)" "$before"
	check_eq "from $1 to $2: the other module is loaded" "$(loaded)" "$2"
}

mkdir -p "$plugins"
# The guest cannot write to /etc.
sed "s,^file=.*,file=$file," ../../packaging/cttimeout-persistent/10-cttimeout >"$plugins/10-cttimeout"
chmod +x "$plugins/10-cttimeout"
ln -s 10-cttimeout "$plugins/35-cttimeout"
# As the plugins of iptables-persistent, so far as rules name policies
for name in iptables-nft ip6tables-nft; do
	cat >"$plugins/20-$name" <<-END
		#!/bin/sh
		case \$1 in
		save) $name-save >$work/$name ;;
		start) $name-restore <$work/$name ;;
		flush) $name -t raw -F ;;
		esac
	END
	chmod +x "$plugins/20-$name"
done

modules=$MODULE
if [ -f "$MODROOT/lib/modules/$(uname -r)/$C_MODULE.ko" ]; then
	modules+=" $C_MODULE"
else
	skip "the C module" "this kernel has no $C_MODULE.ko"
fi
for module in $modules; do
	check_start
	check_broken
	check_save
done
if [ "$modules" != "$MODULE" ]; then
	choose "$C_MODULE"
	reboot && fill || exit
	switch "$MODULE" "$C_MODULE"
	switch "$C_MODULE" "$MODULE"
fi
netns_cleanup
wait_until 60 free
choose "$C_MODULE"
finish
