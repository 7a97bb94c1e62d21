#!/usr/bin/env bash
#
#      a ──────────────── b        how long after b's start does the first ping through the tunnel come back?
#   192.0.2.1          192.0.2.2
#   10.99.0.1          10.99.0.2   inside
#
. "$(dirname "$0")/lib.sh"
story "the first ping after a start"

host a
host b
cable a wan b wan
on a ip address add 192.0.2.1/24 dev wan
on b ip address add 192.0.2.2/24 dev wan
conf a <<<"ifconfig4 10.99.0.1/24"
conf b <<<"ifconfig4 10.99.0.2/24
initpeers 192.0.2.1 7000"
run_node a

# Pings every 10 ms from before the start on, each with a question of its own for a's MAC address (the kernel would
# wait a second before it asks again).
cat >"$LAB/first.py" <<'PYTHON'
import subprocess, sys, time
begun = time.monotonic()
while time.monotonic() - begun < 20:
    ping = subprocess.run(["ping", "-q", "-n", "-c", "1", "-W", "0.05", "10.99.0.1"],
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    if ping.returncode == 0:
        print(round((time.monotonic() - begun) * 1000))
        sys.exit(0)
    subprocess.run(["ip", "neighbour", "flush", "dev", "peervpn0"],
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(0.01)
sys.exit(1)
PYTHON
times=()
for _ in 1 2 3 4 5; do
    start b "$LAB/b.conf"
    milliseconds=$(on b python3 "$LAB/first.py") || fail "no ping came back within 20 s"
    times+=("$milliseconds")
    halt b || true
done
note "milliseconds from start to answer: ${times[*]} (wanted: 300 at most, on an idle machine)"
best=$(printf '%s\n' "${times[@]}" | sort -n | head -n 1)
# The gate is loose: a busy machine is no fault of the program.
check "the best of them is below 3000" test "$best" -lt 3000
