#!/usr/bin/env bash
# fairseq: a training that keeps no optimizer state begins again at update 0 when it is started again, with its weights.
#
# Versions: ve-fairseq 0.12.3, torch 2.13.0.
# Guess: --no-save-optimizer-state costs Adam's moments at a resume; the number of updates and the schedule go on.
# Seen: "Loaded checkpoint ... (epoch 1 @ 0 updates)": --max-update 4 makes four updates more at every start, in silence.
#   With the state it says "@ 4 updates" and makes one more, though --max-update is reached.
# Do: keep the state where a training may be stopped, or remove checkpoint_last.pt before it starts again.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    torch==2.13.0 numpy==1.26.4 omegaconf==2.3.1 hydra-core==1.3.8 \
    bitarray==3.12.3 regex==2026.11.15 sacrebleu==2.6.0 scikit-learn==1.9.1 tqdm==4.70.1
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps ve-fairseq==0.12.3

# Train a language model on random numbers until update 4 in the folder $1.
train() {
    "$folder/venv/bin/fairseq-train" --task dummy_lm --tokens-per-sample 8 --dict-size 11 --dataset-size 80 --batch-size 8 \
        --arch transformer_lm --decoder-layers 1 --decoder-embed-dim 16 --decoder-ffn-embed-dim 16 \
        --decoder-attention-heads 2 --criterion cross_entropy --optimizer adam --lr 1e-3 --max-update 4 --cpu \
        --no-epoch-checkpoints --disable-validation --log-format json --save-dir "$folder/$1" "${@:2}" >"$folder/log" 2>&1 ||
        { cat "$folder/log" && exit 1; }
}

# Start it a second time; print where it says that it goes on, and the update at which it ends.
again() {
    train "$@"
    train "$@"
    grep 'Loaded checkpoint' "$folder/log" | grep -o '@ [0-9]* updates'
    grep -o 'num_updates: [0-9]* >= max_update: 4' "$folder/log"
}

kept=$(again kept)
left_out=$(again left_out --no-save-optimizer-state)
printf 'with the state:\n%s\nwithout:\n%s\n' "$kept" "$left_out"
[[ $kept == $'@ 4 updates\nnum_updates: 5 >= max_update: 4' ]]
[[ $left_out == $'@ 0 updates\nnum_updates: 4 >= max_update: 4' ]]
