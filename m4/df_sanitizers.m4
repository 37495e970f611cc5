# SPDX-License-Identifier: BSD-3-Clause
# DF_SANITIZERS: --with-sanitizers=address,undefined or =thread; with fuzzer-no-link among them (clang): fuzz targets only.
AC_DEFUN([DF_SANITIZERS], [
  AC_ARG_WITH([sanitizers],
    [AS_HELP_STRING([--with-sanitizers=LIST], [build with -fsanitize=LIST, e.g. address,undefined or thread])],
    [], [with_sanitizers=no])
  AS_IF([test "x$with_sanitizers" != xno], [
    SANITIZER_CFLAGS="-fsanitize=$with_sanitizers -fno-sanitize-recover=all -fno-omit-frame-pointer"
    # Our fences are seq_cst and paired with seq_cst operations, which TSan orders; it only warns that it ignores the fence itself.
    AS_CASE([$with_sanitizers], [*thread*], [SANITIZER_CFLAGS="$SANITIZER_CFLAGS -Wno-tsan"])
  ])
  AC_SUBST([SANITIZER_CFLAGS])
  AM_CONDITIONAL([FUZZERS], [case $with_sanitizers in #(
    *fuzzer*) :;; #(
    *) false;;
  esac])
  AM_CONDITIONAL([SANITIZERS], [test "x$with_sanitizers" != xno])
])
