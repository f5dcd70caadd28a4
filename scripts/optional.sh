# Sourced by the scripts that install what some tests need. Where something can't be installed the tests leave those
# parts out; with CI=true it is a failure. `left_out` names the tests, `name` what is to be installed.

leave_out() {
  echo "$1: the tests with $left_out are left out" >&2
  test "${CI:-}" != true
  exit
}

# Runs a command. On failure the first line of its output with "err" in it, or else the first one, tells why.
quietly() {
  output=$("$@" 2>&1) && return
  why=$(echo "$output" | grep -i -m 1 err) || why=$(echo "$output" | head -n 1)
  leave_out "$name can't be installed ($why)"
}
