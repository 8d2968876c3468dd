#!/bin/sh
# Runs a registry as MSR's content cache does: `/start.sh /config.yml`.
#
# Debian's registry has no `downstream` middleware. What that does, fetching from the first upstream and trusting `cas`,
# is handed to its own proxy by environment; all else in config.yml reaches it as it is. Its proxy keeps blobs for a
# week whatever `blobttl` says, and asks the upstream once before it serves, so it does not start while MSR is away.
set -eu

fail() {
    echo "start.sh: $*" >&2
    exit 1
}

# The items of a list in config.yml, one a line.
items() {
    awk -v key="$1:" '$1 == key { inside = 1; next } inside && $1 == "-" { print $2; next } { inside = 0 }' "$config"
}

sleep "${START_AFTER:-0}"
[ -z "${BROKEN:-}" ] || { echo "start.sh: config broken"; echo "start.sh: giving up"; exit 3; } >&2
config=${1:-}
[ -n "$config" ] || fail "usage: /start.sh CONFIG.YML"
[ -r "$config" ] || fail "$config: no such file"
grep -Eq "name: *[\"']?downstream[\"']? *\$" "$config" || fail "$config: middleware.registry has no entry named downstream"

upstream=$(items upstreams | head -n 1)
[ -n "$upstream" ] || fail "$config: the downstream middleware has no upstreams"

cas=$(items cas)
if [ -n "$cas" ]; then
    # shellcheck disable=SC2086
    cat $cas >/tmp/cas.pem || fail "$config: a file named in cas can't be read"
    export SSL_CERT_FILE=/tmp/cas.pem SSL_CERT_DIR=/nonexistent
fi

export REGISTRY_PROXY_REMOTEURL="$upstream" REGISTRY_MIDDLEWARE_REGISTRY='[]'
[ -z "${IGNORE_TERM:-}" ] || exec sh -c 'trap "" TERM; /usr/bin/docker-registry serve "$0" & wait' "$config"
exec /usr/bin/docker-registry serve "$config"
