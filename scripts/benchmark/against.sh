#!/usr/bin/env bash
# Compares this version's speed and memory with an earlier one's, command by command, in turn, within one run.
#
#   bash scripts/benchmark/against.sh COMMIT FILM [arguments of against.py]
#
# FILM has pictures of speaking people, sound, and subtitles beside it (film.mp4, film.srt). The other version is checked
# out below .against/ and gets an environment of its own from its own files (the first time: some minutes).
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
commit=$(git -C "$root" rev-parse --short=12 "${1:?give a commit to compare with}^{commit}")
film=$(realpath "${2:?give a film with subtitles beside it}")
shift 2
other=$root/.against/$commit
[[ -d $other ]] || git clone --quiet --no-checkout "$root" "$other"
git -C "$other" checkout --quiet "$commit"
# Each in a shell of its own: setup.sh of either version sets ROOT and VENV.
unset VENV PYTHONPATH
bash -c 'source "$1/scripts/setup.sh" && set_up test plot,video,faces' _ "$other"
bash -c 'source "$1/scripts/setup.sh" && set_up test plot,video' _ "$root"
export OMP_NUM_THREADS=1
exec "$root/.venv/bin/python" "$root/scripts/benchmark/against.py" --before "$other" --film "$film" "$@"
