# shellcheck shell=bash disable=SC2034 # what is set here is used by those who source this
# Building for other machines: static musl binaries, by one recipe for all of them.
#
# Rust's own standard library is built along (-Zbuild-std), because there is no ready one for 32-bit MIPS, and
# because ours comes without the code for symbolised backtraces, which is half of a router's binary. Zig is the
# C side: linker, start files, musl and compiler runtime for the very CPU. So any rustc does that has its library's
# source beside it, without further targets or cross compilers. Where only rustup's ready-made library is to be
# had for a target, that is taken (larger); STD=build or STD=ready insists on one of the two.
#
# Sourced after say.sh and setup.sh, with $ROOT set.
#
#   arch_open ARCH           sets TRIPLE and the like for OpenWrt's package architecture ARCH, or dies
#   cross_tools              finds or installs compiler and zig for the architecture opened
#   cross_cargo COMMAND …    runs that cargo for it
#   cross_binary             where its release binary lies

# The architectures that packages are made for: all that current OpenWrt has for consumer routers.
ARCHES=(aarch64_cortex-a53 aarch64_cortex-a72 aarch64_generic x86_64 mips_24kc mipsel_24kc arm_cortex-a7_neon-vfpv4
    arm_cortex-a9_vfpv3-d16 arm_arm926ej-s)

# What pip knows; see lib/zig.txt for its hashes.
ZIG_VERSION=0.15.2

# One binary serves all architectures of a family; only the name on the package differs. The CPU is the least of
# the family, and the emulator plays that one, which refuses what its routers would refuse.
#
#   TRIPLE, ZIG_TARGET, ZIG_CPU   the machine, as rustc and zig call it
#   QEMU                          the emulator and its CPU
#   MACHINE                       what readelf calls it
#   FLAGS, SMALL, BARE            what this machine needs more of rustc: for all; for the release but for the packages
#                                 in BARE, which are those in HOT and who cannot do with it
arch_open() {
    # Routers of 32 bits have little room, for the program and for where it could be moved to: it lies still,
    # which saves an eighth. The others get an address that changes with each start.
    FLAGS='-Crelocation-model=static'
    BARE=("${HOT[@]}")
    # Inlined is only what is tiny.
    SMALL='"-Cllvm-args=-inlinehint-threshold=10","-Cllvm-args=-inline-threshold=10"'
    # Values that live long are put on the stack without much search for a better place.
    SMALL+=',"-Cllvm-args=-grow-region-complexity-budget=0"'
    case $1 in
    aarch64_*)
        TRIPLE=aarch64-unknown-linux-musl ZIG_TARGET=aarch64-linux-musl ZIG_CPU=generic
        QEMU='qemu-aarch64-static -cpu cortex-a53' MACHINE=AArch64
        FLAGS='-Clink-arg=-pie'
        # Rescheduling makes no two pieces of code alike: 7 % of the package.
        SMALL+=',"-Cllvm-args=-enable-misched=false","-Cllvm-args=-enable-post-misched=false"'
        ;;
    x86_64)
        TRIPLE=x86_64-unknown-linux-musl ZIG_TARGET=x86_64-linux-musl ZIG_CPU=x86_64
        QEMU='qemu-x86_64-static -cpu qemu64' MACHINE='Advanced Micro Devices X86-64'
        # The curve is there once, not in AVX2 as well; and what has no instructions for AES, which is the slowest anyhow,
        # gets its shorter form: 2 % of the package.
        FLAGS='-Clink-arg=-pie --cfg curve25519_dalek_backend="serial" --cfg aes_backend_soft="compact"'
        FLAGS+=' --cfg poly1305_backend="soft" --cfg chacha20_backend="sse2"'
        ;;
    mips_24kc)
        TRIPLE=mips-unknown-linux-musl ZIG_TARGET=mips-linux-musleabi ZIG_CPU=mips32r2+soft_float
        QEMU='qemu-mips-static -cpu 24Kc' MACHINE='MIPS R3000'
        ;;
    mipsel_24kc | mipsel_74kc)
        TRIPLE=mipsel-unknown-linux-musl ZIG_TARGET=mipsel-linux-musleabi ZIG_CPU=mips32r2+soft_float
        QEMU='qemu-mipsel-static -cpu 24Kc' MACHINE='MIPS R3000'
        ;;
    arm_cortex-a*_*)
        TRIPLE=armv7-unknown-linux-musleabihf ZIG_TARGET=arm-linux-musleabihf
        ZIG_CPU=generic+v7a+vfp3d16+thumb2-neon QEMU='qemu-arm-static -cpu cortex-a7' MACHINE=ARM
        # Thumb-2: the same instructions in a quarter less room.
        FLAGS+=' -Ctarget-feature=+thumb-mode'
        ;;
    arm_arm926ej-s | arm_xscale | arm_arm1176jzf-s_vfp | arm_cortex-a9)
        TRIPLE=armv5te-unknown-linux-musleabi ZIG_TARGET=arm-linux-musleabi
        ZIG_CPU=generic+v5te+soft_float+strict_align QEMU='qemu-arm-static -cpu arm926' MACHINE=ARM
        # Thumb is a quarter shorter. At this age it has no long multiplication, so the curve does without.
        SMALL+=',"-Ctarget-feature=+thumb-mode"' BARE=("${HOT[@]}" curve25519-dalek)
        ;;
    *)
        die "there is no recipe for the architecture '$1'." \
            "There are: ${ARCHES[*]}, and others of their families; see ci/lib/cross.sh."
        ;;
    esac
    [[ $TRIPLE != mips* ]] || make_room
}

