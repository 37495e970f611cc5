// SPDX-License-Identifier: BSD-3-Clause
/* Which roles (keys.h) may send which request. */
#ifndef NET_ACCESS_H
#define NET_ACCESS_H

#include "net/guard.h"

/* -EACCES with a sentence, or 0.  A request that the table does not have is refused to everybody who came with a key. */
int access_check(const struct caller *caller, const char *type, struct df_error *err);
/* The types that the table has, 0 and up; NULL behind the last. */
const char *access_type(size_t index);

/* Does it look at disks or bitmaps, which may take time, and change nothing? */
bool access_looks(const char *type);

/*
 * A session belongs to the key that opened it by `offer`.  Who may send a request
 * of that type only because he is a peer may do so for sessions of his own.
 */
int access_check_owner(const struct caller *caller, const char *type, const char *owner, const char *session, struct df_error *err);

#endif
