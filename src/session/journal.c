// SPDX-License-Identifier: BSD-3-Clause
#include "session/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <xxhash.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "session/session.h"

#define SLOT_SPARE  2048u           /* endpoints and the message may grow */
#define SLOT_UNIT   4096u
#define SLOT_MAX    (WIRE_CONTROL_BYTES + SLOT_SPARE + SLOT_UNIT)
#define NOTE_BYTES  1024u           /* of the message are kept */

struct slot_head {
    char magic[8];
    uint64_t number;
    uint64_t nbytes;
    uint64_t sum;                   /* of the head before it and the entry behind it */
};

static const char slot_magic[8] = { 'd', 'f', 'j', 'o', 'u', 'r', 'n', 1 };

#define FLAG(key)       { key, FIELD_BOOL, false, 0, 0, 0 }
#define OPTIONAL_FLAG(key) { key, FIELD_BOOL, true, 0, 0, 0 }
#define U64(key, max)   { key, FIELD_U64, false, 0, max, 0 }
#define TEXT(key, max)  { key, FIELD_TEXT, false, 0, max, 0 }

static const struct field bitmap_fields[] = {
    { "disk", FIELD_TEXT, false, 1, DF_DISK_NAME_MAX, 0 }, { "bitmap", FIELD_TEXT, false, 1, DF_BITMAP_NAME_MAX, 0 },
    TEXT("as_disk", DF_DISK_NAME_MAX), TEXT("as_bitmap", DF_BITMAP_NAME_MAX),
    U64("handle", WIRE_HANDLE_MAX), U64("chunks", WIRE_CHUNKS),
    FLAG("exact"), FLAG("fenced"), FLAG("created"), FLAG("merged"),
    { "as_granularity", FIELD_U64, true, 0, DF_GRANULARITY_MAX, 0 }, OPTIONAL_FLAG("transient"),
    { "source_size", FIELD_U64, true, 0, DF_DISK_SIZE_MAX, 0 }, { "source_granularity", FIELD_U64, true, 0, DF_GRANULARITY_MAX, 0 },
    { "staged", FIELD_BOOL, true, 0, 0, 0 },
    OPTIONAL_FLAG("enabled"), OPTIONAL_FLAG("persistent"),
    { 0 }
};

const struct field journal_fields[] = {
    { "session", FIELD_UUID, false, 0, 0, 0 }, TEXT("role", 6), TEXT("state", 32),
    U64("epoch", WIRE_EPOCH_MAX), U64("chunk_size", WIRE_CHUNK_BYTES_MAX),
    TEXT("peer", WIRE_ENDPOINT_BYTES), TEXT("data", WIRE_ENDPOINT_BYTES),
    { "peer_key", FIELD_TEXT, true, 0, KEY_TEXT_BYTES - 1, 0 }, { "owner", FIELD_TEXT, true, 0, KEY_TEXT_BYTES - 1, 0 },
    U64("workers", WIRE_WORKERS), U64("max_bandwidth", UINT64_MAX), U64("pivot", UINT64_MAX),
    U64("frames", UINT64_MAX), U64("bytes", UINT64_MAX), U64("resent_frames", UINT64_MAX),
    FLAG("all_dirty"), U64("dump_epoch", WIRE_EPOCH_MAX), FLAG("loaded"), TEXT("message", NOTE_BYTES),
    OPTIONAL_FLAG("touched"), OPTIONAL_FLAG("unread"), OPTIONAL_FLAG("recorded"),
    { "bitmaps", FIELD_MAPS, false, 1, WIRE_SESSION_BITMAPS, bitmap_fields },
    { 0 }
};

/* --------------------------------------------------------------- writing */

