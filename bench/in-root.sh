#!/bin/sh
# bench/in-root.sh DIR COMMAND…: runs a command of this checkout in the root directory that `install-peers.sh --root DIR`
# made, so that the peers are those of that Debian. For example:
#
#   bench/in-root.sh /var/tmp/trixie node scripts/bench.mjs --runs 5
#
# The checkout, its dependencies, this Node, /tmp and /var/tmp are where they are outside; the mounts are the command's
# own and end with it.
set -eu
[ $# -ge 2 ] || { sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 2; }
root=$(realpath "$1")
shift
checkout=$(realpath "$(dirname "$0")/..")
node=$(realpath "$(command -v node)")
exec unshare --mount --propagation private sh -eu -c '
  root=$1 checkout=$2 node=$3
  shift 3
  # What a container engine does with its own root needs that root to be a mount.
  mount --bind "$root" "$root"
  cd "$root"
  mount -t proc proc proc
  mount --rbind /sys sys
  mount --rbind /dev dev
  mount -t tmpfs -o mode=755 tmpfs run
  for path in /tmp /var/tmp "$checkout" "$(realpath "$checkout/node_modules")"; do
    mkdir -p ".$path"
    mountpoint -q ".$path" || mount --rbind "$path" ".$path"
  done
  touch usr/local/bin/node
  mount --bind "$node" usr/local/bin/node
  exec chroot . /bin/sh -c "cd \"\$0\" && exec \"\$@\"" "$checkout" "$@"
' sh "$root" "$checkout" "$node" "$@"
