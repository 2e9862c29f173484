#!/usr/bin/env bash
# All that only a GPU can say, on one GPU in under ten minutes: tables on the screen, results/gpu-*.json, exit code 1 where something is wrong.
#   bash benchmarks/gpu.sh [PROCESSED]        without a processed set the demo set is drawn first
cd "$(dirname "$0")/.." || exit 2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=()

part() {  # name, seconds it may take, command
    local name=$1 limit=$2 start=$SECONDS
    shift 2
    printf '\n== %s ==\n' "$name"
    timeout "$limit" "$@" || failed+=("$name (exit code $?)")
    printf -- '-- %s: %d s\n' "$name" $((SECONDS - start))
}

python - <<'PY' || exit 2
import sys, torch
if not torch.cuda.is_available():
    sys.exit("There is no GPU with CUDA here.")
print(torch.cuda.get_device_name(), "· torch", torch.__version__, "· cuDNN", torch.backends.cudnn.version())
PY
data=${1:-$work/processed}
if [ $# -eq 0 ]; then
    part "demo set" 40 sh -c "vehicle_data --demo --output '$work/raw' --quiet && vehicle_preprocess '$work/raw' --output '$data' --quiet"
fi
part "tests" 110 python -m pytest -q -n0 tests/test_gpu.py
part "same weights, replayed and not" 60 python benchmarks/gpu.py same "$data"
part "speed" 170 python benchmarks/gpu.py speed "$data"
part "depthwise convolutions" 100 python benchmarks/gpu.py depthwise "$data"
part "larger batches" 115 python benchmarks/gpu.py batch "$data"
printf '\n%d s in all\n' $SECONDS
if [ ${#failed[@]} -gt 0 ]; then
    printf 'FAILED: %s\n' "${failed[@]}"
    exit 1
fi
echo "All parts passed."
