#!/bin/sh
# Installs modelrelay: curl -fsSL <release address>/install.sh | sh
# In a checkout, `sh install.sh` builds it from these sources. `--help` says what else it does.
#
# POSIX sh, with curl or wget; nothing is asked, nothing is placed before it is verified, and a run that
# is interrupted or fails leaves what was there. How a release and an installation are laid out stands in
# scripts/release.ts.

set -u
umask 022
# The executable obeys them, and `cd` the last.
unset BUN_OPTIONS BUN_BE_BUN CDPATH

# `bun run release --base-url` writes the release address here.
BASE_URL=""

usage() {
  cat <<'USAGE'
Installs modelrelay, or upgrades it; in a checkout, builds it from the sources there.

  curl -fsSL <release address>/install.sh | sh -s -- [options]
  sh install.sh [options] [-- arguments for the service]

  --version VERSION        install this version instead of the newest
  --prefix DIR             install into DIR/bin (default: /usr/local, without root ~/.local)
  --base-url URL           release address to download from, also MODELRELAY_BASE_URL
  --service serve|worker   set it up as a service as well, with the arguments after --
  --force                  install even if this version is there already
  --uninstall              remove modelrelay and its services; keep settings and data
  --purge                  with --uninstall: remove settings and data too
  --help                   show this
USAGE
}

say() { printf '%s\n' "$*"; }
note() { printf '%s\n' "$*" >&2; }

# fail MESSAGE [WHAT TO DO]…
fail() {
  note "install.sh: $1"
  shift
  for line; do note "  $line"; done
  exit 1
}

# What a server has said, for a terminal: its first line, of plain letters, and not too much.
plain() {
  printf '%s\n' "$1" | LC_ALL=C sed -n '1{s/[^ -~]/?/g;s/^\(.\{300\}\).*/\1…/;p;}'
}

wrong_use() {
  note "install.sh: $1"
  note "  sh install.sh --help says what it takes"
  exit 2
}

has() { command -v "$1" >/dev/null 2>&1; }

user() { id -un 2>/dev/null || id -u; }

# ---- Folders, and what is left of a run -------------------------------------------------------------------

# Work in progress, inside the folder of executables: what is complete there is renamed into place.
work=""
# The download that runs.
child=""
# Folders that this run made, one a line, deepest first.
made=""
installed=""

remove_folders() {
  printf '%s\n' "$1" | while IFS= read -r folder; do
    [ -z "$folder" ] || rmdir "$folder" 2>/dev/null
  done
}

clean_up() {
  [ -z "$child" ] || kill "$child" 2>/dev/null
  [ -z "$work" ] || rm -rf "$work"
  [ -n "$installed" ] || remove_folders "$made"
}

interrupted() {
  note "install.sh: interrupted; nothing was changed"
  exit "$1"
}

