#!/bin/sh
# Try the README in an empty Debian: bootstrap RELEASE, copy the committed tree, run a command.
#
#	tests/debian/run.sh RELEASE [COMMAND]	as root; COMMAND defaults to the README's test line
#
# The root is entered by pivot_root in namespaces of its own: user namespaces, which Vivarium
# needs, are refused inside a chroot. Takes minutes; leaves nothing behind. KEEP=DIR keeps the
# bootstrapped root there for the next time.
set -eu

release=${1:?RELEASE, such as bookworm or trixie}
command=${2:-'apt-get update && apt-get install -y make && make test'}
top=$(cd "$(dirname "$0")/../.." && pwd)
base=${KEEP:-}
work=$(mktemp -d /var/tmp/vivarium-debian.XXXXXX)
trap 'rm -rf --one-file-system "$work"' EXIT
trap 'exit 143' INT TERM

# The mirror is the one that apt uses here.
host=$(. /etc/os-release && echo "$VERSION_CODENAME")
mirror=$(apt-get indextargets --format '$(RELEASE) $(REPO_URI)' |
	awk -v r="$host" '$1 == r { print $2; exit }')

bootstrap() {
	echo "debian: bootstrapping $release"
	debootstrap --variant=minbase --include=ca-certificates "$release" "$1" "$mirror" \
		>"$work/log" 2>&1 || { tail -n 20 "$work/log" >&2; exit 1; }
	cp /etc/resolv.conf /etc/hosts "$1/etc/"
	cp /etc/apt/apt.conf.d/*proxy* "$1/etc/apt/apt.conf.d/" 2>/dev/null || :
	# Behind a proxy PyPI may be vouched for by an authority of the network's own.
	cp /usr/local/share/ca-certificates/*.crt "$1/usr/local/share/ca-certificates/" 2>/dev/null &&
		chroot "$1" update-ca-certificates >"$work/log" 2>&1 || :
}

if [ -z "$base" ]; then
	root=$work/root
	bootstrap "$root"
else
	root=$work/root
	[ -d "$base" ] || bootstrap "$base"
	cp -a "$base" "$root"
fi

mkdir -p "$root/root/vivarium"
git -C "$top" archive HEAD | tar -x -C "$root/root/vivarium"
echo "debian: $release: $command"
unshare --mount --pid --fork --kill-child --propagation private sh -eu -c '
	root=$1
	mount --bind "$root" "$root"
	mount -t proc proc "$root/proc"
	mount --rbind /dev "$root/dev"
	mount --rbind /sys "$root/sys"
	mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
	mount -t tmpfs -o mode=755 tmpfs "$root/run"
	cd "$root"
	mkdir -p .old
	pivot_root . .old
	umount -l /.old
	rmdir /.old
	cd /root/vivarium
	exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 sh -c "$2"
' sh "$root" "$command" </dev/null
