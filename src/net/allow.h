// SPDX-License-Identifier: BSD-3-Clause
/*
 * The directory of public certificates (keys.h) that a daemon lets in.  The
 * name of a file is the name of its key in logs; what begins with a dot or ends
 * in "_secret" or "~" is passed over.
 *
 * Fails closed: a file that cannot be read, or breaks a rule, lets nobody in; a
 * directory that cannot be read lets nobody in at all.  The directory and its
 * files must belong to root or this user and not be writable for others, or
 * whoever can write there would let himself in.
 *
 * The directory may be replaced, itself or by a link to another; a file is best
 * replaced by rename(2), for one that is half written lets nobody in.
 *
 * Threads: any of them may ask allow_roles(); one thread (guard.c) watches and
 * reloads.
 */
#ifndef NET_ALLOW_H
#define NET_ALLOW_H

#include "net/keys.h"

#define ALLOW_KEYS       4096u  /* certificates in the directory */
#define ALLOW_NAME_BYTES 64     /* longer names are cut */

struct allow;

/* Reads the directory and watches it by inotify.  Fails when it cannot be read, or holds no key that may anything. */
int allow_open(const char *dir, struct allow **allow, struct df_error *err);
void allow_close(struct allow **allow);

/* What a key may do now; 0: nothing.  `name` may be NULL; it gets "" for a key that is not there. */
unsigned allow_roles(struct allow *allow, const char *public_key, char name[ALLOW_NAME_BYTES]);

/* To be polled for POLLIN; -1 while the directory is gone.  May be another after each allow_refresh(). */
int allow_fd(const struct allow *allow);
/*
 * When that is readable, and once a second while it is -1; it may be called at any
 * other time, costs a stat(2) then, and notices by that what inotify cannot tell: a
 * link or a directory on the way to this one that was replaced.
 *
 * Reads the directory again if something happened in it.  True: keys, names or
 * roles are others now, and `gone` was called with each public key that was in
 * before and is not now, or lost a role.  It may call allow_roles().  Says in the
 * log what changed, and which files it does not take.
 */
bool allow_refresh(struct allow *allow, void (*gone)(void *opaque, const char *public_key), void *opaque);

#endif