# MIPS has the longest code and the smallest flashes.
make_room() {
    # Nothing is inlined but what is no longer than its call.
    SMALL=${SMALL//threshold=10/threshold=0}
    # Fewer empty delay slots; no addresses kept on the stack that are one instruction to make.
    SMALL+=',"-Cllvm-args=-disable-mips-df-forward-search=false","-Cllvm-args=-disable-mips-df-succbb-search=false"'
    SMALL+=',"-Cllvm-args=-disable-machine-licm"'
    # Instructions in the order of their source: fewer values wait on the stack, and what is alike looks alike, which
    # is 4 % of the package. The default order stores the whole of a multiplication of X25519, and takes three times
    # as long for it.
    SMALL+=',"-Cllvm-args=-pre-RA-sched=list-hybrid"'
    # A call at the end is a jump; blocks stay where they are written, and what two of them end with is there once.
    # That is off for MIPS, as it gets in the way of branches over more than 128 kB; no function is that large.
    SMALL+=',"-Cllvm-args=-mips-tail-calls","-Cllvm-args=-disable-block-placement"'
    SMALL+=',"-Cllvm-args=-skip-mips-long-branch","-Cllvm-args=-enable-tail-merge=true","-Cllvm-args=-tail-merge-size=2"'
    SMALL+=',"-Cllvm-args=-disable-machine-sink","-Cllvm-args=-join-splitedges"'
    # No end of a block is copied to where it is jumped from.
    SMALL+=',"-Cllvm-args=-disable-early-taildup"'
}

# The cipher and the hash, as in the profiles of Cargo.toml, and whose generics they are made of.
HOT=(aes sha2 peervpn-keystream ctr cipher chacha20 poly1305)

# ---- tools ----

cross_tools() {
    find_compiler || {
        install_compiler
        find_compiler || die "there is still no compiler that can build for $TRIPLE."
    }
    find_zig || {
        install_zig
        find_zig || die "zig $ZIG_VERSION was installed, but does not start."
    }
    need_programs readelf python3
    write_linker
}

# Sets CROSS_CARGO, CROSS_RUSTC and STD: the first that has its library's source, else the first that has a ready
# library for this target. rustup's cargo and rustc stand in front of the distribution's on PATH, but often have
# neither.
find_compiler() {
    local wanted place
    for wanted in ${STD:-build ready}; do
        for place in "${CARGO:+$(dirname "$CARGO")}" "$(dirname "$(command -v cargo)")" "$HOME/.cargo/bin" /usr/bin; do
            CROSS_CARGO=$place/cargo CROSS_RUSTC=${RUSTC:-$place/rustc}
            if [[ -n $place && -x $CROSS_CARGO ]] && has_library "$wanted"; then
                STD=$wanted
                return
            fi
        done
    done
    return 1
}

has_library() {
    local minor
    minor=$("$CROSS_RUSTC" --version 2>/dev/null | sed -n 's/^rustc 1\.\([0-9]*\)\..*/\1/p')
    ((${minor:-0} >= RUST_MINOR)) || return 1
    case $1 in
    build) [[ -e $("$CROSS_RUSTC" --print sysroot)/lib/rustlib/src/rust/library/Cargo.lock ]] ;;
    ready) compgen -G "$("$CROSS_RUSTC" --print target-libdir --target "$TRIPLE" 2>/dev/null)/libstd-*.rlib" >/dev/null ;;
    *) die "STD is '$1', but has to be 'build' or 'ready'." ;;
    esac
}

