#!/usr/bin/env bash
# A filesystem on a hard disk that this machine need not have (root; Debian: nbdkit nbdkit-plugin-python libnbd-bin fuse3 e2fsprogs xfsprogs).
#   hard-disk.sh up DIR SIZE [ext4|xfs] [seek_ms=8] [mb_per_s=150]   mounts DIR/mnt
#   hard-disk.sh down DIR
# nbdkit (hard_disk.py) -> nbdfuse (one file) -> loop device with the elevator that hard disks get -> mkfs -> mount.
set -euo pipefail

usage() { sed -n '2,5s/^# //p' "$0" >&2; exit 2; }
[ $# -ge 2 ] || usage
here=$(cd "$(dirname "$0")" && pwd)
dir=$(realpath -m "$2")

case $1 in
up)
  size=${3:?size}; fs=${4:-ext4}; shift 4 || shift $#
  mkdir -p "$dir/shown" "$dir/mnt"
  rm -f "$dir/disk.img" "$dir/nbd.sock"
  truncate -s "$size" "$dir/disk.img"
  nbdkit -U "$dir/nbd.sock" -P "$dir/nbdkit.pid" python "$here/hard_disk.py" file="$dir/disk.img" "$@"
  setsid nbdfuse "$dir/shown/disk" --unix "$dir/nbd.sock" >/dev/null 2>&1 &
  for _ in $(seq 100); do [ -e "$dir/shown/disk" ] && break; sleep 0.1; done
  loop=$(losetup --find --show "$dir/shown/disk")
  echo "$loop" >"$dir/loop"
  echo mq-deadline >"/sys/block/${loop#/dev/}/queue/scheduler"
  echo 1 >"/sys/block/${loop#/dev/}/queue/rotational"
  "mkfs.$fs" -q "$loop"
  mount "$loop" "$dir/mnt"
  echo "$loop on $dir/mnt ($fs) $*"
  ;;
down)
  umount "$dir/mnt" || umount -l "$dir/mnt"
  losetup -d "$(cat "$dir/loop")"
  fusermount3 -u "$dir/shown" || true
  kill "$(cat "$dir/nbdkit.pid")" || true
  ;;
*) usage ;;
esac