# make_folder PATH: with its parents. Where that fails, `problem` says why.
make_folder() {
  at=$1
  new=""
  while [ ! -d "$at" ]; do
    new="$new$at
"
    at=${at%/*}
    [ -n "$at" ] || at=/
  done
  made="$new$made"
  problem=$(mkdir -p "$1" 2>&1)
}

# Free space of the prefix in KiB, or nothing.
free_space() {
  # shellcheck disable=SC2046 # the words of the last line
  set -- $(df -Pk "$bin" 2>/dev/null | tail -n 1)
  case ${4:-} in
    *[!0-9]* | "") ;;
    *) printf '%s' "$4" ;;
  esac
}

disk_is_full() {
  free=$(free_space)
  [ -n "$free" ] && [ "$free" -lt 1024 ]
}

choose_prefix() {
  if [ -n "$prefix" ]; then
    case $prefix in
      /*) ;;
      *)
        here=$(pwd -P 2>/dev/null)
        [ -d "${here:-/nowhere}" ] ||
          fail "Cannot tell where \"$prefix\" is: the current folder is gone" "Give --prefix a path that begins with /"
        prefix=$here/$prefix
        ;;
    esac
    prefix=${prefix%/}
  elif [ "$(id -u)" = 0 ] || [ -w /usr/local/bin ]; then
    prefix=/usr/local
  elif [ -n "${HOME:-}" ]; then
    prefix=${HOME%/}/.local
  else
    fail "Cannot tell where to install: this user has no HOME" "Say it with --prefix DIR"
  fi
  bin=$prefix/bin
}

# Makes the folder of executables and the one for work in progress, and removes what killed runs left.
prepare_folders() {
  # Left by a process that had this one's number before.
  rm -rf "$bin/.modelrelay-install.$$"
  { make_folder "$bin" && problem=$(mkdir "$bin/.modelrelay-install.$$" 2>&1); } ||
    fail "Cannot write to $bin as $(user): ${problem##*: }" \
      "Run it as root (… | sudo sh), or choose a folder of yours: --prefix ${HOME:-DIR}/.local"
  work=$bin/.modelrelay-install.$$
  for left in "$bin"/.modelrelay-install.*; do
    kill -0 "${left##*.}" 2>/dev/null || rm -rf "$left"
  done
  [ ! -d "$bin/modelrelay" ] ||
    fail "Cannot install $bin/modelrelay: a folder has that name" "Rename it, or choose another --prefix"
}

# ---- This machine -----------------------------------------------------------------------------------------

uses_musl() {
  # A system of one kind can have the other's files too, so it is asked first what it is.
  getconf GNU_LIBC_VERSION >/dev/null 2>&1 && return 1
  case $(ldd --version 2>&1) in *musl*) return 0 ;; esac
  for loader in /lib/ld-linux-*.so.? /lib64/ld-linux-*.so.?; do
    [ ! -e "$loader" ] || return 1
  done
  for loader in /lib/ld-musl-*.so.1; do
    [ ! -e "$loader" ] || return 0
  done
  return 1
}

# Sets `target`, as the archives are called.
find_target() {
  system=$(uname -s)
  processor=$(uname -m)
  case $system in
    Linux) os=linux ;;
    Darwin) os=darwin ;;
    MINGW* | MSYS* | CYGWIN* | Windows*)
      fail "Cannot install on Windows from this shell" \
        "Download modelrelay-<version>-windows-x64.zip from ${base:-the release address} and unpack it," \
        "or run install.sh inside WSL"
      ;;
    *)
      fail "Cannot install on the system \"$system\": there are builds for Linux, macOS and Windows" \
        "Run modelrelay on one of those; clients may be on any system"
      ;;
  esac
  [ "$(uname -o 2>/dev/null)" != Android ] ||
    fail "Cannot install on Android: there are builds for Linux, macOS and Windows" \
      "Inside a Linux distribution, such as one of proot-distro, it works"
  case $processor in
    x86_64 | amd64) cpu=x64 ;;
    aarch64 | arm64) cpu=arm64 ;;
    *)
      fail "Cannot install on the processor \"$processor\": there are builds for x86_64 and arm64, 64 bits" \
        "Run modelrelay on a machine with one of those; it needs not be the one with the GPU"
      ;;
  esac
  [ "$(getconf LONG_BIT 2>/dev/null || echo 64)" != 32 ] ||
    fail "Cannot install on a 32-bit system: the processor, $processor, could run a 64-bit one" \
      "Install the 64-bit edition of this system"
  if [ "$os" = darwin ] && [ "$(sysctl -n sysctl.proc_translated 2>/dev/null)" = 1 ]; then
    # A shell for Intel on Apple's processor.
    cpu=arm64
  fi
  target=$os-$cpu
  [ "$os" = linux ] || return 0
  if uses_musl; then
    target=$target-musl
  elif [ "$cpu" = x64 ] && ! grep -q '^flags.* avx2' /proc/cpuinfo 2>/dev/null; then
    target=$target-baseline
  fi
}

# ---- Download ---------------------------------------------------------------------------------------------

find_fetcher() {
  if has curl; then
    fetcher=curl
  elif ! has wget; then
    fail "Cannot download: there is neither curl nor wget" "Install one: apt-get install curl, or apk add curl"
  elif wget --version 2>/dev/null | grep -q GNU; then
    fetcher=wget
  else
    fetcher=small-wget
  fi
}

# limited COMMAND…: in the place of this shell; the file it writes is as long as any of its kind, and no longer.
limited() {
  # In units of 512 or, in bash, of 1024 bytes.
  if [ -n "$is_archive" ]; then ulimit -f 1048576; else ulimit -f 2048; fi 2>/dev/null
  exec "$@"
}

# start_download URL FILE [progress-bar]
start_download() {
  bar=""
  is_archive=${3:-}
  [ ! -t 2 ] || bar=${3:-}
  case $fetcher in
    curl)
      case $1 in
        https:*) protocols='=https' ;;
        *) protocols='=http,https' ;;
      esac
      [ -n "$bar" ] || bar=silent
      limited curl --fail --location --show-error "--$bar" --proto "$protocols" --retry 1 \
        --connect-timeout 20 --speed-time 60 --speed-limit 1 --output "$2" "$1" </dev/null &
      ;;
    wget) limited wget -q ${bar:+--show-progress} --tries=2 --timeout=60 -O "$2" "$1" </dev/null & ;;
    small-wget)
      # Without -q it shows a bar of its own. No -T: with it, busybox 1.35 crashes.
      if [ -n "$bar" ]; then bar=""; else bar=-q; fi
      limited wget $bar -O "$2" "$1" </dev/null &
      ;;
  esac
  child=$!
}

# download URL FILE [progress-bar]: on failure, `why` and `advice` tell what happened.
download() {
  start_download "$@"
  # A signal ends the wait, but would not end a program that runs in the foreground.
  wait "$child"
  code=$?
  child=""
  [ "$code" -ne 0 ] || return 0
  advice="Try again; what was there is unchanged"
  if disk_is_full; then
    why="there is no space left in $bin"
    advice="Make room (about 250 MB), or choose another folder with --prefix"
    return 1
  fi
  why="$fetcher ended with exit code $code"
  case $fetcher-$code in
    curl-5 | curl-6 | curl-7 | curl-28)
      why="nothing answers there ($why)"
      advice="Check the address, the network and, where a proxy is needed, HTTPS_PROXY"
      ;;
    wget-4)
      why="nothing answers there, or the connection was cut ($why)"
      advice="Check the address, the network and, where a proxy is needed, HTTPS_PROXY"
      ;;
    curl-22 | wget-8)
      why="the server refused it ($why)"
      advice="Check the address and the version: ${base:-}/latest.txt names the newest"
      ;;
    *-153)
      why="it does not end"
      advice="Check the address: what is there is no release"
      ;;
    curl-18 | curl-52 | curl-56) why="the connection was cut ($why)" ;;
    curl-23 | wget-3)
      why="it cannot be written to $bin ($why)"
      advice="Check the disk, or choose another folder with --prefix"
      ;;
    curl-35 | curl-51 | curl-60 | curl-77 | wget-5)
      why="the server's certificate is not accepted ($why)"
      advice="Check the clock, and install the package ca-certificates"
      ;;
    small-wget-*) advice="See the line above; check the address and the network, then try again" ;;
  esac
  return 1
}

# sum_of FILE: sets `sum`, the SHA-256 in hex.
sum_of() {
  if has sha256sum; then
    sum=$(sha256sum <"$1")
  elif has shasum; then
    sum=$(shasum -a 256 <"$1")
  elif has openssl; then
    sum=$(openssl dgst -sha256 -r <"$1")
  else
    fail "Cannot verify the download: there is no sha256sum, shasum or openssl" \
      "Install one: apt-get install coreutils, or apk add openssl"
  fi
  sum=${sum%% *}
}

choose_version() {
  if [ -z "$version" ]; then
    download "$base/latest.txt" "$work/latest.txt" ||
      fail "Cannot find the newest version at $base/latest.txt: $why" "$advice"
    IFS= read -r version <"$work/latest.txt" || :
    from="$base/latest.txt says"
  else
    version=${version#v}
    from="--version asks for"
  fi
  # The page of a network that wants a login is no version.
  case $version in
    [0-9]*.[0-9]*.[0-9]*) ;;
    *) version="$version?" ;;
  esac
  case $version in
    *[!0-9A-Za-z.+-]*)
      fail "Cannot install what $from: \"$(plain "${version%\?}")\" is no version such as 1.2.3" \
        "Check the release address, $base, and that this network needs no login"
      ;;
  esac
}

# expect_sum FILE: sets `expected` from SHA256SUMS.
expect_sum() {
  expected=""
  known=""
  cr=$(printf '\r')
  # The last line may lack its end.
  while read -r hex file || [ -n "$hex" ]; do
    file=${file#\*}
    file=${file%"$cr"}
    [ "$file" != "$1" ] || expected=$(printf '%s\n' "$hex" | sed 'y/ABCDEF/abcdef/')
    known="$known ${file#modelrelay-"$version"-}"
  done <"$work/SHA256SUMS"
  [ -n "$expected" ] ||
    fail "Cannot install modelrelay $version on $target: the release has no $1, but has:$(plain "$known")" \
      "Choose another version with --version, or build it: sh install.sh in a checkout"
}

# Downloads the archive of `version` for `target` and unpacks it, once it is verified, into `fresh`.
fetch_release() {
  name=modelrelay-$version-$target
  place=$base/v$version
  for tool in tar gzip; do
    has $tool || fail "Cannot unpack the release: there is no $tool" "Install it: apt-get install $tool"
  done
  download "$place/SHA256SUMS" "$work/SHA256SUMS" ||
    fail "Cannot download $place/SHA256SUMS: $why" "$advice"
  expect_sum "$name.tar.gz"
  say "Downloading modelrelay $version for $target from $base"
  download "$place/$name.tar.gz" "$work/archive" progress-bar ||
    fail "Cannot download $place/$name.tar.gz: $why" "$advice"
  sum_of "$work/archive"
  [ "$sum" = "$expected" ] ||
    fail "Cannot trust $place/$name.tar.gz: its SHA-256 is not the one in SHA256SUMS" \
      "expected $expected, got $sum" \
      "It was cut short or changed on its way; nothing was installed. Try again, and if that does not" \
      "help, tell whoever runs $base"
  unpack "$work/archive"
  fresh=$work/$name
}

# unpack FILE, into `work`
unpack() {
  tar -xzof "$1" -C "$work" && rm -f "$1" && return
  if disk_is_full; then
    fail "Cannot unpack the release: there is no space left in $bin" \
      "Make room (about 250 MB), or choose another folder with --prefix"
  fi
  fail "Cannot unpack the release in $bin" "See the line above"
}

# ---- From sources -----------------------------------------------------------------------------------------

# Sets `sources` where this file lies in a checkout.
find_checkout() {
  sources=""
  # One that comes from a release may lie anywhere, beside anything.
  [ -z "$BASE_URL" ] || return 0
  case $0 in
    */install.sh) folder=${0%/install.sh} ;;
    install.sh) folder=. ;;
    *) return 0 ;;
  esac
  if [ -f "$folder/package.json" ] && [ -f "$folder/scripts/release.ts" ]; then
    sources=$(cd "$folder" && pwd)
  fi
}

