#!/usr/bin/env bash
#
#                net (routes)
#      ┌─────────┬──┴──────┬─────────┐
#     hub        p        nat       cgn     198.51.100.x; cgn gives every flow a port of chance
#                        ┌─┴─┐       │
#                        m   n       s      five nodes: hub, p, m, n and s
#
# Faults drawn by chance, one or two at a time, for CHAOS_SECONDS. The same CHAOS_SEED draws the same ones. The hub suffers
# everything but its end, so that what it would lose bit by bit shows.
#
. "$(dirname "$0")/lib.sh"
story "random faults over five nodes"

seconds=${CHAOS_SECONDS:-40}
seed=${CHAOS_SEED:-$((RANDOM * 32768 + RANDOM))}
RANDOM=$seed
note "CHAOS_SEED=$seed CHAOS_SECONDS=$seconds"

NODES=(hub p m n s)
declare -A GATEWAY=([hub]=203.0.113.1 [p]=203.0.113.1 [m]=192.168.1.1 [n]=192.168.1.1 [s]=100.64.0.1)
declare -A INSIDE=([hub]=10.99.0.1 [p]=10.99.0.2 [m]=10.99.0.3 [n]=10.99.0.4 [s]=10.99.0.5)
# The last byte of the address that a host has in the world, which changes when it moves.
declare -A WORLD=([hub]=1 [p]=2 [nat]=3 [cgn]=4)

host net router
for name in hub p; do host "$name"; done
for name in nat cgn; do host "$name" router; done
for name in hub p nat cgn; do public "$name" "${WORLD[$name]}"; done
for name in m n s; do host "$name"; done
# m and n share a network, which is a switch in their router.
on nat ip link add lan type bridge
on nat ip link set lan up
on nat ip address add 192.168.1.1/24 dev lan
for name in m n; do
    cable nat "to-$name" "$name" wan
    on nat ip link set "to-$name" master lan
done
on m ip address add 192.168.1.2/24 dev wan
on n ip address add 192.168.1.3/24 dev wan
for name in m n; do on "$name" ip route add default via 192.168.1.1; done
inside s cgn 100.64.0
box nat wan
box cgn wan fully-random

for name in "${NODES[@]}"; do
    {
        echo "ifconfig4 ${INSIDE[$name]}/24"
        echo "keyfile /run/node.key"
        echo "enablelandiscovery yes"
        if [[ $name == hub ]]; then echo "enablerelay yes"; else echo "initpeers 198.51.100.1 7000"; fi
    } | conf "$name"
done
run_node "${NODES[@]}"

all_talk() {
    local from to
    for from in "${NODES[@]}"; do
        for to in "${NODES[@]}"; do
            [[ $from == "$to" ]] || answers "$from" "${INSIDE[$to]}" || {
                echo "$from does not reach $to"
                return 1
            }
        done
    done
}
# What the hub holds, in kB of memory and in descriptors.
held() { echo "$(proc hub RssAnon | tr -dc 0-9) $(find "/proc/$(pid_of hub.daemon)/fd" -type l | wc -l)"; }

# ---- faults: each begins with `NAME HOST` and is made good by `NAME_over HOST` ----

