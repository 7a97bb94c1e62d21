# shellcheck shell=bash
# What the tests of this folder have in common. Each is a story with its topology drawn in its head, runs alone
# (`ci/netns/pair.sh`) or by `ci/netns/run`, in network namespaces of its own that are gone when it ends.
#
#   story SENTENCE              begins: rights, programs, an empty laboratory
#   conf HOST <<…               HOST's peervpn.conf: the network's name and key, the interface, and what is said
#   check SENTENCE COMMAND…     the command must succeed; else the logs are shown and the test ends
#   refuse SENTENCE COMMAND…    the command must fail
#   soon SECONDS SENTENCE COMMAND…   the command must succeed within that time, tried again and again
#   note SENTENCE               a measured value
#   skip SENTENCE               this machine cannot do it; exit code 77
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# shellcheck source=ci/lib/say.sh
. "$ROOT/ci/lib/say.sh"
# shellcheck source=ci/lib/setup.sh
. "$ROOT/ci/lib/setup.sh"
# shellcheck source=ci/lib/lab.sh
. "$ROOT/ci/lib/lab.sh"

# story SENTENCE [PROGRAM…]: the programs are needed beside the usual ones.
story() {
    local sentence=$1
    shift
    # Whose arguments these are does not matter: the tests have none.
    # shellcheck disable=SC2119
    need_root
    need_programs ip nft ping python3 nsenter unshare setsid hostname "$@"
    need_peervpn
    trap finish EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
    say "$bold${0##*/}$plain: $sentence"
    lab_open "$(mktemp -d /tmp/peervpn-test.XXXXXX)" "pvt$$-"
    # A generated key: it needs no stretching, so nothing waits for it.
    PSK=$("$PEERVPN" genpsk)
}

finish() {
    local code=$?
    trap - EXIT INT TERM HUP
    ((code == 0 || code == 77)) || show_logs
    lab_close
    exit "$code"
}

show_logs() {
    local log
    [[ -n $LAB ]] || return 0
    for log in "$LAB"/*.log; do
        [[ -s $log ]] || continue
        say "--- $(basename "$log" .log) wrote:"
        tail -n 40 "$log" | indent
    done
}

# ---- verdicts ----

check() {
    local sentence=$1 output
    shift
    if output=$("$@" 2>&1); then
        say "  ${green}ok${plain}    $sentence"
    else
        fail "$sentence" "$output"
    fi
}

refuse() {
    local sentence=$1 output
    shift
    if output=$("$@" 2>&1); then
        fail "$sentence" "$output"
    else
        say "  ${green}ok${plain}    $sentence"
    fi
}

soon() {
    local seconds=$1 sentence=$2 output end=$((SECONDS + $1))
    shift 2
    until output=$("$@" 2>&1); do
        ((SECONDS < end)) || fail "$sentence (not within $seconds s)" "$output"
        sleep 0.1
    done
    say "  ${green}ok${plain}    $sentence"
}

fail() {
    say "  ${red}FAIL${plain}  $1"
    [[ -z ${2-} ]] || printf '%s\n' "$2" | tail -n 20 | indent
    exit 1
}

note() { say "  ${dim}note${plain}  $*"; }

skip() {
    say "  skip  $*"
    exit 77
}

# ---- nodes ----

# Options on standard input; one of the usual ones can be given again, the last counts. A cable is a local network, on
# which nodes would find each other by themselves, whatever the story is about.
conf() {
    {
        echo "networkname netns-test"
        echo "psk $PSK"
        echo "interface peervpn0"
        echo "enablelandiscovery no"
        cat
    } >"$LAB/$1.conf"
    chmod 600 "$LAB/$1.conf"
}

# run_node HOST…: starts them, and waits until each has its interface up.
run_node() {
    local name
    for name; do
        start "$name" "$LAB/$name.conf"
    done
    for name; do
        until on "$name" ip -o link show dev peervpn0 up 2>/dev/null | grep -q peervpn0; do
            is_running "$name" || fail "$name ended at once"
            sleep 0.05
        done
    done
}

# status_says HOST TEXT: its status holds the text, in capitals or not.
status_says() {
    local said
    said=$(status "$1") && [[ ${said,,} == *"${2,,}"* ]]
}

status() { on "$1" "$PEERVPN" status peervpn0; }

# A line of the daemon's /proc/PID/status.
proc() { sed -n "s/^$2:[[:space:]]*//p" "/proc/$(pid_of "$1.daemon")/status"; }

# ---- a reader of the documents ----

# commands FILE HOST: the commands that the document has HOST run.
commands() {
    awk -v fence="\`\`\`sh $2" '$0 == fence { inside = 1; next } /^```/ { inside = 0 } inside' "$ROOT/$1"
}

# follow FILE HOST: runs them one by one, as they stand there. Starting the program takes no prompt back, and what
# systemd's unit would run is run without it. After a start comes `started HOST`, which the test brings.
follow() {
    local file=$1 name=$2 line words
    while read -r line; do
        line=${line#sudo }
        read -ra words <<<"$line"
        case $line in
        peervpn)
            start "$name"
            started "$name"
            ;;
        'systemctl enable --now peervpn@'* | 'systemctl restart peervpn@'*)
            [[ ${words[1]} != restart ]] || halt "$name" || true
            # shellcheck disable=SC2046 # the words of the unit's line
            start "$name" $(unit_arguments "${words[-1]#peervpn@}")
            started "$name"
            ;;
        'systemctl disable --now peervpn@'*) halt "$name" || true ;;
        *) check "$name: $line" say_it "$name" "$line" ;;
        esac
    done < <(commands "$file" "$name")
}

