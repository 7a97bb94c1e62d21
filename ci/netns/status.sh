#!/usr/bin/env bash
#
#     vps ──────── net ──────── home           vps relays
#   198.51.100.10   │        198.51.100.20     what vps sends to home is lost now and then
#   10.99.0.1       │        10.99.0.2
#                   │
#                  nat ──────── laptop         each peer sees it at a port of its own
#             198.51.100.30    10.99.0.3
#
. "$(dirname "$0")/lib.sh"
story "what a node tells of itself: status, explain, graph, log"

host net router
host nat router
for name in vps home laptop; do host "$name"; done
public vps 10
public home 20
public nat 30
inside laptop nat 192.168.1
box nat wan fully-random
conf vps <<<"ifconfig4 10.99.0.1/24
enablerelay yes"
conf home <<<"ifconfig4 10.99.0.2/24
initpeers 198.51.100.10 7000 nobody.invalid 7000"
conf laptop <<<"ifconfig4 10.99.0.3/24
initpeers 198.51.100.10"
run_node vps home laptop
soon 20 "all find each other" answers laptop 10.99.0.2

# ask HOST ARGUMENTS…: peervpn ARGUMENTS there.
ask() { on "$1" "$PEERVPN" "${@:2}"; }

# promised HOST [NAME]: what it tells as JSON is what the schema promises.
promised() { ask "$1" status --json "${@:2}" | "$ROOT/ci/lib/schema.py" "$ROOT/docs/status.schema.json"; }

# field HOST EXPRESSION: a Python expression of its status, which is in s.
field() { ask "$1" status --json peervpn0 | python3 -c "import json, sys; s = json.load(sys.stdin); print($2)"; }

for name in vps home laptop; do
    check "$name: JSON is as the schema has it" promised "$name" peervpn0
done
check "so is the array of all nodes of a machine" promised home
check "a JSON that is not is noticed" bash -c '! echo "{\"schema\": 1}" | "$@"' sh \
    "$ROOT/ci/lib/schema.py" "$ROOT/docs/status.schema.json"

vps_id=$(field vps 's["node"]["id"]') home_id=$(field home 's["node"]["id"]') laptop_id=$(field laptop 's["node"]["id"]')
soon 10 "the page has its peers" status_says home "$laptop_id"
check "and fits 80 columns" bash -c '! grep -E "^.{81}"' <<<"$(status home)"
check "a name that leads nowhere is something to do" status_says home "! the name of nobody.invalid:7000 leads nowhere"
check "explain knows a peer by its id" grep -q "^peer $vps_id: direct 198.51.100.10:7000" <<<"$(ask home explain "$vps_id")"
refuse "an address in the tunnel is not known before a packet went there" ask home explain 10.99.0.1
check "which a ping mends" answers home 10.99.0.1
check "explain knows a peer by its address in the tunnel" grep -q "behind peer $vps_id" <<<"$(ask home explain 10.99.0.1)"
check "by its address outside" grep -q "^peer $vps_id" <<<"$(ask home explain 198.51.100.10)"
refuse "and says so when it knows nobody" ask home explain 192.0.2.99
check "graph names all" grep -q "^$laptop_id " <<<"$(ask home graph)"
check "graph --dot has an edge between two others" grep -Eq "\"($vps_id\" -- \"$laptop_id|$laptop_id\" -- \"$vps_id)\"" \
    <<<"$(ask home graph --dot)"
check "metrics have a sample for each peer" test "$(ask home status --metrics | grep -c '^peervpn_peer_connected.* 1$')" = 2
check "USR1 writes the page to the log" kill -USR1 "$(pid_of home.daemon)"
soon 5 "which is there" grep -q "^network    NETNS_TEST" "$LAB/home.log"
check "the log has sentence, colon, key=value" \
    grep -q "^peer joined: peer=$vps_id path=direct address=198.51.100.10:7000\$" "$LAB/home.log"

# One in four of what vps sends to home.
on net nft -f - <<'RULES'
table inet loss {
    chain through {
        type filter hook forward priority 0;
        ip saddr 198.51.100.10 ip daddr 198.51.100.20 numgen random mod 4 == 0 drop
    }
}
RULES
on home ping -q -n -c 2000 -i 0.002 -W 1 10.99.0.1 >/dev/null 2>&1 || true
of_vps="[p['loss_permille'] for p in s['peers'] if p['id'] == '$vps_id'][0]"
lost=$(field home "$of_vps") back=$(field vps "[p['loss_permille'] for p in s['peers'] if p['id'] == '$home_id'][0]")
check "home sees that a good part of it is lost ($lost per mille)" test "$lost" -gt 120 -a "$lost" -lt 400
check "vps, whose way from home is sound, sees nothing of it ($back per mille)" test "$back" -lt 20
soon 5 "the page tells it" grep -Eq ' [1-3][0-9]\.[0-9] % ' <<<"$(status home)"
