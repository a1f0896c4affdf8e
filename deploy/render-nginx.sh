#!/bin/sh
# Print nginx's configuration, made from nginx/vivarium.conf.in and these variables:
#
#	RUN		runtime directory, absolute: sockets, pid (required)
#	SPOOL		directory for bodies and answers that do not fit into memory, absolute (RUN)
#	LISTEN		IPv4 or IPv6 address without brackets (127.0.0.1); ::, every address of both
#	PORT		1 to 65535 (8080)
#	READ_TIMEOUT	seconds nginx waits for vivarium's answer (320)
#	ACCESS_LOG	of what vivarium never saw: stdout, off, or an absolute path (RUN/access.log)
#	ACCESS_FORMAT	json, or text for people (json)
#	ERROR_LOG	stderr or an absolute path (stderr)
#	NGINX_USER	who nginx's workers are when root starts it (www-data)
#
# and these, which are keys of conf/vivarium.conf and described there; vivarium --check-config has
# looked at their values, so that here they only have to be harmless:
#
#	TLS_CERTIFICATE TLS_CERTIFICATE_KEY (absolute) TLS_REDIRECT_PORT TLS_HSTS CORS_ORIGINS
#	RATE_LIMIT RATE_LIMIT_BURST CONNECTIONS_PER_ADDRESS TRUSTED_PROXIES METRICS_ALLOW
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
	'' | *[!0-9]* | ?????????*) fail "$1 must be a whole number: '$2'" ;;
	esac
}

# Words of origins, networks and certificates' paths: nothing that quotes, expands or ends anything.
check_words() {
	case $2 in
	*[!A-Za-z0-9._/+,=@:~%*\[\]\ \	-]*) fail "$1 has a character that does not belong there: $2" ;;
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

# each BEFORE AFTER WORD...: every word once, between the two, in one line.
each() {
	before=$1 after=$2
	shift 2
	[ $# -eq 0 ] || printf '%s\n' "$@" | sort -u | sed "s|.*|$before&$after|" | tr '\n' ' '
}

# part NAME VALUE: keep the part's lines where there is a value, drop them where there is none.
parts=
part() {
	case $2 in
	'' | 0) parts="$parts -e /^@$1@/d" ;;
	*) parts="$parts -e s/^@$1@//" ;;
	esac
}

# Since 1.25.1 HTTP/2 is a directive; as a parameter of listen it is a complaint at every start.
has_http2_directive() {
	version=$(PATH=$PATH:/usr/sbin:/sbin nginx -v 2>&1) || fail "nginx does not tell its version"
	printf '%s\n' "$version" | awk -F '[/. ]+' '
		/^nginx version: nginx\// { exit !($4 * 1000000 + $5 * 1000 + $6 >= 1025001) }'
}

template=$(dirname "$0")/../nginx/vivarium.conf.in
: "${RUN:?render-nginx: RUN is not set}"
listen=${LISTEN:-127.0.0.1}
port=${PORT:-8080}
read_timeout=${READ_TIMEOUT:-320}
access_log=${ACCESS_LOG:-$RUN/access.log}
access_format=${ACCESS_FORMAT:-json}
error_log=${ERROR_LOG:-stderr}
certificate=${TLS_CERTIFICATE:-}
redirect_port=${TLS_REDIRECT_PORT:-0}
hsts=${TLS_HSTS:-0}
cors_origins=${CORS_ORIGINS:-}
rate_limit=${RATE_LIMIT:-}
rate_limit_burst=${RATE_LIMIT_BURST:-20}
connections_per_address=${CONNECTIONS_PER_ADDRESS:-0}
trusted_proxies=${TRUSTED_PROXIES:-}
metrics_allow=${METRICS_ALLOW-127.0.0.0/8 ::1}

spool=${SPOOL:-$RUN}
check_path RUN "$RUN"
check_path SPOOL "$spool"
# A unix socket's path holds 107 bytes.
[ ${#RUN} -le 90 ] || fail "RUN is longer than 90 characters: $RUN"
check_number PORT "$port"
[ "$port" -ge 1 ] && [ "$port" -le 65535 ] || fail "PORT must be 1 to 65535: $port"
check_number READ_TIMEOUT "$read_timeout"
check_number TLS_REDIRECT_PORT "$redirect_port"
check_number TLS_HSTS "$hsts"
check_number RATE_LIMIT_BURST "$rate_limit_burst"
check_number CONNECTIONS_PER_ADDRESS "$connections_per_address"
check_words TLS_CERTIFICATE "$certificate"
check_words TLS_CERTIFICATE_KEY "${TLS_CERTIFICATE_KEY:-}"
check_words CORS_ORIGINS "$cors_origins"
check_words TRUSTED_PROXIES "$trusted_proxies"
check_words METRICS_ALLOW "$metrics_allow"

# --- Where it listens

case $listen in
'' | *[!0-9A-Fa-f:.]*) fail "LISTEN must be an IP address: '$listen'" ;;
# One socket for both would show IPv4 clients as IPv6, all of them in one /64.
::) addresses="0.0.0.0 [::]" ;;
*:*) addresses="[$listen]" ;;
*) addresses=$listen ;;
esac
ssl= http2=
keepalive_requests=10000000
if [ -n "$certificate" ]; then
	ssl=" ssl"
	keepalive_requests=1000
	if has_http2_directive; then
		http2=yes
	else
		ssl=" ssl http2"
	fi
