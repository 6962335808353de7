#!/bin/sh
# Runs as root in a QEMU guest, started by virtme-ng: an SSH server on the virtio port, for as long as the guest lives.
# Emulated, starting a program costs a tenth of a second: what the shell can do itself, it does.
PATH=/usr/sbin:/usr/bin:/sbin:/bin; export PATH
mkdir -p -m 755 /run/sshd /run/ringrig/suite
# Python imports from memory: over 9p each module costs a dozen round trips.
{
    cp /ringrig/pack/*.zip /run/ringrig/
    tar -xf /ringrig/suite.tar -C /run/ringrig/suite
    : > /run/ringrig/packed
} &
echo 8 > /proc/sys/kernel/printk
port=
for dir in /sys/class/virtio-ports/*; do
    read -r name < "$dir/name"
    [ "$name" = ringrig.ssh ] && port=/dev/${dir##*/}
done
if [ -z "$port" ]; then
    echo "ringrig: no virtio port named ringrig.ssh (CONFIG_VIRTIO_CONSOLE?)" > /dev/kmsg
    exit 1
fi
# virtme-ng locks root in the guest's shadow file ("!"), and sshd refuses the key of a locked account.
echo 'root:*:19000:0:99999:7:::' > /run/ringrig/shadow
mount --bind /run/ringrig/shadow /etc/shadow
for lib in /ringrig/sshd/usr/lib/*-linux-gnu /ringrig/sshd/lib/*-linux-gnu; do
    [ -d "$lib" ] && LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$lib
done
export LD_LIBRARY_PATH
# sshd wants its host key owned by root and closed to others; the box's owner may be anybody.
umask 077
while read -r line; do echo "$line"; done < /ringrig/keys/host_key > /run/ringrig/host_key
while read -r line; do echo "$line"; done < /ringrig/keys/user_key.pub > /run/ringrig/authorized_keys
umask 022
sshd=/ringrig/sshd/usr/sbin/sshd
[ -x "$sshd" ] || sshd=/usr/sbin/sshd
# The port has room for one open file: reading and writing share it.
while :; do
    "$sshd" -i -e -f /dev/null -h /run/ringrig/host_key \
        -o AuthorizedKeysFile=/run/ringrig/authorized_keys -o PermitRootLogin=yes -o StrictModes=no \
        -o UsePAM=no -o PrintMotd=no -o UseDNS=no -o PermitUserEnvironment=no -o MaxSessions=64 \
        -o Subsystem="sftp internal-sftp" <>"$port" >&0 2>>/run/ringrig/sshd.log
    sleep 0.2
done