# unit_arguments NAME: with which arguments peervpn@NAME.service starts the program.
unit_arguments() {
    sed -n "s|^ExecStart=/usr/sbin/peervpn ||p" "$ROOT/files/lib/systemd/system/peervpn@.service" | sed "s|%i|$1|g"
}

# What a command says is kept, for people who paste it. There is no sudo in a laboratory, and nothing to ask it for.
say_it() {
    on "$1" env PATH="$(dirname "$PEERVPN"):$PATH" sh -c "sudo() { \"\$@\"; }; $2" 2>&1 | tee -a "$LAB/$1.said"
}

# invitation FROM: the line that FROM was told to run on the next machine.
invitation() { sed -n "s/^  \(echo '.*\)/\1/p" "$LAB/$1.said" | tail -n 1; }

# ---- the network ----

# answers HOST ADDRESS [PING OPTIONS…]: one ping, one second.
answers() {
    local from=$1 to=$2
    shift 2
    on "$from" ping -q -n -c 1 -W 1 "$@" "$to"
}

# public HOST NUMBER: an uplink of HOST to the Internet, which is the router `net`; HOST gets 198.51.100.NUMBER on
# a network of its own, so that nodes have no broadcasts in common.
public() {
    local name=$1 number=$2
    cable net "to-$name" "$name" wan
    on net ip address add 203.0.113.1 peer "198.51.100.$number" dev "to-$name"
    on "$name" ip address add "198.51.100.$number" peer 203.0.113.1 dev wan
    on "$name" ip route add default via 203.0.113.1 dev wan
}

# inside HOST NAT NETWORK: HOST in the network behind a NAT, as NETWORK.2.
inside() {
    local name=$1 nat=$2 network=$3
    cable "$nat" lan "$name" wan
    on "$nat" ip address add "$network.1/24" dev lan
    on "$name" ip address add "$network.2/24" dev wan
    on "$name" ip route add default via "$network.1"
}

# record HOST INTERFACE NAME FILTER…: a capture in $LAB/NAME.pcap until stop_recording NAME.
record() {
    local name=$1 interface=$2 file=$3
    shift 3
    nsenter --target "$(pid_of "$name.holder")" --mount --net --uts -- \
        tcpdump --immediate-mode -U -n -Z root -i "$interface" -w "$LAB/$file.pcap" "$@" \
        </dev/null >/dev/null 2>"$LAB/$file.tcpdump" &
    remember $! "$file.capture"
    until grep -qs 'listening on' "$LAB/$file.tcpdump"; do
        is_alive "$file.capture" || fail "tcpdump does not start" "$(<"$LAB/$file.tcpdump")"
        sleep 0.05
    done
}

stop_recording() {
    local pid
    pid=$(pid_of "$1.capture")
    sleep 0.2
    kill -INT "$pid"
    forget "$1.capture"
    wait "$pid" 2>/dev/null || true
}

