#!/bin/busybox sh
# The first process of a guest: makes a small machine, runs the scenario, and ends the machine.
#
# What a scenario reports are lines that begin with "@": a word, then name=value. Everything else on the console is for people.

/bin/busybox --install -s /bin
export PATH=/programs:/bin
mount -t proc none /proc
mount -t sysfs none /sys
mount -t devtmpfs none /dev
while read -r module; do insmod "/modules/$module.ko"; done < /modules/order
cd /tmp

# The shell would take busybox's own.
tc() { /programs/tc "$@"; }
ip() { /programs/ip "$@"; }
ip link set lo up

truth() { true-clock $TRUTH "$@"; }

# Serves truth on all addresses.
serve_truth() {
    # Not through the function above: what is killed later must be the server, not a shell around it.
    true-clock $TRUTH serve --listen "[::]:${TRUTH_PORT:-1123}" "$@" > /run/truth.log 2>&1 &
    TRUTH_PID=$!
}

# look NAME: one comparison of the clock with truth. watch NAME SECONDS INTERVAL: many, summed up.
# ask NAME ADDRESS:PORT: what an NTP server says, compared with truth.
look() { echo "@look name=$1 $(truth look)"; }
ask() { echo "@ask name=$1 $(truth ask "$2")"; }
watch() { echo "@watch name=$1 $(truth watch --for "$2" --every "$3")"; }

# Puts the machine on the wire.
plug_in() {
    ip address add "$ADDRESS/24" dev eth0
    ip link set eth0 up
}

# chronyd as a client, once: by how many seconds it finds the clock to be behind (or, negative, ahead).
chronyd_measures() {
    printf 'server %s iburst\ncmdport 0\n' "$2" > /etc/chrony.conf
    echo "@chronyd name=$1 $(chronyd -Q -t 60 -u root -f /etc/chrony.conf 2>&1 | sed -n 's/.*wrong by \([-0-9.]*\) .*/behind=\1/p')"
}

# The daemon, with the configuration of the scenario. Its log begins anew.
start_daemon() {
    : > /run/daemon.log
    ntp-daemon -c /etc/ntp.toml >> /run/daemon.log 2>&1 &
    DAEMON=$!
}
stop_daemon() {
    kill -TERM "$DAEMON"
    wait "$DAEMON"
    echo "@exit code=$?"
}

# await SECONDS TEXT [TIMES]: until the daemon's log has a line with TEXT, so often.
await() {
    local turns=$(($1 * 4))
    while [ "$turns" -gt 0 ]; do
        if [ "$(grep -c -e "$2" /run/daemon.log)" -ge "${3:-1}" ]; then return 0; fi
        sleep 0.25
        turns=$((turns - 1))
    done
    echo "@missing seconds=$1 text=$(echo "$2" | tr ' ' '_')"
    return 1
}

# The daemon's log lines with TEXT.
said() { grep -e "$1" /run/daemon.log | sed 's/^/@said /'; }

# The kernel's state as another program sees it.
kernel() { adjtimex | sed -n 's/^ *\(-. *\)\{0,1\}\([a-z_. ]*\): *\(-\{0,1\}[0-9]*\).*/\2=\3/p' | tr ' \n' '_ ' | sed "s/^/@kernel name=$1 /"; echo; }

. /scenario

echo "--- the daemon's log"
cat /run/daemon.log 2>/dev/null
echo "--- the kernel's log about time"
dmesg | grep -i -e clock -e leap -e PM: -e rtc | tail -n 40
echo "@done"
sleep 2
reboot -f
