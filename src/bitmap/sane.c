// SPDX-License-Identifier: BSD-3-Clause
/*
 * From a table in shared memory, which anybody who has it mapped may change at
 * any moment, to a private one that keeps all rules.
 *
 * Nothing is looked at before it was copied, but the number of records, which
 * is fetched once.  A copy that was taken while somebody wrote is caught by its
 * checksum, or it keeps the rules all the same, and then it is as good as any.
 *
 * The rules are what the rest of src/bitmap takes for granted about a record:
 * a shift is a shift of 64 bits, a map's id is one that was given out and is of
 * one map only (mapref.c and the reuse of ids rely on it), a name ends, states
 * and flags have a meaning.
 */
#include "bitmap/disk.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#include <xxhash.h>

#include "base/error.h"

/* Open addressing; 0 is a free place. */
struct seen {
    uint64_t mask;
    uint64_t keys[4 * DF_DISK_BITMAPS * 2];
};

/* Room for n keys, at most half full. */
static void seen_start(struct seen *seen, uint32_t n)
{
    uint64_t room = 4;
    while (room < 2 * (uint64_t)n)
        room *= 2;
    seen->mask = room - 1;
    memset(seen->keys, 0, room * sizeof *seen->keys);
}

/* False: it was there. */
static bool seen_add(struct seen *seen, uint64_t key)
{
    uint64_t at = (key * UINT64_C(0x9e3779b97f4a7c15)) >> 32 & seen->mask;
    for (; seen->keys[at]; at = (at + 1) & seen->mask)
        if (seen->keys[at] == key)
            return false;
    seen->keys[at] = key;
    return true;
}

bool bitmap_name_is_plain(const char *name)
{
    for (const char *c = name; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            return false;
    return true;
}

static bool is_zero(const uint8_t *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (bytes[i])
            return false;
    return true;
}

static const char *check_record(const struct df_disk *disk, const struct table *table, const struct record *record)
{
    size_t n = strnlen(record->name, sizeof record->name);
    if (n < 1 || n > DF_BITMAP_NAME_MAX || !bitmap_name_is_plain(record->name))
        return "a bitmap has no proper name";
    if (record->state > RECORD_COMPARED ||
        record->flags & ~(RECORD_ENABLED | RECORD_PERSISTENT | RECORD_INCONSISTENT | RECORD_WAS_INCONSISTENT) ||
        (record->flags & RECORD_WAS_INCONSISTENT && record->state != RECORD_COMPARED))
        return "a bitmap is in no known state";
    if (record->granularity_shift < __builtin_ctz(DF_GRANULARITY_MIN) || record->granularity_shift > __builtin_ctz(DF_GRANULARITY_MAX) ||
        disk_nbits(disk, record->granularity_shift) > DF_BITMAP_BITS_MAX)
        return "a bitmap's granularity is out of range";
    if (!record->map || record->map >= table->next_map || record->child >= table->next_map ||
        !record->child != (record->state == RECORD_IDLE || record->state == RECORD_TAKEN || record->state == RECORD_COMPARED))
        return "a bitmap has no proper maps";
    if ((record->state == RECORD_IDLE) != is_zero(record->session, sizeof record->session))
        return "a bitmap is in a session without a name, or in none with one";
    return NULL;
}

static const char *check_records(const struct df_disk *disk, const struct table *table)
{
    struct seen names, maps;
    const char *why = NULL;
    seen_start(&names, table->nrecords);
    seen_start(&maps, 2 * table->nrecords);
    for (uint32_t i = 0; !why && i < table->nrecords; i++) {
        const struct record *record = &table->records[i];
        why = check_record(disk, table, record);
        /* Two names of one hash: nobody finds them by chance. */
        if (!why && !seen_add(&names, XXH3_64bits(record->name, strlen(record->name)) | 1))
            why = "two bitmaps have the same name";
        if (!why && (!seen_add(&maps, record->map) || (record->child && !seen_add(&maps, record->child))))
            why = "two bitmaps have the same map";
    }
    return why;
}

static uint64_t table_checksum(const struct table *table)
{
    const char *from = (const char *)&table->number, *to = (const char *)&table->records[table->nrecords];
    return XXH3_64bits(from, (size_t)(to - from));
}

void table_seal(struct table *table, uint64_t number, uint64_t fence)
{
    table->number = number;
    table->fence = (uint32_t)fence;
    table->checksum = table_checksum(table);
}

const char *table_take(const struct df_disk *disk, const struct table *shared, struct table *own)
{
    uint32_t n = *(const volatile uint32_t *)&shared->nrecords;
    if (n > DF_DISK_BITMAPS)
        return "it has too many of them";
    memcpy(own, shared, offsetof(struct table, records) + n * sizeof *shared->records);
    own->nrecords = n;
    /* The compiler must not look at the shared one again. */
    atomic_signal_fence(memory_order_seq_cst);
    if (fault_is_broken(&disk->broken))
        return "its file was cut";
    if (own->checksum != table_checksum(own))
        return "its checksum is wrong";
    if (own->number > TXN_NUMBER_MAX || !own->next_map || own->next_map > INT64_MAX || own->fence > DISK_EPOCH_FENCED)
        return "its head is out of range";
    return check_records(disk, own);
}

int disk_set_damaged(const struct df_disk *disk, const char *why, struct df_error *err)
{
    return error_set(err, -EPROTO, "disk '%s' is damaged, its list of bitmaps cannot be used: %s; stop the programs that write to it, remove the disk, add it and its bitmaps anew and take a full backup",
                     disk->name, why);
}
