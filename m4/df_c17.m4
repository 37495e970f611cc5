# SPDX-License-Identifier: BSD-3-Clause
# DF_C17: the compiler in C17 mode, with lock-free 64-bit atomics (writers of
# several processes share them, so a lock inside one process would not do).
AC_DEFUN([DF_C17], [
  CC="$CC -std=gnu17"
  AC_CACHE_CHECK([for C17 with lock-free 64-bit atomics], [df_cv_c17], [
    AC_COMPILE_IFELSE([AC_LANG_PROGRAM([[
      #include <stdatomic.h>
      _Static_assert(__STDC_VERSION__ >= 201710L, "C17");
      _Static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "lock-free");
    ]], [])], [df_cv_c17=yes], [df_cv_c17=no])])
  AS_IF([test "x$df_cv_c17" != xyes],
    [AC_MSG_ERROR([a C17 compiler with lock-free 64-bit atomics is needed])])
])
