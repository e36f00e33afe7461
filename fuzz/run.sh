#!/usr/bin/env bash
# Runs every fuzz target for a stated time and prints how many inputs each has executed.
set -euo pipefail

usage() {
  cat <<'END'
Usage: fuzz/run.sh [SECONDS] [TARGET...]
       fuzz/run.sh --help

Runs the targets, all of them by default, one after the other for SECONDS each
(60 by default), and prints the executions of each and of all. Inputs that reach
something new are kept in fuzz/found/<target>, which is not under version
control; the committed corpora in fuzz/corpus are read and never written.

Ends with 1 if a target found something: its input is below fuzz/artifacts.
Ends with 2 if something is missing that it needs: a nightly toolchain
(rustup toolchain install nightly) and cargo-fuzz (cargo install cargo-fuzz).
END
}

missing() {
  echo "fuzz/run.sh: $1" >&2
  exit 2
}

if [[ ${1:-} == --help || ${1:-} == -h ]]; then
  usage
  exit 0
fi
seconds=${1:-60}
[[ $seconds =~ ^[1-9][0-9]*$ ]] || { usage >&2; exit 2; }
(($# == 0)) || shift

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
command -v cargo >/dev/null || missing "there is no cargo"
cargo +nightly --version >/dev/null 2>&1 || missing "no nightly toolchain: rustup toolchain install nightly"
command -v cargo-fuzz >/dev/null || missing "no cargo-fuzz: cargo install cargo-fuzz"

cd "$here/.."
if (($# > 0)); then
  targets=("$@")
else
  mapfile -t targets < <(sed -n 's/^name = "\(.*\)"$/\1/p' fuzz/Cargo.toml | grep -v '^pgturnout-fuzz$')
fi
echo "building ${#targets[@]} targets"
cargo +nightly fuzz build --release
host=$(rustc +nightly -vV | sed -n 's/^host: //p')
built=${CARGO_TARGET_DIR:-fuzz/target}/$host/release

log=$(mktemp)
trap 'rm -f "$log"' EXIT
total=0
failed=()
for target in "${targets[@]}"; do
  found=fuzz/found/$target
  mkdir -p "$found" "fuzz/artifacts/$target" "fuzz/corpus/$target"
  state=ok
  "$built/$target" "$found" "fuzz/corpus/$target" -max_total_time="$seconds" -print_final_stats=1 \
    -artifact_prefix="fuzz/artifacts/$target/" >"$log" 2>&1 || state=FAILED
  # A target that crashed has no final figures, but its last report has the count.
  executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
  [[ -n $executions ]] || executions=$(sed -n 's/^#\([0-9]*\)\t.*/\1/p' "$log" | tail -n 1)
  executions=${executions:-0}
  coverage=$(sed -n 's/.*cov: \([0-9]*\) .*/\1/p' "$log" | tail -n 1)
  printf '%-16s %12d executions %8s edges  %s\n' "$target" "$executions" "${coverage:-0}" "$state"
  total=$((total + executions))
  if [[ $state != ok ]]; then
    failed+=("$target")
    tail -n 40 "$log"
  fi
done
printf '%-16s %12d executions in %d s each\n' total "$total" "$seconds"
if ((${#failed[@]} > 0)); then
  echo "found something: ${failed[*]}"
  exit 1
fi
