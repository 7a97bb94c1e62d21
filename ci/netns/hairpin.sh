#!/usr/bin/env bash
#
#           net (routes)
#      ┌──────┴──────┐
#     .10           .20              198.51.100
#     hub           home             a full cone that reflects; its two networks do not talk to each other
#                 ┌──┴──┐
#                 a     b            the only way between them is home's outer address
#
. "$(dirname "$0")/lib.sh"
story "two behind one NAT, with and without hairpin"

host net router
host hub
host home router
public hub 10
public home 20
for n in a:2 b:3; do
    name=${n%:*} network=192.168.${n#*:}
    host "$name"
    cable home "to-$name" "$name" wan
    on home ip address add "$network.1/24" dev "to-$name"
    on "$name" ip address add "$network.2/24" dev wan
    on "$name" ip route add default via "$network.1"
done

# nat REFLECTS: what has been sent opens its port for everybody; `yes`: for those inside as well.
nat() {
    local where='iifname wan'
    [[ $1 == no ]] || where='ip daddr 198.51.100.20'
    on home nft -f - <<RULES
        table ip box
        delete table ip box
        table ip box {
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
                $where meta l4proto udp dnat ip to udp dport map @open
            }
            chain through {
                type filter hook forward priority 0; policy drop;
                ct status dnat accept
                ct state established,related accept
                oifname wan accept
            }
            chain out {
                type nat hook postrouting priority 100;
                oifname wan masquerade
                # Who is reflected comes from outside, to those inside.
                ct status dnat iifname { "to-a", "to-b" } snat to 198.51.100.20
            }
        }
RULES
}

conf hub <<<"ifconfig4 10.99.0.1/24
enablerelay yes"
# nodes N: both, each with a port of its own, since one NAT cannot keep the same for two; others than before, since it has
# not forgotten what became of those.
nodes() {
    local n
    for n in a:2 b:3; do
        conf "${n%:*}" <<<"ifconfig4 10.99.0.${n#*:}/24
port 70$1${n#*:}
initpeers 198.51.100.10 7000"
    done
    run_node a b
}

nat no
run_node hub
nodes 0
soon 20 "without: a reaches b" answers a 10.99.0.3
soon 20 "through the hub" status_says a relayed
for name in a b; do halt "$name" || fail "$name does not end well"; done
nat yes
nodes 1
soon 30 "with: a reaches b" answers a 10.99.0.3
soon 30 "by the outer address of their NAT" status_says a "direct 198.51.100.20:7013"
soon 10 "and b a" status_says b "direct 198.51.100.20:7012"
check "pings pass" answers b 10.99.0.2 -c 3 -W 3
