#!/usr/bin/env bash
#
#      a          one host with the settings of an OpenWrt router, in the override directory, which is in its own /run
#
. "$(dirname "$0")/lib.sh"
story "networks of a router's /etc/config/peervpn"

host a
# What /var/run is on OpenWrt; where it is not, the program would look at this machine's own files.
[[ $(on a readlink -f /var/run) == /run ]] || skip "/var/run is not /run here"

# router: what the file says is on standard input.
router() {
    on a mkdir -p /run/uci
    on a sh -c 'umask 077; cat >/run/uci/peervpn'
}

# refused WORD COMMAND…: exit code 2, the word is said, and nothing is written to standard output but names.
refused() {
    local word=$1 code=0
    shift
    on a "$PEERVPN" "$@" >"$LAB/output" 2>"$LAB/errors" || code=$?
    [[ $code == 2 ]] || fail "peervpn $*: exit code $code instead of 2" "$(<"$LAB/errors")"
    grep -qF -- "$word" "$LAB/errors" || fail "peervpn $*: '$word' is not said" "$(<"$LAB/errors")"
    say "  ${green}ok${plain}    $*: $(head -n 1 "$LAB/errors")"
}

exported() { on a cat /run/peervpn/home.conf; }

router <<UCI
config network 'home'
	option enabled '1'
	option psk '$PSK'
	option port '7100'
	list listen_zone 'wan'
	list forward_zone 'lan'

config network 'off'
	option psk '$PSK'

config network 'broken'
	option enabled '1'
	option psk '$PSK'
	option prot '7000'
UCI
on a "$PEERVPN" uci list >"$LAB/names" 2>"$LAB/errors"
check "what is enabled is named, broken or not" diff "$LAB/names" <(printf 'home\nbroken\n')
check "what is broken is told with its line" grep -q "peervpn:14: section 'broken': option 'prot'" "$LAB/errors"
refused "did you mean 'port'" uci export broken
refused "did you mean 'port'" check --uci
refused "there is no network 'other'" uci export other
on a "$PEERVPN" uci export home >"$LAB/output" 2>&1 || fail "home is not exported" "$(<"$LAB/output")"
check "an export says nothing, the key least of all" test ! -s "$LAB/output"
check "it is for root alone" test "$(on a stat -c '%a %U' /run/peervpn/home.conf)" = "600 root"
check "and is a peervpn.conf" on a "$PEERVPN" check /run/peervpn/home.conf
on a "$PEERVPN" uci firewall home >"$LAB/rules"
check "the firewall gets its rules" diff "$LAB/rules" - <<'RULES'
src=wan proto=udp dest_port=7100 target=ACCEPT
src=* dest=lan device=peervpn0 direction=in proto=all target=ACCEPT
src=lan dest=* device=peervpn0 direction=out proto=all target=ACCEPT
RULES

start a /run/peervpn/home.conf
soon 10 "a node runs with it" status_says a "port       7100"
before=$(exported)
router <<UCI
config network 'home'
	option enabled '1'
	option psk '$PSK
UCI
refused "peervpn:3: no network is read" uci list
refused "peervpn:3: no network is read" uci export home
check "a broken file leaves what was exported" test "$(exported)" = "$before"
check "and the node that runs with it" is_running a
halt a || fail "it did not end well"

router <<UCI
config network 'home'
	option psk '$PSK'
	option port '7101'
UCI
nsenter --target "$(pid_of a.holder)" --mount --net --uts -- "$PEERVPN" run --uci home \
    </dev/null >"$LAB/by-hand.log" 2>&1 &
remember $! by-hand.daemon
soon 10 "by hand a network runs without being enabled" status_says a "port       7101"
kill "$(pid_of by-hand.daemon)"
wait "$(pid_of by-hand.daemon)" || fail "it did not end well" "$(<"$LAB/by-hand.log")"
forget by-hand.daemon
