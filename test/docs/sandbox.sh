#!/bin/sh
# Runs a command on a copy of this machine that is gone afterwards: what is written goes to memory, the network has
# nothing but its own 127.0.0.1 with every port free, and the processes end with the command. For root on Linux:
#   unshare --mount --net --pid --uts --fork --kill-child sh sandbox.sh COMMAND…
set -eu
root=/mnt/root
mount --make-rprivate /
mount -t tmpfs tmpfs /mnt
mkdir /mnt/upper /mnt/work $root
mount -t overlay overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work $root
mount -t proc proc $root/proc
mount --rbind /dev $root/dev
# Where these are on disks of their own, the copy of / lacks them.
for dir in "$SANDBOX_SOURCES" "$SANDBOX_PARTS"; do
  [ ! -d "$dir" ] || [ -n "$(ls -A "$root$dir")" ] || mount --bind "$dir" "$root$dir"
done
ip link set lo up
hostname gpu-box
# Not instead of this shell, which as the first process takes leave of those whose parents are gone.
chroot $root "$@"
