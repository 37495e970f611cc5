// SPDX-License-Identifier: BSD-3-Clause
/*
 * Journals of a session, as a daemon reads them when it starts.
 *
 * Input: a byte (how many 4 KiB a slot has, lowest 2 bits; bit 2: the file ends
 * too early), then four slots, each behind a byte:
 *     lowest 2 bits  0 never written, 1 taken as it is, head and all,
 *                    2 an entry whose head is made right, 3 the same with a wrong sum
 *     others         its number (2, 3)
 * and a length (2 bytes).
 */
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/cleanup.h"
#include "fields.h"
#include "session/journal.h"
#include "session/state.h"
#include "wire/frame.h"

#define UNIT        4096u
#define HEAD_BYTES  32u

struct made {
    uint8_t *bytes;
    size_t slot_bytes, nbytes;
    uint64_t number;            /* of the newest whole entry */
    unsigned slot;              /* which */
    bool torn;
};

static void put_u64(uint8_t *to, uint64_t v)
{
    memcpy(to, &v, sizeof v);   /* a journal stays on its host */
}

static void put_head(uint8_t *slot, uint64_t number, uint64_t nbytes, bool wrong)
{
    memcpy(slot, "dfjourn\1", 8);
    put_u64(slot + 8, number);
    put_u64(slot + 16, nbytes);
    put_u64(slot + 24, XXH3_64bits_withSeed(slot + HEAD_BYTES, nbytes, XXH3_64bits(slot, 24)) ^ wrong);
}

static void make_slot(struct made *m, unsigned i, struct input *in)
{
    uint8_t *slot = m->bytes + i * m->slot_bytes;
    uint64_t how = input_take(in, 1), number = how >> 2;
    size_t n = input_take(in, 2);
    const uint8_t *bytes = input_bytes(in, &n);
    size_t room = (how & 3) > 1 ? m->slot_bytes - HEAD_BYTES : m->slot_bytes;
    if (n > room)
        n = room;
    if (n && how & 3)
        memcpy(slot + (m->slot_bytes - room), bytes, n);
    if ((how & 3) > 1)
        put_head(slot, number, n, (how & 3) == 3);
    m->torn = m->torn || (how & 3) == 3;
    if ((how & 3) == 2 && number > m->number) {
        m->number = number;
        m->slot = i;
    }
}

/* Without slots that are taken as they are the outcome is known. */
static void compare(const struct made *m, const struct journal *j)
{
    CHECK(j->number == m->number && j->torn == m->torn && j->slot_bytes == m->slot_bytes);
    CHECK(!m->number || (j->newest == m->slot && j->synced == m->slot && j->syncing == m->slot));
}

static void decode(const struct made *m, bool known)
{
    CLEANUP(message_free) struct message *entry = NULL;
    struct journal j = { .named = true, .open = true };
    struct df_error err = { 0 };
    int r = journal_decode(m->bytes, m->nbytes, &j, &entry, &err);
    CHECK(r == err.code && (r == 0) == (entry != NULL));
    if (known && m->nbytes == JOURNAL_SLOTS * m->slot_bytes)
        compare(m, &j);
    if (!entry)
        return;
    fields_walk(journal_fields, entry->root);
    const char *role = node_text(entry->root, "role");
    CHECK(state_find(strcmp(role, "source") ? ROLE_TARGET : ROLE_SOURCE, node_text(entry->root, "state")) != STATE_NONE);
    CHECK(chunk_bytes_check(node_u64(entry->root, "chunk_size", 0), NULL) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t nbytes)
{
    struct input in = { bytes, bytes + nbytes };
    uint64_t head = input_take(&in, 1);
    struct made m = { .slot_bytes = UNIT * (1 + (head & 3)) };
    bool known = true;
    m.nbytes = JOURNAL_SLOTS * m.slot_bytes - (head & 4 ? head * 64 : 0);
    CLEANUP(cleanup_free) uint8_t *whole = m.bytes = calloc(JOURNAL_SLOTS, m.slot_bytes);
    for (unsigned i = 0; i < JOURNAL_SLOTS; i++) {
        known = known && (in.at == in.end || (*in.at & 3) != 1);
        make_slot(&m, i, &in);
    }
    CLEANUP(cleanup_free) uint8_t *copy = input_copy(whole, m.nbytes);
    m.bytes = copy;
    decode(&m, known);
    return 0;
}
