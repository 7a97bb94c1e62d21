#!/usr/bin/env bash
#
#        net (routes)
#     ┌──────┼──────┐
#    .10    .20    .30          198.51.100.x
#    hub     a      b           a and b start from the hub alone; a has a statefile
#
. "$(dirname "$0")/lib.sh"
story "a node that remembers finds the mesh when its initial peer is no more"

host net router
for n in hub:10 a:20 b:30; do
    host "${n%:*}"
    public "${n%:*}" "${n#*:}"
    conf "${n%:*}" <<<"ifconfig4 10.99.0.${n#*:}/24"
done
mkdir "$LAB/kept"
state=$LAB/kept/state
for name in a b; do
    echo "initpeers 198.51.100.10 7000" >>"$LAB/$name.conf"
done
# Without any right, and with nothing to be seen of the disk, when the time to write comes.
printf 'statefile %s\nchroot /proc\n' "$state" >>"$LAB/a.conf"
run_node hub a b
soon 20 "a reaches b" answers a 10.99.0.30
soon 20 "directly" status_says a "direct 198.51.100.30"

halt a || fail "a does not end well"
check "at its end a has stored where both are" test "$(cut -d' ' -f2 "$state" | sort | tr '\n' ' ')" = "198.51.100.10:7000 198.51.100.30:7000 "
check "for root only" test "$(stat -c '%a %U' "$state")" = "600 root"
halt hub || true
run_node a
soon 20 "the hub is no more, and a finds b" answers a 10.99.0.30
before=$(stat -c %i "$state")
halt a || fail "a does not end well"
check "nothing new is not written again" test "$(stat -c %i "$state")" = "$before"

echo "what is this" >>"$state"
run_node a
soon 20 "what makes no sense costs nothing but itself" answers a 10.99.0.30
check "and is told" grep -q "$state: it makes no sense; nothing more is remembered" "$LAB/a.log"

halt a || fail "a does not end well"
rm -r "$LAB/kept"
run_node hub a
soon 40 "a starts anew, from the hub" answers a 10.99.0.10
halt a || fail "a does not end well"
check "a state file that cannot be written is told" grep -q "cannot write the state file: No such file" "$LAB/a.log"
