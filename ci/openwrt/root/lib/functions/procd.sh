# shellcheck shell=dash
# Stands in for OpenWrt's procd.sh and jshn.sh: writes down what is called, with its arguments. What procd makes of
# it, and what it would stumble over, ci/openwrt/procd.py knows.

note() {
    printf '%s\0' "$#" "$@" >>/tmp/calls
}

complain() {
    echo "rc.common: $*" >&2
    exit 99
}

for each in procd_open_service procd_close_service procd_open_instance procd_close_instance procd_set_param \
    procd_append_param procd_open_data procd_close_data procd_add_reload_trigger procd_add_raw_trigger \
    procd_add_interface_trigger procd_add_reload_interface_trigger procd_kill procd_send_signal \
    procd_set_config_changed json_add_string json_add_int json_add_boolean json_add_object json_close_object \
    json_add_array json_close_array; do
    eval "$each() { note $each \"\$@\"; }"
done

# procd_running SERVICE [INSTANCE]: an instance of `*` is any.
procd_running() {
    note procd_running "$@"
    case ${2:-*} in
    \*) [ -s /tmp/running ] ;;
    *) grep -qx "$1 $2" /tmp/running ;;
    esac
}
