# shellcheck shell=bash
# What a script needs before it can start: rights, a kernel that can do it, programs, a Rust toolchain.
# On Debian and Ubuntu what is missing is installed from the distribution; elsewhere it is named. Sourced
# after say.sh.

# The oldest compiler that builds this (`rust-version` in Cargo.toml), as the minor number of 1.x.
RUST_MINOR=89

need_root() {
    ((EUID == 0)) || die "this needs root, because it makes network namespaces and TAP devices." \
        "Run: sudo $0 ${*}"
}

# Tries on a throw-away namespace what the laboratory is made of.
need_kernel() {
    if [[ ! -e /dev/net/tun ]]; then
        modprobe tun 2>/dev/null || true
        [[ -e /dev/net/tun ]] || die "there is no /dev/net/tun, so no TAP device can be made." \
            "Load the kernel's tun module (modprobe tun); in a container, give it the device" \
            "(docker run --privileged, or --device /dev/net/tun --cap-add NET_ADMIN --cap-add SYS_ADMIN)."
    fi
    local scratch="pvprobe-$$" said
    said=$(ip netns add "$scratch" 2>&1) || die "no network namespace can be made: $said" \
        "In a container this needs --privileged; else a kernel with CONFIG_NET_NS."
    kernel_can "virtual Ethernet cables (CONFIG_VETH)" \
        ip link add probe0 type veth peer name probe1
    kernel_can "bridges (CONFIG_BRIDGE)" \
        ip link add probe2 type bridge
    kernel_can "TAP devices (CONFIG_TUN), although /dev/net/tun is there" \
        ip tuntap add dev probe3 mode tap
    kernel_can "nftables with NAT (CONFIG_NF_TABLES_INET, CONFIG_NFT_MASQ)" \
        nft 'add table inet probe; add chain inet probe out { type nat hook postrouting priority 100; };
            add rule inet probe out masquerade fully-random'
    ip netns del "$scratch"
}

# Only in need_kernel: tries a command in its namespace.
kernel_can() {
    local what=$1
    shift
    said=$(ip netns exec "$scratch" "$@" 2>&1) && return
    ip netns del "$scratch"
    die "this machine cannot do $what, which is needed here. It says:" "$said"
}

# need_programs NAME…: installs the packages of those that are missing.
need_programs() {
    local program packages=()
    # Other people's programs in sbin are out of reach of a plain `su`.
    PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
    for program; do
        command -v "$program" >/dev/null || packages+=("$(package_of "$program")")
    done
    ((${#packages[@]} == 0)) || install_packages "${packages[@]}"
    for program; do
        command -v "$program" >/dev/null || die "there is still no '$program' after installing its package."
    done
}

package_of() {
    case $1 in
    ip) echo iproute2 ;;
    nft) echo nftables ;;
    ping) echo iputils-ping ;;
    route) echo net-tools ;;
    nsenter | unshare | setsid) echo util-linux ;;
    llvm-symbolizer) echo llvm ;;
    systemd-analyze) echo systemd ;;
    dot) echo graphviz ;;
    dnsmasq) echo dnsmasq-base ;;
    cc) echo gcc libc6-dev ;;
    *) echo "$1" ;;
    esac
}

install_packages() {
    command -v apt-get >/dev/null || die "these packages are missing: $*." \
        "They can be installed by this script on Debian and Ubuntu only; please install them yourself."
    ((EUID == 0)) || die "these packages are missing: $*." "Install them (apt-get install $*), or run this as root."
    say "Installing ${*} ..."
    local log
    log=$(mktemp)
    # Word splitting is wanted: a program may need two packages.
    # shellcheck disable=SC2048,SC2086
    if ! { apt_get install $* || { apt_get update && apt_get install $*; }; } >"$log" 2>&1; then
        tail -n 5 "$log" | indent >&2
        rm -f "$log"
        die "apt-get could not install: $*." "Is the machine online, and are its package sources right?"
    fi
    rm -f "$log"
}

apt_get() {
    DEBIAN_FRONTEND=noninteractive apt-get -y -q --no-install-recommends -o Dpkg::Options::=--force-confold \
        "$@" </dev/null
}

