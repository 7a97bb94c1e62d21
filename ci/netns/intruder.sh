#!/usr/bin/env bash
#
#      a ──────────────── b        b is taken over while it runs, by a debugger
#   192.0.2.1          192.0.2.2
#   10.99.0.1          10.99.0.2   inside
#
. "$(dirname "$0")/lib.sh"
story "a daemon that was taken over"

[[ $(uname -m) == x86_64 ]] || skip "the debugger knows x86_64 only"

# S23: what somebody can do who has broken into the running program. It is the program as it is shipped.
host a
host b
cable a wan b wan
on a ip address add 192.0.2.1/24 dev wan
on b ip address add 192.0.2.2/24 dev wan
conf a <<<"ifconfig4 10.99.0.1/24
enableseccomp no"
conf b <<<"ifconfig4 10.99.0.2/24
initpeers 192.0.2.1 7000
forceseccomp yes
downcmd echo down >>$LAB/hooks"
run_node a b
soon 10 "b reaches a" answers b 10.99.0.1
check "b's system calls are filtered" test "$(proc b Seccomp)" = 2
check "a's are not, as it was told" test "$(proc a Seccomp)" = 0

intrude() { python3 "$ROOT/ci/lib/intrude.py" "$(pid_of "$1.daemon")" "${@:2}"; }

# On a, which has no filter, the same attempts show what user and Landlock leave.
intrude a >"$LAB/a.tried"
intrude b >"$LAB/b.tried"
while IFS=: read -r what answer; do
    check "$what: $answer" test "$answer" = " EPERM"
done <"$LAB/b.tried"
check "five attempts were made" test "$(wc -l <"$LAB/b.tried")" = 5
if grep -q landlock /proc/kallsyms; then
    check "without the filter, Landlock lets no file be opened" test "$(grep -c EACCES "$LAB/a.tried")" = 3
fi
soon 10 "it has not noticed, and carries on" answers b 10.99.0.1

downs=0
for death in $(python3 "$ROOT/ci/lib/intrude.py" --deaths); do
    intrude b "$death" >"$LAB/died"
    check "$(sed 's/: .*//' "$LAB/died"): the attempt ends it" grep -q 'killed by SIGSYS' "$LAB/died"
    downs=$((downs + 1))
    soon 5 "and downcmd runs" test "$(grep -c down "$LAB/hooks")" = "$downs"
    halt b KILL 2>/dev/null || true
    run_node b
    soon 15 "started again, b reaches a" answers b 10.99.0.1
done
