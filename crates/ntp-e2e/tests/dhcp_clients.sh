#!/bin/sh
# A machine with one DHCP client, the daemon and the files of its package. It runs in a network namespace, whose eth0 leads
# to a DHCP server that names the time server SERVER, and in a mount namespace of its own: /run is empty as after a boot,
# and changes of /etc, /usr and /var do not leave it.
#
# dhcp_clients.sh CLIENT SERVER PROGRAMS WORKSPACE
set -eu
client=$1 server=$2 programs=$3 workspace=$4
limit=${LIMIT:-60}
arena=$workspace/target/arena/network-manager package=$workspace/pkg

boot() {
    mount -t tmpfs none /run
    mkdir -p /run/systemd/netif /run/systemd/network /run/dbus /run/network /run/state
    [ "$client" != networkd ] || chown -R systemd-network: /run/systemd/netif
}

install_files() {
    mount -t tmpfs none /mnt
    for directory in etc usr var; do
        mkdir -p "/mnt/$directory" "/mnt/$directory.work"
        lower=/$directory
        [ ! -d "$arena/$directory" ] || lower=$arena/$directory:$lower
        mount -t overlay overlay -o "lowerdir=$lower,upperdir=/mnt/$directory,workdir=/mnt/$directory.work" "/$directory"
    done
    # Without udev, as in a container.
    mount -o remount,bind,ro /sys
    ln -sf "$programs/ntp-ctl" /usr/bin/ntp-ctl
    mkdir -p /etc/ntpd-rs /etc/network/if-up.d /etc/network/if-down.d /etc/dhcp/dhclient-exit-hooks.d
    mkdir -p /usr/lib/NetworkManager/dispatcher.d /usr/lib/dhcpcd/dhcpcd-hooks /etc/ppp/ip-up.d /etc/ppp/ip-down.d
    cp "$package/dhcp/networkmanager" /usr/lib/NetworkManager/dispatcher.d/20-ntpd-rs
    cp "$package/dhcp/dhclient" /etc/dhcp/dhclient-exit-hooks.d/ntpd-rs
    cp "$package/dhcp/dhclient" /usr/lib/dhcpcd/dhcpcd-hooks/66-ntpd-rs.conf
    cp "$package/dhcp/ifupdown" /etc/network/if-up.d/ntpd-rs
    cp "$package/dhcp/ifupdown" /etc/network/if-down.d/ntpd-rs
    cp "$package/dhcp/ppp" /etc/ppp/ip-up.d/ntpd-rs
    cp "$package/dhcp/ppp" /etc/ppp/ip-down.d/ntpd-rs
    cat >/etc/ntpd-rs/ntp.toml <<END
[clock]
kind = "virtual"
virtual-offset = 0.25
[state]
directory = "/run/state"
[sandbox]
user = "root"
[synchronization]
minimum-agreeing-sources = 1
END
}

start_daemon() {
    # RuntimeDirectory= of the unit.
    mkdir -p /run/ntpd-rs
    "$programs/ntp-daemon" >>/mnt/daemon.log 2>&1 &
    daemon=$!
    await "the control socket" ntp-ctl activity
}

stop_daemon() {
    kill "$daemon"
    wait "$daemon" || true
}

# now: milliseconds since the start of the machine
now() {
    read -r seconds _ </proc/uptime
    echo "${seconds%.*}${seconds#*.}0"
}

# await WHAT COMMAND...: repeats the command until it succeeds
await() {
    what=$1
    shift
    end=$(($(now) + limit * 1000))
    until "$@" >/dev/null 2>&1; do
        if [ "$(now)" -gt "$end" ]; then
            echo "FAILED: no $what"
            cat /mnt/*.log
            exit 1
        fi
        sleep 0.05
    done
}

uses() { ntp-ctl sources | grep -qF " $1:123 "; }
uses_not() { ! uses "$1"; }
has_lease() { ip -4 address show dev eth0 | grep -q dynamic; }
has_no_file() { [ -z "$(ls /run/ntpd-rs/sources.d)" ]; }

dbus() {
    dbus-daemon --system --nopidfile --fork
    /usr/libexec/nm-dispatcher --persist >>/mnt/client.log 2>&1 &
}

# What ntpd-rs-networkd.path does.
watch_links() {
    known=
    while sleep 0.2; do
        found=$(ls --full-time /run/systemd/netif/links 2>/dev/null) || true
        if [ "$found" != "$known" ]; then
            known=$found
            "$package/dhcp/networkd"
        fi
    done
}

start_client() {
    case $client in
    dhclient)
        printf 'iface eth0 inet dhcp\n    ntp-servers 192.0.2.99\n' >/etc/network/interfaces
        ifup eth0 >>/mnt/client.log 2>&1
        ;;
    dhcpcd) dhcpcd -4 --nobackground -o ntp_servers eth0 >>/mnt/client.log 2>&1 & ;;
    networkd)
        printf '[Match]\nName=eth0\n[Network]\nDHCP=ipv4\n' >/run/systemd/network/eth0.network
        /lib/systemd/systemd-networkd >>/mnt/client.log 2>&1 &
        watch_links &
        ;;
    networkmanager)
        dbus
        printf '[main]\nplugins=keyfile\nno-auto-default=*\n' >/run/nm.conf
        mkdir -p /etc/NetworkManager/system-connections
        printf '[connection]\nid=eth0\ntype=ethernet\ninterface-name=eth0\n[ipv4]\nmethod=auto\n' \
            >/etc/NetworkManager/system-connections/eth0.nmconnection
        chmod 600 /etc/NetworkManager/system-connections/eth0.nmconnection
        NetworkManager --debug --config /run/nm.conf >>/mnt/client.log 2>&1 &
        ;;
    esac
}

link_down() {
    case $client in
    dhclient) ifdown eth0 >>/mnt/client.log 2>&1 ;;
    *) ip link set eth0 down ;;
    esac
}

boot
install_files
start_daemon
start_client
await "lease" has_lease
leased=$(now)
await "source of DHCP" uses "$server"
echo "source $(($(now) - leased)) ms after the lease"
[ "$client" != dhclient ] || await "source of ifupdown" uses 192.0.2.99
await "synchronised clock" ntp-ctl waitsync --timeout 5s
echo "synchronised"
stop_daemon
start_daemon
await "source after a restart" uses "$server"
link_down
down=$(now)
await "withdrawal" uses_not "$server"
await "removal of the files" has_no_file
echo "withdrawn $(($(now) - down)) ms after link-down"

# The machine loses power while it has a lease.
stop_daemon
ntp-ctl dhcp eth0 "$server"
boot
start_daemon
uses_not "$server"
stop_daemon
echo "gone after a boot"
