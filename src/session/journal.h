// SPDX-License-Identifier: BSD-3-Clause
/*
 * The journal: what a daemon that was killed needs to go on, a file for each
 * session and role in STATE/sessions.  Private to this daemon and this host.
 *
 *     file = four slots of equal size, allocated when the session begins
 *     slot = magic, number, length, XXH3-64 of all that; then a msgpack map
 *
 * An entry is written over a slot that is neither the newest, nor the newest
 * that was synced, nor being synced, with one pwrite(2): a process killed in the
 * middle leaves the entry before it, a host crash at least the last that was
 * synced.  Nothing
 * is allocated after the beginning, so a full file system cannot stop a pivot.
 *
 * Order: an entry is written before its state is acknowledged to anybody, and
 * before the change that cannot be taken back; what the entry announces is done
 * again after a restart (recover.c), for all of it may be repeated.  Syncing is
 * the keeper's work (keep.h) and never part of a pivot: what an unsynced entry
 * of before a host crash might hide, recovery takes for granted.
 */
#ifndef SESSION_JOURNAL_H
#define SESSION_JOURNAL_H

#include <stddef.h>
#include <stdint.h>

#include <dirtyferry/error.h>

#include "session/state.h"
#include "wire/message.h"

struct session;

#define JOURNAL_SLOTS 4

struct journal {
    bool named;                 /* the file is there */
    bool torn;                  /* when it was read a slot was not whole: a newer entry may be lost */
    bool open;
    int fd;
    uint64_t number;            /* of the newest entry */
    unsigned newest, synced, syncing;   /* slots that are not written over */
    size_t slot_bytes;
};

/* Write the session as it is, in that state.  The first entry creates the file; after journal_close() nothing is written. */
int journal_write(struct session *session, enum session_state state, struct df_error *err);
/* Make the newest entry durable: after it, a host crash does not bring an older one back.  For the keeper's thread. */
int journal_sync(const struct journal *journal, int dirfd, struct df_error *err);
/* The control thread's notes around it: the newest entry is going to be synced; it was. */
void journal_sync_begins(struct journal *journal);
void journal_sync_ended(struct journal *journal);
void journal_close(struct journal *journal);
/* The session is forgotten. */
void journal_remove(struct session *session);

/* Keys of an entry, as in schema.h. */
extern const struct field journal_fields[];

/*
 * The newest whole entry of a journal's bytes, its fields checked; of *journal
 * number, slots and `torn` are set.  -EPROTO: there is none, or it makes no sense.
 */
int journal_decode(const uint8_t *bytes, size_t nbytes, struct journal *journal, struct message **entry, struct df_error *err);

/*
 * Call `each` for every readable journal with its newest entry, whose fields
 * are checked; *journal is then the callee's.  Unreadable ones, and links, are
 * logged and put aside under the name NAME.damaged.  One that is not private
 * (base/files.h) is an error: it may be whole, and somebody has to look.
 */
typedef int journal_entry(void *opaque, struct journal *journal, const node *entry);
int journal_each(int dirfd, journal_entry *each, void *opaque, struct df_error *err);

#endif
