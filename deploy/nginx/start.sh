#!/bin/sh
# Renders the templates from the environment and becomes nginx.  `start.sh reload` renders them anew and reloads:
# open sockets stay where they are, new ones meet the new configuration.
#
# Not the image's own entrypoint: that one writes below /etc, which is read-only here, and replaces nginx's variables
# along with ours.
set -eu

# Names under which the page and the API may be asked for; others get 421.
: "${SERVER_NAMES:=localhost 127.0.0.1}"
# Gateways as name:port, separated by blanks.  A name may stand for many addresses, which are followed as they change.
: "${GATEWAYS:=gateway:8080}"
# Name server that knows them; the first one of /etc/resolv.conf without it.
: "${RESOLVER:=$(awk '/^nameserver/ { print $2; exit }' /etc/resolv.conf)}"
# Empty for an nginx older than 1.27.3, which resolves names once, at its start.
RESOLVE=${RESOLVE-resolve}
# Load balancers in front of this nginx (addresses or networks, separated by blanks) whose X-Forwarded-For is believed.
: "${LOAD_BALANCERS:=}"
# 1: HTTPS with tls.crt and tls.key of TLS_DIR, and HTTP only leads there.
: "${TLS:=0}" "${TLS_DIR:=/etc/nginx/tls}"
# Port under which a browser reaches LISTEN_TLS.
: "${PUBLIC_TLS_PORT:=443}"
# Per client address: connections to gateways (sockets and requests under way), and requests per second.
: "${CONNECTIONS_PER_ADDRESS:=1000}" "${REQUESTS_PER_SECOND:=200}"
# Silence after which a gateway counts as gone.  It pings sockets every 20 s.  An answer that is not streamed is
# silent until it is there: QUEUE_SECONDS and RESPONSE_SECONDS of the gateway together, and some more.
: "${SOCKET_SILENCE:=75s}" "${ANSWER_SILENCE:=400s}"
# After a reload the old processes serve their open sockets for so long; what is cut then resumes.
: "${RELOAD_TIMEOUT:=600s}"
: "${LISTEN:=8080}" "${LISTEN_TLS:=8443}" "${LISTEN_STATUS:=127.0.0.1:8081}"
: "${TEMPLATES:=/etc/nginx/templates}" "${RUN:=/tmp/nginx}"

servers() { for each in $GATEWAYS; do echo "        server $each ${RESOLVE:+$RESOLVE }$1;"; done; }
# A gateway that refuses sockets, since it is full or about to stop, may still answer all else.
FOR_SOCKETS=$(servers max_fails=0)
FOR_REQUESTS=$(servers "max_fails=2 fail_timeout=5s")
REAL_ADDRESS=$(for each in $LOAD_BALANCERS; do echo "    set_real_ip_from $each;"; done)
if [ "$TLS" = 1 ]; then SERVERS="tls redirect"; else SERVERS="http"; fi
export SERVER_NAMES RESOLVER TLS_DIR PUBLIC_TLS_PORT CONNECTIONS_PER_ADDRESS REQUESTS_PER_SECOND \
    SOCKET_SILENCE ANSWER_SILENCE RELOAD_TIMEOUT LISTEN LISTEN_TLS LISTEN_STATUS RUN FOR_SOCKETS FOR_REQUESTS REAL_ADDRESS

render() {
    envsubst '$SERVER_NAMES $RESOLVER $TLS_DIR $PUBLIC_TLS_PORT $CONNECTIONS_PER_ADDRESS
        $REQUESTS_PER_SECOND $SOCKET_SILENCE $ANSWER_SILENCE $RELOAD_TIMEOUT $LISTEN $LISTEN_TLS $LISTEN_STATUS
        $RUN $FOR_SOCKETS $FOR_REQUESTS $REAL_ADDRESS' < "$TEMPLATES/$1.template" > "$RUN/$2"
}

rm -rf "$RUN/servers"
mkdir -p "$RUN/servers"
render nginx.conf nginx.conf
render gateways.inc gateways.inc
for each in $SERVERS; do render "$each.conf" "servers/$each.conf"; done

if [ "${1:-}" = reload ]; then
    nginx -e stderr -t -q -c "$RUN/nginx.conf"
    exec nginx -e stderr -s reload -c "$RUN/nginx.conf"
fi
exec nginx -e stderr -c "$RUN/nginx.conf" -g 'daemon off;'
