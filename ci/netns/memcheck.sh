#!/usr/bin/env bash
#
#      a ──────────────── b        both under valgrind, which watches every access to memory
#   192.0.2.1          192.0.2.2
#   10.99.0.1          10.99.0.2   inside
#
. "$(dirname "$0")/lib.sh"
story "no access to memory that is not theirs" valgrind

# The program itself answers and asks as ever; only daemons run under the eyes of valgrind. It makes calls of its own,
# for which the filter would end it. What is lost bit by bit is what chaos.sh looks for: the pool of packets is meant to
# live as long as the process, and looks lost at its end.
cat >"$LAB/watched" <<SCRIPT
#!/bin/sh
exec valgrind --quiet --error-exitcode=99 \
    --exit-on-first-error=yes --leak-check=no --vgdb=no "$PEERVPN" "\$@"
SCRIPT
chmod 755 "$LAB/watched"
watched() { PEERVPN=$LAB/watched start "$1" "$LAB/$1.conf"; }
# ends_well HOST: TERM is the end that it was told, and nothing was found on the way.
ends_well() {
    local code=0
    halt "$1" || code=$?
    check "$1 ends well: exit code $code" test "$code" = 0
    refuse "and valgrind has nothing to say" grep -q '^==' "$LAB/$1.log"
}

host a
host b
cable a wan b wan
on a ip address add 192.0.2.1/24 dev wan
on b ip address add 192.0.2.2/24 dev wan
for name in a b; do
    conf "$name" <<<"enableseccomp no
enablelandiscovery yes
keyfile /run/node.key
upcmd true
downcmd true"
done
echo "ifconfig4 10.99.0.1/24" >>"$LAB/a.conf"
printf 'ifconfig4 10.99.0.2/24\ninitpeers a.example 7000\nstatefile /run/state\n' >>"$LAB/b.conf"
on b sh -c 'echo "192.0.2.1 a.example" >>/etc/hosts'
for name in a b; do watched "$name"; done
soon 60 "b reaches a" answers b 10.99.0.1

stream b a 10.99.0.1
check "long packets in parts" answers a 10.99.0.2 -s 1472 -c 5 -i 0.05
check "status" status a
check "and in all forms" sh -c "for form in --json --metrics; do nsenter --target $(pid_of b.holder) --mount --net --uts -- '$PEERVPN' status peervpn0 \$form || exit 1; done"
# What strangers send, of every kind and length.
on b python3 -c '
import os, random, socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for n in range(1500):
    s.sendto(bytes([n % 8]) + os.urandom(n), ("192.0.2.1", 7000))'
kill -HUP "$(pid_of a.daemon)"
on b ip link set wan down
sleep 1
on b ip link set wan up
soon 60 "unplugged and plugged in, b reaches a" answers b 10.99.0.1
ends_well b
soon 30 "a notices" sh -c "nsenter --target $(pid_of a.holder) --mount --net --uts -- '$PEERVPN' status peervpn0 | grep -q '0 connected'"
watched b
soon 60 "b returns, and reaches a" answers b 10.99.0.1
ends_well b
ends_well a
