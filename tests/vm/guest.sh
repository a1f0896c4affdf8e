#!/bin/sh
# In the machine, as root: the tests of tests/vm. The payload is read-only, and may have any owner.
set -eu
. /payload/settings
systemctl is-system-running --wait || :
systemctl stop nginx 2>/dev/null || :
cp -a /payload/vivarium /root/vivarium
chmod -R a+rX /root/vivarium
chmod 711 /root
cd /root/vivarium
uname -r
export EXECUTIONS VIVARIUM_BUILD=/root/vivarium/build
eval "set -- ${TESTS:-tests/vm tests/fault/test_cgroups.py}"
exec /usr/bin/python3 -m pytest -q -p no:cacheprovider --durations=5 "$@"
