#!/usr/bin/env bash
# Plants known faults, one at a time, and sees whether the tests find them.
set -euo pipefail

usage() {
  cat <<'HELP'
usage: tests/canaries.sh [NAME...]

Copies the source, applies each fault of tests/canaries/*.patch to the copy (by default all;
NAMEs select), and runs what should find it: the simulation with as many seeds as a normal run
has, or the test that the patch names. A fault that is not found, or that is found by another
check than the patch names, is a failure. A patch that no longer applies is told of before any is tried.

The head of a patch says what it breaks and who has to notice:
  what: one line
  found by: simulation CHECK [CHECK...]      or      found by: test TARGET NAME

Some hundred seeds are tried before the others: most faults are found by those.
Writes the row of each that was tried into tests/canaries/RESULTS.md. Takes about 20 seconds for each.

  PGTURNOUT_SEEDS   seeds of the simulation (20000)
HELP
}

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$repo"
names=()
for argument in "$@"; do
  case $argument in
    -h | --help) usage && exit 0 ;;
    -*) usage >&2 && exit 2 ;;
    *) names+=("$argument") ;;
  esac
done
seeds=${PGTURNOUT_SEEDS:-20000}
target=${CARGO_TARGET_DIR:-$repo/target}/canaries
copy=$(mktemp -d)
results=tests/canaries/RESULTS.md
trap 'rm -rf "$copy"' EXIT
found=0 missed=0
declare -A rows

git ls-files -z | while IFS= read -r -d '' file; do
  [ -e "$file" ] && printf '%s\0' "$file"
done | tar --null -T - -cf - | tar -xf - -C "$copy"

head_of() { # FIELD PATCH
  sed -nE "/^---/q; s/^$1: *//p" "$2"
}

# What found it, or nothing. Optimized a little: building costs more than playing. Each part of the seeds is played
# only where those before it find nothing; gaps of the catalogue, which only a whole run looks for, find nothing.
simulate() { # CHECKS
  local log=$copy/log first=0 end
  for end in 500 2000 5000 9000 14000 "$seeds"; do
    end=$((end < seeds ? end : seeds))
    if [ "$end" -le "$first" ]; then continue; fi
    if (cd "$copy" && CARGO_TARGET_DIR=$target CARGO_PROFILE_DEV_OPT_LEVEL=1 PGTURNOUT_SHRINK=0 \
      PGTURNOUT_SEED=$first PGTURNOUT_SEEDS=$((end - first)) timeout 600 \
      cargo test -q --test simulation -- --nocapture every_law) >"$log" 2>&1; then
      first=$end
      continue
    fi
    if grep -q '^error' "$log" && ! grep -qE '^(=== |test result: FAILED)' "$log"; then
      sed -n '/^error/,+12p' "$log" >&2
      return 1
    fi
    sed -nE "s/^=== ([A-Za-z]+) is broken by ([0-9]+) seeds: ([0-9]+).*/\1 (\2 of $((end - first)), first \3)/p" "$log"
    if grep -qE "^=== (${1// /|}) " "$log"; then
      break
    fi
    first=$end
  done
}

run_test() { # TARGET NAME
  local log=$copy/log of=(--test "$1")
  if [ "$1" = lib ]; then of=(--lib); fi
  (cd "$copy" && CARGO_TARGET_DIR=$target CARGO_PROFILE_DEV_OPT_LEVEL=1 cargo test -q "${of[@]}" -- \
    "$2") >"$log" 2>&1 && return 0
  if ! grep -q '^test result: FAILED' "$log"; then
    sed -n '/^error/,+12p' "$log" >&2
    return 1
  fi
  printf '%s\n' "$2"
}

try() { # PATCH
  local patch=$1 name what by kind target_of result began took verdict=missed
  name=$(basename "$patch" .patch)
  what=$(head_of what "$patch")
  by=$(head_of 'found by' "$patch")
  kind=${by%% *}
  by=${by#* }
  patch -d "$copy" -p1 -s --no-backup-if-mismatch <"$patch"
  began=$SECONDS
  case $kind in
    # One that does not compile finds nobody.
    simulation) result=$(simulate "$by") || result= ;;
    test)
      read -r target_of by <<<"$by"
      result=$(run_test "$target_of" "$by") || result=
      ;;
    *) printf 'canaries.sh: %s names nobody who finds it\n' "$name" >&2 && exit 1 ;;
  esac
  took=$((SECONDS - began))
  patch -d "$copy" -p1 -s -R --no-backup-if-mismatch <"$patch"
  local check
  for check in $by; do
    if grep -qE "^$check( |$)" <<<"$result"; then verdict=found; fi
  done
  case $verdict in
    found) found=$((found + 1)) ;;
    *) missed=$((missed + 1)) ;;
  esac
  result=$(paste -sd ';' <<<"$result" | sed 's/;/; /g')
  printf '%-7s %-34s %4s s  %s\n' "$verdict" "$name" "$took" "${result:-nothing noticed}"
  rows[$name]="| \`$name\` | $what | ${result:-nothing} |"
}

# All patches in their order, each with what it was found by now or, if it was not tried, before.
write_results() {
  local patch name row
  # shellcheck disable=SC2016
  printf '# What the simulation finds\n\n%s\n%s\n\n| fault | what it breaks | found by |\n|---|---|---|\n' \
    'Written by `tests/canaries.sh`: each fault, and how many seeds, of the part of 20000 that found it' \
    'first, break which check.'
  for patch in tests/canaries/*.patch; do
    name=$(basename "$patch" .patch)
    row=${rows[$name]:-$(grep -F "| \`$name\` |" "$results" || true)}
    if [ -n "$row" ]; then printf '%s\n' "$row"; fi
  done
}

chosen=()
stale=0
for patch in tests/canaries/*.patch; do
  name=$(basename "$patch" .patch)
  if [ ${#names[@]} = 0 ] || printf '%s\n' "${names[@]}" | grep -qx "$name"; then
    chosen+=("$patch")
    if ! patch -d "$copy" -p1 -s --dry-run <"$patch" >/dev/null; then
      printf 'canaries.sh: %s does not apply\n' "$name" >&2
      stale=1
    fi
  fi
done
if [ "$stale" = 1 ]; then exit 1; fi

# What breaks without a fault finds none. The copy has the times of the originals, by which a build with the last fault of
# an earlier run would pass for one without.
touch "$copy/src/lib.rs"
control=$(seeds=2000 simulate none)
if [ -n "$control" ]; then
  printf 'canaries.sh: without any fault this breaks: %s\n' "$control" >&2
  exit 1
fi

for patch in "${chosen[@]}"; do
  try "$patch"
  write_results >"$copy/results"
  cp "$copy/results" "$results"
done
printf '%d found, %d missed\n' "$found" "$missed"
[ "$missed" = 0 ]
