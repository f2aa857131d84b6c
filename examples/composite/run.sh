#!/usr/bin/env bash
# Builds the composite corpus from its three sources and gives its table: all settings, with the floors. It goes on where
# it stopped. See README.md.
#   bash examples/composite/run.sh RAVDESS MELD FERPLUS MINILM [work folder]
# SPEECH=speech_embedding takes the smaller speech encoder of the two in this package.
set -euo pipefail

ravdess=$(realpath "${1:?give the folder of RAVDESS speech}")
meld=$(realpath "${2:?give the folder with train_sent_emo.csv and dev_sent_emo.csv}")
ferplus=$(realpath "${3:?give the folder with fer2013.csv and fer2013new.csv}")
minilm=$(realpath "${4:?give the folder of MiniLM, or of another Hugging Face BERT}")
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=${5:-$here/work}
mkdir -p "$work"
# Frames of 160 ms, whose encoder is in the package.
case ${SPEECH:-whisper} in
whisper) speech=(--encoder whisper --pool 8) ;;
speech_embedding) speech=(--encoder speech_embedding --pool 2) ;;
*) echo "SPEECH is whisper or speech_embedding, not $SPEECH" >&2 && exit 1 ;;
esac
cd "$work"
export OMP_NUM_THREADS=1

set -x
[[ -f ferplus/pictures.npz ]] || python -m memobert_plugin.corpora ferplus "$ferplus" --output ferplus --allow-other-counts
[[ -f pretraining.tsv ]] ||
    python "$here/build.py" --ravdess "$ravdess" --meld "$meld" --ferplus ferplus --output . --copies 4
for part in emotions pretraining; do
    memobert-extract acoustic --manifest $part.tsv --output acoustic "${speech[@]}"
    [[ -f data-bin/$part/corpus.json ]] || memobert-binarize --manifest $part.tsv --visual visual \
        --visual-input expressions --acoustic acoustic --center-speakers --vocab "$minilm/vocab.txt" --output data-bin/$part
done
[[ -f text_encoder.pt ]] || memobert-import bert "$minilm" --output text_encoder.pt

cp "$here/composite.yaml" .
memobert-sweep composite.yaml --output sweep --jobs 2
memobert-report sweep --out report --ensembles --no-pictures --overwrite
python "$here/baselines.py" data-bin/emotions --text-encoder "$minilm" | tee report/baselines.txt
cat report/table2_settings.md