static void put_bitmap(struct out *out, const struct session_bitmap *b)
{
    out_map(out, NULL);
    out_text(out, "disk", b->disk);
    out_text(out, "bitmap", b->bitmap);
    out_text(out, "as_disk", b->as_disk);
    out_text(out, "as_bitmap", b->as_bitmap);
    out_u64(out, "handle", b->handle);
    out_u64(out, "chunks", b->chunks);
    out_bool(out, "exact", b->exact);
    out_bool(out, "fenced", b->fenced);
    out_bool(out, "created", b->created);
    out_bool(out, "merged", b->merged);
    out_u64(out, "as_granularity", b->as_granularity);
    out_bool(out, "transient", b->transient);
    out_u64(out, "source_size", b->geometry.size);
    out_u64(out, "source_granularity", b->geometry.granularity);
    out_bool(out, "staged", b->staged);
    out_bool(out, "enabled", b->info.enabled);
    out_bool(out, "persistent", b->info.persistent);
    out_close(out);
}

static void put_entry(struct out *out, const struct session *s, enum session_state state)
{
    char note[NOTE_BYTES + 1];
    uint64_t frames, bytes;
    session_traffic(s, &frames, &bytes);
    snprintf(note, sizeof note, "%.*s", (int)NOTE_BYTES, s->message);
    out_init(out);
    out_text(out, "session", s->text);
    out_text(out, "role", role_name(s->role));
    out_text(out, "state", state_name(state));
    out_u64(out, "epoch", s->epoch);
    out_u64(out, "chunk_size", s->chunk_bytes);
    out_text(out, "peer", s->peer_address.endpoint);
    out_text(out, "data", s->data);
    out_text(out, "peer_key", s->peer_address.key);
    out_text(out, "owner", s->owner);
    out_u64(out, "workers", s->workers);
    out_u64(out, "max_bandwidth", s->max_bandwidth);
    out_u64(out, "pivot", s->pivot);
    out_u64(out, "frames", frames);
    out_u64(out, "bytes", bytes);
    out_u64(out, "resent_frames", s->resent_frames);
    out_bool(out, "all_dirty", s->all_dirty);
    out_u64(out, "dump_epoch", s->dump_epoch);
    out_bool(out, "loaded", s->is_load);
    out_bool(out, "touched", s->touched);
    out_bool(out, "unread", s->unread);
    out_bool(out, "recorded", s->recorded);
    out_text(out, "message", note);
    out_list(out, "bitmaps");
    for (unsigned i = 0; i < s->nbitmaps; i++)
        put_bitmap(out, &s->bitmaps[i]);
    out_close(out);
}

static uint64_t slot_sum(const struct slot_head *head, const uint8_t *entry)
{
    return XXH3_64bits_withSeed(entry, head->nbytes, XXH3_64bits(head, offsetof(struct slot_head, sum)));
}

static void file_name(const struct session *s, char name[64])
{
    snprintf(name, 64, "%s.%s", s->text, role_name(s->role));
}

