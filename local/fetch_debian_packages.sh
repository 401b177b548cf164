#!/usr/bin/env bash
# Fetches Debian packages and unpacks them, without being root and without installing anything.
#
# Usage:   local/fetch_debian_packages.sh CACHE_DIR PACKAGE...
# Example: local/fetch_debian_packages.sh ~/.cache/flowlid/prompts asterisk-core-sounds-en-wav
#
# Each package lands in CACHE_DIR/PACKAGE/, whole and checked, or not at all. CACHE_DIR/PACKAGE/.md5sums,
# the package's own list of checksums, says that it is complete: such a package is not fetched again.
# apt-get keeps its lists in CACHE_DIR while this runs, so the machine's own may be empty, old or locked.
set -euo pipefail

if [[ $# -lt 2 || $1 == --help ]]; then
  sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2
  exit 1
fi
log() { echo "$(basename "$0"): $*" >&2; }

mkdir -p "$1"
cache=$(cd "$1" && pwd)
shift
packages=("$@")

give_up() {
  log "ERROR: $1"
  log "Get these packages in some other way: ${packages[*]}"
  log "and unpack each (dpkg-deb -x FILE.deb DIR/PACKAGE), so that DIR/PACKAGE/usr/share/... holds its files;"
  log "then give the program that asked for them that place with --corpus DIR."
  exit 1
}

find_missing() {
  missing=()
  for package in "${packages[@]}"; do
    if [[ -e $cache/$package/.md5sums ]]; then
      continue
    elif [[ -e $cache/$package ]]; then
      give_up "$cache/$package is there but not complete; remove it, and run this again"
    fi
    missing+=("$package")
  done
}

unpack() { # PACKAGE
  local package=$1 debs=("$work/debs/$1"_*.deb)
  [[ -f ${debs[0]} && ${#debs[@]} -eq 1 ]] || give_up "apt-get download left no single file for $package"
  mkdir -p "$work/tree/$package"
  dpkg-deb -x "${debs[0]}" "$work/tree/$package" || give_up "dpkg-deb cannot unpack $package"
  dpkg-deb -e "${debs[0]}" "$work/control/$package" || give_up "dpkg-deb cannot read the control files of $package"
  (cd "$work/tree/$package" && md5sum --quiet --strict -c "$work/control/$package/md5sums" >&2) ||
    give_up "$package does not match its own checksums; nothing of it is kept, run this again"
  cp "$work/control/$package/md5sums" "$work/tree/$package/.md5sums"
  mv -T "$work/tree/$package" "$cache/$package"
  log "$cache/$package: complete"
}

find_missing
[[ ${#missing[@]} -gt 0 ]] || exit 0
for tool in apt-get dpkg-deb md5sum flock; do
  command -v "$tool" >/dev/null || give_up "there is no $tool on this machine"
done

exec 9>"$cache/.lock"
if ! flock -n 9; then
  log "waiting: another run is fetching into $cache"
  flock 9
fi
find_missing # the other run may have fetched them
[[ ${#missing[@]} -gt 0 ]] || exit 0

rm -rf "$cache"/.fetch.* # of a run that was killed: we hold the lock
work=$(mktemp -d "$cache/.fetch.XXXXXX")
trap 'rm -rf "$work" "${FLOWLID_PROGRESS:-}"' EXIT
mkdir -p "$work"/{debs,tree,control} "$work"/state/lists/partial "$work"/cache/archives/partial
# Sources, keyrings and the dpkg status stay the system's; only what apt-get writes is ours. Root would
# otherwise become the user _apt, who may not write below a private CACHE_DIR.
apt=(apt-get -q -o "Dir::State=$work/state" -o "Dir::State::Lists=$work/state/lists" -o "Dir::Cache=$work/cache"
  -o "APT::Sandbox::User=$(id -un)" -o Acquire::Retries=3)

# How much is there, for the live line of run.sh, in the form that flowlid/program.py describes.
show_progress() { # BYTES
  while sleep 0.5 && [[ -d $work/debs ]]; do
    echo "$(du -sb "$work/debs" | cut -f 1) $1 0 fetching ${#missing[@]} packages" >"$FLOWLID_PROGRESS"
  done
}

log "fetching ${missing[*]}"
"${apt[@]}" update >&2 || give_up "apt-get update failed"
if [[ -n ${FLOWLID_PROGRESS:-} ]]; then
  show_progress "$("${apt[@]}" download --print-uris "${missing[@]}" | awk '{ bytes += $3 } END { print bytes }')" &
fi
(cd "$work/debs" && "${apt[@]}" download "${missing[@]}" >&2) || give_up "apt-get download failed"
for package in "${missing[@]}"; do
  unpack "$package"
done
