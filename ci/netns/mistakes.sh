#!/usr/bin/env bash
#
#      a          one host, alone: nothing of what is tried here gets as far as the network
#
. "$(dirname "$0")/lib.sh"
story "mistakes in the configuration"

host a

# mistake NAME LINE WORD HINT: the file on standard input is refused, by `check` and by a start: exit code 2, and
# words that name file, line, option and what would be right; and nothing was opened.
mistake() {
    local name=$1 line=$2 word=$3 hint=$4 file=$LAB/$1.conf code output how
    cat >"$file"
    chmod 600 "$file"
    for how in check run; do
        code=0
        if [[ $how == check ]]; then
            output=$(on a "$PEERVPN" check "$file" 2>&1) || code=$?
        else
            output=$(on a timeout 5 "$PEERVPN" "$file" 2>&1) || code=$?
        fi
        [[ $code == 2 ]] || fail "$name ($how): exit code $code instead of 2" "$output"
        grep -qF "$file" <<<"$output" || fail "$name ($how): the file is not named" "$output"
        [[ -z $line ]] || grep -qE "(:|line )$line\b" <<<"$output" || fail "$name ($how): line $line is not named" "$output"
        grep -qF -- "$word" <<<"$output" || fail "$name ($how): '$word' is not named" "$output"
        grep -qiE -- "$hint" <<<"$output" || fail "$name ($how): no hint like '$hint'" "$output"
        [[ $output != *panicked* ]] || fail "$name ($how): it panicked" "$output"
    done
    [[ $(on a ls /sys/class/net) == lo ]] || fail "$name: an interface was made"
    refuse_quietly on a test -e /run/peervpn
    say "  ${green}ok${plain}    $name: $(head -n 1 <<<"$output" | sed "s|$LAB/||")"
}

refuse_quietly() { ! "$@" || fail "$*: must not be so"; }

mistake unknown-option 3 initpeer initpeers <<CONF
networkname test
psk $PSK
initpeer 192.0.2.1 7000
CONF
mistake port-too-large 2 port '65535|number' <<CONF
psk $PSK
port 70000
CONF
mistake port-no-number 2 port '65535|number' <<CONF
psk $PSK
port seven
CONF
mistake half-a-word 2 enablerelay 'yes' <<CONF
psk $PSK
enablerelay nope
CONF
mistake missing-value 2 networkname 'value|text|missing|expected' <<CONF
psk $PSK
networkname
CONF
mistake no-key '' psk 'genpsk|key' <<CONF
networkname test
CONF
mistake short-key 1 psk '12' <<CONF
psk short
CONF
mistake default-key 1 psk 'default|12' <<CONF
psk default
CONF
mistake long-interface 2 interface '15' <<CONF
psk $PSK
interface averylonginterface
CONF
mistake bad-prefix 2 ifconfig4 '32|addr' <<CONF
psk $PSK
ifconfig4 10.99.0.1/40
CONF
mistake bad-address 3 local 'address' <<CONF
psk $PSK

local 300.1.1.1
CONF
mistake port-first 2 initpeers 'host|port|address' <<CONF
psk $PSK
initpeers 7000 192.0.2.1
CONF

code=0
on a "$PEERVPN" "$LAB/does-not-exist.conf" >"$LAB/output" 2>&1 || code=$?
check "a file that is not there: exit code 2" test "$code" = 2
check "and it is named" grep -q does-not-exist.conf "$LAB/output"
cat >"$LAB/good.conf" <<CONF
networkname test
psk $PSK
CONF
chmod 600 "$LAB/good.conf"
check "a good file passes the check" on a "$PEERVPN" check "$LAB/good.conf"
check "and the check opened nothing" test "$(on a ls /sys/class/net)" = lo
