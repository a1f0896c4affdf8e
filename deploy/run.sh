#!/bin/sh
# Run Vivarium in the foreground, nginx and the service, until Ctrl-C, SIGTERM or SIGHUP.
#
#	deploy/run.sh [ARGUMENT...]	arguments are passed on to vivarium (--set key=value)
#
#	PORT		8080
#	LISTEN		127.0.0.1; 0.0.0.0 or :: for every address
#	CONF		conf/vivarium.conf
#	BUILD		build/release, where the program is
#	ACCESS_LOG	off: no lines about requests. Vivarium logs to standard error (docs/logs.md);
#			where nginx logs the requests that never reach vivarium: stdout, or a file
#			(stdout)
#	VIVARIUM_SCOPE	no: do not ask systemd for a scope of our own (where it runs, we do)
#	STOP_TIMEOUT	seconds that vivarium has to end its work when asked to stop (10)
#
# Everything lives in a private runtime directory, and large bodies in one below /var/tmp; both go in
# the end. Both programs run in sessions of their own: a Ctrl-C, which reaches the whole process
# group, stops this script alone, and this script stops them in order. Should it be killed, the kernel tells them (pdeathsig).
# Exit status: 0 after a stop that was asked for, 1 when something failed.
set -u

# A job that a script put into the background ignores SIGINT, and a shell cannot undo that itself.
if [ -z "${VIVARIUM_SIGNALS_RESET:-}" ] && env --default-signal=INT,QUIT true 2>/dev/null; then
	VIVARIUM_SIGNALS_RESET=1 exec env --default-signal=INT,QUIT sh "$0" "$@"
fi
unset VIVARIUM_SIGNALS_RESET

# Where systemd manages control groups, only what it delegates is ours to limit scripts with. A scope
# is made around this very process: the probe is there because there is no way back from an exec.
if [ -z "${VIVARIUM_SCOPE:-}" ] && [ -d /run/systemd/system ]; then
	manager=--system
	[ "$(id -u)" = 0 ] || manager=--user
	scope="systemd-run $manager --scope --quiet --collect --property=Delegate=yes"
	# shellcheck disable=SC2086
	! $scope true >/dev/null 2>&1 || VIVARIUM_SCOPE=ours exec $scope sh "$0" "$@"
fi
# Debian 12's systemd marks what it delegates to root and not what to users: we asked, so we know.
if [ "${VIVARIUM_SCOPE:-}" = ours ] && [ "$(id -u)" != 0 ]; then
	/usr/bin/python3 -IS -c 'import os
for line in open("/proc/self/cgroup"):
    if line.startswith("0::/"):
        os.setxattr("/sys/fs/cgroup" + line[3:].rstrip("\n"), "user.delegate", b"1")' 2>/dev/null || :
fi
unset VIVARIUM_SCOPE

exec </dev/null
[ -e /proc/self/fd/1 ] || exec >/dev/null
[ -e /proc/self/fd/2 ] || exec 2>/dev/null
# Several programs write there: into a file all of them append, where it is ours to open again.
[ ! -f /dev/stdout ] || [ ! -w /dev/stdout ] || exec >>/dev/stdout
[ ! -f /dev/stderr ] || [ ! -w /dev/stderr ] || exec 2>>/dev/stderr
umask 022
PATH=$PATH:/usr/sbin:/sbin
top=$(cd "$(dirname "$0")/.." && pwd)
python=/usr/bin/python3

port=${PORT:-8080}
listen=${LISTEN:-127.0.0.1}
conf=${CONF:-$top/conf/vivarium.conf}
build=${BUILD:-$top/build/release}
access_log=${ACCESS_LOG:-stdout}
stop_timeout=${STOP_TIMEOUT:-10}

run=		# the runtime directory
spool=		# what nginx puts off to a file
vivarium=	# process ids, as long as they are ours to end
nginx=
helper=
hurry=

say() {
	printf '%s\n' "==> $*"
}

fail() {
	printf '%s\n' "run: $*" >&2
	exit 1
}

# --- Processes ---------------------------------------------------------------------------------

# Is this still a running child of ours? (A number alone may belong to somebody else by now.)
alive() {
	[ -n "$1" ] && read -r _ _ state parent _ 2>/dev/null <"/proc/$1/stat" &&
		[ "$parent" = $$ ] && [ "$state" != Z ]
}