fi
set -f
directives=$(each "listen " ":$port$ssl backlog=4096;" $addresses)
[ "$redirect_port" = 0 ] ||
	directives="$directives$(each "listen " ":$redirect_port backlog=4096;" $addresses)"
visible_port=":$port"
[ "$port" != 443 ] || visible_port=

# --- What it lets through

cors_vary=Origin
cors_exposed="X-Request-Id, Retry-After, Server-Timing, X-Should-Retry, Mcp-Session-Id"
case $cors_origins in
'*')
	origins='default "*";'
	cors_vary=
	;;
*) origins=$(each '"' '" "&";' $cors_origins) ;;
esac

# nginx counts thousandths of a request a second; that is how long one of them takes to come back.
rate= retry_after=1
case $rate_limit in
'') ;;
*/s) rate=${rate_limit%/s} && check_number RATE_LIMIT "$rate" && rate=${rate}r/s ;;
*/m)
	rate=${rate_limit%/m}
	check_number RATE_LIMIT "$rate"
	[ "$rate" -ge 1 ] || fail "RATE_LIMIT must be at least 1/m"
	retry_after=$(((1000 - 1) / (rate * 1000 / 60) + 1))
	rate=${rate}r/m
	;;
*) fail "RATE_LIMIT must be a number and /s or /m: '$rate_limit'" ;;
esac
burst="burst=$rate_limit_burst nodelay"
[ "$rate_limit_burst" != 0 ] || burst=

# --- Where its words go

case $access_format in
json | text) ;;
*) fail "ACCESS_FORMAT must be json or text: '$access_format'" ;;
esac
case $access_log in
off) ;;
stdout) access_log="\"/dev/stdout\" $access_format if=\$log_is_ours" ;;
*)
	check_path ACCESS_LOG "$access_log"
	access_log="\"$access_log\" $access_format if=\$log_is_ours"
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
part tls "$certificate"
part http2 "$http2"
part redirect "$redirect_port"
part hsts "$hsts"
part cors "$cors_origins"
part limits "$rate${connections_per_address#0}"
part rate "$rate"
part connections "$connections_per_address"
part proxies "$trusted_proxies"

# shellcheck disable=SC2086
exec sed $parts \
	-e "s|@RUN@|$RUN|g" \
	-e "s|@SPOOL@|$spool|" \
	-e "s|@USER@|$user|" \
	-e "s|@LISTEN@|$directives|" \
	-e "s|@READ_TIMEOUT@|$read_timeout|" \
	-e "s|@KEEPALIVE_REQUESTS@|$keepalive_requests|" \
	-e "s|@ACCESS_LOG@|$access_log|" \
	-e "s|@ERROR_LOG@|$error_log|" \
	-e "s|@NOFILE@|$nofile|" \
	-e "s|@CONNECTIONS@|$((nofile / 2))|" \
	-e "s|@REDIRECT_PORT@|$visible_port|" \
	-e "s|@TLS_HSTS@|$hsts|" \
	-e "s|@CORS_ORIGINS@|$origins|" \
	-e "s|@CORS_VARY@|$cors_vary|" \
	-e "s|@CORS_EXPOSED@|$cors_exposed|" \
	-e "s|@RATE@|$rate|" \
	-e "s|@RATE_BURST@|$burst|" \
	-e "s|@RETRY_AFTER@|$retry_after|" \
	-e "s|@CONNECTIONS_PER_ADDRESS@|$connections_per_address|" \
	-e "s|@TRUSTED_PROXIES@|$(each 'set_real_ip_from ' ';' $trusted_proxies)|" \
	-e "s|@METRICS_ALLOW@|$(each '' ' 1;' $metrics_allow)|" \
	-e "s|@TLS_CERTIFICATE@|$certificate|" \
	-e "s|@TLS_CERTIFICATE_KEY@|${TLS_CERTIFICATE_KEY:-}|" \
	"$template"
