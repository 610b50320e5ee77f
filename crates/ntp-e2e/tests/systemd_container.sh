#!/bin/sh
# Boots systemd on a root directory, in namespaces of its own. Its user namespace maps each user to itself: systemd has all
# capabilities there, but the kernel refuses changes of the real machine, in particular of its clock.
#
# systemd_container.sh ROOT CGROUP [DROPPED CAPABILITY]
set -eu
root=$1 cgroup=$2 dropped=${3:-}

case "${stage:-}" in
"")
    mkdir -p "$cgroup"
    echo $$ >"$cgroup/cgroup.procs"
    stage=user exec unshare --user sh "$0" "$@"
    ;;
user)
    # The test writes the map from outside.
    while ! grep -q . /proc/self/uid_map /proc/self/gid_map; do sleep 0.05; done
    drop=
    [ -z "$dropped" ] || drop="setpriv --bounding-set -$dropped"
    # shellcheck disable=SC2086 # words
    stage=root exec unshare --setuid 0 --setgid 0 --mount --pid --fork --kill-child --uts --ipc --net --cgroup $drop sh "$0" "$@"
    ;;
root)
    mount --make-rprivate /
    mount --rbind "$root" "$root"
    mount -t proc proc "$root/proc"
    # Not writable: so networkd does not wait for udev.
    mount -t sysfs -o ro sysfs "$root/sys"
    mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
    for directory in dev run tmp; do mount -t tmpfs -o mode=755 tmpfs "$root/$directory"; done
    for device in null zero full random urandom tty; do
        : >"$root/dev/$device"
        mount --bind "/dev/$device" "$root/dev/$device"
    done
    mkdir "$root/dev/pts" "$root/dev/shm"
    mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$root/dev/pts"
    ln -s pts/ptmx "$root/dev/ptmx"
    ln -s /proc/self/fd "$root/dev/fd"
    mkdir -p "$root/.host"
    cd "$root"
    pivot_root . .host
    umount -l /.host
    exec env -i container=ntp-e2e PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd
    ;;
esac
