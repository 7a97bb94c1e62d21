#!/usr/bin/env bash
#
#           a ──────────────── b
#       192.0.2.1          192.0.2.2
#       10.99.0.1          a lease of 10.99.0.100 to .150, over the tunnel
#      dnsmasq on          udhcpc on
#       peervpn0            peervpn0
#
. "$(dirname "$0")/lib.sh"
story "DHCP through the tunnel" dnsmasq udhcpc

host a
host b
cable a wan b wan
on a ip address add 192.0.2.1/24 dev wan
on b ip address add 192.0.2.2/24 dev wan
conf a <<<"ifconfig4 10.99.0.1/24"
conf b <<<"initpeers 192.0.2.1 7000"
run_node a b

serve a peervpn0 10.99.0.100 10.99.0.150
leased() {
    lease b peervpn0 &&
        on b ip -o -4 address show dev peervpn0 | grep -qE '10\.99\.0\.1[0-5][0-9]/24'
}
soon 30 "b gets a lease from a" leased
note "$(on b ip -o -4 address show dev peervpn0 | awk '{ print $4 }')"
soon 5 "with it, b reaches a" answers b 10.99.0.1
