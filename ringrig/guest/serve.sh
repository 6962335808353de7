# Sourced by each guest kind's start-up script, as root: what an SSH server needs, and the server on one serial line.
# Emulated, starting a program costs a tenth of a second: what the shell can do itself, it does.
PATH=/usr/sbin:/usr/bin:/sbin:/bin; export PATH
mkdir -p -m 755 /run/sshd /run/ringrig/suite
for lib in /ringrig/sshd/usr/lib/*-linux-gnu /ringrig/sshd/lib/*-linux-gnu; do
    [ -d "$lib" ] && LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$lib
done
# sshd wants its host key owned by root and closed to others; the box's owner may be anybody.
umask 077
while read -r line; do echo "$line"; done < /ringrig/keys/host_key > /run/ringrig/host_key
while read -r line; do echo "$line"; done < /ringrig/keys/user_key.pub > /run/ringrig/authorized_keys
umask 022

# serve DEVICE: for as long as the guest lives. A line has room for one open file: reading and writing share it.
serve() {
    sshd=/ringrig/sshd/usr/sbin/sshd
    [ -x "$sshd" ] || sshd=/usr/sbin/sshd
    export LD_LIBRARY_PATH
    while :; do
        "$sshd" -i -e -f /dev/null -h /run/ringrig/host_key \
            -o AuthorizedKeysFile=/run/ringrig/authorized_keys -o PermitRootLogin=yes -o StrictModes=no \
            -o UsePAM=no -o PrintMotd=no -o UseDNS=no -o PermitUserEnvironment=no -o MaxSessions=64 \
            -o Subsystem="sftp internal-sftp" <>"$1" >&0 2>>/run/ringrig/sshd.log
        sleep 0.2
    done
}
