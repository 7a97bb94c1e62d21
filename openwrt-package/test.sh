#!/bin/sh
# Run by the feed's checks on the installed package: $1 is its name, $2 its version.

[ "$1" = peervpn ] || exit 0

fail() {
    echo "peervpn: $*" >&2
    exit 1
}

case $(peervpn --version) in
*"$2"*) ;;
*) fail "--version does not say $2" ;;
esac

case $(peervpn genpsk) in
peervpn-psk1-*) ;;
*) fail "genpsk makes no key" ;;
esac

dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
printf 'networkname test\npsk %s\nport 0\nifconfig4 10.99.0.1/24\n' "$(peervpn genpsk)" >"$dir/good.conf"
printf 'networkname test\npsk short\nprot 7000\n' >"$dir/bad.conf"
chmod 600 "$dir"/*.conf

peervpn check "$dir/good.conf" || fail "a good configuration is refused"
peervpn check "$dir/bad.conf" 2>"$dir/said"
[ $? = 2 ] || fail "a bad configuration does not end with 2"
grep prot "$dir/said" >/dev/null || fail "the mistake is not named"

# As shipped, nothing runs.
[ "$(stat -c %a /etc/config/peervpn)" = 600 ] || fail "/etc/config/peervpn can be read by others"
[ -z "$(peervpn uci list)" ] || fail "a network is enabled in the configuration as shipped"
[ "$(stat -c %a /etc/peervpn)" = 700 ] || fail "/etc/peervpn can be entered by others"
