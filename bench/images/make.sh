#!/bin/sh
# Makes the images of the benchmark from Debian's packages and generated files, and pushes them into a registry (plain
# HTTP) that runs already (bench/images/registry.sh). Root. What has been made is kept and not made again.
#
#   bench/images/make.sh [--registry HOST:PORT] [--work DIR] [--suite bookworm] [IMAGE…]
#
#   debian-slim   1 layer     a minimal Debian without documentation
#   many-layers   36 layers   small ones on debian-slim: files replaced and removed again
#   python-like   6 layers    version control, compilers, Python and its scientific libraries
#   node-like     7 layers    Node, and more than 40,000 small files
#   big-layer     1 layer     office, compilers and browser: more than 1 GB compressed
#
# Needs debootstrap, umoci and skopeo (bench/install-peers.sh), 25 GB in DIR (/var/tmp/larder-bench-images) for all, and
# half an hour. The mirror is the one that this machine's apt uses.
set -eu

registry=127.0.0.1:5000 work=/var/tmp/larder-bench-images suite=bookworm images=
while [ $# -gt 0 ]; do
  case $1 in
    --registry) registry=$2; shift 2 ;;
    --work) work=$2; shift 2 ;;
    --suite) suite=$2; shift 2 ;;
    debian-slim | many-layers | python-like | node-like | big-layer) images="$images $1"; shift ;;
    *) sed -n '2,15s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
  esac
done
here=$(realpath "$(dirname "$0")")
mkdir -p "$work"
work=$(realpath "$work")
layout=$work/layout debian=$work/debian
umask 022
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
say() { echo "images: $*" >&2; }

mirror() {
  apt-get indextargets --format '$(ORIGIN) $(LABEL) $(REPO_URI)' | sed -n 's/^Debian Debian //p' | head -n 1
}

# install ROOT PACKAGE…: packages into a root file system; downloads, lists, /proc and /dev stay outside.
install() {
  root=$1
  shift
  mkdir -p "$work/cache" "$work/lists/partial"
  cp -L /etc/resolv.conf "$root/etc/resolv.conf"
  unshare --mount --propagation private sh -eu -c '
    root=$1 work=$2
    shift 2
    mount --bind "$work/cache" "$root/var/cache/apt"
    mount --bind "$work/lists" "$root/var/lib/apt/lists"
    mount -t proc proc "$root/proc"
    mount --rbind /dev "$root/dev"
    mkdir -p "$root/var/cache/apt/archives/partial"
    export DEBIAN_FRONTEND=noninteractive
    chroot "$root" apt-get -qq update
    chroot "$root" apt-get -qq -y -o Dpkg::Use-Pty=0 --no-install-recommends install "$@" >&2
  ' sh "$root" "$work" "$@"
  rm -rf "$root"/var/log/apt "$root"/var/log/*.log "$root"/var/lib/dpkg/*-old "$root"/tmp/*
  : > "$root/etc/resolv.conf"
}

# begin IMAGE [BASE]: a bundle in which to make the next layers.
begin() {
  made=$1 bundle=$work/bundle
  rm -rf "$bundle"
  [ -d "$layout" ] || umoci init --layout "$layout"
  umoci rm --image "$layout:$made" 2>/dev/null || true
  if [ -n "${2:-}" ]; then umoci tag --image "$layout:$2" "$made"; else umoci new --image "$layout:$made"; fi
  umoci config --no-history --image "$layout:$made" --os linux --config.cmd /bin/bash
  umoci unpack --image "$layout:$made" "$bundle"
  root=$bundle/rootfs
}

# layer COMMENT: what has changed in the bundle becomes a layer.
layer() { umoci repack --refresh-bundle --history.comment "$1" --image "$layout:$made" "$bundle"; }

make_debian_slim() {
  if [ ! -e "$debian/.done" ]; then
    rm -rf "$debian"
    from=$(mirror)
    # debootstrap may leave /proc mounted; here that ends with it.
    unshare --mount --propagation private debootstrap --variant=minbase "$suite" "$debian" ${from:+"$from"} >&2
    touch "$debian/.done"
  fi
  begin debian-slim
  cp -a "$debian/." "$root/"
  rm -rf "$root/.done" "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/* "$root"/dev/* "$root"/var/log/*.log
  for part in doc info lintian locale man; do rm -rf "$root/usr/share/$part"/*; done
  for part in doc info locale man; do echo "path-exclude /usr/share/$part/*"; done > "$root/etc/dpkg/dpkg.cfg.d/slim"
  : > "$root/etc/machine-id"
  layer debootstrap
}

make_many_layers() {
  begin many-layers debian-slim
  for i in $(seq 35); do
    node "$here/generate.mjs" "$root/opt/layer-$i" 20 "$i"
    mkdir -p "$root/opt/shared"
    echo "$i" > "$root/opt/shared/replaced-by-each"
    echo "$i" > "$root/opt/shared/of-$i"
    [ "$i" -le 2 ] || rm "$root/opt/shared/of-$((i - 2))"
    layer "small $i"
  done
}

make_python_like() {
  begin python-like debian-slim
  install "$root" ca-certificates curl gnupg netbase tzdata wget
  layer 'network'
  install "$root" git mercurial openssh-client patch procps unzip
  layer 'version control'
  install "$root" g++ gcc libc6-dev libffi-dev libpq-dev libsqlite3-dev libssl-dev libxml2-dev make zlib1g-dev
  layer 'compilers'
  install "$root" python3 python3-dev python3-pip python3-setuptools python3-venv
  layer 'python'
  install "$root" python3-cryptography python3-flask python3-lxml python3-matplotlib python3-numpy python3-pandas \
    python3-pil python3-requests python3-scipy python3-sqlalchemy python3-yaml
  layer 'libraries'
}

make_node_like() {
  begin node-like debian-slim
  install "$root" ca-certificates curl gnupg netbase tzdata wget
  layer 'network'
  install "$root" nodejs
  layer 'node'
  install "$root" eslint node-typescript npm webpack
  layer 'tools'
  mkdir -p "$root/app"
  echo '{"name":"app","private":true}' > "$root/app/package.json"
  layer 'package.json'
  node "$here/generate.mjs" "$root/app/node_modules" 50000 1
  layer 'node_modules'
  node "$here/generate.mjs" "$root/app/src" 200 2
  layer 'src'
}

make_big_layer() {
  begin big-layer
  rm -rf "$root"
  unpacked=$work/bundle-debian
  rm -rf "$unpacked"
  umoci unpack --image "$layout:debian-slim" "$unpacked"
  mv "$unpacked/rootfs" "$root"
  rm -rf "$unpacked"
  # Some packages of Java want the directory of the manual.
  mkdir -p "$root/usr/share/man/man1"
  install "$root" ca-certificates chromium clang default-jdk-headless golang-go libclang-dev libreoffice-calc \
    libreoffice-core libreoffice-writer llvm-dev rustc texlive-fonts-recommended texlive-latex-extra
  layer everything
}

for image in ${images:-debian-slim many-layers python-like node-like big-layer}; do
  done=$work/done-$image
  if [ ! -e "$done" ]; then
    # The others stand on it.
    if [ "$image" != debian-slim ] && [ ! -e "$work/done-debian-slim" ]; then
      say debian-slim
      make_debian_slim
      touch "$work/done-debian-slim"
    fi
    say "$image"
    "make_$(echo "$image" | tr - _)"
    touch "$done"
  fi
  say "$image: push to $registry"
  skopeo copy -q --dest-tls-verify=false "oci:$layout:$image" "docker://$registry/$image:latest"
done
rm -rf "$work/bundle"
