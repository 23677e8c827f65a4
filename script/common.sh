# Shared by the scripts of this folder: a Python, a virtual environment, pinned packages.
# Sourced, never run. Everything it says goes to standard error: standard output is the command's.

cd "$(dirname "${BASH_SOURCE[0]}")/.."
UV_VERSION=0.13.9
VENV=.venv

say() { printf '%s\n' "$*" >&2; }
fail() { say "error: $*"; exit 1; }

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"
  elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then sudo -n "$@"
  else return 1
  fi
}

apt_install() {
  command -v apt-get >/dev/null || return 1
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@" >&2
}

find_python() {
  local name
  for name in python3 python3.13 python3.12 python3.11; do
    if command -v "$name" >/dev/null &&
      "$name" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2])' 2>/dev/null; then
      command -v "$name"
      return
    fi
  done
  fail "Python 3.11 or newer is needed and was not found on PATH"
}

make_venv() {
  [ -x "$VENV/bin/python" ] && "$VENV/bin/python" -c 'import pip' 2>/dev/null && return
  local python
  python=$(find_python)
  if ! "$python" -m venv "$VENV" >/dev/null 2>&1; then
    say "python3-venv is missing; trying apt-get"
    apt_install python3-venv || fail "cannot make $VENV: install python3-venv (apt-get install python3-venv)"
    "$python" -m venv --clear "$VENV" >&2
  fi
}

# install NAME FILE…: installs the files' packages unless the same files were installed before.
install() {
  local name=$1 stamp started
  shift
  stamp="$VENV/.installed-$name-$(cat "$@" | sha256sum | cut -c1-16)"
  [ -e "$stamp" ] && return
  started=$SECONDS
  [ -x "$VENV/bin/uv" ] || "$VENV/bin/python" -m pip install -q --disable-pip-version-check "uv==$UV_VERSION" >&2
  "$VENV/bin/uv" pip install -q --python "$VENV/bin/python" "${@/#/-r}" >&2 || return 1
  rm -f "$VENV/.installed-$name-"*
  : > "$stamp"
  say "installed $name packages in $((SECONDS - started)) s"
}

# The compiled kernels are kept beside their sources; the first start need not wait for them.
warm_kernels() {
  local stamp started
  stamp="$VENV/.warm-$(cat relay/*.py shards/*.py signals/*.py 2>/dev/null | sha256sum | cut -c1-16)"
  [ -e "$stamp" ] && return
  started=$SECONDS
  # A kept kernel holds what it calls, and knows of changes in its own file only.
  find relay shards signals execution -name '*.nb[ic]' -delete
  "$VENV/bin/python" manage.py warm >&2
  rm -f "$VENV"/.warm-*
  : > "$stamp"
  say "compiled the kernels in $((SECONDS - started)) s"
}

# A MySQL or MariaDB address needs its driver, which is compiled here; nothing else does.
wants_mysql() {
  case ${DATABASE_URL:-} in mysql*) return ;; '') ;; *) return 1 ;; esac
  [ -f .env ] && grep -Eq '^(export )?DATABASE_URL=.?mysql' .env
}

ready() {
  make_venv
  install runtime requirements.txt || fail "the packages of requirements.txt could not be installed"
  if wants_mysql; then
    install mysql requirements-mysql.in 2>"$VENV/mysql.log" ||
      fail "mysqlclient does not build ($VENV/mysql.log): apt-get install libmariadb-dev pkg-config gcc python3-dev"
  fi
}
