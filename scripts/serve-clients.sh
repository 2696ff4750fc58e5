#!/bin/bash
# scripts/serve-clients.sh STORAGE REPOSITORY…: pulls images through `larder serve` with the container programs that are
# installed (skopeo, podman, containerd's ctr, dockerd), each with directories of its own: cold, again with the registry
# stopped, and again after a restart of larder. STORAGE is the storage directory of a docker-registry, which is only read
# and has REPOSITORY:latest. Prints a table: how long, and what of it the registry was asked for. Needs root.
#
#   KEEP=true scripts/serve-clients.sh …                       # with the setting keep_blobs
#   bench/in-root.sh DIR scripts/serve-clients.sh …            # with the programs of another root directory
set -euo pipefail
[ $# -ge 2 ] || { sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 2; }
storage=$(realpath "$1")
shift
larder=$(dirname "$(realpath "$0")")/../bin/larder.js
work=$(mktemp -d /var/tmp/serve-clients.XXXXXX)
registry_port=$((20000 + RANDOM % 10000)) port=$((30000 + RANDOM % 2000))
pids=()
export HOME=$work/home
mkdir -p "$HOME"

cleanup() {
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  sleep 1
  awk -v below="$work/" 'index($5, below) == 1 { print $5 }' /proc/self/mountinfo | sort -r |
    while read -r mount; do umount -l "$mount" || true; done
  rm -rf "$work"
}
trap cleanup EXIT

until_true() { for _ in $(seq 200); do "$@" >/dev/null 2>&1 && return 0; sleep 0.1; done; echo "gave up: $*" >&2; tail -n 3 "$work"/*.log >&2; return 1; }

listens() { (exec 3<>"/dev/tcp/127.0.0.1/$1"); }

start_registry() {
  cat >"$work/registry.yml" <<YML
version: 0.1
log: {level: error, accesslog: {disabled: false}}
storage: {filesystem: {rootdirectory: $storage}, maintenance: {uploadpurging: {enabled: false}, readonly: {enabled: true}}}
http: {addr: "127.0.0.1:$registry_port", secret: s}
YML
  OTEL_TRACES_EXPORTER=none docker-registry serve "$work/registry.yml" >>"$work/registry.log" 2>&1 &
  registry=$!
  pids+=("$registry")
  until_true listens "$registry_port"
}

start_larder() {
  node "$larder" --root "$work/store" --docker-registry "http://127.0.0.1:$registry_port" --registries-conf none \
    $([ "${KEEP:-false}" = true ] && echo --keep-blobs) serve --listen "127.0.0.1:$port" --debug >>"$work/larder.log" 2>&1 &
  face=$!
  pids+=("$face")
  until_true listens "$port"
}

stop() { kill "$1"; wait "$1" || true; }

asked() { grep -cE "\"GET /v2/[^ ]*/blobs/" "$work/registry.log" || true; }

pull_skopeo() { skopeo copy -q --src-tls-verify=false "docker://127.0.0.1:$port/docker.io/library/$1" "dir:$work/skopeo"; }
clear_skopeo() { rm -rf "$work/skopeo"; }

pull_podman() {
  cat >"$work/registries.conf" <<CONF
[[registry]]
prefix = "docker.io"
location = "docker.io"
[[registry.mirror]]
location = "127.0.0.1:$port/docker.io"
insecure = true
CONF
  CONTAINERS_REGISTRIES_CONF=$work/registries.conf podman --root "$work/podman" --runroot "$work/podman-run" \
    --storage-driver vfs pull -q "docker.io/library/$1" >/dev/null
}
clear_podman() { rm -rf "$work/podman" "$work/podman-run"; }

start_ctr() {
  mkdir -p "$work/hosts/docker.io"
  cat >"$work/hosts/docker.io/hosts.toml" <<TOML
server = "https://registry-1.docker.io"
[host."http://127.0.0.1:$port"]
  capabilities = ["pull", "resolve"]
TOML
  cat >"$work/containerd.toml" <<TOML
version = 2
root = "$work/containerd"
state = "$work/containerd-run"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"]
[grpc]
  address = "$work/containerd.sock"
TOML
  containerd --config "$work/containerd.toml" >"$work/containerd.log" 2>&1 &
  pids+=($!)
  until_true ctr -a "$work/containerd.sock" version
}
pull_ctr() {
  ctr -a "$work/containerd.sock" images pull --snapshotter native --hosts-dir "$work/hosts" \
    "docker.io/library/$1:latest" >/dev/null
}
clear_ctr() {
  ctr -a "$work/containerd.sock" images ls -q | xargs -r ctr -a "$work/containerd.sock" images rm --sync >/dev/null
}

start_dockerd() {
  echo '{}' >"$work/daemon.json"
  dockerd -H "unix://$work/docker.sock" --data-root "$work/docker" --exec-root "$work/docker-run" --bridge none \
    --iptables=false --ip6tables=false --pidfile "$work/docker.pid" --storage-driver vfs \
    --registry-mirror "http://127.0.0.1:$port" --config-file "$work/daemon.json" >"$work/dockerd.log" 2>&1 &
  pids+=($!)
  until_true docker -H "unix://$work/docker.sock" version
}
pull_dockerd() { docker -H "unix://$work/docker.sock" pull -q "$1" >/dev/null; }
clear_dockerd() {
  docker -H "unix://$work/docker.sock" images -q | xargs -r docker -H "unix://$work/docker.sock" rmi -f >/dev/null
}

# one PROGRAM REPOSITORY WHEN
one() {
  local before started took outcome=ok
  "clear_$1"
  before=$(asked) started=$(date +%s%N)
  "pull_$1" "$2" 2>"$work/error" || outcome="failed: $(tail -1 "$work/error" | tail -c 160)"
  took=$((($(date +%s%N) - started) / 1000000))
  printf '| %-9s | %-14s | %-24s | %6d ms | %3d | %s |\n' "$1" "$2" "$3" "$took" "$(($(asked) - before))" "$outcome"
}

start_registry
start_larder
clients=()
for program in skopeo podman ctr dockerd; do command -v $program >/dev/null && clients+=($program); done
for program in "${clients[@]}"; do
  case $program in
    skopeo | podman) printf '%s\n' "$($program --version)" ;;
    ctr) containerd --version; start_ctr ;;
    dockerd) dockerd --version; start_dockerd ;;
  esac
done
echo
echo '| program   | image          | when                     | time      | blobs asked of the registry | |'
echo '|---|---|---|--:|--:|---|'
for image in "$@"; do for program in "${clients[@]}"; do one "$program" "$image" 'the registry serves'; done; done
stop "$registry"
for image in "$@"; do for program in "${clients[@]}"; do one "$program" "$image" 'the registry is away'; done; done
stop "$face"
start_larder
for image in "$@"; do for program in "${clients[@]}"; do one "$program" "$image" 'away, larder is new'; done; done
start_registry
for image in "$@"; do node "$larder" --root "$work/store" --docker-registry "http://127.0.0.1:$registry_port" \
  --registries-conf none pull "$image" 2>/dev/null; done
stop "$registry"
stop "$face"
start_larder
for image in "$@"; do for program in "${clients[@]}"; do one "$program" "$image" 'away, new, pulled before'; done; done
[ -z "${LOGS:-}" ] || cp "$work"/*.log "$LOGS/"
