#!/bin/sh
# Print nginx's configuration, made from nginx/vivarium.conf.in and these variables:
#
#	RUN		runtime directory, absolute: sockets, pid, temporary files (required)
#	LISTEN		IPv4 or IPv6 address without brackets (127.0.0.1)
#	PORT		1 to 65535 (8080)
#	READ_TIMEOUT	seconds nginx waits for vivarium's answer (320)
#	ACCESS_LOG	stdout, off, or an absolute path (RUN/access.log)
#	ERROR_LOG	stderr or an absolute path (stderr)
#	NGINX_USER	who nginx's workers are when root starts it (www-data)
set -u

fail() {
	echo "render-nginx: $*" >&2
	exit 1
}

# Only what needs no quoting in nginx's syntax, in sed's, and in a unix: address.
check_path() {
	case $2 in
	*[!A-Za-z0-9._/+,=@-]*) fail "$1: only letters, digits and ._/+,=@- may stand in it: $2" ;;
	/*) ;;
	*) fail "$1 must be an absolute path: $2" ;;
	esac
}

check_number() {
	case $2 in
	'' | *[!0-9]* | ????????*) fail "$1 must be a whole number: '$2'" ;;
	esac
}

# Two descriptors per request, one for a file now and then: connections are half the descriptors.
descriptors() {
	hard=$(ulimit -H -n)
	case $hard in
	*[!0-9]*) hard=16384 ;;
	esac
	[ "$hard" -le 16384 ] || hard=16384
	echo "$hard"
}

template=$(dirname "$0")/../nginx/vivarium.conf.in
: "${RUN:?render-nginx: RUN is not set}"
listen=${LISTEN:-127.0.0.1}
port=${PORT:-8080}
read_timeout=${READ_TIMEOUT:-320}
access_log=${ACCESS_LOG:-$RUN/access.log}
error_log=${ERROR_LOG:-stderr}

check_path RUN "$RUN"
# A unix socket's path holds 107 bytes.
[ ${#RUN} -le 90 ] || fail "RUN is longer than 90 characters: $RUN"
check_number PORT "$port"
[ "$port" -ge 1 ] && [ "$port" -le 65535 ] || fail "PORT must be 1 to 65535: $port"
check_number READ_TIMEOUT "$read_timeout"

case $listen in
'' | *[!0-9A-Fa-f:.]*) fail "LISTEN must be an IP address: '$listen'" ;;
::) listen="[::]:$port ipv6only=off" ;;
*:*) listen="[$listen]:$port" ;;
*) listen="$listen:$port" ;;
esac

case $access_log in
off) ;;
stdout) access_log='"/dev/stdout" vivarium' ;;
*)
	check_path ACCESS_LOG "$access_log"
	access_log="\"$access_log\" vivarium"
	;;
esac
[ "$error_log" = stderr ] || check_path ERROR_LOG "$error_log"

user='# (an ordinary user starts this instance: its workers are that user too)'
if [ "$(id -u)" = 0 ]; then
	user=${NGINX_USER:-www-data}
	case $user in
	*[!a-z0-9_-]*) fail "NGINX_USER is not a user name: $user" ;;
	esac
	user="user $user;"
fi

nofile=$(descriptors)

exec sed \
	-e "s|@RUN@|$RUN|g" \
	-e "s|@USER@|$user|" \
	-e "s|@LISTEN@|$listen backlog=4096|" \
	-e "s|@READ_TIMEOUT@|$read_timeout|" \
	-e "s|@ACCESS_LOG@|$access_log|" \
	-e "s|@ERROR_LOG@|$error_log|" \
	-e "s|@NOFILE@|$nofile|" \
	-e "s|@CONNECTIONS@|$((nofile / 2))|" \
	"$template"
