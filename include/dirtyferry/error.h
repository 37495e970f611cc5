// SPDX-License-Identifier: BSD-3-Clause
/*
 * How every call of dirtyferry reports a failure.
 *
 * A call that can fail returns 0 or a negative errno.  Its last argument may
 * point to a struct df_error, which it then fills with the same code and with
 * one sentence: what was tried, on what, why it failed, what to do.  NULL is
 * allowed.  On success the struct is left as it was.
 */
#ifndef DIRTYFERRY_ERROR_H
#define DIRTYFERRY_ERROR_H

#ifdef __cplusplus
extern "C" {
#endif

#define DF_ERROR_MESSAGE_BYTES 2560

struct df_error {
    int code;                                /* negative errno, 0 = no error */
    char message[DF_ERROR_MESSAGE_BYTES];    /* UTF-8, no newline, always terminated */
};

#ifdef __cplusplus
}
#endif

#endif
