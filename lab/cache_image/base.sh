#!/bin/sh
# Writes the layer below start.sh to standard output, the same on every machine: just what a shell script needs to start
# the registry, without a package manager and certificates.
set -eu
root=$(mktemp -d)
trap 'rm -r "$root"' EXIT
mkdir -p "$root/bin" "$root/etc/ssl/certs" "$root/tmp" "$root/var/lib/registry"
# shellcheck disable=SC2046
cp --parents /usr/bin/docker-registry /usr/bin/busybox $(ldd /usr/bin/docker-registry | grep -o '/[^ ]*') "$root"
busybox --list | grep -vx busybox | while read -r tool; do ln -s /usr/bin/busybox "$root/bin/$tool"; done
tar --create --directory="$root" --sort=name --mtime=@0 --owner=0 --group=0 --mode=u=rwX,go=rX .
