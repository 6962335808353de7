# Init of a User-Mode Linux guest, as root: file systems, and an SSH server on the first serial line.
PATH=/usr/sbin:/usr/bin:/sbin:/bin; export PATH
# Kernels differ in whether they mount it by themselves (CONFIG_DEVTMPFS_MOUNT); the box's own has no kmsg.
[ -c /dev/kmsg ] || mount -t devtmpfs none /dev
mount -a -T /ringrig/guest/uml.fstab
. /ringrig/guest/serve.sh
mkdir -p /dev/pts /dev/shm /var/tmp
mount -t devpts none /dev/pts
mount -t tmpfs -o mode=1777 none /dev/shm
{
    # A file system that can do what memory cannot, where mke2fs was at hand and the kernel knows ext4.
    [ -b /dev/ubda ] && mount -t ext4 -o noinit_itable /dev/ubda /var/tmp
    cp /ringrig/pack/*.zip /run/ringrig/
    tar -xf /ringrig/suite.tar -C /run/ringrig/suite
    : > /run/ringrig/packed
} &
echo 8 > /proc/sys/kernel/printk
stty -F /dev/ttyS0 raw -echo
serve /dev/ttyS0