# payloads NAME: one line a UDP datagram recorded: the length of its payload and its first byte.
payloads() {
    tcpdump -n -r "$LAB/$1.pcap" -w - udp 2>/dev/null | python3 -c '
import struct, sys
data = sys.stdin.buffer.read()
order = "<" if data[:4] in (b"\xd4\xc3\xb2\xa1", b"\x4d\x3c\xb2\xa1") else ">"
at = 24
while at + 16 <= len(data):
    kept = struct.unpack(order + "4I", data[at:at + 16])[2]
    ip, at = data[at + 30:at + 16 + kept], at + 16 + kept
    udp = ip[(ip[0] & 15) * 4:] if ip[0] >> 4 == 4 else ip[40:]
    print(struct.unpack(">H", udp[4:6])[0] - 8, udp[8] if len(udp) > 8 else "-")'
}

# no_fragments NAME: nothing recorded is an IP fragment or could become one.
no_fragments() {
    [[ -z $(tcpdump -n -r "$LAB/$1.pcap" 'udp and ip and ip[6:2] & 0x7fff != 0x4000' 2>/dev/null) ]]
}

# serve HOST INTERFACE FIRST LAST: a DHCP server there for the addresses from FIRST to LAST.
serve() {
    nsenter --target "$(pid_of "$1.holder")" --mount --net --uts -- \
        dnsmasq --keep-in-foreground --conf-file=/dev/null --port=0 --user=root --pid-file= --interface="$2" \
        --bind-dynamic --dhcp-leasefile=/run/leases --dhcp-range="$3,$4,255.255.255.0,1h" \
        --dhcp-authoritative --no-ping --log-facility=- </dev/null >"$LAB/$1.dnsmasq.log" 2>&1 &
    remember $! "$1.dnsmasq"
}

# lease HOST INTERFACE: HOST asks for an address, and takes it.
lease() {
    cat >"$LAB/lease" <<'SCRIPT'
#!/bin/sh
# The part of udhcpc's script that matters here: a lease becomes an address.
case $1 in
deconfig) ip address flush dev "$interface" scope global ;;
bound | renew) ip address replace "$ip/$mask" dev "$interface" ;;
esac
SCRIPT
    chmod 755 "$LAB/lease"
    on "$1" udhcpc -i "$2" -n -q -f -t 5 -T 1 -s "$LAB/lease"
}

# calm FROM BROADCAST HOST INTERFACE: while FROM calls everybody at BROADCAST, no frame goes round in circles at that
# interface. A storm would be thousands; a question and its answers are few.
calm() {
    local frames
    record "$3" "$4" quiet
    on "$1" ping -q -n -c 3 -i 0.2 -W 1 -b "$2" >/dev/null 2>&1 || true
    sleep 2
    stop_recording quiet
    frames=$(tcpdump -n -r "$LAB/quiet.pcap" 2>/dev/null | wc -l)
    note "$frames frames at $4 of $3"
    check "no frame goes round" test "$frames" -lt 60
}

# stream FROM TO ADDRESS: 8 MB go over TCP from one host to the other, which has that address, and arrive as they were.
stream() {
    local from=$1 to=$2 address=$3
    rm -f "$LAB/received.ready"
    head -c 8000000 /dev/urandom >"$LAB/sent"
    nsenter --target "$(pid_of "$to.holder")" --mount --net --uts -- python3 -c '
import socket, sys
s = socket.create_server((sys.argv[2], 9000))
open(sys.argv[1] + ".ready", "w").close()
c, _ = s.accept()
with open(sys.argv[1], "wb") as f:
    while d := c.recv(65536): f.write(d)' "$LAB/received" "$address" </dev/null &
    remember $! sink.server
    soon 5 "$to listens" test -e "$LAB/received.ready"
    check "8 MB go over TCP" on "$from" python3 -c '
import socket, sys
s = socket.create_connection((sys.argv[2], 9000), 10)
s.settimeout(30)
s.sendall(open(sys.argv[1], "rb").read())
s.close()' "$LAB/sent" "$address"
    soon 10 "and arrive as they were" cmp "$LAB/sent" "$LAB/received"
    forget sink.server
}
