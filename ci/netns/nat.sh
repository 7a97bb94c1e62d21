#!/usr/bin/env bash
#
#                           net (routes)
#     ┌───────┬────────┬────────┬────────┬────────┬────────┐
#   .10     .11      .20      .30      .40      .50      .60        198.51.100
#   hub     eye    nat-c    nat-r    nat-s    nat-t    nat-h
# (relays)           │        │        │        │       ┌┴────────┐
#                    c        r        s        t       p         q
#              full cone  restricted  symmetric twice   one home, two networks
#
# Who talks to whom, and by which way, is what RFC 4787 makes of the two NATs' mappings and filters.
. "$(dirname "$0")/lib.sh"
story "NATs of every kind: direct paths where they let them, else a relay, and the reason told"

# A full cone: whoever has sent anything has its port open for everybody, as long as its host
# keeps its port to itself.
full_cone() {
    local name=$1 address=$2
    on "$name" nft -f - <<RULES
        table ip cone {
            map open {
                type inet_service : ipv4_addr . inet_service
                flags dynamic,timeout
                timeout 5m
            }
            chain noted {
                type filter hook postrouting priority -150;
                oifname wan meta l4proto udp update @open { udp sport : ip saddr . udp sport }
            }
            chain in {
                type nat hook prerouting priority -100;
                ip daddr $address meta l4proto udp dnat ip to udp dport map @open
            }
            chain out {
                type nat hook postrouting priority 100;
                oifname wan masquerade
            }
        }
RULES
}

identity() { status_json "$1" 'print(said["node"]["id"])'; }

# status_json HOST PROGRAM: what its status says, for a line of Python as `said`.
status_json() {
    on "$1" "$PEERVPN" status --json peervpn0 | python3 -c "import json, sys; said = json.load(sys.stdin); $2"
}

# way HOST OTHER: how it says that it reaches the other, and why not better.
way() {
    status_json "$1" "
for peer in said['peers']:
    if peer['id'] == '${IDS[$2]}': print(peer['path'], peer.get('why', ''))"
}

# Both say so, and a ping passes.
is() {
    [[ $(way "$1" "$2") == "$3"* && $(way "$2" "$1") == "$3"* ]] && answers "$1" "${INSIDE[$2]}"
}

test_why() { [[ $(way "$1" "$2") == "relayed $3" ]]; }

test_nat() { [[ $(status_json "$1" 'print(said["node"]["nat"])') == "$2" ]]; }

# Each reaches each.
all_answer() {
    local from to
    for from in "${!INSIDE[@]}"; do
        for to in "${!INSIDE[@]}"; do
            [[ $from == "$to" ]] || answers "$from" "${INSIDE[$to]}" || {
                echo "$from does not reach $to"
                return 1
            }
        done
    done
}

# settled HOST OTHER PATH: waits for it.
settled() { soon 30 "$1 and $2: $3" is "$1" "$2" "$3"; }

host net router
for name in hub eye; do host "$name"; done
for name in c r s t h; do host "nat-$name" router; done
for name in c r s t p q; do host "$name"; done
public hub 10
public eye 11
public nat-c 20
public nat-r 30
public nat-s 40
public nat-t 50
public nat-h 60
inside c nat-c 192.168.2
inside r nat-r 192.168.3
inside s nat-s 192.168.4
inside t nat-t 192.168.5
inside p nat-h 192.168.6
# The other network of that home.
cable nat-h guests q wan
on nat-h ip address add 192.168.7.1/24 dev guests
on q ip address add 192.168.7.2/24 dev wan
on q ip route add default via 192.168.7.1
full_cone nat-c 198.51.100.20
box nat-r wan
box nat-s wan fully-random
box nat-t wan fully-random
box nat-h wan

declare -A INSIDE=() IDS=()
number=0
for name in hub eye c r s t p q; do
    INSIDE[$name]=10.99.0.$((++number))
    conf "$name" <<<"ifconfig4 ${INSIDE[$name]}/24
$([[ $name == hub ]] && echo 'enablerelay yes' || echo 'initpeers 198.51.100.10 7000')"
done
run_node hub eye c r s t p q
for name in hub eye c r s t p q; do IDS[$name]=$(identity "$name"); done

settled c r direct
settled c s direct
settled c p direct
settled r p direct
settled r s relayed
settled s t relayed
settled p q direct
soon 10 "s says that both NATs are symmetric" test_why s t both-symmetric
soon 10 "r says that nobody answers" test_why r s no-answer
soon 10 "s knows its NAT" test_nat s symmetric
soon 10 "r knows its NAT" test_nat r one-port
check "no two of them are without a way" all_answer

# The two at one home may not reach each other any more, and their NAT takes nobody by its own address.
on nat-h nft insert rule inet box through iifname '{ lan, guests }' oifname '{ lan, guests }' drop
soon 40 "p and q, kept apart and without a hairpin: relayed" is p q relayed