/* The file gets its name when its first entry is in it. */
static int create(struct session *s, struct journal *j, size_t nbytes)
{
    char name[64];
    file_name(s, name);
    unlinkat(s->engine->sessions_dir, ".new", 0);
    *j = (struct journal){ .fd = -1 };
    j->fd = openat(s->engine->sessions_dir, ".new", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (j->fd < 0)
        return -errno;
    j->slot_bytes = (nbytes + SLOT_SPARE + SLOT_UNIT - 1) / SLOT_UNIT * SLOT_UNIT;
    off_t whole = (off_t)(JOURNAL_SLOTS * j->slot_bytes);
    if (fallocate(j->fd, 0, 0, whole) < 0 && (errno != EOPNOTSUPP || ftruncate(j->fd, whole) < 0))
        return -errno;
    return 0;
}

static unsigned free_slot(const struct journal *j)
{
    unsigned slot = 0;
    while (slot == j->newest || slot == j->synced || slot == j->syncing)
        slot++;
    return slot;
}

static int put_slot(struct journal *j, unsigned slot, const uint8_t *entry, size_t nbytes)
{
    CLEANUP(cleanup_free) uint8_t *bytes = malloc(sizeof(struct slot_head) + nbytes);
    struct slot_head head = { .number = j->number + 1, .nbytes = nbytes };
    size_t whole = sizeof head + nbytes;
    if (!bytes || whole > j->slot_bytes)
        return bytes ? -EFBIG : -ENOMEM;
    memcpy(head.magic, slot_magic, sizeof head.magic);
    head.sum = slot_sum(&head, entry);
    memcpy(bytes, &head, sizeof head);
    memcpy(bytes + sizeof head, entry, nbytes);
    int r = files_pwrite(j->fd, bytes, whole, (off_t)(slot * j->slot_bytes));
    if (r < 0)
        return r;
    j->number++;
    j->newest = slot;
    return 0;
}

int journal_write(struct session *s, enum session_state state, struct df_error *err)
{
    struct journal *j = &s->journal;
    struct out out;
    const uint8_t *entry;
    size_t nbytes;
    char name[64];
    if (j->named && !j->open)
        return 0;       /* it is over */
    put_entry(&out, s, state);
    int r = out_finish(&out, &entry, &nbytes) ? 0 : -ENOMEM;
    bool fresh = !j->open;
    file_name(s, name);
    if (!r && fresh) {
        r = create(s, j, nbytes + sizeof(struct slot_head) + s->nbitmaps * 16);
        j->open = j->fd >= 0;
    }
    if (!r)
        r = put_slot(j, free_slot(j), entry, nbytes);
    if (!r && fresh && renameat(s->engine->sessions_dir, ".new", s->engine->sessions_dir, name) < 0)
        r = -errno;
    out_destroy(&out);
    if (!r)
        j->named = true;
    if (r < 0 && fresh) {
        journal_close(j);
        unlinkat(s->engine->sessions_dir, ".new", 0);
    }
    return r < 0 ? error_errno(err, r, "cannot write down in the journal that session %s is %s", s->text, state_name(state)) : 0;
}

int journal_sync(const struct journal *j, int dirfd, struct df_error *err)
{
    int r = files_sync(j->fd);
    if (!r)
        r = files_sync_directory(dirfd);
    return r < 0 ? error_errno(err, r, "cannot make the journal of a session durable") : 0;
}

void journal_sync_begins(struct journal *j)
{
    j->syncing = j->newest;
}

void journal_sync_ended(struct journal *j)
{
    j->synced = j->syncing;
}

void journal_close(struct journal *j)
{
    if (j->open)
        close(j->fd);
    *j = (struct journal){ .named = j->named };
}

void journal_remove(struct session *s)
{
    char name[64];
    if (!s->journal.named)
        return;
    file_name(s, name);
    unlinkat(s->engine->sessions_dir, name, 0);
    journal_close(&s->journal);
}

/* --------------------------------------------------------------- reading */

/* Is there a whole entry in the slot?  One that was never written is all zero. */
static bool slot_is_whole(struct journal *j, const uint8_t *slot, struct slot_head *head)
{
    static const struct slot_head unwritten;
    memcpy(head, slot, sizeof *head);
    if (!memcmp(head, &unwritten, sizeof unwritten))
        return false;
    bool sound = !memcmp(head->magic, slot_magic, sizeof slot_magic) && head->nbytes <= j->slot_bytes - sizeof *head;
    if (sound && slot_sum(head, slot + sizeof *head) == head->sum)
        return true;
    j->torn = true;
    return false;
}

static int check_size(uint64_t nbytes, struct df_error *err)
{
    uint64_t slot = nbytes / JOURNAL_SLOTS;
    if (slot < SLOT_UNIT || slot > SLOT_MAX || nbytes % (JOURNAL_SLOTS * SLOT_UNIT))
        return error_set(err, -EPROTO, "it has not the size of a journal");
    return 0;
}

/* What the schema does not say. */
static int check_entry(const node *entry, struct df_error *err)
{
    const char *role = node_text(entry, "role"), *state = node_text(entry, "state");
    bool source = !strcmp(role, role_name(ROLE_SOURCE));
    if ((!source && strcmp(role, role_name(ROLE_TARGET))) || !state_find(source ? ROLE_SOURCE : ROLE_TARGET, state))
        return error_set(err, -EPROTO, "its entry is of a %s that is %s, which is not known", role, state);
    int r = chunk_bytes_check(node_u64(entry, "chunk_size", 0), err);
    size_t n;
    const node *items = node_list(entry, "bitmaps", &n);
    for (size_t i = 0; !r && i < n; i++)
        if (node_u64(&items[i], "source_size", 0))      /* else it is not known, and not used */
            r = granularity_check(node_u64(&items[i], "source_granularity", 0), err);
    return r;
}

int journal_decode(const uint8_t *bytes, size_t nbytes, struct journal *j, struct message **entry, struct df_error *err)
{
    const uint8_t *newest = NULL;
    struct slot_head head, best = { .number = 0 };
    int r = check_size(nbytes, err);
    if (r < 0)
        return r;
    j->slot_bytes = nbytes / JOURNAL_SLOTS;
    for (unsigned slot = 0; slot < JOURNAL_SLOTS; slot++) {
        const uint8_t *at = bytes + slot * j->slot_bytes;
        if (!slot_is_whole(j, at, &head) || head.number <= best.number)
            continue;
        newest = at + sizeof head;
        best = head;
        j->newest = j->synced = j->syncing = slot;
    }
    j->number = best.number;
    if (!newest)
        return error_set(err, -EPROTO, "it has no whole entry");
    r = message_decode_map(newest, best.nbytes, journal_fields, entry, err);
    if (!r && (r = check_entry((*entry)->root, err)) < 0)
        message_free(entry);
    return r;
}

/* A slot that cannot be read, be it for its medium, is one that is not whole. */
static void read_slots(int fd, uint8_t *bytes, size_t slot_bytes)
{
    for (unsigned slot = 0; slot < JOURNAL_SLOTS; slot++) {
        uint8_t *at = bytes + slot * slot_bytes;
        if (pread(fd, at, slot_bytes, (off_t)(slot * slot_bytes)) != (ssize_t)slot_bytes)
            memset(at, 0xff, slot_bytes);
    }
}

static int read_newest(struct journal *j, struct message **entry, struct df_error *err)
{
    struct stat st;
    if (fstat(j->fd, &st) < 0)
        return error_errno(err, -errno, "it cannot be looked at");
    size_t nbytes = S_ISREG(st.st_mode) ? (size_t)st.st_size : 0;
    int r = check_size(nbytes, err);
    if (r < 0)
        return r;
    CLEANUP(cleanup_free) uint8_t *bytes = malloc(nbytes);
    if (!bytes)
        return error_errno(err, -ENOMEM, "it cannot be read");
    read_slots(j->fd, bytes, nbytes / JOURNAL_SLOTS);
    return journal_decode(bytes, nbytes, j, entry, err);
}

/* Every journal of the directory is read by these. */
struct reading {
    int dirfd;
    journal_entry *each;
    void *opaque;
    struct df_error *err;
};

static bool is_journal(const char *name)
{
    size_t n = strlen(name);
    return n == UUID_TEXT_BYTES - 1 + 7 && (!strcmp(name + n - 7, ".source") || !strcmp(name + n - 7, ".target"));
}

static int take_file(void *opaque, const char *name)
{
    const struct reading *reading = opaque;
    CLEANUP(message_free) struct message *entry = NULL;
    struct journal j = { .named = true, .open = true };
    struct df_error err;
    char aside[300];
    if (!is_journal(name))
        return 0;
    j.fd = -1;
    int r = files_open(reading->dirfd, "STATE/sessions", name, O_RDWR, &j.fd, &err);
    if (r < 0 && r != -EPROTO)
        return r == -ENOENT ? 0 : error_set(reading->err, r, "%s", err.message);
    if (!r && read_newest(&j, &entry, &err) == 0)
        return reading->each(reading->opaque, &j, entry->root);
    cleanup_fd(&j.fd);
    snprintf(aside, sizeof aside, "%s.damaged", name);
    renameat(reading->dirfd, name, reading->dirfd, aside);
    log_error("the journal '%s' cannot be read: %s; it is put aside as '%s', and its session's bitmaps are settled without it", name, err.message, aside);
    return 0;
}

int journal_each(int dirfd, journal_entry *each, void *opaque, struct df_error *err)
{
    struct df_error why = { .code = 0 };
    struct reading reading = { dirfd, each, opaque, &why };
    int r = files_list(dirfd, take_file, &reading);
    if (r < 0 && !why.code)
        return error_errno(err, r, "cannot list the journals");
    return r < 0 ? error_set(err, r, "%s", why.message) : r;
}