# Bun's package of this machine, as package-lock.json has it, from the registry that npm would be told to use.
# Sets `script_runner`.
fetch_bun() {
  [ -n "${NPM_CONFIG_REGISTRY:-}" ] ||
    fail "Cannot build from these sources: there is no Node.js 20 with npm, and no Bun" \
      "Install one of the two, and try again; or name a registry of packages in NPM_CONFIG_REGISTRY," \
      "from which Bun is then fetched"
  case $target in
    *-arm64*) part=aarch64 ;;
    *) part=x64 ;;
  esac
  part=${target%%-*}-$part
  case $target in *-musl) part=$part-musl ;; esac
  entry=$(sed -n "/\"node_modules\/@oven\/bun-$part\"/,/}/p" package-lock.json)
  bun_version=$(printf '%s\n' "$entry" | sed -n 's/.*"version": "\(.*\)".*/\1/p')
  integrity=$(printf '%s\n' "$entry" | sed -n 's/.*"integrity": "sha512-\(.*\)".*/\1/p')
  address=${NPM_CONFIG_REGISTRY%/}/@oven/bun-$part/-/bun-$part-$bun_version.tgz
  find_fetcher
  note "Downloading Bun $bun_version: there is no Node.js 20 with npm, and no Bun"
  download "$address" "$work/bun.tgz" progress-bar ||
    fail "Cannot download $address: $why" "$advice" "Or install Node.js 20 or newer, and try again"
  expected=$(printf '%s' "$integrity" | base64 -d | od -An -v -tx1 | tr -d ' \n')
  if has sha512sum; then
    sum=$(sha512sum <"$work/bun.tgz")
  else
    sum=$(shasum -a 512 <"$work/bun.tgz")
  fi
  if [ -z "$expected" ] || [ "${sum%% *}" != "$expected" ]; then
    fail "Cannot trust $address: its SHA-512 is not the one in package-lock.json" \
      "Try again, or install Node.js 20 or newer"
  fi
  unpack "$work/bun.tgz"
  script_runner=$work/package/bin/bun
}

