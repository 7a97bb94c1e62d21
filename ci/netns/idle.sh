#!/usr/bin/env bash
#
#      hub ─ a ─ b ─ … ─ j      eleven nodes on one bridge, all connected with all, and silent
#   192.0.2.1   .2  .3  …  .11
#
. "$(dirname "$0")/lib.sh"
story "memory and wake-ups of a node with ten peers and nothing to do"

PEERS=10
MEMORY=4096 # KiB

host switch
on switch ip link add br0 type bridge
on switch ip link set br0 up
nodes=()
for ((i = 0; i <= PEERS; i++)); do
    node=n$i
    nodes+=("$node")
    host "$node"
    # IPv6 and its neighbour discovery would talk by themselves.
    set_kernel "$node" ipv6/conf/default/disable_ipv6 1
    set_kernel "$node" ipv6/conf/all/disable_ipv6 1
    cable switch "to-$node" "$node" wan
    on switch ip link set "to-$node" master br0
    on "$node" ip address add "192.0.2.$((i + 1))/24" dev wan
    conf "$node" <<<"ifconfig4 10.99.0.$((i + 1))/24
initpeers 192.0.2.1 7000"
done
run_node "${nodes[@]}"
for ((i = 1; i <= PEERS; i++)); do
    soon 20 "n0 reaches n$i" answers n0 "10.99.0.$((i + 1))"
done
soon 20 "n5 reaches n$PEERS" answers n5 "10.99.0.$((PEERS + 1))"
named=$(status n0 | grep -oE '192\.0\.2\.[0-9]+' | sort -u | grep -cvx 192.0.2.1 || true)
check "n0's status names every peer" test "$named" = "$PEERS"

# All that passes between the nodes, IP headers included; beacons, which go to all of a LAN at once, apart.
on n0 nft -f - <<'NFT'
table inet counting {
    counter tunnels {}
    chain in { type filter hook input priority 0; iifname wan udp dport 7000 counter name tunnels; }
    chain out { type filter hook output priority 0; oifname wan udp dport 7000 counter name tunnels; }
}
NFT
carried() { on n0 nft list counter inet counting tunnels | grep -oE 'bytes [0-9]+' | cut -d' ' -f2; }

sleep 3
before=$(proc n0 voluntary_ctxt_switches)
ticks=$(awk '{ print $14 + $15 }' "/proc/$(pid_of n0.daemon)/stat")
sleep 20
after=$(proc n0 voluntary_ctxt_switches)
note "wake-ups in 20 idle seconds: $((after - before)); processor time:" \
    "$((($(awk '{ print $14 + $15 }' "/proc/$(pid_of n0.daemon)/stat") - ticks) * 1000 / $(getconf CLK_TCK))) ms"
for pid in $(ip netns pids "${LAB_PREFIX}n0"); do
    [[ $pid == "$(pid_of n0.holder)" ]] || note "$(tr '\0' ' ' <"/proc/$pid/cmdline" | cut -c1-40)(process $pid):" \
        "$(awk '/^(VmRSS|RssAnon|RssFile):/ { printf "%s %s KiB  ", $1, $2 }' "/proc/$pid/status")"
done
resident=$(proc n0 VmRSS | cut -d' ' -f1)
check "the daemon's resident memory ($resident KiB) is below $MEMORY KiB" test "$resident" -lt "$MEMORY"

# Two rounds of keepalives, as often as they come before anything is known of the paths.
bytes=$(carried)
sleep 50
daily=$((($(carried) - bytes) * 86400 / 50 / PEERS))
check "$daily bytes a day and peer, at the pace of the first minutes, are some" test "$daily" -gt 100000
check "and no more than 450000" test "$daily" -le 450000
