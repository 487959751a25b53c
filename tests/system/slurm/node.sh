#!/bin/bash
# Process 1 of a pretended node, in namespaces of its own: host name, node-private directories, then slurmd.
# It outlives slurmd, so that the daemon can die while the node's jobs live on, and starts another when told to.
#   node.sh ROOT NAME PRIVATE...
set -u
root=$1 name=$2
shift 2
hostname "$name"
mount --bind "$root/hosts" /etc/hosts
for directory in "$@"; do mount -t tmpfs -o mode=1777 "$name" "$directory"; done
while :; do
  if [ -e "$root/$name.start" ]; then
    rm -f "$root/$name.start"
    slurmd -D -f "$root/slurm.conf" -N "$name" &
  fi
  sleep 0.1   # and reap what the node's processes have left behind
done
