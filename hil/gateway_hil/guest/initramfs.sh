#!/bin/busybox sh
# The first process of the QEMU guest: loads modules, puts the host's root file system below a layer of memory,
# and hands over to the first process of every guest (init.sh). Words of the kernel's command line that it does not
# know are in our environment, and stay in it.

export PATH=/bin

# Say why this guest cannot go on, and end it: without a result file the run is a failure.
give_up() {
    echo "initramfs: $*"
    echo o >/proc/sysrq-trigger
    while :; do sleep 1; done
}

# load LIST: the modules of a list, in its order. One that does not load is said, and found missing by the
# tests that look at what this guest can do.
load() {
    while read -r name parameters; do
        # shellcheck disable=SC2086 # parameters are words
        insmod "/modules/$name.ko" $parameters || echo "initramfs: cannot load $name $parameters"
    done <"/modules/$1"
}

busybox mount -t proc proc /proc
/bin/busybox --install -s /bin
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
echo >/proc/sys/kernel/modprobe # all that is needed is loaded here; looking further would only cost time

load root
# loose: the host's files are taken not to change while the guest runs, or each access would ask the host.
mount -t 9p -o trans=virtio,version=9p2000.L,ro,cache=loose,msize=512000 root /lower ||
    give_up "cannot mount the host's root file system"
mount -t tmpfs layer /layer
mkdir /layer/upper /layer/work
mount -t overlay -o lowerdir=/lower,upperdir=/layer/upper,workdir=/layer/work root /root ||
    give_up "cannot lay memory over the host's root file system"
load ladder

read -r init </next # the guest's own init, by its path on the host
[ -e "/root$init" ] || give_up "the guest cannot see $init; may whoever runs QEMU read it?"
umount /sys
umount /proc
mount -o move /dev /root/dev
exec switch_root /root /bin/sh "$init"
