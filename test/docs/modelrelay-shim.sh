#!/bin/sh
# Stands before the executable while a page's commands are run. A program that goes on until it is stopped is
# started, and left running once it says that it is ready; the one before it, of the same command, is stopped first,
# as a reader would do. Everything else is run as it stands, with the tests' authority for that of Let's Encrypt.
set -u
for word; do
  case $word in
    --check | --help) exec "$PAGE_BINARY" "$@" ;;
    --tls | issue | renew) export ACME_DIRECTORY="$PAGE_ACME_DIRECTORY" ACME_CA_FILE="$PAGE_ACME_CA_FILE" ;;
  esac
done
case ${1-} in
  serve) ready='The relay listens|HTTPS is served as soon as' ;;
  worker) ready='Connected to the relay' ;;
  demo) ready='The relay listens' ;;
  *) exec "$PAGE_BINARY" "$@" ;;
esac
log=$PAGE_STATE/$1.log
if [ -f "$PAGE_STATE/$1.pid" ]; then
  before=$(cat "$PAGE_STATE/$1.pid")
  ! kill "$before" 2>/dev/null || tail --pid="$before" -f /dev/null
fi
"$PAGE_BINARY" "$@" >"$log" 2>&1 &
echo $! >"$PAGE_STATE/$1.pid"
for _ in $(seq 200); do
  ! grep -Eq "$ready" "$log" || exit 0
  kill -0 $! 2>/dev/null || break
  sleep 0.1
done
cat "$log" >&2
exit 1
