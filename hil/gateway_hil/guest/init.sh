#!/bin/sh
# The first process of a guest. It lays a writable layer over the host's files, mounts what a Linux has,
# runs the job that lies in the out folder (see engines/__init__.py), and powers off.
#
# From the kernel's command line: gateway_engine (uml or qemu) and, for uml, gateway_out: the out folder's
# path on the host. With qemu the initramfs has laid the layer already.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

# fail WHAT: say it and power off; there is no result then, which is a failure.
fail() {
    echo "guest: $*"
    power_off
}

power_off() {
    [ -e /proc/sysrq-trigger ] || mount -t proc proc /proc
    sleep 600 & # started now: the host's files may go before the power does
    echo o >/proc/sysrq-trigger
    wait
}

# The host's root is mounted read-only; what is written goes to a layer in memory and is gone afterwards.
# /dev is the one place where a folder can be made: the kernel has mounted devtmpfs there.
lay_over() {
    mkdir /dev/.layer && mount -t tmpfs layer /dev/.layer || fail "cannot mount a tmpfs"
    mkdir /dev/.layer/upper /dev/.layer/work /dev/.layer/root
    mount -t overlay root /dev/.layer/root \
        -o lowerdir=/,upperdir=/dev/.layer/upper,workdir=/dev/.layer/work || fail "cannot lay an overlay"
    cd /dev/.layer/root && mkdir -p .host && pivot_root . .host || fail "cannot change the root"
    mount -t devtmpfs dev /dev
    umount -l /.host && rmdir /.host
}

# fresh FOLDER: nothing of the host's in it, except what the job must keep (see Job.keep).
fresh() {
    [ -d "$1" ] || mkdir -p "$1"
    mkdir -p /dev/.old
    mount --bind "$1" /dev/.old
    mount -t tmpfs -o mode=1777 fresh "$1"
    while read -r path; do
        case $path in "$1"/*)
            mkdir -p "$path"
            mount --bind "/dev/.old${path#"$1"}" "$path"
            ;;
        esac
    done </dev/.out/keep
    umount /dev/.old
}

if [ "$gateway_engine" = uml ] && [ -z "$gateway_layered" ]; then
    lay_over
    gateway_layered=yes exec chroot . /bin/sh "$0" <dev/console >dev/console 2>&1
    fail "cannot start again under the new root"
fi

mkdir -p /dev/.out
if [ "$gateway_engine" = uml ]; then
    mount -t hostfs out /dev/.out -o "$gateway_out" || fail "cannot mount the out folder $gateway_out"
else
    mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000,cache=none out /dev/.out ||
        fail "cannot mount the out folder"
fi
mount -t proc proc /proc
mount -t sysfs sys /sys
for folder in /run /tmp /var/tmp; do fresh "$folder"; done
mkdir -p /run/out /run/lock /run/home /dev/pts /dev/shm /dev/mqueue
mount --move /dev/.out /run/out
mount -t devpts -o mode=620,ptmxmode=666 pts /dev/pts
mount -t tmpfs -o mode=1777 shm /dev/shm
mount -t mqueue mqueue /dev/mqueue 2>/dev/null
mount -t configfs config /sys/kernel/config 2>/dev/null
mount -t debugfs debug /sys/kernel/debug 2>/dev/null
ln -sfn /proc/self/fd /dev/fd
[ -e /dev/ptmx ] || ln -s pts/ptmx /dev/ptmx
ip link set lo up || echo "guest: no loopback; is iproute2 installed?"


cd /
env -i PATH="$PATH" HOME=/run/home LANG=C.UTF-8 TERM=dumb USER=root \
    /bin/sh /run/out/job.sh </dev/null
rc=$?
dmesg >/run/out/dmesg.log 2>/dev/null
echo $rc >/run/out/rc.part && mv /run/out/rc.part /run/out/rc
power_off
