#!/usr/bin/env bash
#
#   hub ── net ── member, newcomer, taped, stranger
#
# Each has a network of its own (198.51.100.x). The stranger has no key. He has recorded first messages that `taped`
# sent to him, and sends them, and altered ones, to the hub, from everywhere, as fast as this machine can.
#
# With RATE=1 it also measures what a flood leaves of the traffic there was (docs/security.md).
#
. "$(dirname "$0")/lib.sh"
story "a flood of first messages, recorded and made up" tcpdump
FLOOD=(python3 "$ROOT/ci/netns/flood.py")

host net
on net sysctl -qw net.ipv4.ip_forward=1
on net sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0
for name in hub member newcomer taped stranger; do host "$name"; done
public hub 1
public member 2
public newcomer 3
public taped 4
public stranger 5
on hub sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.wan.rp_filter=0
on net sysctl -qw net.ipv4.conf.to-stranger.rp_filter=0

# The tape: the first messages that a member sends to ports of the stranger.
PORTS=$(seq 9001 9016 | tr '\n' ' ')
# shellcheck disable=SC2086
on stranger "${FLOOD[@]}" record "$LAB/tape" 40 198.51.100.5 $PORTS >"$LAB/tape.ready" &
remember $! tape
until grep -q ready "$LAB/tape.ready"; do sleep 0.1; done
{
    echo "ifconfig4 10.99.0.4/24"
    for port in $PORTS; do echo "initpeers 198.51.100.5 $port"; done
} | conf taped
run_node taped
soon 30 "the stranger has recorded first messages" test -s "$LAB/tape"
forget tape
halt taped || true

for n in hub:1 member:2 newcomer:3; do
    conf "${n%:*}" <<<"ifconfig4 10.99.0.${n#*:}/24
initpeers 198.51.100.1 7000"
done
run_node hub member
soon 10 "the member reaches the hub" answers member 10.99.0.1

# All that comes from, and goes to, where the flood seems to come from.
on hub nft -f - <<'RULES'
table ip count {
    set flood { type ipv4_addr; flags interval; elements = { 198.51.100.100-198.51.100.199, 10.0.0.0/8 } }
    counter received { }
    counter answered { }
    chain input { type filter hook input priority -300; ip saddr @flood ip saddr != 10.99.0.0/24 udp dport 7000 counter name received; }
    chain output { type filter hook output priority -300; ip daddr @flood ip daddr != 10.99.0.0/24 udp sport 7000 counter name answered; }
}
RULES
counted() { on hub nft list counter ip count "$1" | sed -n 's/.*bytes \([0-9]*\).*/\1/p'; }
memory() { proc hub VmRSS | tr -dc 0-9; }

before=$(memory)
on stranger "${FLOOD[@]}" flood "$LAB/tape" 12 198.51.100.1 7000 >"$LAB/sent.count" &
remember $! flood
soon 5 "the flood arrives" bash -c "[[ \$(nsenter --target $(pid_of hub.holder) --net nft list counter ip count received) != *'bytes 0 '* ]]"
check "the member still reaches the hub" answers member 10.99.0.1 -c 10 -i 0.1 -W 2
start=$(date +%s%N)
run_node newcomer
soon 10 "a newcomer gets in" answers newcomer 10.99.0.1
note "the newcomer was in after $((($(date +%s%N) - start) / 1000000)) ms"
check "and reaches the member" answers newcomer 10.99.0.2 -c 3 -W 2
wait "$(pid_of flood)" || true
forget flood
received=$(counted received) answered=$(counted answered)
note "$(<"$LAB/sent.count") messages in 12 s; $received bytes came, $answered went back"
check "no more went back than came" test "$answered" -le "$received"
check "memory is as it was (${before} kB, then $(memory) kB)" test $(($(memory) - before)) -lt 2048
check "all sessions are the same" answers member 10.99.0.3 -c 3 -W 2

# ---- what a flood leaves of the traffic there was ----

[[ -n ${RATE-} ]] || exit 0
# rate PORT: bytes a second from member to hub while the flood goes to that port of the hub.
rate() {
    on hub "${FLOOD[@]}" take 5000 >"$LAB/taken" &
    local taking=$!
    until grep -q ready "$LAB/taken"; do sleep 0.1; done
    on stranger "${FLOOD[@]}" flood "$LAB/tape" 8 198.51.100.1 "$1" >"$LAB/sent.count" &
    local flooding=$!
    sleep 1
    on member "${FLOOD[@]}" pour 10.99.0.1 5000 5
    wait "$taking" "$flooding"
    tail -n 1 "$LAB/taken"
}
on hub nft add table ip sink
on hub nft add chain ip sink input '{ type filter hook input priority -200; }'
on hub nft add rule ip sink input udp dport 7777 drop
for round in 1 2 3; do
    aside=$(rate 7777) sent_aside=$(<"$LAB/sent.count")
    at_us=$(rate 7000) sent_at_us=$(<"$LAB/sent.count")
    note "round $round: flood at another port ($((sent_aside / 8))/s) $((aside / 1000)) kB/s, at ours ($((sent_at_us / 8))/s) $((at_us / 1000)) kB/s: $((100 * at_us / aside)) %"
done
