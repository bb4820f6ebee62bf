#!/usr/bin/env bash
# Makes the shipped proxies again: `raw` scales its input by a constant only, `stable` centres it and is trained to keep
# its ReLUs on one side, `centred` centres it and is not (the hard kind). Knapsack proxies always centre it: the plain
# ones are trained with that term and the paper's loss, `focused` ones (and those of 200 and 500 items, which pack no
# more than a fixed order otherwise) with a loss that orders the items near the critical one better, `free` ones
# without that term (both harder to verify), `binarized` ones have sign units and hidden weights of -1 and 1.
set -euo pipefail
cd "$(dirname "$0")"
for n in 57 118 300; do
    case=pglib_opf_case${n}_ieee
    certigap train dcopf --case "$case" --steps 12000 --minutes 60 --seed 1 -o "dcopf-case$n-raw.safetensors"
    certigap train dcopf --case "$case" --steps 12000 --minutes 60 --seed 1 --centred --stability 0.1 \
        -o "dcopf-case$n-stable.safetensors"
done
certigap train dcopf --case pglib_opf_case57_ieee --steps 12000 --minutes 60 --seed 1 --centred \
    -o dcopf-case57-centred.safetensors
certigap train dcopf --case pglib_opf_case1354_pegase --steps 6000 --minutes 60 --seed 1 --centred --stability 0.1 \
    -o dcopf-case1354-stable.safetensors
for n in 10 50 80; do
    certigap train knapsack --items "$n" --steps 12000 --minutes 60 --seed 1 --stability 0.1 \
        -o "knapsack-$n.safetensors"
done
certigap train knapsack --items 200 --steps 12000 --minutes 60 --seed 1 --stability 0.1 --distance focused \
    -o knapsack-200.safetensors
certigap train knapsack --items 500 --hidden 64,64 --steps 8000 --minutes 60 --seed 1 --stability 0.1 \
    --distance focused -o knapsack-500.safetensors
for n in 50 80; do
    certigap train knapsack --items "$n" --steps 12000 --minutes 60 --seed 1 --stability 0.1 --distance focused \
        -o "knapsack-$n-focused.safetensors"
done
certigap train knapsack --items 50 --steps 12000 --minutes 60 --seed 1 -o knapsack-50-free.safetensors
certigap train knapsack --items 10 --hidden 16,16 --binarized binary --steps 12000 --minutes 60 --seed 1 \
    -o knapsack-10-binarized.safetensors
