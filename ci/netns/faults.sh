#!/usr/bin/env bash
#
#      a ──────────────── b        one fault after the other befalls a, and once b; docs/faults.md is the table of them
#   192.0.2.1          192.0.2.2
#   10.99.0.1          10.99.0.2   inside
#
. "$(dirname "$0")/lib.sh"
story "faults of disk, memory, interfaces and processes" prlimit tc

host a
host b
cable a wan b wan
on a ip address add 192.0.2.1/24 dev wan
on b ip address add 192.0.2.2/24 dev wan
conf b <<<"ifconfig4 10.99.0.2/24
initpeers 192.0.2.1 7000
keyfile /run/node.key"

# node_a OPTION…: a's configuration, an option each.
node_a() { printf '%s\n' "ifconfig4 10.99.0.1/24" "initpeers peer.example 7000" "$@" | conf a; }
log_says() { grep -qF -- "$2" "$LAB/$1.log"; }
fresh_log() { : >"$LAB/$1.log"; }
ended() { ! is_running "$1"; }
# code_of HOST: the exit code of a daemon that has ended by itself.
code_of() {
    local pid code=0
    pid=$(pid_of "$1.daemon")
    forget "$1.daemon"
    wait "$pid" || code=$?
    echo "$code" >"$LAB/code"
}
# ends_with WORDS: a ends by itself, as a failure, with these words; a new start has it back.
ends_with() {
    soon 5 "the daemon ends" ended a
    code_of a
    check "as a failure, for which procd and systemd start it again" test "$(<"$LAB/code")" = 1
    check "with a word: $1" log_says a "$1"
    run_node a
    soon 15 "started again, it is back" answers b 10.99.0.1
}
id_of() { on a "$PEERVPN" id --keyfile "$1"; }
# child_of NAME: the process of a's of that name; a lookup bears its parent's, which is older.
child_of() {
    local pid
    for pid in $(ip netns pids "${LAB_PREFIX}a" | sort -n); do
        [[ $(<"/proc/$pid/comm") != "$1" ]] || break
    done
    echo "$pid"
}

say "  -- the disk is full, or read-only"
on a mkdir /run/full /run/readonly
on a mount -t tmpfs -o size=8k disk /run/full
on a sh -c 'head -c 8192 /dev/zero >/run/full/rest'
on a mount -t tmpfs -o ro disk /run/readonly
run_node b
for place in full readonly; do
    fresh_log a
    node_a "keyfile /run/$place/node.key"
    run_node a
    # Another key makes another MAC address, which a tells by asking.
    soon 15 "$place: the node works" answers a 10.99.0.2
    check "and says that its key is not kept" log_says a "this is a new node to the others after each start"
    halt a || fail "it does not end well"
    refuse "nothing half written is left" on a sh -c "ls /run/$place | grep -v '^rest\$'"
done
on a rm /run/full/rest
node_a "keyfile /run/full/node.key"
run_node a
soon 15 "with room again, the node works" answers a 10.99.0.2
halt a || fail "it does not end well"
on a sh -c 'cat /dev/zero >/run/full/rest 2>/dev/null' || true
kept=$(id_of /run/full/node.key)
run_node a
soon 15 "full again, it works with the key that it had" answers a 10.99.0.2
check "which is as it was" test "$(id_of /run/full/node.key)" = "$kept"
halt a || fail "it does not end well"

say "  -- a key file that cannot be read"
sed '/^psk /d' "$LAB/a.conf" >"$LAB/a.psk.conf"
echo "pskfile /run/psk" >>"$LAB/a.psk.conf"
chmod 600 "$LAB/a.psk.conf"
# unreadable HOW: the start ends with a word that names the file, and has opened nothing.
unreadable() {
    local code=0
    on a timeout 5 "$PEERVPN" "$LAB/a.psk.conf" >"$LAB/output" 2>&1 || code=$?
    check "$1: the start ends as a failure" sh -c "[ $code = 1 ] || [ $code = 2 ]"
    check "the file is named" grep -q /run/psk "$LAB/output"
    refuse "no interface was made" on a ip link show dev peervpn0
}
unreadable missing
on a mkdir /run/psk
unreadable "a directory"
on a rmdir /run/psk
on a sh -c "umask 022; echo '$PSK' >/run/psk"
unreadable "open to all"
check "it is as it was" test "$(on a cat /run/psk)" = "$PSK"