# Something that runs scripts/bootstrap.mjs, which installs the Bun that package.json names.
find_script_runner() {
  if has npm && has node && node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)'; then
    script_runner=node
  elif has bun; then
    script_runner=bun
  else
    fetch_bun
  fi
}

build_from_sources() {
  cd "$sources" || fail "Cannot enter $sources" "Check who may read it"
  find_script_runner
  say "Building modelrelay for $target from $sources"
  script='import("./scripts/bootstrap.mjs").then(({ bootstrap }) => console.log(bootstrap()))'
  bun=$("$script_runner" -e "$script" </dev/null) ||
    fail "Cannot install what the build needs" "See the lines above; npm's registry has to be reachable"
  "$bun" scripts/release.ts --unpacked "$work" --target "$target" </dev/null >&2 ||
    fail "Cannot build modelrelay" "See the lines above"
  for fresh in "$work"/modelrelay-*; do :; done
  version=${fresh#"$work/modelrelay-"}
  version=${version%"-$target"}
}

# ---- Install ----------------------------------------------------------------------------------------------

# version_of EXECUTABLE: prints what follows the name in `modelrelay 1.2.3 (commit, platform)`.
version_of() {
  "$1" --version </dev/null 2>/dev/null | {
    read -r word number _ && [ "$word" = modelrelay ] && printf '%s' "$number"
  }
}

# An executable that does not run here is not worth having.
try_executable() {
  said=$("$fresh/modelrelay" --version </dev/null 2>&1)
  code=$?
  case $code-$said in "0-modelrelay $version ("*) return ;; esac
  case $code-$target in
    126-*) advice="Is $bin on a disk that is mounted with noexec? Then choose another --prefix" ;;
    132-*) advice="The processor lacks instructions that it needs; tell whoever made the release what /proc/cpuinfo says" ;;
    *-musl) advice="On Alpine it needs a package: apk add libstdc++" ;;
    *) advice="Is this system too old for it? Tell whoever made the release what it says, and: uname -a, ldd --version" ;;
  esac
  # A loader names every symbol that it misses.
  said=$(printf '%s\n' "$said" | sed -n '2s/^/  /; 1,2p')
  fail "Cannot run modelrelay $version for $target here: exit code $code" "$said" "$advice"
}

