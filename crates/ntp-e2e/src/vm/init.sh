#!/bin/busybox sh
# First process of a guest: sets the machine up, runs the scenario, and switches the machine off.
#
# A scenario reports by lines that begin with "@": a word, then name=value pairs. All other console output is for people.

/bin/busybox --install -s /bin
export PATH=/programs:/bin
mount -t proc none /proc
mount -t sysfs none /sys
mount -t devtmpfs none /dev
while read -r module parameters; do insmod "/modules/$module.ko" $parameters; done < /modules/order
cd /tmp

# Otherwise the shell would run busybox's versions.
tc() { /programs/tc "$@"; }
ip() { /programs/ip "$@"; }
ip link set lo up

truth() { true-clock $TRUTH "$@"; }

# Serves the true time on all addresses.
serve_truth() {
    # Not through the function above: TRUTH_PID must be the server, not a shell around it.
    true-clock $TRUTH serve --listen "[::]:${TRUTH_PORT:-1123}" "$@" > /run/truth.log 2>&1 &
    TRUTH_PID=$!
}

# compare NAME: one comparison of the clock with the true time. watch NAME SECONDS INTERVAL: statistics of many.
# query NAME ADDRESS:PORT: the reply of an NTP server, compared with the true time.
compare() { echo "@compare name=$1 $(truth compare)"; }
query() { echo "@query name=$1 $(truth query "$2")"; }
watch() { echo "@watch name=$1 $(truth watch --for "$2" --every "$3")"; }

# used SOURCE: reports the number of measurements of a source that were used.
used() { echo "@used name=$1 count=$(grep -w -e event=measured /run/daemon.log | grep -c -e " source=$1 .* outcome=used")"; }

# Attaches the machine to the network.
attach_network() {
    ip address add "$ADDRESS/24" dev eth0
    ip link set eth0 up
}

# attach_router NETEM...: puts a router (10.8.0.1) between this machine and the network 10.8.1.0/24, whose links delay or drop packets by these
# arguments of netem. The kernel timestamps packets where it would between machines: with a delay at the machine's own interface a request is timestamped when it
# leaves the queue, so only the return path would be slow. Both ends of a link have the same hardware address and no ARP: a lost ARP request would
# delay packets by a second, in one direction. FAR is a process in the namespace of the servers; `on PROCESS COMMAND...` runs a command in one.
on() { nsenter -n -t "$@"; }
attach_router() {
    unshare -n sleep 10000000 &
    local router=$!
    unshare -n sleep 10000000 &
    FAR=$!
    sleep 1
    ip link add near address 02:00:00:00:00:01 arp off type veth peer name left address 02:00:00:00:00:01 arp off
    ip link add far address 02:00:00:00:00:02 arp off type veth peer name right address 02:00:00:00:00:02 arp off
    ip link set left netns $router
    ip link set right netns $router
    ip link set far netns $FAR
    ip address add 10.8.0.2/24 dev near
    ip link set near up
    ip route add 10.8.1.0/24 via 10.8.0.1
    on $router /programs/ip address add 10.8.0.1/24 dev left
    on $router /programs/ip address add 10.8.1.1/24 dev right
    on $router /bin/busybox sh -c 'echo 1 > /proc/sys/net/ipv4/ip_forward'
    on $FAR /programs/ip address add 10.8.1.2/24 dev far
    on $FAR /programs/ip link set far up
    on $FAR /programs/ip route add default via 10.8.1.1
    local link
    for link in left right; do
        on $router /programs/ip link set $link up
        on $router /programs/tc qdisc add dev $link root netem "$@" || echo @missing seconds=0 text=netem
    done
}

# One measurement with chronyd as a client: by how many seconds the clock is behind the server.
measure_with_chronyd() {
    printf 'server %s iburst\ncmdport 0\n' "$2" > /etc/chrony.conf
    echo "@chronyd name=$1 $(chronyd -Q -t 60 -u root -f /etc/chrony.conf 2>&1 | sed -n 's/.*wrong by \([-0-9.]*\) .*/behind=\1/p')"
}

# Starts the daemon with the configuration of the scenario and an empty log.
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

# Starts chronyd with this configuration, and neither commands nor another user.
start_chronyd() {
    chronyd -d -u root -f "$1" > /run/chronyd.log 2>&1 &
    DAEMON=$!
}

# resources NAME: what the daemon has used until now: resident memory, the part of it that is not of files, and its maximum in kB, processor time in hundredths of a second, times that it woke up.
resources() {
    echo "@resources name=$1 $(awk '/^VmRSS:/ { r = $2 } /^RssAnon:/ { a = $2 } /^VmHWM:/ { m = $2 } END { printf "resident=%d anonymous=%d most=%d", r, a, m }' /proc/$DAEMON/status) $(
        sed 's/.*) //' /proc/$DAEMON/stat | awk '{ printf "processor=%d", $12 + $13 }') $(
        cat /proc/$DAEMON/task/*/status | awk '/^voluntary/ { n += $2 } END { printf "woken=%d", n }')"
}

# await_event SECONDS NAME [COUNT]: waits until the daemon has logged COUNT (default 1) events called NAME.
await_event() { await_line "$1" "\<event=$2\>" "${3:-1}"; }

# await_line SECONDS PATTERN [COUNT]: waits until COUNT (default 1) lines of the daemon's log match PATTERN.
await_line() {
    local turns=$(($1 * 4))
    while [ "$turns" -gt 0 ]; do
        if [ "$(grep -c -e "$2" /run/daemon.log)" -ge "${3:-1}" ]; then return 0; fi
        sleep 0.25
        turns=$((turns - 1))
    done
    echo "@missing seconds=$1 text=$(echo "$2" | tr ' ' '_')"
    return 1
}

# log_events NAME...: reports the events called NAME in the daemon's log.
log_events() {
    for event in "$@"; do
        grep -w -e "event=$event" /run/daemon.log | sed 's/^/@log /'
    done
}

# delays: reports the largest delay of the last eight measurements that have one; half of it is the largest error that the daemon cannot detect.
delays() {
    echo "@delays largest=$(grep -w -e event=measured /run/daemon.log | sed -n 's/.* delay=\([0-9.]*\).*/\1/p' | tail -n 8 | sort -g | tail -n 1)"
}

# count_events NAME: prints the number of events called NAME in the daemon's log.
count_events() { grep -c -w -e "event=$1" /run/daemon.log; }

# kernel NAME: reports the kernel's clock state as another program (adjtimex) sees it.
kernel() { adjtimex | sed -n 's/^ *\(-. *\)\{0,1\}\([a-z_. ]*\): *\(-\{0,1\}[0-9]*\).*/\2=\3/p' | tr ' \n' '_ ' | sed "s/^/@kernel name=$1 /"; echo; }

. /scenario

delays
echo "--- the daemon's log"
cat /run/daemon.log 2>/dev/null
echo "--- the kernel's log about time"
dmesg | grep -i -e clock -e leap -e PM: -e rtc | tail -n 40
echo "@done"
sleep 2
reboot -f
