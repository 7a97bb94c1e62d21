# shellcheck shell=bash
# How every script here speaks: colours on a terminal only (and not under NO_COLOR), one clear sentence
# when something cannot be had. Sourced.

# shellcheck disable=SC2034 # the colours are used by those who source this
if [[ -t 1 && -z ${NO_COLOR-} && ${TERM-dumb} != dumb ]]; then
    bold=$'\e[1m' dim=$'\e[2m' green=$'\e[32m' red=$'\e[31m' plain=$'\e[0m'
else
    bold='' dim='' green='' red='' plain=''
fi

# The same numbers and messages on every machine.
export LC_ALL=C.UTF-8

say() { printf '%s\n' "$*"; }

heading() { printf '\n%s%s%s\n\n' "$bold" "$*" "$plain"; }

# Ends the script. Each argument is a line: what is wrong, then what can be done about it.
die() {
    printf '%s: %s\n' "${0##*/}" "$1" >&2
    shift
    (($# == 0)) || printf '  %s\n' "$@" >&2
    exit 1
}

# Indents what a command prints.
indent() { sed 's/^/    /'; }
