#!/bin/sh
# Test the engines of our extras in an environment of their own, so that the default one never holds torch.
#
#     tools/test_extras.sh [arguments of pytest]
#
# Needs the environment of `make install`, and takes its packages from there; only what the extras add is installed.
# PyTorch's own index has a smaller build for the CPU; PIP_EXTRA_INDEX_URL can name it.
set -eu
cd "$(dirname "$0")/.."

main=.venv venv=.venv-extras
wanted=requirements/extras.txt
openai_whisper=openai-whisper==20250625
python=$venv/bin/python

if ! cmp -s "$wanted" "$venv/installed.txt" || ! "$python" -c 'import piper, torch, whisper' 2>/dev/null; then
    echo "Making $venv for the extras …" >&2
    "$main/bin/python" -m venv --clear "$venv"
    "$main/bin/python" - "$venv" <<'END'
# Let the new environment fall back on the packages of the main one.
import sys, sysconfig
from pathlib import Path

theirs = sysconfig.get_path("purelib")
ours = sysconfig.get_path("purelib", vars={"base": str(Path(sys.argv[1]).absolute())})
Path(ours, "main.pth").write_text(f"import site; site.addsitedir({theirs!r})\n")
END
    "$python" -m pip --disable-pip-version-check install --quiet -r "$wanted"
    "$python" -m pip --disable-pip-version-check install --quiet --no-deps --no-build-isolation "$openai_whisper"
    cp "$wanted" "$venv/installed.txt"
fi
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" # the test model is too small to share among threads
exec "$python" -m pytest tests/extras "$@"
