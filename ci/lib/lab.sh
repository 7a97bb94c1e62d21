# shellcheck shell=bash
# A laboratory: hosts joined by cables, on this machine only. A host is a network namespace and a mount
# namespace of its own, so that each has its interfaces, its firewall, its /run, /etc/hosts and /var/empty.
# Sourced after say.sh.
#
#   lab_open DIRECTORY PREFIX     everything made is written down in DIRECTORY; namespaces begin with PREFIX
#   host NAME [router]            a host; a router forwards
#   cable A IF_A B IF_B           a cable between two hosts
#   frames HOST IF                no super-frames on that cable
#   on HOST COMMAND…              runs a command there, in /
#   box HOST WAN [fully-random]   makes a host a NAT and firewall, as providers and home routers have them
#   start HOST ARGUMENT…          peervpn ARGUMENT… there, in the background; its words go to DIRECTORY/HOST.log
#   is_running HOST               whether its daemon lives
#   halt HOST [SIGNAL]            ends it and waits; the exit code is its own
#   lab_close                     ends what was started, by process id, and removes what was made

LAB='' LAB_PREFIX=''

lab_open() {
    LAB=$1 LAB_PREFIX=$2
    mkdir -p "$LAB"
    chmod 700 "$LAB"
    : >>"$LAB/processes"
    : >>"$LAB/namespaces"
}

host() {
    local name=$1 kind=${2-}
    local ns=$LAB_PREFIX$name setting
    echo "$ns" >>"$LAB/namespaces"
    ip netns add "$ns" || die "cannot make the namespace $ns."
    printf '127.0.0.1 localhost %s\n::1 localhost\n' "$name" >"$LAB/$name.hosts"
    ip netns exec "$ns" unshare --uts bash -c "$HOST_VIEW" peervpn-lab "$LAB" "$name" \
        </dev/null >/dev/null 2>"$LAB/$name.view" &
    remember $! "$name.holder"
    disown $! # so that the shell does not report its end
    until [[ -e $LAB/$name.ready ]]; do
        kill -0 "$!" 2>/dev/null || die "cannot set up the host $name: $(<"$LAB/$name.view")"
        sleep 0.01
    done
    on "$name" ip link set lo up
    # What the machine outside prefers must not matter in here: source checks, and waiting for duplicate
    # IPv6 addresses.
    for setting in ipv4/conf/all/rp_filter ipv4/conf/default/rp_filter ipv6/conf/all/accept_dad \
        ipv6/conf/default/accept_dad ipv4/conf/all/accept_redirects ipv4/conf/default/send_redirects; do
        set_kernel "$name" "$setting" 0
    done
    if [[ $kind == router ]]; then
        set_kernel "$name" ipv4/ip_forward 1
        set_kernel "$name" ipv6/conf/all/forwarding 1
    fi
}

