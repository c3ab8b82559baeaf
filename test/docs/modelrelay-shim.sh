#!/bin/sh
# Stands before the executable while a page's commands are run. A program that goes on until it is stopped is
# started, and left running once it says that it is ready; the one before it, of the same command, is stopped first,
# as a reader would do. A service that is installed is written out, and then started as if systemd did it. Everything else is run as it stands, with the tests' authority for that of Let's Encrypt.
set -u
for word; do
  case $word in
    --check | --help) exec "$PAGE_BINARY" "$@" ;;
    --tls | issue | renew) export ACME_DIRECTORY="$PAGE_ACME_DIRECTORY" ACME_CA_FILE="$PAGE_ACME_CA_FILE" ;;
  esac
done
if [ "${1-} ${2-}" = "service install" ]; then
  shift 2
  "$PAGE_BINARY" service install --print "$@" || exit
  kind=$1
  while [ "$1" != -- ]; do shift; done
  shift
  set -- "$kind" "$@"
fi
case ${1-} in
  serve)
    case " $* " in
      # An authority that does not exist here; the certificate may be there from another one.
      *" --acme-directory "*) ready='HTTPS is served as soon as|The relay listens url=https' ;;
      # The pin comes last.
      *" --tls-self-signed "*) ready='sha256/' ;;
      *" --tls "*) ready='The relay listens url=https' ;;
      *) ready='The relay listens' ;;
    esac
    ;;
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
for _ in $(seq 500); do
  ! grep -Eq "$ready" "$log" || exit 0
  kill -0 $! 2>/dev/null || break
  sleep 0.1
done
cat "$log" >&2
exit 1
