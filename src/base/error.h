// SPDX-License-Identifier: BSD-3-Clause
/* Filling a struct df_error: `return error_set(err, -EBUSY, "...", ...)`. */
#ifndef BASE_ERROR_H
#define BASE_ERROR_H

#include <dirtyferry/error.h>

/* Stores the code (negative errno) and the sentence; returns the code. */
__attribute__((format(printf, 3, 4)))
int error_set(struct df_error *err, int code, const char *format, ...);

/* The same, with ": " and the system's text for errno `code` behind it. */
__attribute__((format(printf, 3, 4)))
int error_errno(struct df_error *err, int code, const char *format, ...);

/*
 * Errors cross process borders by name ("busy", "not-found"), because errno
 * numbers differ between systems.  Unknown numbers travel as "failed" (EIO).
 */
const char *error_code_name(int code);
int error_code_from_name(const char *name);
const char *error_code_at(unsigned i);   /* NULL behind the last one */

#endif
