#!/bin/sh
# Can this compiler build what libFuzzer runs?
out=$(mktemp) || exit 1
trap 'rm -f "$out"' EXIT
echo 'int LLVMFuzzerTestOneInput(const char *p, unsigned long n) {
  return p && n > 1000000000;
}' | "$1" -fsanitize=fuzzer,address,undefined -x c - -o "$out" 2>/dev/null
