#!/bin/sh
# Installs what larder is compared with, from Debian's packages; what is there already stays as it is. Root.
#
#   bench/install-peers.sh                              into this Debian
#   bench/install-peers.sh --root DIR [--suite trixie]  into a root directory of a newer Debian, made if need be;
#                                                       bench/in-root.sh DIR COMMAND runs the benchmark in it
#
# The mirror is the one that this machine's apt uses. No service is started.
set -eu

PACKAGES='containerd podman docker.io skopeo umoci crun runc pigz isal docker-registry ca-certificates e2fsprogs debootstrap'
# Programs that Debian took out of those packages later on.
SPLIT='docker-cli'

root= suite=trixie
while [ $# -gt 0 ]; do
  case $1 in
    --root) root=$2; shift 2 ;;
    --suite) suite=$2; shift 2 ;;
    *) sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
  esac
done
[ "$(id -u)" = 0 ] || { echo "$0: needs root" >&2; exit 1; }
export DEBIAN_FRONTEND=noninteractive
say() { echo "install-peers: $*" >&2; }
policy=
trap '[ -z "$policy" ] || rm -f "$policy"' EXIT

# run COMMAND: here, or in the root directory, in mounts of its own.
run() {
  if [ -z "$root" ]; then "$@"; return; fi
  unshare --mount --propagation private sh -c '
    root=$1; shift
    mount -t proc proc "$root/proc"; mount --rbind /sys "$root/sys"; mount --rbind /dev "$root/dev"
    exec chroot "$root" "$@"' sh "$root" "$@"
}

mirror() {
  apt-get indextargets --format '$(ORIGIN) $(LABEL) $(REPO_URI)' | sed -n 's/^Debian Debian //p' | head -n 1
}

if [ -n "$root" ]; then
  if [ ! -x "$root/usr/bin/apt-get" ]; then
    command -v debootstrap >/dev/null || { say 'debootstrap is missing: run this without --root first'; exit 1; }
    say "$suite into $root"
    from=$(mirror)
    # debootstrap may leave /proc mounted; here that ends with it.
    unshare --mount --propagation private debootstrap --variant=minbase "$suite" "$root" ${from:+"$from"} >&2
  fi
  cp -L /etc/resolv.conf "$root/etc/resolv.conf"
fi

if [ ! -e "$root/usr/sbin/policy-rc.d" ]; then
  policy=$root/usr/sbin/policy-rc.d
  printf '#!/bin/sh\nexit 101\n' > "$policy"
  chmod 755 "$policy"
fi
run apt-get -qq update
wanted=$PACKAGES
for package in $SPLIT; do
  run apt-cache show "$package" >/dev/null 2>&1 && wanted="$wanted $package"
done
missing=
for package in $wanted; do
  run dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
done
if [ -n "$missing" ]; then
  say "installing$missing"
  run apt-get -qq -y -o Dpkg::Use-Pty=0 --no-install-recommends install $missing >&2
fi

# podman and skopeo refuse every image without a policy; whoever has one keeps it.
if [ ! -e "$root/etc/containers/policy.json" ]; then
  say 'writing /etc/containers/policy.json: every image is accepted'
  mkdir -p "$root/etc/containers"
  echo '{"default":[{"type":"insecureAcceptAnything"}]}' > "$root/etc/containers/policy.json"
fi

run dpkg-query -W -f '${Package} ${Version}\n' containerd podman docker.io skopeo umoci
