#!/bin/sh
# Test in a virtual machine with systemd and cgroup v2: make test-vm VM_BOOT="COMMAND IMAGE"
#
#	VM_BOOT		boots a machine that runs PAYLOAD/run.sh in it as root, with the directory
#			PAYLOAD at /payload, and ends with its exit code: it is called as
#			$VM_BOOT PAYLOAD $VM_FLAGS
#	VM_FLAGS	(empty)
#	BUILD		build/release, where the programs are
#	EXECUTIONS	1000, how many are run while namespaces and kernel memory have to stay level
#	TESTS		tests/vm tests/fault/test_cgroups.py; arguments for pytest
#
# With TESTS=tests/fault/test_cgroups.py the machine may as well have v1's hierarchies (Debian 12:
# systemd.unified_cgroup_hierarchy=0 on the kernel's command line).
#
# The machine has to be a Debian of the release that the programs were built on, with nginx,
# libfcgi0ldbl, libjson-c5, libnettle8, libseccomp2, zlib1g, libpython3.11 (3.13 in Debian 13),
# python3-numpy and python3-pytest. Without KVM everything takes some fifteen times as long.
set -eu
top=$(cd "$(dirname "$0")/../.." && pwd)
build=${BUILD:-$top/build/release}
[ -n "${VM_BOOT:-}" ] || { echo "test-vm: VM_BOOT=... has to say how a machine is booted" >&2; exit 2; }

payload=$(mktemp -d "${TMPDIR:-/var/tmp}/vivarium-vm.XXXXXX")
trap 'rm -rf "$payload"' EXIT
trap 'exit 143' INT TERM
mkdir "$payload/vivarium" "$payload/vivarium/build"
for part in conf deploy nginx runner tests; do
	cp -a "$top/$part" "$payload/vivarium/"
done
cp "$build/vivarium" "$build/vivarium-template" "$payload/vivarium/build/"
cp "$top/tests/vm/guest.sh" "$payload/run.sh"
cat >"$payload/settings" <<END
EXECUTIONS=${EXECUTIONS:-1000}
TESTS="${TESTS:-}"
END
# shellcheck disable=SC2086
$VM_BOOT "$payload" ${VM_FLAGS:-}
