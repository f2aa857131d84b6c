#!/usr/bin/env bash
# Builds the composite corpus from its three sources and gives its numbers in all settings. See README.md.
#   bash examples/composite/run.sh RAVDESS MELD FERPLUS [work folder]
set -euo pipefail

ravdess=$(realpath "${1:?give the folder of RAVDESS speech}")
meld=$(realpath "${2:?give the folder with train_sent_emo.csv and dev_sent_emo.csv}")
ferplus=$(realpath "${3:?give the folder with fer2013.csv and fer2013new.csv}")
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=${4:-$here/work}
mkdir -p "$work" && cd "$work"
rm -rf visual acoustic data-bin sweep report
export OMP_NUM_THREADS=1

set -x
python -m memobert_plugin.corpora ferplus "$ferplus" --output ferplus
python "$here/build.py" --ravdess "$ravdess" --meld "$meld" --ferplus ferplus --output .
memobert-extract acoustic --manifest emotions.tsv --output acoustic --pool 8
memobert-extract acoustic --manifest pretraining.tsv --output acoustic --pool 8

python "$here/word_pieces.py" words.txt --output vocab.txt
for part in emotions pretraining; do
    memobert-binarize --manifest $part.tsv --visual visual --acoustic acoustic --vocab vocab.txt --output data-bin/$part
done

cp "$here/composite.yaml" .
memobert-sweep composite.yaml --output sweep --jobs 2
memobert-report sweep --out report --no-pictures
python "$here/baselines.py" --manifest emotions.tsv --visual visual --acoustic acoustic | tee report/baselines.txt
cat report/table2_settings.md