keep_executable() {
  ln "$bin/modelrelay" "$work/previous" 2>/dev/null ||
    cp -p "$bin/modelrelay" "$work/previous" || return
  mv -f "$work/previous" "$bin/modelrelay.previous"
}

# What setcap let the executable do, such as listening on port 443, it may go on doing.
keep_capabilities() {
  has getcap || return 0
  capabilities=$(getcap "$bin/modelrelay" 2>/dev/null)
  capabilities=${capabilities##* }
  [ -z "$capabilities" ] || setcap "$capabilities" "$fresh/modelrelay" ||
    note "Cannot pass on what setcap allowed it: sudo setcap $capabilities $bin/modelrelay"
}

place_executable() {
  chmod 755 "$fresh/modelrelay"
  keep_capabilities
  # A machine that loses power shall not have the name without the content.
  sync "$fresh/modelrelay" 2>/dev/null
  # From here to the end of it, a signal waits: these are renames, each of which happens or does not.
  trap '' HUP INT TERM
  if [ -e "$bin/modelrelay" ] && ! cmp -s "$bin/modelrelay" "$fresh/modelrelay"; then
    keep_executable || fail "Cannot keep the version that is there as $bin/modelrelay.previous" "See the line above"
  fi
  mv -f "$fresh/modelrelay" "$bin/modelrelay" || fail "Cannot replace $bin/modelrelay" "See the line above"
  installed=yes
}

# The manual, what shells complete, the licence and the units. Without them it works as well.
place_other_files() {
  about=$prefix/share/doc/modelrelay
  mkdir -p "$fresh/share/doc/modelrelay"
  for file in LICENSE README.md systemd; do
    [ ! -e "$fresh/$file" ] || mv "$fresh/$file" "$fresh/share/doc/modelrelay/"
  done
  if ! make_folder "$about"; then
    note "The manual and completions are left out: ${problem}"
    return
  fi
  (cd "$fresh/share" && find . -type f) >"$work/files"
  while IFS= read -r file; do
    file=$prefix/share/${file#./}
    make_folder "${file%/*}" && mv -f "$fresh${file#"$prefix"}" "$file"
  done <"$work/files"
  {
    cat "$about/made-folders" 2>/dev/null
    printf '%s' "$made"
  } | sort -u >"$work/made-folders"
  mv -f "$work/made-folders" "$about/made-folders"
}

# ---- Services ---------------------------------------------------------------------------------------------

# Prints `serve - system`, `worker NAME user` and the like of the services that run what is in `bin`.
list_services() {
  # As a unit of systemd has the path, and as XML has it; then the signs of both as a pattern has them.
  in_unit='s/%/%%/g;s/[\\"]/\\&/g'
  in_xml='s/&/\&amp;/g;s/</\&lt;/g;s/>/\&gt;/g;s/"/\&quot;/g'
  in_pattern='s/[][(){}.*+?^$|\\]/\\&/g'
  paths=$(printf '%s\n' "$bin/modelrelay" | sed "$in_unit;$in_pattern")
  paths="$paths|$(printf '%s\n' "$bin/modelrelay" | sed "$in_xml;$in_pattern")"
  settings=${XDG_CONFIG_HOME:-${HOME:-/nowhere}/.config}
  agents=${HOME:-/nowhere}/Library/LaunchAgents
  for definition in /etc/systemd/system/modelrelay.service /etc/systemd/system/modelrelay-worker@*.service \
    "$settings"/systemd/user/modelrelay.service "$settings"/systemd/user/modelrelay-worker@*.service \
    /Library/LaunchDaemons/modelrelay.*.plist "$agents"/modelrelay.*.plist; do
    grep -Eqs "(^|[^[:alnum:]_.])($paths)([^[:alnum:]_./-]|\$)" "$definition" || continue
    case $definition in
      /etc/* | /Library/*) scope=system ;;
      *) scope=user ;;
    esac
    unit=${definition##*/}
    unit=${unit%.plist}
    case $unit in
      modelrelay.service | modelrelay.serve) say "serve - $scope" ;;
      modelrelay-worker@.service) ;; # for all workers, each of which has a link to it elsewhere
      modelrelay-worker@*)
        unit=${unit%.service}
        say "worker ${unit#modelrelay-worker@} $scope"
        ;;
      modelrelay.worker.*) say "worker ${unit#modelrelay.worker.} $scope" ;;
    esac
  done
}

