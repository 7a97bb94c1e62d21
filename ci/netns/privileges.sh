#!/usr/bin/env bash
#
#      a ──────────────── b        b runs as nobody in an empty root, and only then learns hub.example's address
#   192.0.2.1          192.0.2.2
#   10.99.0.1          10.99.0.2   inside
#
. "$(dirname "$0")/lib.sh"
story "rights after the start"

host a
host b
cable a wan b wan
on a ip address add 192.0.2.1/24 dev wan
on b ip address add 192.0.2.2/24 dev wan
conf a <<<"ifconfig4 10.99.0.1/24
enableprivdrop no"
conf b <<<"ifconfig4 10.99.0.2/24
initpeers hub.example 7000
user nobody
group nogroup
chroot /var/empty
downcmd touch $LAB/down-ran"
run_node a b
sleep 1 # the interface is up a moment before the rights go

nobody=$(id -u nobody) nogroup=$(getent group nogroup | cut -d: -f3)
check "every user id is nobody's" test "$(proc b Uid | tr -s '\t ' ' ')" = "$nobody $nobody $nobody $nobody"
check "every group id is nogroup's" test "$(proc b Gid | tr -s '\t ' ' ')" = "$nogroup $nogroup $nogroup $nogroup"
check "no other groups are left" test -z "$(proc b Groups | tr -d ' ' | sed "s/^$nogroup\$//")"
for set in CapInh CapPrm CapEff CapAmb; do
    check "$set is empty" test "$(proc b $set)" = 0000000000000000
done
check "no new privileges can be had" test "$(proc b NoNewPrivs)" = 1
check "its root is the empty directory" sh -c "[ \"\$(readlink /proc/$(pid_of b.daemon)/root)\" = /var/empty ] &&
    [ -z \"\$(ls -A /proc/$(pid_of b.daemon)/root/)\" ]"
check "it leaves no core dump" sh -c "grep -q 'Max core file size *0 ' /proc/$(pid_of b.daemon)/limits"
check "the key is not on its command line or in its environment" sh -c \
    "! cat /proc/$(pid_of b.daemon)/cmdline /proc/$(pid_of b.daemon)/environ | tr '\0' ' ' | grep -qF '$PSK'"
check "with enableprivdrop no, it stays root" test "$(proc a Uid | cut -f1)" = 0
check "status still answers root" status b

refuse "b cannot know hub.example yet" answers b 10.99.0.1
echo '192.0.2.1 hub.example' >>"$LAB/b.hosts"
kill -HUP "$(pid_of b.daemon)"
soon 40 "a name that appears now is found from within the empty root" answers b 10.99.0.1

code=0
halt b || code=$?
check "it stops with exit code 0" test "$code" = 0
check "downcmd ran, although the daemon itself could start no program" test -e "$LAB/down-ran"
refuse "its interface is gone" on b ip link show dev peervpn0
