#!/bin/sh
# Can nginx serve HTTPS with this certificate and this private key?
#
#	check-tls.sh CERTIFICATE KEY
#
# Exit status: 0 if so, with a warning on standard error where the certificate has run out or soon
# will; 1 if not, with the reason.
set -u

fail() {
	echo "check-tls: $*" >&2
	exit 1
}

warn() {
	echo "check-tls: WARNING: $*" >&2
}

certificate=${1:?check-tls: name a certificate and a private key}
key=${2:?check-tls: name a private key after the certificate}
command -v openssl >/dev/null || fail "there is no openssl: deploy/packages.sh ensure run"
for file in "$certificate" "$key"; do
	[ -f "$file" ] || fail "there is no file $file"
	[ -r "$file" ] || fail "$file cannot be read by $(id -un)"
done

of_certificate=$(openssl x509 -in "$certificate" -noout -pubkey 2>/dev/null) ||
	fail "$certificate is no certificate in PEM format"
# An empty passphrase, so that a key that has one is an error and not a question.
of_key=$(openssl pkey -in "$key" -passin pass: -pubout 2>/dev/null) ||
	fail "$key is no private key in PEM format, or has a passphrase"
[ "$of_certificate" = "$of_key" ] ||
	fail "$key is not the key of $certificate (whose first certificate has to be the server's own)"

end=$(openssl x509 -in "$certificate" -noout -enddate)
end=${end#notAfter=}
if ! openssl x509 -in "$certificate" -noout -checkend 0 >/dev/null; then
	warn "$certificate has run out: clients will refuse it ($end)"
elif ! openssl x509 -in "$certificate" -noout -checkend 604800 >/dev/null; then
	warn "$certificate runs out within a week ($end)"
fi
case $(stat -Lc %a -- "$key") in
*[4567]) warn "everybody on this machine can read the private key $key" ;;
esac
