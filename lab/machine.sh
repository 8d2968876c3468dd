#!/bin/sh
# Becomes one machine of the site: a host name, a network card, process numbers and mounts of its own, and an engine.
# Run in new network, mount and UTS namespaces; all of it ends with this process.
# Usage: machine.sh HOST_PID BRIDGE CARD ADDRESS/PREFIX HOSTNAME RUN COMMAND...
set -eu
host_pid=$1 bridge=$2 card=$3 address=$4 hostname=$5 run=$6
shift 6

hostname "$hostname"
ip link set lo up
ip link add eth0 type veth peer name "$card" netns "$host_pid"
ip address add "$address" dev eth0
ip link set eth0 up
nsenter --target "$host_pid" --net ip link set "$card" master "$bridge" up

# The engine and containerd write to these whatever their options say. `-n`: mount keeps no notes of its own in /run.
mount -n --bind "$run" /mnt
mount -n -t tmpfs tmpfs /run
mkdir -p "$run"
mount -n --move /mnt "$run"
mount -n -t tmpfs tmpfs /etc/docker
mount -n -t tmpfs tmpfs /opt
mkdir /run/engine

# Process numbers of its own: when the first of them ends, the kernel ends all the rest, shims and containers included.
# An engine that crashes is started again, as by systemd, which gives up after the third time.
exec unshare --pid --fork --kill-child --mount-proc docker-init -- \
    sh -c 'for attempt in 1 2 3; do "$@" && exit; done' sh "$@"