# in_words KIND NAME SCOPE: as `modelrelay service` takes them
in_words() {
  words=$1
  [ "$2" = - ] || words="$words $2"
  [ "$3" != user ] || words="$words --user"
  say "$words"
}

# Sets up the service that was asked for, or has the one that is there run the new version.
set_up_service() {
  scope=""
  [ "$(id -u)" = 0 ] || scope=--user
  if [ $# -eq 0 ] && list_services | grep -q "^$service "; then
    say "There is a service already; arguments after -- would change it"
    exec "$bin/modelrelay" service restart "$service" ${scope:+"$scope"} </dev/null
  fi
  # Of one that is there, what is written now takes the place.
  exec "$bin/modelrelay" service install "$service" --replace ${scope:+"$scope"} "$@" </dev/null
}

remove_services() {
  list_services | while read -r kind name scope; do
    # shellcheck disable=SC2046 # words
    "$bin/modelrelay" service uninstall $(in_words "$kind" "$name" "$scope") ${purge:+--purge} </dev/null || exit
  done ||
    fail "Cannot remove a service that runs $bin/modelrelay, so that stays where it is" \
      "See the lines above; what was placed by hand has to be removed by hand"
}

say_what_next() {
  command=modelrelay
  found=$(command -v modelrelay 2>/dev/null || :)
  case :${PATH:-}: in
    *":$bin:"*)
      if [ -n "$found" ] && [ "$found" != "$bin/modelrelay" ]; then
        say "Your shell finds another one first, $found: remove it, or type $bin/modelrelay"
        command=$bin/modelrelay
      fi
      ;;
    *)
      say "$bin is not on your PATH: add this line to ~/.profile, and type it here as well:"
      # shellcheck disable=SC2016 # for the user's shell
      say "  export PATH=\"$bin:\$PATH\""
      ;;
  esac
  if [ -n "$fresh" ] && [ -z "$service" ]; then
    list_services | while read -r kind name scope; do
      say "A service runs the version before this one until: $command service restart $(in_words "$kind" "$name" "$scope")"
    done
  fi
  [ -z "$service" ] || return 0
  [ -z "$before" ] || return 0
  say ""
  say "Next, on the machine with the public address:"
  say "  $command serve --tls --domain relay.example.com"
  say "and on each machine with a GPU, as serve says when it has started:"
  say "  $command worker --proxy-url https://relay.example.com --worker-secret-file worker-secret --models '*'"
  say "To try it here first: $command demo"
}

