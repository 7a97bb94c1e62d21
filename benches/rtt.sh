#!/usr/bin/env bash
#
# How long a ping takes through this program and through others that are installed (openvpn, vpncloud, fastd):
#
#   benches/rtt.sh PROGRAM [ROUNDS]
#
# All of them run at once between the same two network namespaces and have nothing to do but the ping. Each round is 300
# pings through one after the other, so that a slow moment of the machine hits all. It needs root, and a quiet machine.
set -euo pipefail

PROGRAM=$(realpath "${1:?PROGRAM, as in target/release/peervpn}") ROUNDS=${2:-15}
PATH=$PATH:/usr/sbin:/sbin:${CARGO_HOME:-$HOME/.cargo}/bin
PLACE=$(mktemp -d /tmp/peervpn-rtt.XXXXXX)
NAME=pvr$$
PIDS=()

finish() {
    ((${#PIDS[@]} == 0)) || kill "${PIDS[@]}" 2>/dev/null || true
    wait 2>/dev/null || true
    ip netns del "${NAME}1" 2>/dev/null || true
    ip netns del "${NAME}2" 2>/dev/null || true
    rm -rf "$PLACE"
}
trap finish EXIT

has() { command -v "$1" >/dev/null; }

# spawn END COMMAND…
spawn() {
    ip netns exec "$NAME$1" "${@:2}" >>"$PLACE/log" 2>&1 &
    PIDS+=($!)
}

ip netns add "${NAME}1"
ip netns add "${NAME}2"
ip link add v netns "${NAME}1" type veth peer name v netns "${NAME}2"
for end in 1 2; do
    ip -n "$NAME$end" link set lo up
    ip -n "$NAME$end" address add "192.0.2.$end/24" dev v
    ip -n "$NAME$end" link set v up
    ip -n "$NAME$end" route add default via "192.0.2.$((3 - end))"
done

# Numbers of networks inside: 1 ours, and those of the others.
rivals=(1:ours)
! has openvpn || { rivals+=(2:openvpn) && openvpn --genkey secret "$PLACE/openvpn.key" >/dev/null; }
! has vpncloud || rivals+=(3:vpncloud)
if has fastd; then
    rivals+=(4:fastd)
    for end in 1 2; do
        fastd --generate-key --machine-readable >"$PLACE/fastd.$end"
        echo "secret \"$(<"$PLACE/fastd.$end")\";" >"$PLACE/secret"
        fastd --show-key --machine-readable --config "$PLACE/secret" >"$PLACE/public.$end"
    done
fi
for end in 1 2; do
    other=$((3 - end))
    # By the cable only: the tunnels of the others are networks, too.
    printf '%s\n' "networkname rtt" "psk only for measuring" "interface ours$end" "device v" "enableprivdrop no" \
        "initpeers 192.0.2.$other" "ifconfig4 10.1.0.$end/24" >"$PLACE/ours.$end"
    chmod 600 "$PLACE/ours.$end"
    spawn "$end" "$PROGRAM" "$PLACE/ours.$end"
    ! has openvpn || spawn "$end" openvpn --dev openvpn0 --dev-type tap --local "192.0.2.$end" \
        --remote "192.0.2.$other" --secret "$PLACE/openvpn.key" --cipher AES-256-CBC \
        --ifconfig "10.2.0.$end" 255.255.255.0
    if has vpncloud; then
        spawn "$end" vpncloud -t tap -m switch -d vpncloud0 -l "192.0.2.$end:3210" -c "192.0.2.$other:3210" \
            -p "only for measuring" --no-port-forwarding --algorithm aes256
        until ip -n "$NAME$end" address add "10.3.0.$end/24" dev vpncloud0 2>/dev/null; do sleep 0.1; done
        ip -n "$NAME$end" link set vpncloud0 up
    fi
    ! has fastd || {
        cat >"$PLACE/fastd.conf.$end" <<CONF
mode tap;
interface "fastd0";
method "aes128-ctr+umac";
mtu 1406;
bind 192.0.2.$end:10000;
secret "$(<"$PLACE/fastd.$end")";
peer "other" { key "$(<"$PLACE/public.$other")"; remote 192.0.2.$other:10000; }
on up "ip address add 10.4.0.$end/24 dev \$INTERFACE; ip link set \$INTERFACE up";
CONF
        spawn "$end" fastd --config "$PLACE/fastd.conf.$end"
    }
done

for rival in "${rivals[@]}"; do
    for _ in {1..300}; do
        ! ip netns exec "${NAME}1" ping -q -c 1 -W 1 "10.${rival%%:*}.0.2" >/dev/null 2>&1 || continue 2
    done
    echo "${rival#*:} does not answer." >&2
    exit 1
done
for ((round = 0; round < ROUNDS; round++)); do
    for rival in "${rivals[@]}"; do
        ip netns exec "${NAME}1" ping -i 0.003 -c 300 "10.${rival%%:*}.0.2" | sed -n 's/.*time=\(.*\) ms/\1/p' >>"$PLACE/${rival#*:}.ms"
    done
done
for rival in "${rivals[@]}"; do
    sort -n "$PLACE/${rival#*:}.ms" | awk -v who="${rival#*:}" '{ ms[NR] = $1 } END {
        printf "%-10s %5d pings: a tenth in %3d us, half in %3d, nine of ten in %3d\n", who, NR,
            1000 * ms[int(NR / 10)], 1000 * ms[int(NR / 2)], 1000 * ms[int(NR * 9 / 10)] }'
done
