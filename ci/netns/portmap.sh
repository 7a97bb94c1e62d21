#!/usr/bin/env bash
#
#                net (routes)
#      ┌──────────┬┴────────┐
#     .10     5.5.5.20    .30           198.51.100
#     hub       home     provider       home runs miniupnpd; behind the provider every flow has a port of chance
#  (relays)      │           │
#                a           b          a and b: direct by the port that home gives, else relayed
#
. "$(dirname "$0")/lib.sh"
story "a real miniupnpd is asked for a port, gives it, and has it back" dpkg-deb

# Taken out of Debian's package without installing it, which would start it on this machine.
fetch_miniupnpd() {
    mkdir "$LAB/package"
    cd "$LAB/package"
    chmod 777 .
    apt-get download miniupnpd-nftables >/dev/null 2>&1 || { apt-get update && apt-get download miniupnpd-nftables; } >/dev/null 2>&1 ||
        skip "there is no package miniupnpd-nftables to be had"
    dpkg-deb -x miniupnpd-nftables_*.deb .
    cd - >/dev/null
    MINIUPNPD=$LAB/package/usr/sbin/miniupnpd
    ! ldd "$MINIUPNPD" | grep "not found" || skip "its libraries are not here"
}

# The chains that it writes into, as its nft_init.sh makes them.
chains() {
    on home nft -f - <<'RULES'
        table inet upnp {
            chain miniupnpd { }
            chain prerouting_miniupnpd { }
            chain postrouting_miniupnpd { }
            chain prerouting { type nat hook prerouting priority -100; jump prerouting_miniupnpd; }
            chain postrouting { type nat hook postrouting priority 90; jump postrouting_miniupnpd; }
        }
        # What was asked for may come in, before all else is dropped.
        table inet box {
            chain through { type filter hook forward priority 0; policy drop;
                ct state established,related accept
                iifname != "wan" accept
                ct status dnat accept
            }
        }
RULES
}

# Runs it in home.
upnpd() {
    printf '%s\n' ext_ifname=wan listening_ip=lan enable_natpmp=yes enable_upnp=no secure_mode=yes \
        upnp_table_name=upnp upnp_nat_table_name=upnp port=0 "allow 1024-65535 192.168.2.0/24 1024-65535" \
        "deny 0-65535 0.0.0.0/0 0-65535" >"$LAB/upnpd.conf"
    nsenter --target "$(pid_of home.holder)" --mount --net --uts -- \
        "$MINIUPNPD" -d -f "$LAB/upnpd.conf" -P /run/upnpd.pid </dev/null >"$LAB/upnpd.log" 2>&1 &
    remember $! home.upnpd
}

mapped() { on a "$PEERVPN" status peervpn0 | grep -q "^mapped  *5.5.5.20:"; }
# The path of b's to a.
way_of_b() { on b "$PEERVPN" status peervpn0 | grep -A1 "^$ID_A" | grep -q "$1"; }

fetch_miniupnpd
host net router
host hub
host home router
host provider router
host a
host b
public hub 10
# miniupnpd serves no WAN whose address is reserved for documents and the like. Nothing of this leaves the namespaces.
cable net to-home home wan
on net ip address add 203.0.113.1 peer 5.5.5.20 dev to-home
on home ip address add 5.5.5.20 peer 203.0.113.1 dev wan
on home ip route add default via 203.0.113.1 dev wan
public provider 30
inside a home 192.168.2
inside b provider 192.168.3
on home nft -f - <<'RULES'
    table inet box {
        chain to_itself { type filter hook input priority 0; policy drop;
            ct state established,related accept
            iifname != "wan" accept
        }
        chain through { type filter hook forward priority 0; policy drop;
            ct state established,related accept
            iifname != "wan" accept
        }
        chain out { type nat hook postrouting priority 100; oifname "wan" masquerade fully-random; }
    }
RULES
box provider wan fully-random
conf hub <<<"ifconfig4 10.99.0.1/24
enablerelay yes"
for n in a:2 b:3; do
    conf "${n%:*}" <<<"ifconfig4 10.99.0.${n#*:}/24
initpeers 198.51.100.10 7000
keyfile /run/node.key"
done
run_node hub a b
ID_A=$(on a "$PEERVPN" id --keyfile /run/node.key | head -n 1 | grep -oE '[0-9a-f]{16}' | head -n 1)
soon 20 "b reaches a" answers b 10.99.0.2
soon 20 "two NATs with a port for each flow: through the hub" way_of_b relayed

chains
upnpd
kill -HUP "$(pid_of a.daemon)"
soon 20 "home gives a a port" mapped
note "$(on a "$PEERVPN" status peervpn0 | grep '^mapped')"
soon 30 "by which b reaches a directly" way_of_b "direct 5.5.5.20"
check "and pings pass" answers b 10.99.0.2 -c 3 -W 3

halt a || fail "it does not end well"
soon 5 "at its end a gives the port back" sh -c "! nsenter --target $(pid_of home.holder) --mount --net --uts -- nft list chain inet upnp prerouting_miniupnpd | grep -q dnat"
