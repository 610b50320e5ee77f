//! A client in two VRFs with overlapping prefixes.

use ntp_e2e::vm::Guest;

use super::{LIMIT, NOON, NOON_DATE, config};

/// Each VRF has a network 10.9.0.0/24 with a server 10.9.0.2; the client is 10.9.0.1 in both. It
/// also serves time in both, at one address.
pub(crate) fn servers_with_one_address_in_two_vrfs_are_two_sources() {
    let source = |vrf: &str| {
        format!(
            "[[source]]\nmode = \"server\"\naddress = \"10.9.0.2:1123\"\nbind-device = \"{vrf}\"\n\
             [[server]]\nlisten = \"0.0.0.0:123\"\nbind-device = \"{vrf}\"\n"
        )
    };
    let sources = format!("{}{}[synchronization]\n", source("red"), source("blue"));
    let local = "[[source]]\nmode = \"server\"\naddress = \"127.0.0.1:1123\"\n[synchronization]\n";
    let config = config("").replace(local, &sources);
    assert!(config.contains("bind-device"), "{config}");
    let report = Guest::new("two VRFs", NOON_DATE)
        .file(
            "/etc/ntp.toml",
            &config.replace(
                "minimum-agreeing-sources = 1",
                "minimum-agreeing-sources = 2",
            ),
        )
        .script(&format!(
            "TRUTH='--start {NOON}'
on() {{ nsenter -n -t \"$@\"; }}
table=10
for vrf in red blue; do
unshare -n sleep 100000 &
SERVER=$!
sleep 1
ip link add $vrf type vrf table $table || echo @missing seconds=0 text=vrf
ip link set $vrf up
ip link add port-$vrf type veth peer name far
ip link set far netns $SERVER
ip link set port-$vrf master $vrf
ip address add 10.9.0.1/24 dev port-$vrf
ip link set port-$vrf up
on $SERVER /programs/ip address add 10.9.0.2/24 dev far
on $SERVER /programs/ip link set far up
on $SERVER /programs/true-clock $TRUTH serve --listen 0.0.0.0:1123 &
eval SERVER_$vrf=$SERVER
table=$((table + 1))
done
truth set 1.5
start_daemon
await_event 120 synchronized
await_event 60 source_reachable 2
log_events source_reachable server_started
for server in $SERVER_red $SERVER_blue; do
echo \"@query name=$server $(on $server /programs/true-clock $TRUTH query 10.9.0.1:123)\"
done"
        ))
        .run(LIMIT);
    let reachable = report.events("source_reachable");
    let mut names: Vec<_> = reachable.iter().map(|it| it.field("source")).collect();
    names.sort_unstable();
    assert_eq!(names, ["10.9.0.2:1123%blue", "10.9.0.2:1123%red"]);
    let served = report.events("server_started");
    let addresses: Vec<_> = served.iter().map(|it| it.field("address")).collect();
    assert_eq!(addresses, ["0.0.0.0:123%red", "0.0.0.0:123%blue"]);
    let replies: Vec<_> = report.all("query").collect();
    assert_eq!(replies.len(), 2);
    for reply in replies {
        assert_eq!(reply.value("leap"), "0", "{reply:?}");
    }
}
