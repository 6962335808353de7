#!/bin/sh
# Runs as root in a QEMU guest, started by virtme-ng: an SSH server on the virtio port, for as long as the guest lives.
PATH=/usr/sbin:/usr/bin:/sbin:/bin; export PATH
mkdir -p /run/sshd /run/ringrig
chmod 755 /run/sshd
echo 8 > /proc/sys/kernel/printk
ip link set lo up 2>/dev/null || ifconfig lo up 2>/dev/null
# virtme-ng locks root in the guest's shadow file ("!"), and sshd refuses the key of a locked account.
echo 'root:*:19000:0:99999:7:::' > /run/ringrig/shadow
mount --bind /run/ringrig/shadow /etc/shadow
port=
for dir in /sys/class/virtio-ports/*; do
    [ "$(cat "$dir/name")" = ringrig.ssh ] && port=/dev/${dir##*/}
done
if [ -z "$port" ]; then
    echo "ringrig: no virtio port named ringrig.ssh (CONFIG_VIRTIO_CONSOLE?)" > /dev/kmsg
    exit 1
fi
for lib in /ringrig/sshd/usr/lib/*-linux-gnu /ringrig/sshd/lib/*-linux-gnu; do
    [ -d "$lib" ] && LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$lib
done
export LD_LIBRARY_PATH
# sshd wants its host key owned by root and closed to others; the box's owner may be anybody.
cp /ringrig/keys/host_key /run/ringrig/
cp /ringrig/keys/user_key.pub /run/ringrig/authorized_keys
chmod 600 /run/ringrig/host_key /run/ringrig/authorized_keys
chown -R 0:0 /run/ringrig
# Python imports from memory: over 9p each module costs a dozen round trips.
cp /ringrig/pack/*.zip /run/ringrig/
mkdir /run/ringrig/suite
tar -xf /ringrig/suite.tar -C /run/ringrig/suite
# The port has room for one open file: reading and writing share it.
sshd=/ringrig/sshd/usr/sbin/sshd
[ -x "$sshd" ] || sshd=/usr/sbin/sshd
while :; do
    "$sshd" -i -e -f /dev/null -h /run/ringrig/host_key \
        -o AuthorizedKeysFile=/run/ringrig/authorized_keys -o PermitRootLogin=yes -o StrictModes=no \
        -o UsePAM=no -o PrintMotd=no -o UseDNS=no -o PermitUserEnvironment=no -o MaxSessions=64 \
        -o Subsystem="sftp internal-sftp" <>"$port" >&0 2>>/run/ringrig/sshd.log
    sleep 0.2
done
