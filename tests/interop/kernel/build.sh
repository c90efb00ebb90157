#!/bin/sh
# Builds a small virtual machine whose kernel speaks SCTP over UDP (RFC 6951), from Debian packages alone.
# usage: build.sh DIR        leaves DIR/vmlinuz and DIR/initrd.gz; needs busybox-static cpio gcc libc6-dev libsctp-dev
# The guest echoes every message on SCTP port 5001 (one-to-one) and listens for encapsulated SCTP on UDP 9899.
set -e
here=$(cd "$(dirname "$0")" && pwd); dir=$1; mkdir -p "$dir"; cd "$dir"

image=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/.*Depends: \(linux-image-[0-9].*-cloud-amd64\).*/\1/p' | head -n 1)
[ -d kernel ] || { apt-get download "$image" >/dev/null; dpkg-deb -x "$image"_*.deb kernel; }
version=${image#linux-image-}; modules=kernel/lib/modules/$version/kernel
cp "kernel/boot/vmlinuz-$version" vmlinuz
rm -rf root; mkdir -p root/bin root/m root/proc root/sys root/dev
cp "$(command -v busybox)" root/bin/
gcc -O2 -static -o root/bin/ksctp "$here/peer.c" -lsctp
for m in drivers/virtio/virtio_ring drivers/virtio/virtio drivers/virtio/virtio_pci_legacy_dev drivers/virtio/virtio_pci_modern_dev \
  drivers/virtio/virtio_pci net/core/failover drivers/net/net_failover drivers/net/virtio_net lib/libcrc32c net/ipv4/udp_tunnel \
  net/ipv6/ip6_udp_tunnel net/sctp/sctp; do cp "$modules/$m.ko" root/m/; basename "$m"; done > root/m/order
cat > root/init <<'I'
#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc p /proc; mount -t sysfs s /sys; mount -t devtmpfs d /dev 2>/dev/null
for m in $(cat /m/order); do insmod /m/$m.ko 2>/dev/null || echo "KS insmod $m failed"; done
ip link set lo up; ip link set eth0 up; ip addr add 10.0.2.15/24 dev eth0; ip route add default via 10.0.2.2
echo 9899 > /proc/sys/net/sctp/udp_port
for kv in $(cat /proc/cmdline); do case $kv in
  ks.*) k=${kv#ks.}; echo ${k#*=} > /proc/sys/net/sctp/${k%%=*};;              # ks.rto_min=100 sets net.sctp.rto_min
  idata=1) export IDATA=1; echo 1 > /proc/sys/net/sctp/intl_enable;; esac; done
echo "KS ready kernel $(uname -r)"
for kv in $(cat /proc/cmdline); do case $kv in                                  # client=HOST,PORT,UDP_PORT,COUNT,SIZE
  client=*) IFS=,; set -- ${kv#client=}; unset IFS; ksctp client "$@"; poweroff -f;; esac; done
ksctp echo 5001
I
chmod +x root/init
(cd root && find . | cpio -o -H newc --quiet | gzip -1) > initrd.gz
ls -l vmlinuz initrd.gz
