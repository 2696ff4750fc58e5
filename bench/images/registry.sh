#!/bin/sh
# bench/images/registry.sh DIR [HOST:PORT]: a registry with its images in DIR, in the foreground until it is ended;
# plain HTTP on 127.0.0.1:5000 by default. Debian's docker-registry (bench/install-peers.sh).
set -eu
[ $# -ge 1 ] || { sed -n '2,3s/^# \{0,1\}//p' "$0" >&2; exit 2; }
mkdir -p "$1"
directory=$(realpath "$1")
cat > "$directory/registry.yml" <<Y
version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage:
  filesystem: {rootdirectory: $directory, maxthreads: 100}
  maintenance: {uploadpurging: {enabled: false}}
http: {addr: '${2:-127.0.0.1:5000}', secret: bench}
Y
OTEL_TRACES_EXPORTER=none exec docker-registry serve "$directory/registry.yml"
