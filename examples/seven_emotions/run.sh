#!/usr/bin/env bash
# Trains the model that this package ships, after a twin that leaves four actors out to be tested on. See README.md.
#   bash examples/seven_emotions/run.sh RAVDESS GOEMOTIONS EMORYNLP FERPLUS MINILM [work folder]
set -euo pipefail

ravdess=$(realpath "${1:?give the folder of RAVDESS speech}")
goemotions=$(realpath "${2:?give the folder with train.tsv and labels.txt}")
emorynlp=$(realpath "${3:?give the folder with emorynlp_train_final.csv}")
ferplus=$(realpath "${4:?give the folder with fer2013.csv and fer2013new.csv}")
minilm=$(realpath "${5:?give the folder of MiniLM, a Hugging Face BERT}")
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=${6:-$here/work}
held_out=Actor_13,Actor_14,Actor_15,Actor_16
emotions=neutral,happiness,surprise,sadness,anger,disgust,fear
words='neutral=neutral happiness=happy surprise=surprised sadness=sad anger=angry disgust=disgusted fear=afraid'
mkdir -p "$work" && cd "$work"
export OMP_NUM_THREADS=1

# Makes the data-bin and trains in the folder $1, without the actors $2. Frames of the voices serve both models.
model_without() {
    [[ -f $1/manifest.tsv ]] || python "$here/seven_corpus.py" --ravdess "$ravdess" --goemotions "$goemotions" \
        --emorynlp "$emorynlp" --ferplus ferplus --output "$1" --test-speakers "$2"
    # Layer 3 of 4 tells more of emotions than the last one; frames of 160 ms.
    memobert-extract acoustic --manifest "$1/manifest.tsv" --output acoustic --encoder whisper --layer 3 --pool 8 \
        --workers 2
    [[ -f $1/data-bin/corpus.json ]] || memobert-binarize --manifest "$1/manifest.tsv" --visual "$1/visual" \
        --visual-input expressions --acoustic acoustic --center-speakers --vocab "$minilm/vocab.txt" --output "$1/data-bin"
    [[ -f $1/trained ]] || fairseq-train "$1/data-bin" --user-dir "$(memobert-inspect --user-dir)" \
        --task memobert_prompt --criterion memobert_prompt --arch memobert_tiny \
        --text-encoder text/checkpoints/checkpoint_last.pt \
        --init-std 0.05 --position-init-std 0.01 --dropout 0.4 --attention-dropout 0.2 --standardize-frames \
        --frame-dropout 0.6 --modality-mixture --mixture-full-weight 2 --mix-streams --mask-words labels \
        --verbalizer "$words" --labels "$emotions" \
        --max-acoustic-seconds 10 --max-visual-seconds 6 \
        --optimizer memobert_adamw --adam-betas '(0.9,0.98)' --adam-eps 1e-6 --weight-decay 0.01 --clip-norm 5.0 \
        --lr 1e-3 --lr-scheduler polynomial_decay --warmup-updates 50 --total-num-update 1680 --max-update 1600 \
        --batch-size 32 --seed 1 --cpu --num-workers 0 --log-format json --log-interval 50 --disable-validation \
        --no-epoch-checkpoints --save-dir "$1/checkpoints"
    touch "$1/trained"
}

set -x
# The text encoder: MiniLM, trained to fill the prompt after lines of both corpora.
[[ -f text/manifest.tsv ]] || python "$here/text_corpus.py" --goemotions "$goemotions" --emorynlp "$emorynlp" \
    --output text/manifest.tsv
[[ -f text/data-bin/corpus.json ]] || memobert-binarize --manifest text/manifest.tsv --vocab "$minilm/vocab.txt" \
    --output text/data-bin
[[ -f minilm.pt ]] || memobert-import bert "$minilm" --output minilm.pt
# fairseq makes one more update where a training that has ended is started again.
[[ -f text/trained ]] || fairseq-train text/data-bin --user-dir "$(memobert-inspect --user-dir)" \
    --task memobert_prompt --criterion memobert_prompt --arch memobert_small --finetune-from-model minilm.pt \
    --modalities l --mask-words labels --verbalizer "$words" --labels "$emotions" \
    --optimizer memobert_adamw --adam-betas '(0.9,0.98)' --adam-eps 1e-6 --weight-decay 0.01 --clip-norm 5.0 \
    --lr 5e-5 --lr-scheduler polynomial_decay --warmup-updates 100 --total-num-update 1300 --max-update 1300 \
    --batch-size 32 --seed 1 --cpu --num-workers 0 --log-format json --log-interval 50 --disable-validation \
    --no-epoch-checkpoints --save-dir text/checkpoints
touch text/trained

[[ -f ferplus/pictures.npz ]] || python -m memobert_plugin.corpora ferplus "$ferplus" --output ferplus --allow-other-counts
model_without twin "$held_out"
for case in lva l v a; do
    fairseq-validate twin/data-bin --user-dir "$(memobert-inspect --user-dir)" --task memobert_prompt --batch-size 64 \
        --cpu --path twin/checkpoints/checkpoint_last.pt --valid-subset test --modalities $case \
        --predictions test-$case.jsonl
done
calibration=(lva=test-lva.jsonl l=test-l.jsonl v=test-v.jsonl a=test-a.jsonl)
[[ -d twin/bundle ]] || memobert-export twin/checkpoints/checkpoint_last.pt twin/bundle --calibrate "${calibration[@]}"
python "$here/evaluate.py" twin/bundle --ferplus ferplus --answers test-*.jsonl

model_without all ''
[[ -d seven_emotions ]] || memobert-export all/checkpoints/checkpoint_last.pt seven_emotions --calibrate "${calibration[@]}"
