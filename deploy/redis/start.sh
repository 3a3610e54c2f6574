#!/bin/sh
# Writes the users from the environment and becomes the server.  Passwords are kept as digests, in memory.
set -eu
: "${REDIS_GATEWAY_PASSWORD:?password of the gateways}" "${REDIS_WORKER_PASSWORD:?password of the workers}"
: "${REDIS_MAXMEMORY:=512mb}" "${CONFIG:=/etc/redis/redis.conf}" "${USERS:=/tmp/users.acl}" "${DATA:=/data}"

digest() { printf %s "$1" | sha256sum | cut -d' ' -f1; }

# Answers have their partition in braces in front (shared/store/keys.py lists all keys); credentials and what
# principals and addresses use are the gateways'.
commands='-@all +@read +@write +@scripting +@pubsub +@connection +time -@dangerous +info +config|get'
gateway='resetkeys ~{p*}* ~workers ~gateways ~{auth}* ~{u*}* ~{a*}* ~ticket:* resetchannels &{p*}* &{auth}*'
worker='resetkeys ~{p*}* ~workers resetchannels &{p*}*'

# Nobody can log in as the default user, which is off; but an AOF is replayed as that user, and what it may not do is
# then left out without a word but in the log (seen on Redis 7.0: a restart lost every answer).
umask 077
cat > "$USERS" <<LINES
user default off nopass ~* &* +@all
user health on nopass resetkeys resetchannels -@all +ping
user gateway on #$(digest "$REDIS_GATEWAY_PASSWORD") $gateway $commands
user worker on #$(digest "$REDIS_WORKER_PASSWORD") $worker $commands
LINES
unset REDIS_GATEWAY_PASSWORD REDIS_WORKER_PASSWORD
exec redis-server "$CONFIG" --dir "$DATA" --maxmemory "$REDIS_MAXMEMORY" --aclfile "$USERS" "$@"