install() {
  fresh=""
  find_target
  [ -n "$sources" ] || find_fetcher
  prepare_folders
  before=$(version_of "$bin/modelrelay" 2>/dev/null || :)
  if [ -n "$sources" ]; then
    build_from_sources
  else
    choose_version
    if [ "$before" = "$version" ] && [ -z "$force" ]; then
      say "modelrelay $version is already in $bin; --force installs it again"
    else
      fetch_release
    fi
  fi
  if [ -n "$fresh" ]; then
    try_executable
    place_executable
    place_other_files
    say "Installed modelrelay $version for $target in $bin"
    if [ -n "$before" ] && [ "$before" != "$version" ]; then
      say "The version before it, $before, is kept: modelrelay update --rollback brings it back"
    fi
  fi
  installed=yes
  clean_up
  work=""
  trap - HUP INT TERM
  say_what_next
  [ -z "$service" ] || set_up_service "$@"
}

# ---- Uninstall --------------------------------------------------------------------------------------------

# Settings and data of this user and, for root, of the relay of this machine.
leave_or_purge_data() {
  set -- "${XDG_DATA_HOME:-${HOME:-/nowhere}/.local/share}/modelrelay" \
    "${XDG_CONFIG_HOME:-${HOME:-/nowhere}/.config}/modelrelay" \
    "${HOME:-/nowhere}/Library/Application Support/modelrelay"
  [ "$(id -u)" != 0 ] || set -- "$@" /var/lib/modelrelay /etc/modelrelay
  for folder; do
    [ -e "$folder" ] || continue
    if [ -n "$purge" ]; then
      rm -rf "$folder" && say "Removed $folder"
    else
      say "Kept settings and data in $folder; to remove them too: rm -rf '$folder'"
    fi
  done
}