# Wait for a helper in the background: a signal interrupts this, and the helper is ended with us.
await_helper() {
	wait "$helper"
	status=$?
	helper=
	return $status
}

pause() {
	sleep "$1" &
	helper=$!
	await_helper
}

# await_end PID TENTHS: until it has ended, not longer than that.
await_end() {
	left=$2
	while alive "$1"; do
		[ "$left" -gt 0 ] && [ -z "$hurry" ] || return 1
		left=$((left - 1))
		pause 0.1
	done
}

# The whole session, in case the first process left some of it behind.
kill_session() {
	kill -KILL "-$1" 2>/dev/null
	wait "$1" 2>/dev/null
}

stop_all() {
	! alive "$nginx" || kill -QUIT "$nginx" 2>/dev/null	# no new connections
	! alive "$vivarium" || kill -TERM "$vivarium" 2>/dev/null	# ends what runs
	if [ -n "$vivarium" ]; then
		await_end "$vivarium" $((stop_timeout * 10)) ||
			say "vivarium did not end when asked: killing it"
		kill_session "$vivarium"
	fi
	if [ -n "$nginx" ]; then
		await_end "$nginx" 5 || { kill -TERM "$nginx" 2>/dev/null && await_end "$nginx" 20; }
		kill_session "$nginx"
	fi
}

finish() {
	exit_status=$?
	trap - EXIT
	trap 'hurry=yes' INT TERM HUP QUIT
	trap '' PIPE
	if [ -n "$helper" ]; then
		kill "$helper" 2>/dev/null
		wait "$helper" 2>/dev/null
	fi
	stop_all
	[ -z "$run" ] || rm -rf -- "$run"
	[ -z "$spool" ] || rm -rf -- "$spool"
	exit $exit_status
}

asked_to_stop() {
	say "Stopping"
	exit 0
}

# --- What was asked for ------------------------------------------------------------------------

# check_address PORT: is LISTEN an address of this machine, and the port free on it?
check_address() {
	# shellcheck disable=SC2016
	"$python" -IS -c '
import errno, ipaddress, signal, socket, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
listen, port = sys.argv[1], int(sys.argv[2])
try:
    address = ipaddress.ip_address(listen)
    if "%" in listen:
        raise ValueError
except ValueError:
    sys.exit(f"run: LISTEN must be an IP address such as 127.0.0.1, 0.0.0.0 or ::, not {listen!r}")
try:
    with socket.socket(socket.AF_INET6 if address.version == 6 else socket.AF_INET) as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if address.version == 6:
            s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, listen != "::")
        s.bind((listen, port))
        s.listen()
except OSError as error:
    why = {
        errno.EADDRINUSE: f"port {port} on {listen} is in use; choose another: PORT=9000",
        errno.EACCES: f"port {port} needs root; choose one above 1023",
        errno.EADDRNOTAVAIL: f"this machine has no address {listen}",
        errno.EAFNOSUPPORT: f"this machine has no IPv6: LISTEN={listen} cannot work",
    }.get(error.errno, f"cannot listen on {listen} port {port}: {error.strerror}")
    sys.exit(f"run: {why}")
' "$listen" "$1" || exit 1
}

check_input() {
	case $port in
	'' | 0* | *[!0-9]* | ??????*) fail "PORT must be a number from 1 to 65535, not '$port'" ;;
	esac
	[ "$port" -le 65535 ] ||
		fail "PORT must be a number from 1 to 65535, not '$port'"
	case $stop_timeout in
	'' | *[!0-9]* | ?????*) fail "STOP_TIMEOUT must be whole seconds, not '$stop_timeout'" ;;
	esac
	case $listen in
	localhost) listen=127.0.0.1 ;;
	\[*\]) listen=${listen#\[} listen=${listen%\]} ;;
	esac
	[ -x "$build/vivarium" ] || fail "there is no program $build/vivarium: build it with make"
	[ -r "$conf" ] || fail "cannot read the configuration $conf"
	[ -x "$python" ] || fail "there is no $python: deploy/packages.sh ensure run"
	command -v nginx >/dev/null || fail "nginx is not installed: deploy/packages.sh ensure run"
	check_address "$port"
	if [ "$access_log" = stdout ] && ! (: >>/dev/stdout) 2>/dev/null; then
		access_log=off
		say "No log of what nginx refuses: standard output cannot be opened a second time"
	fi
}

# setting KEY: its value in force.
setting() {
	printf '%s\n' "$effective" | sed -n "s/^$1 = //p"
}

