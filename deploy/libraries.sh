#!/bin/sh
# Install from PyPI what Debian lacks of the catalogue (conf/libraries.json): a virtual environment
# beside Debian's packages, for python_venv. What is installed is pinned, with its hashes.
#
#	deploy/libraries.sh DIRECTORY	made, or brought up to date
set -u
umask 022

fail() {
	echo "libraries: $*" >&2
	exit 1
}

directory=${1:?usage: libraries.sh DIRECTORY}
requirements=$(dirname "$0")/libraries.txt
python=/usr/bin/python3
version=$("$python" -IS -c 'import sys; print("%d.%d" % sys.version_info[:2])') || exit 1

grep -q "python_version == '$version'" "$requirements" ||
	fail "$requirements pins nothing for Python $version"
[ "$(uname -m)" = x86_64 ] || fail "$requirements pins what is built for x86-64 only"

# Scripts are nobody: better to say so before hundreds of megabytes than after.
mkdir -p "$directory" && directory=$(cd "$directory" && pwd) || fail "cannot make $directory"
if [ "$(id -u)" = 0 ] && ! setpriv --reuid 65534 --regid 65534 --clear-groups \
	test -x "$directory"; then
	fail "scripts could not reach $directory, for not everybody may enter each directory above" \
		"it: choose another place, such as make libraries VENV=/opt/vivarium/libraries"
fi

[ -x "$directory/bin/pip" ] || "$python" -m venv --system-site-packages "$directory" ||
	fail "cannot make a virtual environment (is python3-venv installed?)"
"$directory/bin/pip" install --quiet --disable-pip-version-check --require-hashes --no-deps \
	--only-binary :all: -r "$requirements" || fail "pip could not install $requirements"

echo "Scripts find these libraries with this line in the configuration:"
echo "python_venv = $directory"
