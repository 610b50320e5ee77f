# The files of the package for other programs, with Debian's OpenRC, cloud-init and firewalld. Run as the first process of a
# namespace in a Debian root that has them and the package. Prints one line for each program that works.
set -e
mount -t proc proc /proc
mount -t tmpfs run /run
files=/usr/share/doc/ntpd-rs/pkg

# Waits up to 30 s until a command succeeds.
await() {
    for _ in $(seq 300); do
        if "$@" >/dev/null 2>&1; then return; fi
        sleep 0.1
    done
    echo "in vain: $*"
    exit 1
}
fails() { ! "$@" >/dev/null; }

firewall-offline-cmd --check-config
firewall-offline-cmd --info-service=nts-ke >/run/service
grep -q 4460/tcp /run/service
echo "firewalld works"

# As after a boot, without its services: one of them sets the clock.
mkdir -p /run/openrc
touch /run/openrc/softlevel
rc-status >/dev/null 2>&1
install -m 755 $files/openrc/ntpd-rs /etc/init.d
# A source alone is a warning, and no reason not to start.
cat >/etc/ntpd-rs/ntp.toml <<'END'
[[source]]
mode = "server"
address = "192.0.2.1"
[clock]
kind = "none"
END
rc-service ntpd-rs start
await ntp-ctl sources
rc-service ntpd-rs status
rc-service ntpd-rs reload
await grep -q event=configuration_reloaded /var/log/ntpd-rs.log
pid=$(pgrep -x ntp-daemon)
kill -KILL "$pid"
respawned() { now=$(pgrep -x ntp-daemon) && [ "$now" != "$pid" ]; }
await respawned
await ntp-ctl sources

cp $files/cloud-init/50-ntpd-rs.cfg /etc/cloud/cloud.cfg.d
seed=/var/lib/cloud/seed/nocloud
mkdir -p $seed
echo 'instance-id: i-1' >$seed/meta-data
cat >$seed/user-data <<'END'
#cloud-config
ntp:
  servers: [192.0.2.7, ntp.example.org]
  pools: [pool.example.org]
END
cloud-init init --local
cloud-init init
cloud-init schema --system
# Restarts the daemon by "service", which is OpenRC's here.
cloud-init single --name cc_ntp --frequency always
used() { ntp-ctl explain | grep -q 192.0.2.7; }
await used
sources=/etc/ntpd-rs/sources.d/cloud-init.toml
test "$(grep -c '^mode = "server"$' $sources)" = 2
test "$(grep -c '^mode = "pool"$' $sources)" = 1
echo "cloud-init works"

rc-service ntpd-rs stop
await fails rc-service ntpd-rs status
fails pgrep -x ntp-daemon
echo "no key" >>/etc/ntpd-rs/ntp.toml
fails rc-service ntpd-rs start 2>/run/said
grep -q "Could not load configuration" /run/said
fails pgrep -x ntp-daemon
# Nor with a configuration that ntp-ctl cannot read.
rm -r /etc/ntpd-rs/ntp.toml
mkdir /etc/ntpd-rs/ntp.toml
fails rc-service ntpd-rs start 2>/run/said
grep -q "Could not load configuration" /run/said
echo "OpenRC works"