# absolute PATH: the same from nginx's directory, links in it left alone.
absolute() {
	case $1 in
	'' | /*) printf '%s\n' "$1" ;;
	*) printf '%s\n' "$PWD/$1" ;;
	esac
}

is_loopback() {
	case $listen in
	127.* | ::1) return 0 ;;
	esac
	return 1
}

check_tls() {
	certificate=$(absolute "$(setting tls_certificate)")
	certificate_key=$(absolute "$(setting tls_certificate_key)")
	redirect_port=$(setting tls_redirect_port)
	if [ -n "$certificate" ]; then
		"$top/deploy/check-tls.sh" "$certificate" "$certificate_key" || exit 1
		[ "$redirect_port" != "$port" ] ||
			fail "tls_redirect_port is the port of HTTPS itself, $port"
		[ "$redirect_port" = 0 ] || check_address "$redirect_port"
	elif [ -n "$(setting key_file)" ] && ! is_loopback && [ -z "$(setting trusted_proxies)" ]; then
		echo "run: WARNING: API keys and scripts cross the network in the clear, for everyone" \
			"on the way to read. Set tls_certificate, or trusted_proxies if a proxy before" \
			"this service speaks HTTPS (docs/http.md)" >&2
	fi
}

# nginx waits as long as the longest script and the longest wait in the queue, and some.
read_configuration() {
	effective=$("$build/vivarium" --check-config --config "$conf" "$@") ||
		fail "the configuration $conf was refused"
	read_timeout=$(printf '%s\n' "$effective" | awk -F ' *= *' '
		$1 == "max_timeout" && $2 ~ /^[0-9.]+$/ { sum += $2; n++ }
		$1 == "queue_timeout" && $2 ~ /^[0-9.]+$/ { sum += $2; n++ }
		END { if (n != 2) exit 1; s = int(sum); print s + (s < sum) + 10 }') ||
		fail "vivarium --check-config names no max_timeout or no queue_timeout"
	log_format=$(setting log_format)
	[ "$log_format" != auto ] || { [ -t 1 ] && log_format=text || log_format=json; }
	say "Configuration: $conf"
	check_tls
}

make_runtime_directory() {
	if [ "$(id -u)" = 0 ]; then
		base=/run
	else
		base=${XDG_RUNTIME_DIR:-/tmp}
	fi
	[ -d "$base" ] && [ -w "$base" ] || base=/tmp
	run=$(mktemp -d "$base/vivarium.XXXXXX") || fail "cannot create a directory in $base"
	# Root's workers are another user, who must get to the sockets.
	[ "$(id -u)" != 0 ] || chmod 755 "$run" || fail "cannot set the mode of $run"
	# Not in /run, which is memory, and small: whoever sends or reads slowly keeps megabytes there.
	spool=$(mktemp -d /var/tmp/vivarium.XXXXXX) || fail "cannot create a directory in /var/tmp"
	[ "$(id -u)" != 0 ] || chmod 711 "$spool" || fail "cannot set the mode of $spool"
}

# --- Start -------------------------------------------------------------------------------------

# Put before a command that becomes a child: told when we die, signals as at login, a session.
choose_prefix() {
	prefix=
	! setpriv --pdeathsig TERM true 2>/dev/null || prefix="setpriv --pdeathsig TERM"
	! env --default-signal=INT,QUIT true 2>/dev/null ||
		prefix="$prefix env --default-signal=INT,QUIT"
	prefix="$prefix setsid"
}

prepare_nginx() {
	RUN=$run SPOOL=$spool LISTEN=$listen PORT=$port READ_TIMEOUT=$read_timeout ACCESS_LOG=$access_log \
		TLS_CERTIFICATE=$certificate TLS_CERTIFICATE_KEY=$certificate_key \
		TLS_REDIRECT_PORT=$redirect_port TLS_HSTS=$(setting tls_hsts) \
		CORS_ORIGINS=$(setting cors_origins) RATE_LIMIT=$(setting rate_limit) \
		RATE_LIMIT_BURST=$(setting rate_limit_burst) \
		CONNECTIONS_PER_ADDRESS=$(setting connections_per_address) \
		TRUSTED_PROXIES=$(setting trusted_proxies) METRICS_ALLOW=$(setting metrics_allow) \
		ACCESS_FORMAT=$log_format \
		"$top/deploy/render-nginx.sh" >"$run/nginx.conf" || exit 1
	TZ=UTC nginx -t -q -e stderr -p "$run" -c "$run/nginx.conf" ||
		fail "nginx refused its configuration"
}

# vivarium writes a newline to descriptor 3 when it serves, and closes it when it cannot.
start_vivarium() {
	say "Service: starting $build/vivarium in $run"
	group=
	[ "$(id -u)" != 0 ] || group="--set socket_group=www-data"
	log_requests=
	[ "${ACCESS_LOG:-}" != off ] || log_requests="--set log_requests=off"
	mkfifo "$run/ready" || fail "cannot create a pipe in $run"
	# shellcheck disable=SC2086
	$prefix "$build/vivarium" serve --config "$conf" --set runtime_dir="$run" $group \
		$log_requests "$@" --ready-fd 3 3>"$run/ready" &
	vivarium=$!
	(read -r _ <"$run/ready") &
	helper=$!
	await_helper || fail "vivarium did not start"
	rm -f "$run/ready"
}

start_nginx() {
	say "nginx: starting on $listen port $port"
	# shellcheck disable=SC2086
	TZ=UTC $prefix nginx -e stderr -p "$run" -c "$run/nginx.conf" &
	nginx=$!
}

# The first name that the certificate is for, if any; a wildcard is none.
certificate_name() {
	openssl x509 -in "$certificate" -noout -ext subjectAltName 2>/dev/null | tr ',' '\n' |
		sed -n 's/^ *DNS:\([A-Za-z0-9.-]*\)$/\1/p' | head -n 1
}

# The address that reaches us from this machine, and what to tell people.
choose_host() {
	case $listen in
	0.0.0.0) host=127.0.0.1 ;;
	::) host=::1 ;;
	*) host=$listen ;;
	esac
	scheme=http
	name=
	if [ -n "$certificate" ]; then
		scheme=https
		name=$(certificate_name)
	fi
	case ${name:-$host} in
	*:*) url="$scheme://[$host]:$port" ;;
	*) url="$scheme://${name:-$host}:$port" ;;
	esac
}

answers() {
	"$python" -IS -c '
import http.client, ssl, sys
scheme, host, port = sys.argv[1:]
if scheme == "https":  # ours, whatever name the certificate is for
    context = ssl._create_unverified_context()
    connection = http.client.HTTPSConnection(host, int(port), timeout=5, context=context)
else:
    connection = http.client.HTTPConnection(host, int(port), timeout=5)
try:
    connection.request("GET", "/live", headers={"User-Agent": "vivarium-start"})
    sys.exit(connection.getresponse().status != 200)
except (OSError, http.client.HTTPException):
    sys.exit(1)
' "$scheme" "$host" "$port" &
	helper=$!
	await_helper
}

await_answer() {
	tries=0
	until answers; do
		alive "$nginx" || fail "nginx did not start"
		alive "$vivarium" || fail "vivarium ended while nginx started"
		tries=$((tries + 1))
		[ $tries -lt 100 ] || fail "no answer from $url/live"
		pause 0.1
	done
}

certificate_state() {
	stat -Lc '%i %s %Y %Z' -- "$certificate" "$certificate_key" 2>&1
}

# Renewed on disk, nginx reads it again. Two files are not written at once: what does not fit
# together is left alone until it changes again.
watch_certificate() {
	found=$(certificate_state)
	[ "$found" != "$certificate_seen" ] || return 0
	certificate_seen=$found
	if "$top/deploy/check-tls.sh" "$certificate" "$certificate_key"; then
		say "The certificate was renewed"
		kill -HUP "$nginx"
	else
		echo "run: the certificate in use stays until that is mended" >&2
	fi
}

watch() {
	[ -z "$certificate" ] || certificate_seen=$(certificate_state)
	while :; do
		alive "$vivarium" || fail "vivarium ended by itself"
		alive "$nginx" || fail "nginx ended by itself"
		[ -z "$certificate" ] || watch_certificate
		pause 1
	done
}

trap finish EXIT
trap asked_to_stop INT TERM HUP QUIT
trap 'exit 1' PIPE

check_input
read_configuration "$@"
make_runtime_directory
choose_prefix
prepare_nginx
start_vivarium "$@"
start_nginx
choose_host
await_answer
say "Ready on $url, Ctrl-C ends it. Try:"
printf '\n%s\n\n' "curl -s $url/execute -H 'Content-Type: application/json' \
-d '{\"script\": \"def main():\\n    return 6 * 7\"}'"
watch