uninstall() {
  if [ ! -e "$bin/modelrelay" ] && [ ! -e "$bin/modelrelay.previous" ]; then
    found=$(command -v modelrelay 2>/dev/null || :)
    [ -z "$found" ] ||
      fail "Cannot find modelrelay in $bin: it is $found" "Say where: --uninstall --prefix ${found%/bin/modelrelay}"
    fail "Cannot find modelrelay in $bin" "Say where it is: --uninstall --prefix DIR"
  fi
  [ -w "$bin" ] || fail "Cannot remove $bin/modelrelay as $(user)" "Run it as root: sudo sh install.sh --uninstall"
  remove_services
  about=$prefix/share/doc/modelrelay
  folders=$(sort -r "$about/made-folders" 2>/dev/null)
  rm -rf "$bin/modelrelay" "$bin/modelrelay.previous" "$bin"/.modelrelay-install.* "$about"
  for file in man/man1/modelrelay.1 bash-completion/completions/modelrelay zsh/site-functions/_modelrelay \
    fish/vendor_completions.d/modelrelay.fish; do
    rm -f "$prefix/share/$file"
  done
  say "Removed modelrelay from $bin"
  leave_or_purge_data
  remove_folders "$folders"
  # Made for the data, where nothing else is in them.
  [ -z "$purge" ] || rmdir "${HOME:-/nowhere}/.local/share" "${HOME:-/nowhere}/.local" 2>/dev/null || :
}

# ---- Arguments --------------------------------------------------------------------------------------------

main() {
  version=""
  prefix=""
  service=""
  action=install
  force=""
  purge=""
  base=${MODELRELAY_BASE_URL:-}
  find_checkout
  while [ $# -gt 0 ]; do
    case $1 in
      --version=* | --prefix=* | --base-url=* | --service=*)
        option=${1%%=*}
        value=${1#*=}
        shift
        set -- "$option" "$value" "$@"
        continue
        ;;
      --version | --prefix | --base-url | --service)
        case ${2:-} in "" | -*) wrong_use "$1 needs a value" ;; esac
        case $1 in
          --version) version=$2 ;;
          --prefix) prefix=$2 ;;
          --base-url) base=$2 ;;
          --service) service=$2 ;;
        esac
        shift
        ;;
      --force) force=yes ;;
      --uninstall) action=uninstall ;;
      --purge) purge=yes ;;
      -h | --help)
        usage
        exit 0
        ;;
      --) break ;;
      *) wrong_use "It does not know \"$1\"" ;;
    esac
    shift
  done
  case $service in
    "" | serve | worker) ;;
    *) wrong_use "--service takes serve or worker, not \"$service\"" ;;
  esac
  [ $# -eq 0 ] || [ -n "$service" ] || wrong_use "What stands after -- is for a service: give --service too"
  [ -z "$purge" ] || [ "$action" = uninstall ] || wrong_use "--purge goes with --uninstall"
  # Whoever names a release wants that one.
  [ -z "$version$base" ] || sources=""
  base=${base:-$BASE_URL}
  base=${base%/}
  choose_prefix
  if [ "$action" = uninstall ]; then
    uninstall
    return
  fi
  if [ -z "$sources" ]; then
    case $base in
      http://?* | https://?*) ;;
      "")
        fail "Cannot tell where to download from: this install.sh knows no release address" \
          "Give one with --base-url URL, or MODELRELAY_BASE_URL=URL in front of sh"
        ;;
      *) fail "Cannot download from \"$base\"" "A release address begins with http:// or https://" ;;
    esac
  fi
  trap clean_up EXIT
  trap 'interrupted 129' HUP
  trap 'interrupted 130' INT
  trap 'interrupted 143' TERM
  install "$@"
}

# All of it is read before anything runs: of a download that was cut, nothing does.
main "$@"
