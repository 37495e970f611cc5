// SPDX-License-Identifier: BSD-3-Clause
/*
 * CURVE keys and the files that they live in, in the form of czmq's zcert: ZPL
 * text.  NAME is the public certificate, NAME_secret has the secret key too.
 *
 *     metadata
 *         roles = "peer monitor"
 *     curve
 *         public-key = "40 characters of Z85"
 *         secret-key = "the same, in NAME_secret only"
 *
 * A certificate's roles say what its key may do at the daemon whose allow
 * directory holds it.  One without roles may nothing.
 */
#ifndef NET_KEYS_H
#define NET_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

#include <dirtyferry/error.h>

#define KEY_TEXT_BYTES 41       /* Z85 and the zero byte */
#define KEY_FILE_BYTES 65536u   /* a file may have */
#define KEY_LINE_BYTES 1024u    /* a line may have: czmq reads no more of it */

enum key_role {
    KEY_ORCHESTRATOR = 1u << 0, /* everything */
    KEY_PEER         = 1u << 1, /* the source of sessions, and of the frames of those that it opened */
    KEY_MONITOR      = 1u << 2, /* looks only */
};

struct key_pair {
    char public_key[KEY_TEXT_BYTES], secret_key[KEY_TEXT_BYTES];
};

struct certificate {
    char public_key[KEY_TEXT_BYTES];
    unsigned roles;             /* enum key_role */
};

/* -ENOTSUP: this libzmq has no CURVE. */
int keys_generate(struct key_pair *pair, struct df_error *err);

/* Writes NAME (0644) and NAME_secret (0600).  Neither may exist: a key is never overwritten.  All or nothing. */
int keys_write(const char *name, const struct key_pair *pair, unsigned roles, struct df_error *err);

/*
 * NAME_secret.  Refused: a link, no regular file, another owner than root or
 * this user, one that others can read or write, a directory above it that
 * others can write without the sticky bit, two halves that do not belong
 * together.  No error and no log line ever has the secret in it.
 */
int keys_read_secret(const char *file, struct key_pair *pair, struct df_error *err);

/*
 * Does it belong to root or this user, and have others none of the rights
 * `forbidden` to it?  `what` and `path` begin the error, `so` is what others could do.
 */
int keys_check_access(const struct stat *st, mode_t forbidden, const char *what, const char *path, const char *so, struct df_error *err);

/* A public certificate; a file with a secret key in it is refused: it is not for passing on. */
int keys_read_certificate(int dirfd, const char *file, struct certificate *certificate, struct df_error *err);

/* Is that the name of a file with a secret key in it, NAME_secret? */
bool key_name_is_secret(const char *name);

/*
 * The text of a certificate, public or secret, as it comes from a file: `n` bytes
 * of anything.  `secret` gets "" when there is no secret key in it.  Touches no
 * file and keeps no state, so a fuzzer may call it.  When it fails both results are
 * empty.  Its errors name lines and never quote them.
 */
int keys_parse(const char *text, size_t n, struct certificate *certificate, char secret[KEY_TEXT_BYTES], struct df_error *err);

/* "orchestrator peer", in that order; the text has room for all of them. */
#define KEY_ROLES_BYTES 32
const char *key_roles_format(unsigned roles, char text[KEY_ROLES_BYTES]);
/* Names separated by blanks or commas. */
int key_roles_parse(const char *text, unsigned *roles, struct df_error *err);

/* Is that the text of a key: 40 characters of Z85? */
bool key_is_valid(const char *text);

/* Overwrites what the compiler would not. */
void keys_forget(struct key_pair *pair);

#endif
