#!/usr/bin/env bash
#
#          phone ────────────── net ────────────── vps 45.0.2.2
#     2001:db8:1::2   2001:db8:1::1  ╲
#     no IPv4         NAT64, DNS64    ╲─────────── far 45.0.3.2
#                     45.0.0.1                     no IPv6
#
#     10.99.0.3       inside: vps 10.99.0.1, far 10.99.0.2
#
# The addresses are of no documentation: what is reserved no translator takes (RFC 6052, section 3.1). They stay in here.
. "$(dirname "$0")/lib.sh"
story "a phone with IPv6 only reaches IPv4 peers through a NAT64" dnsmasq
[[ -e /proc/sys/net/ipv6 ]] || skip "this kernel has no IPv6"

# translate PREFIX: a NAT64 in net with that prefix; the one before ends.
translate() {
    local prefix=$1 translator
    ! is_alive net.nat64 || stop_server nat64
    on net ip link show dev nat64 >/dev/null 2>&1 && on net ip link delete nat64
    printf '%s\n' "tun-device nat64" "ipv4-addr 192.168.255.1" "ipv6-addr 2001:db8:2::1" "prefix $prefix" \
        "dynamic-pool 192.168.255.0/24" >"$LAB/tayga.conf"
    if [[ $TAYGA ]]; then
        translator=(tayga --nodetach --config "$LAB/tayga.conf")
        on net tayga --mktun --config "$LAB/tayga.conf" >/dev/null
    else
        translator=(python3 "$ROOT/ci/netns/nat64.py" nat64 "$prefix" 192.168.255.2)
        on net ip tuntap add dev nat64 mode tun
    fi
    on net ip link set nat64 up
    on net ip route add 192.168.255.0/24 dev nat64
    on net ip route add "$prefix" dev nat64
    serve_it nat64 "${translator[@]}"
}

# names [ADDRESS ADDRESS]: a name server in net; it makes these IPv6 addresses of those of ipv4only.arpa and the VPS.
names() {
    ! is_alive net.names || stop_server names
    serve_it names dnsmasq --keep-in-foreground --conf-file=/dev/null --user=root --pid-file= --no-resolv --no-hosts \
        --listen-address=2001:db8:1::1 --bind-interfaces --local-ttl=60 \
        --host-record="ipv4only.arpa,192.0.0.170${1:+,$1}" --host-record="vps.example.org,45.0.2.2${2:+,$2}"
}

# serve_it NAME COMMAND…: a server in net.
serve_it() {
    local name=$1
    shift
    nsenter --target "$(pid_of net.holder)" --mount --net --uts -- "$@" </dev/null >"$LAB/net.$name.log" 2>&1 &
    remember $! "net.$name"
}

stop_server() {
    local pid
    pid=$(pid_of "net.$1")
    forget "net.$1"
    kill "$pid"
    wait "$pid" 2>/dev/null || true
}

no_nat64() { ! status_says phone NAT64; }

TAYGA=yes
(need_programs tayga) || TAYGA=''
if [[ $TAYGA ]]; then note "the translator is tayga"; else note "tayga cannot be installed: a stand-in translates"; fi

host net router
for name in phone vps far; do host "$name"; done
cable net to-phone phone wan
on net ip address add 2001:db8:1::1/64 dev to-phone nodad
on phone ip address add 2001:db8:1::2/64 dev wan nodad
on phone ip route add default via 2001:db8:1::1
on net ip address add 45.0.0.1/32 dev lo
for number in 2 3; do
    name=$([[ $number == 2 ]] && echo vps || echo far)
    set_kernel "$name" ipv6/conf/all/disable_ipv6 1
    cable net "to-$name" "$name" wan
    on net ip address add "45.0.$number.1/24" dev "to-$name"
    on "$name" ip address add "45.0.$number.2/24" dev wan
    on "$name" ip route add default via "45.0.$number.1"
done
on net nft 'add table ip nat64; add chain ip nat64 out { type nat hook postrouting priority 100; };
    add rule ip nat64 out ip saddr 192.168.255.0/24 snat to 45.0.0.1'
own_etc phone
on phone sh -c 'rm -f /etc/resolv.conf; echo "nameserver 2001:db8:1::1" >/etc/resolv.conf'

conf vps <<<"ifconfig4 10.99.0.1/24"
conf far <<<"ifconfig4 10.99.0.2/24
initpeers 45.0.2.2"
conf phone <<<"ifconfig4 10.99.0.3/24
initpeers vps.example.org
enablenat64clat yes"
translate 2001:db8:64::/96
names 2001:db8:64::192.0.0.170 2001:db8:64::45.0.2.2
run_node vps far phone

soon 10 "phone reaches vps" answers phone 10.99.0.1
check "through the prefix that the network tells" status_says phone "NAT64      2001:db8:64::/96"
check "and both know each other by IPv4" status_says phone "direct 45.0.2.2:7000"
check "phone is where the translator is" status_says vps "direct 45.0.0.1:"
soon 10 "phone reaches far, of which vps told it" answers phone 10.99.0.2
soon 10 "directly" status_says phone "direct 45.0.3.2:7000"
check "a full frame of 1500 bytes passes" answers phone 10.99.0.1 -s 1472 -M 'do'
soon 20 "its path is found to carry all that fits the translator, 1480 bytes of IPv4" status_says phone " 1480 "
stream phone vps 10.99.0.1
stream vps phone 10.99.0.3

# The network has another translator, whose prefix has another length; a signal stands for whatever tells of it.
translate 2001:db8:65:1::/64
names 2001:db8:65:1:c0:0:aa00:: 2001:db8:65:1:2d:2:200::
kill -HUP "$(pid_of phone.daemon)"
soon 10 "phone follows to another prefix" status_says phone "NAT64      2001:db8:65:1::/64"
soon 10 "and reaches vps" answers phone 10.99.0.1

# IPv4 comes, and goes.
on net ip address add 45.0.1.1/24 dev to-phone
on phone ip address add 45.0.1.2/24 dev wan
on phone ip route add default via 45.0.1.1
soon 10 "with IPv4 there is no need for a translator" no_nat64
soon 10 "and none is used" status_says vps "direct 45.0.1.2:7000"
check "phone reaches vps" answers phone 10.99.0.1
on phone ip address delete 45.0.1.2/24 dev wan
soon 10 "without it there is" status_says vps "direct 45.0.0.1:"
soon 10 "and phone reaches vps" answers phone 10.99.0.1

# A network with a translator, whose name server does not know it.
halt phone
translate 64:ff9b::/96
names
conf phone <<<"ifconfig4 10.99.0.3/24
initpeers 45.0.2.2
enablenat64clat yes"
run_node phone
soon 10 "where nobody tells the prefix, the well-known one serves" answers phone 10.99.0.1
check "and the status says so" status_says phone "NAT64      64:ff9b::/96"

# The same without the option; on another port, since the others call where they knew it.
halt phone
conf phone <<<"ifconfig4 10.99.0.3/24
port 7001
initpeers 45.0.2.2"
run_node phone
refuse "who does not want it reaches nobody" timeout 3 sh -c \
    "until nsenter --target $(pid_of phone.daemon) --net ping -q -c 1 -W 1 10.99.0.1; do :; done"
