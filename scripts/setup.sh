# shellcheck shell=bash
# Sourced by quickstart.sh and test.sh: finds a Python, makes the virtual environment and installs the project in it.
#
#   set_up EXTRA [INCLUDED...]    installs .[EXTRA], which has the extras INCLUDED in it; $VENV/bin/python is then ready
#
# PYTHON=/path/to/python chooses the interpreter for a new environment, VENV=folder the environment (default: .venv
# beside setup.cfg). A stamp file per extra makes every later call a matter of milliseconds.

set -o pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
VENV=${VENV:-$ROOT/.venv}
[[ $VENV == /* ]] || VENV=$PWD/$VENV

say() { printf 'setup: %s\n' "$*" >&2; }
fail() {
    printf 'setup: error: %s\n' "$*" >&2
    exit 1
}

# Prints the version (3.11) of an interpreter that starts and can make environments. Shims that only explain
# themselves, and distributions' Pythons without venv, do neither.
python_version() {
    "$1" -c 'import sys, venv, ensurepip; print("%d.%d" % sys.version_info[:2])' 2>/dev/null
}

# Prints the first suitable interpreter. Python 3.10 is taken when PYTHON asks for it: its host needs a compiler.
find_python() {
    local candidate version seen=""
    if [[ -n ${PYTHON:-} ]]; then
        version=$(python_version "$PYTHON") || fail "PYTHON=$PYTHON does not start, or lacks the venv module"
        [[ $version =~ ^3\.1[0-4]$ ]] || fail "PYTHON=$PYTHON is Python $version; 3.11 or 3.12 is needed (3.10 with a C++ compiler; 3.13 and 3.14 without training)"
        echo "$PYTHON"
        return
    fi
    for candidate in python3.11 python3.12 python3 python; do
        version=$(python_version "$candidate") || continue
        if [[ $version =~ ^3\.1[12]$ ]]; then
            echo "$candidate"
            return
        fi
        seen+=", $candidate is $version"
    done
    fail "no Python 3.11 or 3.12 with the venv module among python3.11, python3.12, python3 and python${seen:+ (${seen#, })}; set PYTHON=/path/to/python"
}

# True for an environment that was made to the end, here: an interrupted one has no pip, a moved one another's paths.
environment_is_whole() {
    [[ -x $VENV/bin/python ]] && head -n 2 "$VENV/bin/pip" 2>/dev/null | grep -qF "$VENV/bin/" &&
        "$VENV/bin/python" -c 'import pip' 2>/dev/null
}

make_environment() {
    local python version asked
    if environment_is_whole; then
        version=$("$VENV/bin/python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
        [[ $version =~ ^3\.1[0-4]$ ]] || fail "$VENV holds Python $version; remove that folder to have it made anew with 3.11 or 3.12"
        if [[ -n ${PYTHON:-} ]]; then
            asked=$(python_version "$PYTHON") || fail "PYTHON=$PYTHON does not start, or lacks the venv module"
            [[ $asked == "$version" ]] || fail "$VENV holds Python $version and PYTHON asks for $asked; remove that folder or name another with VENV=folder"
        fi
        return
    fi
    # --clear below empties the folder: only what is an environment, or as empty as one just begun, may be there.
    if [[ -e $VENV && ! -e $VENV/pyvenv.cfg && -n $(find "$VENV" ! -type d -print -quit) ]]; then
        fail "$VENV exists and is not a virtual environment; name another with VENV=folder"
    fi
    if [[ -L $VENV && -e $VENV ]]; then
        fail "$VENV is a link to an environment of another place, which would be emptied; remove the link, or name that environment with VENV=folder"
    fi
    python=$(find_python) || exit 1
    [[ ! -e $VENV ]] || say "$VENV is incomplete or was moved: making it anew"
    "$python" -m venv --clear "$VENV" || fail "$python could not make the environment $VENV"
}

# One line per state of what decides an installation; the path is in it because an editable installation points to it.
installation_key() {
    echo "$("$VENV/bin/python" -V) $ROOT $(cat "$ROOT/setup.cfg" "$ROOT/pyproject.toml" "$ROOT/constraints.txt" | cksum)"
}

# pip, quiet but for what matters: the only lines left out say that a configured local index lacks a package.
pip_install() {
    "$VENV/bin/python" -m pip --disable-pip-version-check install --quiet "$@" 2>&1 |
        sed '/^WARNING: Location .* is ignored: it is neither a file nor a directory/d' >&2
}

# The host requires torchaudio, which does not load beside a torch of another build (CPU-only torch from a local
# index); transformers then fails on what it believes to be there. Nothing in the host or here uses it.
remove_broken_torchaudio() {
    local version
    version=$("$VENV/bin/python" -m pip --disable-pip-version-check show torchaudio 2>/dev/null | sed -n 's/^Version: //p')
    if [[ -n $version ]] && ! "$VENV/bin/python" -c 'import torchaudio' 2>/dev/null; then
        "$VENV/bin/python" -m pip --disable-pip-version-check uninstall --quiet --yes torchaudio
        say "removed torchaudio $version: it does not load beside this torch, and nothing here needs it"
    fi
}

# Removes the stamps of another state or checkout: an environment holds one editable installation, now this one.
forget_other_installations() {
    local stamp
    for stamp in "$VENV"/.installed-*; do
        [[ ! -f $stamp || $(<"$stamp") == "$1" ]] || rm "$stamp"
    done
}

set_up() {
    local extra=$1 stamp key included
    stamp=$VENV/.installed-$extra
    # One set-up at a time; the second finds everything done.
    if command -v flock >/dev/null; then
        exec 9<"$ROOT/setup.cfg"
        flock 9
    fi
    make_environment
    key=$(installation_key)
    if [[ ! -f $stamp || $(<"$stamp") != "$key" ]]; then
        say "installing into $VENV with $("$VENV/bin/python" -V) (the first time: some minutes)"
        # fairseq 0.12.2, the host for Python 3.10, depends on a release whose metadata pip 24.1 and later refuse.
        if "$VENV/bin/python" -c 'import sys; sys.exit(sys.version_info >= (3, 11))'; then
            pip_install "pip<24.1" || fail "pip could not install an older pip (see above)"
        fi
        pip_install --constraint "$ROOT/constraints.txt" --editable "${ROOT}[$extra,fairseq]" ||
            fail "the installation failed (see above); run the script again to go on"
        remove_broken_torchaudio
        forget_other_installations "$key"
        for included in "$@"; do
            echo "$key" >"$VENV/.installed-$included"
        done
        say "ready"
    fi
    exec 9<&-
}
