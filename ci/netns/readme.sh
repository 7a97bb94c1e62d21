#!/usr/bin/env bash
#
#     vps ──────────── net ──────────── home              what README.md says to do, and nothing else
#   vps.example.org     │               behind no NAT
#   10.99.0.1           │               10.99.0.2
#                    router
#                    10.99.0.3, with UCI
#
. "$(dirname "$0")/lib.sh"
story "a new user with nothing but README.md"

host net router
for name in vps home router; do
    host "$name"
    own_etc "$name"
    echo "198.51.100.10 vps.example.org" >>"$LAB/$name.hosts"
done
public vps 10
public home 20
public router 30

# Its address shows when the prompt would be back.
started() {
    soon 10 "$1: its interface comes up" on "$1" ip address show dev peervpn0 up
    [[ $1 == vps ]] || soon 10 "$1: it finds vps" answers "$1" 10.99.0.1
}

# tells WORD HOST COMMAND: it fails, and says the word.
tells() {
    local word=$1 said
    shift
    ! said=$(say_it "$@" 2>&1) && [[ $said == *"$word"* ]]
}

begun=$SECONDS
check "without a configuration it says how to get one" tells "peervpn setup" vps peervpn
follow README.md vps
line=$(invitation vps)
[[ -n $line ]] || fail "setup prints no invitation" "$(<"$LAB/vps.said")"

check "home runs the line that setup printed on vps" say_it home "${line/sudo /}"
check "which is the one that README.md shows" \
    grep -q -- " | sudo peervpn setup --join ${line##*--join }\$" "$ROOT/README.md"
check "whose file is for root alone" test "$(on home stat -c '%a %U' /etc/peervpn/peervpn.conf)" = "600 root"
follow README.md home
check "the ways are direct" status_says home "direct 198.51.100.10:7000"
for page in troubleshooting status; do
    follow "docs/$page.md" home
done

# What the init script does with a section is ci/openwrt's affair; it runs the program as here.
line=$(invitation home)
[[ $(on router readlink -f /var/run) == /run ]] || skip "/var/run is not /run here"
line="${line/sudo /} --uci home"
check "a router takes the line for a section" say_it router "$line"
check "which is sound" say_it router "peervpn check --uci"
refuse "a second time it overwrites nothing" say_it router "$line"
check "its settings are exported" say_it router "peervpn uci export home"
start router run /run/peervpn/home.conf
soon 10 "router finds vps" answers router 10.99.0.1
soon 10 "and home" answers router 10.99.0.2
note "all that took $((SECONDS - begun)) s"