killed() { halt "$1" KILL || true; }
killed_over() { start "$1" "$LAB/$1.conf"; }
stopped() { halt "$1" || true; }
stopped_over() { killed_over "$1"; }
frozen() { kill -STOP "$(pid_of "$1.daemon")"; }
frozen_over() { kill -CONT "$(pid_of "$1.daemon")"; }
unplugged() { on "$1" ip link set wan down; }
unplugged_over() {
    on "$1" ip link set wan up
    on "$1" ip route replace default via "${GATEWAY[$1]}" dev wan
}
# Four of ten packets are lost, both ways.
lossy() {
    on "$1" nft -f - <<'RULES'
        table inet chaos {
            chain in { type filter hook input priority -10; iifname "wan" numgen random mod 10 < 4 drop; }
            chain out { type filter hook output priority -10; oifname "wan" numgen random mod 10 < 4 drop; }
        }
RULES
}
lossy_over() { on "$1" nft delete table inet chaos; }
# Another address from the provider, as after a line came back; that of the hub is what all others begin with.
moved() {
    local host=$1 before
    case $1 in
    hub) return 0 ;;
    m | n) host=nat ;;
    s) host=cgn ;;
    esac
    before=${WORLD[$host]} WORLD[$host]=$(((${WORLD[$host]} + 10) % 240))
    on net ip address del 203.0.113.1 peer "198.51.100.$before" dev "to-$host"
    on net ip address add 203.0.113.1 peer "198.51.100.${WORLD[$host]}" dev "to-$host"
    on "$host" ip link set wan down # with which a NAT forgets what it mapped to the old one
    on "$host" ip address del "198.51.100.$before" peer 203.0.113.1 dev wan
    on "$host" ip link set wan up
    on "$host" ip address add "198.51.100.${WORLD[$host]}" peer 203.0.113.1 dev wan
    on "$host" ip route replace default via 203.0.113.1 dev wan
}
moved_over() { :; }
# The world between two routers: nothing passes from this one to others but the hub.
walled() {
    on net nft -f - <<RULES
        table inet wall {
            chain forward { type filter hook forward priority 0; iifname "to-p" oifname != "to-hub" drop; }
        }
RULES
}
walled_over() { on net nft delete table inet wall; }
tap_down() { on "$1" ip link set peervpn0 down 2>/dev/null || true; }
tap_down_over() { on "$1" ip link set peervpn0 up 2>/dev/null || true; }
# The daemon ends, and is started again as procd would.
tap_gone() { on "$1" ip link del peervpn0 2>/dev/null || true; }
tap_gone_over() {
    halt "$1" 2>/dev/null || true
    killed_over "$1"
}
helper_killed() {
    local pid
    for pid in $(ip netns pids "$LAB_PREFIX$1" | sort -n); do
        [[ $(<"/proc/$pid/comm") != peervpn-helper ]] || kill -KILL "$pid"
    done 2>/dev/null
}
helper_killed_over() { tap_gone_over "$1"; }
garbage() {
    on net python3 -c '
import os, random, socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for _ in range(3000):
    s.sendto(bytes([random.randrange(8)]) + os.urandom(random.randrange(1500)), ("198.51.100.1", 7000))'
}
garbage_over() { :; }
hangup() { kill -HUP "$(pid_of "$1.daemon")"; }
hangup_over() { :; }

ALL=(frozen unplugged lossy moved walled tap_down garbage hangup)
DEADLY=(killed stopped tap_gone helper_killed)

pick() { # pick NAME WORD…: one of the words, into that variable. No subshell: the next number must follow.
    local -n picked=$1
    shift
    local words=("$@")
    # shellcheck disable=SC2034 # it is the caller's
    picked=${words[RANDOM % ${#words[@]}]}
}

strike() {
    local victim one other
    pick victim "${NODES[@]}"
    pick one "${ALL[@]}"
    # Somebody else has the second one, or nobody.
    pick other none "${DEADLY[@]}" "${DEADLY[@]}"
    local second
    pick second p m n s
    [[ $second != "$victim" ]] || other=none
    say "  ${dim}$((SECONDS - begun)) s${plain}  $one $victim$([[ $other == none ]] || echo ", $other $second")"
    "$one" "$victim"
    [[ $other == none ]] || "$other" "$second"
    sleep "$((RANDOM % 4)).$((RANDOM % 10))"
    "${one}_over" "$victim"
    [[ $other == none ]] || "${other}_over" "$second"
    sleep "$((RANDOM % 3)).$((RANDOM % 10))"
}

# Whoever ended without being told to is a failure of its own.
alive() {
    local name
    for name in "${NODES[@]}"; do
        is_running "$name" || { echo "$name has ended" && return 1; }
    done
    ! grep -l panicked "$LAB"/*.log
}

begun=$SECONDS
soon 60 "all talk with all" all_talk
sleep 5
read -r memory descriptors < <(held)
breath=$SECONDS
while ((SECONDS - begun < seconds)); do
    strike
    if ((SECONDS - breath > 120)); then
        soon 90 "all talk with all" all_talk
        breath=$SECONDS
    fi
done
soon 90 "after all that, all talk with all" all_talk
check "nobody ended who was not killed" alive
sleep 5
read -r memory_now descriptors_now < <(held)
note "the hub held $memory kB and $descriptors descriptors, and holds $memory_now kB and $descriptors_now"
# What tables touch for the first time is some 250 kB, within half an hour.
check "it holds what it began with" test "$((memory_now - memory < 400))" = 1
check "and no more descriptors" test "$descriptors_now" -le "$descriptors"