install_compiler() {
    [[ ${STD-} != ready ]] || die "no compiler here has a ready library for $TRIPLE." \
        "With rustup: rustup target add $TRIPLE (there is none for 32-bit MIPS)."
    if command -v apt-get >/dev/null; then
        ((EUID != 0)) || apt_get update >/dev/null 2>&1 || true
        if (($(packaged_minor rust-src) >= RUST_MINOR)); then
            install_packages rustc cargo rust-src
            return
        elif (($(packaged_minor rust-web-src) >= RUST_MINOR)); then
            install_packages rustc-web cargo-web rust-web-src
            return
        fi
    fi
    die "no compiler here has its library's source, which is built for $TRIPLE." \
        "With rustup: rustup component add rust-src; on Debian: apt-get install rustc-web cargo-web rust-web-src."
}

# Sets ZIG: the one named, the one on PATH, or pip's, of the version that the recipe is proved with.
find_zig() {
    local candidate
    for candidate in "${ZIG-}" zig 'python3 -m ziglang' "$(zig_place)/ziglang/zig"; do
        # shellcheck disable=SC2086 # may be several words
        [[ -n $candidate && $($candidate version 2>/dev/null) == "$ZIG_VERSION" ]] || continue
        ZIG=$candidate
        return
    done
    return 1
}

zig_place() { echo "$(cross_target_dir)/zig-$ZIG_VERSION"; }

install_zig() {
    say "Installing zig $ZIG_VERSION into $(zig_place) ..."
    python3 -m pip --version >/dev/null 2>&1 || install_packages python3-pip
    python3 -m pip install --quiet --disable-pip-version-check --root-user-action ignore --no-deps --require-hashes \
        --target "$(zig_place)" --requirement "$ROOT/ci/lib/zig.txt" ||
        die "pip could not install zig $ZIG_VERSION." "Put a zig of that version on PATH, or name it in ZIG."
}

# A linker for rustc: a file, because that is what it wants. lib/link.py says what it does.
write_linker() {
    LINKER=$(cross_target_dir)/zig-cc-$TRIPLE
    mkdir -p "${LINKER%/*}"
    cat >"$LINKER.$$" <<SCRIPT
#!/bin/sh
exec python3 "$ROOT/ci/lib/link.py" "$ZIG" $ZIG_TARGET $ZIG_CPU "\$@"
SCRIPT
    chmod +x "$LINKER.$$"
    mv "$LINKER.$$" "$LINKER"
}

# ---- running cargo ----

cross_target_dir() { echo "${CARGO_TARGET_DIR:-$ROOT/target}"; }

cross_binary() { echo "$(cross_target_dir)/$TRIPLE/openwrt/peervpn"; }

# In a process of its own: what is exported is for this cargo alone.
cross_cargo() (
    local command=$1 variable home source flags package
    shift
    variable=CARGO_TARGET_$(printf %s "$TRIPLE" | tr a-z- A-Z_)
    home=${CARGO_HOME:-$HOME/.cargo}
    source=$("$CROSS_RUSTC" --print sysroot)/lib/rustlib/src/rust
    flags="-Ctarget-feature=+crt-static -Clink-self-contained=no -Cforce-unwind-tables=no"
    # Kernels since 3.17 give random numbers to who asks; older ones no OpenWrt has.
    flags+=" --cfg getrandom_backend=\"linux_getrandom\" $FLAGS"
    # The same binary wherever it is built: the places of sources stand in messages of panics.
    flags+=" --remap-path-prefix=$ROOT=peervpn --remap-path-prefix=$home/registry/src=crates"
    flags+=" --remap-path-prefix=$source=rust"
    # Values in their developer's form are printed by tests only.
    [[ $command != build ]] || flags+=" -Zfmt-debug=none"
    # `runner` is what `cargo test` starts the program with.
    export "${variable}_LINKER=$LINKER" "${variable}_RUSTFLAGS=$flags" "${variable}_RUNNER=$QEMU"
    export RUSTC=$CROSS_RUSTC RUSTC_BOOTSTRAP=1 SOURCE_DATE_EPOCH=0
    # A developer's own flags are not part of the recipe.
    unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_TARGET
    # Panics say nothing, for texts and places are a twelfth of the binary; src/sys/crash.rs says where it was, and
    # `ci/build --place` which line that is.
    [[ $STD != build ]] || set -- -Zpanic-immediate-abort --config 'profile.openwrt.panic="immediate-abort"' "$@"
    set -- -Zprofile-rustflags --config "profile.openwrt.rustflags=[$SMALL]" "$@"
    for package in "${BARE[@]}"; do
        set -- --config "profile.openwrt.package.$package.rustflags=[]" "$@"
    done
    [[ $STD != build ]] || set -- -Zbuild-std=std,panic_abort -Zbuild-std-features=optimize_for_size "$@"
    cd "$ROOT" || exit
    "$CROSS_CARGO" "$command" --locked --target "$TRIPLE" "$@" </dev/null
)