say "  -- killed while it writes its key"
first='' keys=0
node_a "keyfile /run/torn/node.key"
for round in {1..40}; do
    ((round % 2 == 0)) || { on a rm -rf /run/torn && first=''; }
    start a "$LAB/a.conf"
    sleep "0.0$((RANDOM % 3))$((RANDOM % 10))"
    halt a KILL 2>/dev/null || true
    if on a test -e /run/torn/node.key; then
        keys=$((keys + 1))
        now=$(id_of /run/torn/node.key) || fail "round $round: the key file is damaged" "$now"
        [[ -z $first || $now == "$first" ]] || fail "round $round: the node became another"
        first=$now
    fi
done
check "40 times killed, $keys times with a key: always none or a whole one, and it stays" test "$keys" -gt 0

say "  -- its interface is set down and up, and removed"
fresh_log a
node_a "keyfile /run/node.key"
run_node a
check "a reaches b" answers a 10.99.0.2 -c 3 -W 5
soon 15 "b reaches a" answers b 10.99.0.1
on a ip link set peervpn0 down
refuse "down, nothing passes" answers b 10.99.0.1
on a ip link set peervpn0 up
soon 5 "up again, b reaches a" answers b 10.99.0.1
on a ip link del peervpn0
ends_with "the interface peervpn0 was removed; start again to have a new one"

say "  -- its children are killed"
fresh_log a
kill -KILL "$(child_of peervpn-helper)"
ends_with "the helper was ended from outside; start again to have a new one"
kill -KILL "$(child_of peervpn-names)"
ends_with "the resolver was ended from outside; start again to have a new one"

say "  -- no descriptor is left"
# Where root may not change the limits of others, it may those of a daemon that stays root.
halt a || fail "it does not end well"
node_a "keyfile /run/node.key" "enableprivdrop no"
run_node a
soon 15 "b reaches a" answers b 10.99.0.1
pid=$(pid_of a.daemon)
limit=$(prlimit --pid "$pid" --nofile --noheadings --raw --output SOFT)
prlimit --pid "$pid" --nofile=3: # those that are open stay so
refuse "its status cannot be asked" on a timeout 8 "$PEERVPN" status peervpn0
check "the tunnel works" answers b 10.99.0.1
before=$(awk '{ print $14 + $15 }' "/proc/$pid/stat")
sleep 2
spent=$(($(awk '{ print $14 + $15 }' "/proc/$pid/stat") - before))
check "and the daemon does not spin ($spent ticks in 2 s)" test "$spent" -lt 50
prlimit --pid "$pid" --nofile="$limit:"
soon 15 "with descriptors again, it answers" status a

say "  -- no buffer is left on the way out"
on a tc qdisc replace dev wan root tbf rate 200kbit burst 2kb limit 3kb
on a ping -q -f -c 500 -s 1300 -W 1 10.99.0.2 >/dev/null 2>&1 || true
check "flooded, the daemon lives" is_running a
on a tc qdisc del dev wan root
soon 5 "with room again, b reaches a" answers b 10.99.0.1

say "  -- more happens to the network than its socket holds, while it stands still"
for number in {1..250}; do
    echo "address add 10.7.$number.1/24 dev lo"
    echo "address del 10.7.$number.1/24 dev lo"
done >"$LAB/batch"
kill -STOP "$pid"
for _ in {1..8}; do on a ip -batch "$LAB/batch"; done
on a ip address add 192.0.2.11/24 dev wan
lost=$(on a awk -v pid="$pid" '$3 == pid && $2 == 0 { lost += $9 } END { print lost + 0 }' /proc/net/netlink)
kill -CONT "$pid"
check "4000 changes: $lost were lost" test "$lost" -gt 0
soon 5 "b reaches a" answers b 10.99.0.1
refuse "it was not left without news" log_says a "cannot watch the network"

say "  -- it stands still for a minute, as in a suspended machine"
kill -STOP "$pid"
sleep 60
kill -CONT "$pid"
soon 15 "awake again, b reaches a" answers b 10.99.0.1
check "it is the same process" test "$(pid_of a.daemon)" = "$pid"

say "  -- no memory is left"
prlimit --pid "$pid" --as=4096:
check "the tunnel works" answers b 10.99.0.1 -c 20 -i 0.02
prlimit --pid "$pid" --as=unlimited:
halt a || fail "it does not end well"
kept=$(id_of /run/node.key)
for megabytes in 1 2 3 4 5 6 8 12; do
    code=0
    on a timeout 1 prlimit --as=$((megabytes * 1048576)) "$PEERVPN" "$LAB/a.conf" >"$LAB/output" 2>&1 || code=$?
    note "started with $megabytes MB: exit code $code"
done
run_node a
soon 15 "with memory again, b reaches a" answers b 10.99.0.1
check "its key is as it was" test "$(id_of /run/node.key)" = "$kept"
