#!/bin/sh
# Measures what the agents do to packets in Debian's own kernel on an emulated machine:
# first without netem, then with it. The machine's clock counts instructions, so that
# what is measured does not depend on how busy this one is. Takes some two minutes, needs
# Debian with qemu-system-x86, busybox-static, kmod, cpio and apt's lists, and no root.
#
# run.sh [TEST]: a part of TestIntegrationShapes only, as in "run.sh /heal"
set -eu
tests=TestIntegrationShapes${1:-}
dir=bin/netem
root=$dir/root

mkdir -p $dir
if ! [ -d $dir/kernel ]; then
	package=$(apt-cache depends linux-image-amd64 | sed -n 's/ *Depends: //p' | head -1)
	(cd $dir && apt-get download -q "$package")
	dpkg-deb -x $dir/linux-image-*.deb $dir/unpacked
	rm $dir/linux-image-*.deb
	mv $dir/unpacked $dir/kernel
fi
version=$(ls $dir/kernel/lib/modules)

rm -rf $root
mkdir -p $root/bin $root/modules $root/proc $root/sys $root/dev $root/tmp
cp "$(command -v busybox)" $root/bin/busybox
CGO_ENABLED=0 ${GO:-go} test -c -o $root/bin/agent.test ./docker/agent

# Modules are loaded in the order of their names; netem's only before the second round.
depmod -b $dir/kernel "$version"
n=100
for module in $(modprobe -d $dir/kernel -S "$version" -D -a veth bridge ifb sch_ingress sch_tbf cls_u32 act_mirred \
	nf_tables nft_compat nft_numgen xt_NFQUEUE nfnetlink_queue sch_netem | awk '!seen[$2]++ {print $2}'); do
	cp "$module" $root/modules/$n-"$(basename "$module")"
	n=$((n + 1))
done
mv $root/modules/*-sch_netem.ko $root/netem.ko

cat >$root/init <<EOF
#!/bin/busybox sh
export PATH=/bin
/bin/busybox --install /bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
for module in /modules/*; do insmod \$module 2>/dev/null; done # some are for other processors
for netem in no yes; do
	[ \$netem = no ] || insmod /netem.ko
	FAULTLINE_TEST_NETEM=\$netem agent.test -test.run '$tests' -test.v && echo "netem \$netem: passed"
done
poweroff -f
EOF
chmod +x $root/init
(cd $root && find . | cpio -o -H newc --quiet | gzip -1) >$dir/initramfs

timeout 15m qemu-system-x86_64 -accel tcg -icount shift=1,sleep=off -m 512 -nographic -no-reboot \
	-kernel $dir/kernel/boot/vmlinuz-"$version" -initrd $dir/initramfs \
	-append 'console=ttyS0 quiet panic=-1' </dev/null | tr -d '\r' | tee $dir/log
[ "$(grep -c '^netem .*: passed' $dir/log)" = 2 ]