# What a host sees of the disk: an own /run, /etc/hosts and host name, and a /var/empty even where the machine
# has none (all of /var is then shown again beside it, so that nothing is created on the machine). Then it
# sleeps, which keeps the view alive.
# shellcheck disable=SC2016 # expanded in the host
HOST_VIEW='set -e
hostname "$2"
mount --bind "$1/$2.hosts" /etc/hosts
mount -t tmpfs -o mode=755 run /run
if [ ! -d /var/empty ]; then
    mkdir /run/var
    mount --rbind /var /run/var
    mount -t tmpfs -o mode=755 var /var
    mkdir /var/empty
    for entry in /run/var/*; do
        if [ -L "$entry" ]; then cp -P "$entry" /var/
        elif [ -d "$entry" ]; then mkdir "/var/${entry##*/}" && mount --rbind "$entry" "/var/${entry##*/}"
        fi
    done
    umount -l /run/var
    rmdir /run/var
fi
: >"$1/$2.ready"
exec sleep infinity'

# own_etc HOST: an /etc of its own, with everything that the machine's has but settings of PeerVPN, for one host alone.
own_etc() { on "$1" sh -c "$OWN_ETC"; }

# shellcheck disable=SC2016 # expanded in the host
OWN_ETC='set -e
mkdir /run/etc
mount --rbind /etc /run/etc
mount -t tmpfs -o mode=755 etc /etc
for entry in /run/etc/*; do
    if [ -L "$entry" ]; then cp -P "$entry" /etc/
    else ln -s "$entry" /etc/
    fi
done
rm -f /etc/config /etc/peervpn /etc/peervpn.conf
mkdir /etc/config'

set_kernel() {
    # shellcheck disable=SC2016 # expanded in the host
    on "$1" sh -c '[ ! -e "/proc/sys/net/$1" ] || echo "$2" >"/proc/sys/net/$1"' sh "$2" "$3"
}

cable() {
    local a=$1 if_a=$2 b=$3 if_b=$4
    ip link add "$if_a" netns "$LAB_PREFIX$a" type veth peer name "$if_b" netns "$LAB_PREFIX$b" ||
        die "cannot lay a cable from $a to $b."
    on "$a" ip link set "$if_a" up
    on "$b" ip link set "$if_b" up
}

# Nothing longer than a frame leaves HOST by IF: what its kernel would send as one is cut in front of the cable, as by a
# network card, so that what is counted or recorded there is what a real cable carries.
frames() { on "$1" ip link set "$2" gso_max_segs 1; }

on() {
    local holder
    holder=$(pid_of "$1.holder")
    shift
    nsenter --target "$holder" --mount --net --uts -- "$@"
}

# Inside → outside under one address, answers only back in, nothing of its own reachable but ping. What arrives
# uninvited is dropped, not refused: a refusal would take the NAT's mapping away from the one who comes to need it.
box() {
    local name=$1 wan=$2 how=${3-}
    on "$name" nft -f - <<RULES
        table inet box {
            chain to_itself {
                type filter hook input priority 0; policy drop;
                ct state established,related accept
                iifname != "$wan" accept
                icmp type echo-request accept
            }
            chain through {
                type filter hook forward priority 0; policy drop;
                ct state established,related accept
                iifname != "$wan" accept
            }
            chain out {
                type nat hook postrouting priority 100;
                oifname "$wan" masquerade $how
            }
        }
RULES
}

start() {
    local name=$1 holder
    shift
    holder=$(pid_of "$name.holder")
    # No function call between `&` and the program: $! must be the daemon itself. It leads a session of its own,
    # so that Ctrl-C in the terminal reaches this script, which then ends it in order.
    nsenter --target "$holder" --mount --net --uts -- \
        setsid env --default-signal=INT,QUIT "$PEERVPN" "$@" </dev/null >>"$LAB/$name.log" 2>&1 &
    remember $! "$name.daemon"
}

halt() {
    local pid
    pid=$(pid_of "$1.daemon") || return 1
    kill -"${2-TERM}" "$pid"
    forget "$1.daemon"
    wait "$pid" 2>/dev/null
}

is_running() { is_alive "$1.daemon"; }

# Whether a process in the book lives: a zombie, whose end nobody has asked for yet, does not.
is_alive() {
    local pid
    pid=$(pid_of "$1") && [[ $(sed 's/.*) \(.\).*/\1/' "/proc/$pid/stat" 2>/dev/null) =~ [^Z] ]]
}

# ---- the book of processes: process id, start time (a number is reused, a pair is not), what it is ----

remember() {
    echo "$1 $(started_at "$1") $2" >>"$LAB/processes"
}

forget() {
    sed -i "/ $1\$/d" "$LAB/processes"
}

pid_of() {
    awk -v what="$1" '$3 == what { pid = $1 } END { if (!pid) exit 1; print pid }' "$LAB/processes"
}

started_at() {
    # The name in the second field may hold blanks.
    sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20
}

is_still() {
    [[ -n $2 && $(started_at "$1") == "$2" ]]
}

lab_close() {
    local pid when what ns turn
    [[ -n $LAB && -d $LAB ]] || return 0
    while read -r pid when what; do
        [[ $what == *.holder ]] || ! is_still "$pid" "$when" || kill "$pid" 2>/dev/null || true
    done <"$LAB/processes"
    for turn in {1..60}; do
        ((turn == 1)) || sleep 0.05
        while read -r pid when what; do
            [[ $what == *.holder ]] || ! is_still "$pid" "$when" || continue 2
        done <"$LAB/processes"
        break
    done
    # The rest, by force: holders, a daemon that does not end, a shell left open in a host of ours.
    while read -r ns; do
        for pid in $(ip netns pids "$ns" 2>/dev/null); do
            { kill -KILL "$pid" && wait "$pid"; } 2>/dev/null || true
        done
        for turn in {1..20}; do
            [[ -n $(ip netns pids "$ns" 2>/dev/null) ]] || break
            sleep 0.05
        done
        ip netns del "$ns" 2>/dev/null || true
    done <"$LAB/namespaces"
    wait 2>/dev/null || true
    rm -rf "$LAB"
}