# Puts a cargo of at least 1.$RUST_MINOR on PATH (`need_rust build`), with rustfmt and clippy (`need_rust lints`): what is
# there already, rustup's or the distribution's; else one from the distribution.
need_rust() {
    local want=$1 directory packages
    for directory in '' "$HOME/.cargo/bin" /root/.cargo/bin /usr/lib/rust-1.*/bin; do
        if rust_is_enough "$want" "$directory"; then
            [[ -z $directory ]] || PATH=$directory:$PATH
            need_programs cc
            need_certificates
            return
        fi
    done
    command -v apt-get >/dev/null || die "there is no cargo of version 1.$RUST_MINOR or newer." \
        "Install Rust, for example from https://rustup.rs."
    ((EUID != 0)) || apt_get update >/dev/null 2>&1 || true
    packages=$(rust_packages "$want")
    [[ -n $packages ]] || die "this release of the distribution has no Rust 1.$RUST_MINOR or newer." \
        "Install it from https://rustup.rs and start again. (Debian 12 and later and Ubuntu 22.04 and later have it," \
        "with their security and updates sources switched on.)"
    # shellcheck disable=SC2086 # a list
    install_packages $packages gcc libc6-dev
    need_certificates
    # Ubuntu's versioned packages keep their programs out of the way of the plain ones.
    directory=$(printf '%s\n' "$packages" | sed -n 's/.*rustc-\(1\.[0-9]*\).*/\/usr\/lib\/rust-\1\/bin/p')
    [[ -z $directory ]] || PATH=$directory:$PATH
    hash -r
    rust_is_enough "$want" '' || die "the distribution's Rust ($packages) is installed, but cargo, rustc or its tools" \
        "are not found on PATH ($PATH)."
}

# What crates.io is believed by; the smallest installations come without.
need_certificates() {
    [[ ! -e /etc/debian_version || -e /etc/ssl/certs/ca-certificates.crt ]] || install_packages ca-certificates
}

# rust_is_enough build|lints DIRECTORY
rust_is_enough() {
    local path=${2:+$2:}$PATH minor
    PATH=$path cargo --version >/dev/null 2>&1 || return 1
    [[ $1 != lints ]] || { PATH=$path cargo fmt --version && PATH=$path cargo clippy --version; } >/dev/null 2>&1 ||
        return 1
    minor=$(PATH=$path rustc --version 2>/dev/null | sed -n 's/^rustc 1\.\([0-9]*\)\..*/\1/p')
    ((${minor:-0} >= RUST_MINOR))
}

# The packages that hold a compiler new enough: the plain ones, Debian's backport for browsers, or the newest
# of Ubuntu's versioned ones.
rust_packages() {
    local minor
    if (($(packaged_minor rustc) >= RUST_MINOR)); then
        echo rustc cargo
        [[ $1 != lints ]] || echo rustfmt rust-clippy
    elif (($(packaged_minor rustc-web) >= RUST_MINOR)); then
        echo rustc-web cargo-web
        [[ $1 != lints ]] || echo rustfmt-web rust-web-clippy
    else
        minor=$(apt-cache pkgnames rustc-1. 2>/dev/null | sed -n 's/^rustc-1\.\([0-9]*\)$/\1/p' | sort -n | tail -1)
        ((${minor:-0} >= RUST_MINOR)) || return 0
        echo "rustc-1.$minor cargo-1.$minor"
        [[ $1 != lints ]] || echo "rustfmt-1.$minor rust-1.$minor-clippy"
    fi | tr '\n' ' '
}

# The minor version of the Rust that a package would install; 0 if there is none.
packaged_minor() {
    local minor
    minor=$(apt-cache policy "$1" 2>/dev/null | sed -n 's/^ *Candidate: 1\.\([0-9]*\)\..*/\1/p')
    echo "${minor:-0}"
}

# Sets PEERVPN to the release binary, building it unless the caller's environment names one.
need_peervpn() {
    if [[ -n ${PEERVPN-} ]]; then
        [[ -x $PEERVPN ]] || die "PEERVPN names '$PEERVPN', which is not a program."
        return
    fi
    need_rust build
    local log
    log=$(mktemp)
    if ! (cd "$ROOT" && cargo build --release --locked) >"$log" 2>&1 </dev/null; then
        tail -n 40 "$log" >&2
        rm -f "$log"
        die "the release build failed; its last lines stand above." \
            "If it could not download a crate: the machine needs to reach crates.io once."
    fi
    rm -f "$log"
    PEERVPN=${CARGO_TARGET_DIR:-$ROOT/target}/release/peervpn
    export PEERVPN
}
