#!/bin/sh
# The Debian packages that Vivarium needs, by purpose, and the installation of what is missing.
#
#	packages.sh list GROUP...	print the names, one per line
#	packages.sh missing GROUP...	print those that are not installed
#	packages.sh ensure GROUP...	install those (root), or say how (anybody else)
#
# Debian 12 and 13 and Ubuntu 24.04 have all of them under these names, but for chromium, which is no
# package on Ubuntu: the tests' browser has to come from elsewhere there. Works in a minimal root:
# needs sh, dpkg and apt, no sudo, no curl. Reads nothing from standard input.
set -u

groups="build run test bench fuzz analyse debian libraries"

# libc6-dev is named because gcc only recommends it.
build="gcc libc6-dev make pkg-config libfcgi-dev libjson-c-dev libseccomp-dev nettle-dev
	zlib1g-dev libpython3-dev python3-dev"

run="nginx python3 python3-numpy python3-pandas python3-scipy python3-matplotlib tzdata
	ca-certificates openssl util-linux"

# prometheus for its promtool.
test="libcmocka-dev python3-pytest python3-jsonschema python3-venv nodejs node-typescript clang
	libclang-rt-dev curl procps strace openssl chromium prometheus"

bench="wrk apache2-utils bubblewrap python3-flask gunicorn curl"

fuzz="clang libclang-rt-dev"

analyse="clang-tidy cppcheck"

# Of the catalogue's libraries those that Debian 12 and 13 have (Ubuntu 24.04 was not looked at).
libraries="python3-venv python3-seaborn python3-plotly python3-sklearn python3-statsmodels
	python3-sympy python3-torch python3-openpyxl python3-sqlalchemy python3-requests python3-pil
	python3-opencv python3-nltk python3-bs4 python3-selenium python3-tqdm jupyter python3-pytest
	python3-ipython black python3-flake8"

debian="debootstrap git util-linux"

fail() {
	echo "packages: $*" >&2
	exit 1
}

usage() {
	fail "usage: packages.sh list|missing|ensure GROUP... (groups: $groups)"
}

# The names in the groups given, one per line, each once.
names() {
	for group in "$@"; do
		case $group in
		build) echo $build ;;
		run) echo $run ;;
		test) echo $test ;;
		bench) echo $bench ;;
		fuzz) echo $fuzz ;;
		analyse) echo $analyse ;;
		debian) echo $debian ;;
		libraries) echo $libraries ;;
		esac
	done | tr ' ' '\n' | sort -u
}

need_debian() {
	command -v dpkg-query >/dev/null && command -v apt-get >/dev/null || fail \
		"this system has no dpkg and apt-get: Vivarium is built and tested on Debian 12," \
		"Debian 13 and Ubuntu 24.04. On another system install the equivalents of:" \
		$(names "$@")
}

# Names of the groups that dpkg does not call installed.
missing() {
	wanted=$(names "$@")
	installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' $wanted 2>/dev/null |
		sed -n 's/^installed //p' | sort -u)
	for package in $wanted; do
		case "
$installed
" in
		*"
$package
"*) ;;
		*) echo "$package" ;;
		esac
	done
}

policy=/usr/sbin/policy-rc.d
policy_is_ours=
log=

cleanup() {
	[ -z "$policy_is_ours" ] || rm -f "$policy"
	[ -z "$log" ] || rm -f "$log"
}

# Packages that would start a server of their own, now and at each boot: Vivarium starts its nginx
# itself, and of prometheus the tests want a tool.
servers="nginx prometheus"

forbid_service_start() {
	[ ! -e "$policy" ] && [ ! -L "$policy" ] || return 0
	policy_is_ours=yes
	printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod 755 "$policy" ||
		fail "cannot write $policy"
}

forbid_service_at_boot() {
	command -v systemctl >/dev/null || return 0
	systemctl disable "$1.service" </dev/null >/dev/null 2>&1 ||
		echo "packages: Debian's own $1 may start at boot ('systemctl disable $1'" \
			"failed)" >&2
}

# Quiet, unless it fails.
quietly() {
	"$@" </dev/null >>"$log" 2>&1 || {
		status=$?
		cat "$log" >&2
		fail "'$*' failed with status $status (its output is above)"
	}
}

install() {
	trap cleanup EXIT
	trap 'exit 129' HUP
	trap 'exit 130' INT
	trap 'exit 143' TERM
	log=$(mktemp) || fail "cannot create a temporary file"
	new_servers=
	for package in "$@"; do
		case " $servers " in
		*" $package "*) new_servers="$new_servers $package" ;;
		esac
	done
	[ -z "$new_servers" ] || forbid_service_start

	DEBIAN_FRONTEND=noninteractive
	NEEDRESTART_SUSPEND=1
	export DEBIAN_FRONTEND NEEDRESTART_SUSPEND
	quietly apt-get -q update
	quietly apt-get -q -y --no-install-recommends -o DPkg::Lock::Timeout=300 \
		-o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold install "$@"

	for server in $new_servers; do
		forbid_service_at_boot "$server"
	done
}

[ $# -ge 2 ] || usage
verb=$1
shift
for group in "$@"; do
	case " $groups " in
	*" $group "*) ;;
	*) fail "no such group: $group (groups: $groups)" ;;
	esac
done

case $verb in
list)
	names "$@"
	;;
missing)
	need_debian "$@"
	missing "$@"
	;;
ensure)
	need_debian "$@"
	lacking=$(missing "$@")
	[ -n "$lacking" ] || exit 0
	lacking=$(echo $lacking)
	if [ "$(id -u)" != 0 ]; then
		fail "missing: $lacking. Install them as root:" \
			"apt-get update && apt-get install -y --no-install-recommends $lacking"
	fi
	echo "Installing with apt: $lacking"
	install $lacking
	;;
*)
	usage
	;;
esac
