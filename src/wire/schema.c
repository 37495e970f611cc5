// SPDX-License-Identifier: BSD-3-Clause
#include "wire/schema.h"

#include <string.h>

#include "wire/limits.h"

#define U64_ANY   0, UINT64_MAX
#define U32_ANY   0, UINT32_MAX
#define END       { 0 }

/* Fields that mean the same in every message. */
#define DISK            { "disk", FIELD_TEXT, false, 1, 255, 0 }
#define BITMAP          { "bitmap", FIELD_TEXT, false, 1, 1023, 0 }
#define SESSION         { "session", FIELD_UUID, false, 0, 0, 0 }
#define ROLE            { "role", FIELD_TEXT, false, 6, 6, 0 }
#define STATE           { "state", FIELD_TEXT, false, 1, 32, 0 }
#define GRANULARITY     { "granularity", FIELD_U64, false, 512, UINT64_C(2) << 30, 0 }
#define AS_GRANULARITY  { "as_granularity", FIELD_U64, true, 512, UINT64_C(2) << 30, 0 }      /* of the target's bitmap, if another */
#define CHUNK_SIZE      { "chunk_size", FIELD_U64, false, WIRE_CHUNK_BYTES_MIN, WIRE_CHUNK_BYTES_MAX, 0 }
#define DISK_SIZE       { "size", FIELD_U64, false, 1, UINT64_C(1) << 60, 0 }
#define ENDPOINT(key)   { key, FIELD_TEXT, false, 1, WIRE_ENDPOINT_BYTES, 0 }
#define EPOCH           { "epoch", FIELD_U64, false, 1, WIRE_EPOCH_MAX, 0 }
#define HANDLE          { "handle", FIELD_U64, false, 1, WIRE_HANDLE_MAX, 0 }
#define LINK            { "link", FIELD_TEXT, true, 2, 4, 0 }     /* up, lost */
#define PUBLIC_KEY(key) { key, FIELD_TEXT, true, 40, 40, 0 }      /* Z85, of the daemon behind an endpoint, if it has one */
#define NUMBER(key)     { key, FIELD_U64, false, U64_ANY, 0 }
#define FLAG(key)       { key, FIELD_BOOL, false, 0, 0, 0 }
#define OPTIONAL_FLAG(key) { key, FIELD_BOOL, true, 0, 0, 0 }

const struct field message_header[] = {
    { "v", FIELD_U64, false, WIRE_VERSION, WIRE_VERSION, 0 },
    { "type", FIELD_TEXT, false, 1, 32, 0 },
    { "id", FIELD_U64, false, U64_ANY, 0 },
    END
};

const struct field message_error[] = {
    { "code", FIELD_TEXT, false, 1, 32, 0 },
    { "message", FIELD_TEXT, false, 0, 4096, 0 },
    END
};

static const struct field nothing[] = { END };

/* ---- disks and bitmaps */

static const struct field hello_reply[] = {
    { "daemon", FIELD_TEXT, false, 1, 255, 0 },
    ENDPOINT("control"), ENDPOINT("data"), ENDPOINT("events"),
    END
};

static const struct field a_disk[] = { DISK, END };
static const struct field disk_add[] = {
    DISK,
    { "size", FIELD_U64, true, U64_ANY, 0 },         /* or: */
    { "qemu", FIELD_TEXT, true, 1, 107, 0 }, { "node", FIELD_TEXT, true, 1, 255, 0 }, { "nbd", FIELD_TEXT, true, 1, 255, 0 },
    { "data", FIELD_TEXT, true, 1, 4095, 0 },        /* where the contents can be read */
    END
};
static const struct field disk_item[] = {
    DISK, DISK_SIZE, FLAG("readonly"),
    { "bitmaps", FIELD_U64, false, U32_ANY, 0 },
    { "damaged", FIELD_TEXT, true, 1, 4096, 0 },     /* why it cannot be opened; the rest is meaningless then */
    { "qemu", FIELD_TEXT, true, 3, 363, 0 },         /* its bitmaps are QEMU's: socket, space, node */
    { "data", FIELD_TEXT, true, 1, 4096, 0 },        /* where its contents can be read */
    END
};
static const struct field disk_list[] = { { "disk", FIELD_TEXT, true, 1, 255, 0 }, END };
static const struct field disk_list_reply[] = { { "disks", FIELD_MAPS, false, 0, 4096, disk_item }, OPTIONAL_FLAG("more"), END };

static const struct field a_bitmap[] = { DISK, BITMAP, END };
static const struct field bitmap_add[] = {
    DISK, BITMAP,
    { "granularity", FIELD_U64, true, U64_ANY, 0 },
    OPTIONAL_FLAG("disabled"), OPTIONAL_FLAG("persistent"),
    END
};
static const struct field merge_source[] = { { "disk", FIELD_TEXT, true, 1, 255, 0 }, BITMAP, END };
static const struct field bitmap_merge[] = { DISK, BITMAP, { "sources", FIELD_MAPS, false, 1, 256, merge_source }, END };
static const struct field bitmap_item[] = {
    { "name", FIELD_TEXT, false, 1, 1023, 0 }, GRANULARITY, NUMBER("count"),
    FLAG("recording"), FLAG("busy"), FLAG("persistent"), FLAG("inconsistent"), FLAG("frozen"), FLAG("readonly"),
    { "session", FIELD_UUID, true, 0, 0, 0 },        /* whose it is, or: */
    { "diff", FIELD_UUID, true, 0, 0, 0 },
    { "sha256", FIELD_TEXT, true, 64, 64, 0 },
    END
};
static const struct field bitmap_list_reply[] = { { "bitmaps", FIELD_MAPS, false, 0, 256, bitmap_item }, END };
static const struct field bitmap_show_reply[] = { { "bitmap", FIELD_MAP, false, 0, 0, bitmap_item }, END };
static const struct field bitmap_mark[] = { DISK, NUMBER("offset"), NUMBER("length"), END };
static const struct field bitmap_extents[] = { DISK, BITMAP, NUMBER("offset"), END };
static const struct field bitmap_extents_reply[] = {
    DISK_SIZE, GRANULARITY, OPTIONAL_FLAG("enabled"),
    { "extents", FIELD_NUMBERS, false, 0, WIRE_EXTENT_NUMBERS, 0 },
    { "next", FIELD_U64, true, U64_ANY, 0 },
    END
};

/* ---- comparisons */

#define DIFF            { "diff", FIELD_UUID, false, 0, 0, 0 }
#define AGAINST         { "against", FIELD_TEXT, false, 1, 4095, 0 }
static const struct field diff[] = { DISK, BITMAP, AGAINST, { "stamp", FIELD_TEXT, false, 1, 255, 0 }, END };
static const struct field diff_report[] = {
    DIFF, NUMBER("offset"), NUMBER("length"),
    { "extents", FIELD_NUMBERS, false, 0, WIRE_EXTENT_NUMBERS, 0 },
    NUMBER("unread"),
    END
};
static const struct field diff_cancel[] = {
    { "diff", FIELD_UUID, true, 0, 0, 0 },          /* or: */
    { "disk", FIELD_TEXT, true, 1, 255, 0 }, { "bitmap", FIELD_TEXT, true, 1, 1023, 0 },
    END
};
#define DIFF_FIELDS                                                                     \
    DIFF, DISK, BITMAP, AGAINST, STATE, DISK_SIZE, GRANULARITY,                         \
    NUMBER("position"), NUMBER("different"), NUMBER("unread"), OPTIONAL_FLAG("inconsistent")
static const struct field diff_reply[] = { DIFF_FIELDS, END };
static const struct field diff_event[] = { DIFF_FIELDS, NUMBER("seq"), END };

/* ---- sessions: from the orchestrator */

static const struct field prepare_item[] = {
    DISK, BITMAP,
    { "as_disk", FIELD_TEXT, true, 1, 255, 0 },
    { "as_bitmap", FIELD_TEXT, true, 1, 1023, 0 },
    AS_GRANULARITY, OPTIONAL_FLAG("transient"),
    END
};
static const struct field prepare[] = {
    SESSION, ENDPOINT("target"), PUBLIC_KEY("target_key"),
    { "bitmaps", FIELD_MAPS, false, 1, WIRE_SESSION_BITMAPS, prepare_item },
    { "chunk_size", FIELD_U64, true, U64_ANY, 0 },
    { "workers", FIELD_U64, true, U64_ANY, 0 },
    { "max_bandwidth", FIELD_U64, true, U64_ANY, 0 },
    OPTIONAL_FLAG("grow"),
    END
};
static const struct field a_session[] = { SESSION, ROLE, END };
static const struct field rollback[] = { SESSION, ROLE, OPTIONAL_FLAG("force"), END };
static const struct field resume[] = { SESSION, { "target", FIELD_TEXT, true, 1, WIRE_ENDPOINT_BYTES, 0 }, PUBLIC_KEY("target_key"), END };
static const struct field abandon[] = { SESSION, OPTIONAL_FLAG("all_dirty"), END };
static const struct field session_bitmap[] = {
    DISK, BITMAP,
    { "as_disk", FIELD_TEXT, true, 1, 255, 0 },
    { "as_bitmap", FIELD_TEXT, true, 1, 1023, 0 },
    NUMBER("chunks"), NUMBER("chunks_done"),
    END
};
#define SESSION_FIELDS                                                                  \
    SESSION, ROLE, STATE,                                                               \
    { "peer", FIELD_TEXT, true, 1, WIRE_ENDPOINT_BYTES, 0 },                            \
    { "epoch", FIELD_U64, false, 0, WIRE_EPOCH_MAX, 0 },                                \
    NUMBER("chunks"), NUMBER("chunks_done"), NUMBER("frames"), NUMBER("bytes"), NUMBER("resent_frames"), \
    LINK, { "dump", FIELD_TEXT, true, 1, 4095, 0 },                                     \
    { "message", FIELD_TEXT, true, 0, 4096, 0 }
static const struct field session_item[] = {
    SESSION_FIELDS,
    { "bitmaps", FIELD_MAPS, true, 1, WIRE_SESSION_BITMAPS, session_bitmap },
    END
};
static const struct field session_event[] = { SESSION_FIELDS, NUMBER("seq"), END };
static const struct field session_reply[] = { { "status", FIELD_MAP, false, 0, 0, session_item }, END };
static const struct field status_request[] = {
    { "session", FIELD_UUID, true, 0, 0, 0 },
    END
};
static const struct field status_reply[] = { { "sessions", FIELD_MAPS, false, 0, 256, session_item }, END };
static const struct field wait_request[] = {
    SESSION, ROLE, STATE,
    { "timeout_ms", FIELD_U64, false, 0, WIRE_WAIT_MS, 0 },
    END
};

/* ---- sessions: from the source to the target */

static const struct field offer_item[] = {
    DISK, BITMAP, DISK_SIZE, GRANULARITY, FLAG("enabled"), FLAG("persistent"),
    AS_GRANULARITY,
    END
};
static const struct field offer[] = {
    SESSION, CHUNK_SIZE,
    { "bitmaps", FIELD_MAPS, false, 1, WIRE_SESSION_BITMAPS, offer_item },
    OPTIONAL_FLAG("grow"),
    END
};
static const struct field offer_reply[] = {
    ENDPOINT("data"),
    { "handles", FIELD_NUMBERS, false, 1, WIRE_SESSION_BITMAPS, 0 },
    END
};
static const struct field missing_item[] = {
    HANDLE, { "first", FIELD_U64, false, 0, WIRE_CHUNKS, 0 }, { "count", FIELD_U64, false, 1, WIRE_CHUNKS, 0 },
    END
};
static const struct field attempt[] = { SESSION, EPOCH, END };
static const struct field attempt_reply[] = {
    STATE, ENDPOINT("data"), NUMBER("bytes"),
    { "missing", FIELD_MAPS, false, 0, WIRE_MISSING_RANGES, missing_item },
    END
};
static const struct field heartbeat[] = { SESSION, EPOCH, END };
static const struct field heartbeat_reply[] = { STATE, EPOCH, NUMBER("bytes"), END };
static const struct field seal[] = {
    SESSION, EPOCH, HANDLE,
    { "digests", FIELD_BIN, false, 8, 8 * WIRE_SEGMENTS, 0 },
    END
};
static const struct field seal_reply[] = { FLAG("exact"), NUMBER("missing"), NUMBER("wrong"), END };

/* ---- dumps, block by block */

static const struct field dump[] = {
    { "dump", FIELD_U64, false, 1, UINT64_MAX, 0 },         /* chosen by who asks */
    { "session", FIELD_UUID, true, 0, 0, 0 },
    { "disk", FIELD_TEXT, true, 1, 255, 0 },
    { "bitmap", FIELD_TEXT, true, 1, 1023, 0 },
    { "index", FIELD_U64, false, U64_ANY, 0 },
    { "handle", FIELD_U64, false, 1, WIRE_SESSION_BITMAPS + 1, 0 },     /* one more than there are: the end */
    { "first", FIELD_U64, false, 0, WIRE_CHUNKS, 0 },
    END
};
static const struct field dump_reply[] = {
    { "block", FIELD_BIN, false, 1, WIRE_BLOCK_BYTES, 0 },
    { "handle", FIELD_U64, true, 1, WIRE_SESSION_BITMAPS + 1, 0 },      /* of the next block; not there: it was the last */
    { "first", FIELD_U64, true, 0, WIRE_CHUNKS, 0 },
    END
};
static const struct field load[] = {
    { "dump", FIELD_U64, false, 1, UINT64_MAX, 0 },
    SESSION,
    { "index", FIELD_U64, false, U64_ANY, 0 },
    { "block", FIELD_BIN, false, 1, WIRE_BLOCK_BYTES, 0 },
    END
};

/* ---- workers */

static const struct field lease[] = {
    SESSION,
    { "worker", FIELD_TEXT, false, 1, 64, 0 },
    { "lease", FIELD_U64, true, U64_ANY, 0 },
    { "done", FIELD_BOOL, true, 0, 0, 0 },
    OPTIONAL_FLAG("stalled"),
    { "frames", FIELD_U64, true, U64_ANY, 0 },
    { "bytes", FIELD_U64, true, U64_ANY, 0 },
    { "digests", FIELD_BIN, true, 8, 8 * WIRE_SEGMENTS, 0 },
    END
};
static const struct field lease_reply[] = {
    { "grant", FIELD_TEXT, false, 3, 4, 0 },        /* work, keep, end, none */
    { "lease", FIELD_U64, true, U64_ANY, 0 },
    { "epoch", FIELD_U64, true, 1, WIRE_EPOCH_MAX, 0 },
    { "handle", FIELD_U64, true, 1, WIRE_HANDLE_MAX, 0 },
    { "first", FIELD_U64, true, 0, WIRE_CHUNKS, 0 },
    { "count", FIELD_U64, true, 1, WIRE_CHUNKS, 0 },
    { "chunk_size", FIELD_U64, true, WIRE_CHUNK_BYTES_MIN, WIRE_CHUNK_BYTES_MAX, 0 },
    { "nbits", FIELD_U64, true, 1, UINT64_C(1) << 41, 0 },
    { "map", FIELD_TEXT, true, 1, 4095, 0 },
    { "data", FIELD_TEXT, true, 1, WIRE_ENDPOINT_BYTES, 0 },
    PUBLIC_KEY("data_key"),
    { "rate", FIELD_U64, true, U64_ANY, 0 },
    END
};

const struct message_type message_types[] = {
    { "hello",           nothing,        hello_reply },
    { "disk-add",        disk_add,       nothing },
    { "disk-list",       disk_list,      disk_list_reply },
    { "disk-remove",     a_disk,         nothing },
    { "disk-writable",   a_disk,         nothing },
    { "bitmap-add",      bitmap_add,     nothing },
    { "bitmap-remove",   a_bitmap,       nothing },
    { "bitmap-clear",    a_bitmap,       nothing },
    { "bitmap-enable",   a_bitmap,       nothing },
    { "bitmap-disable",  a_bitmap,       nothing },
    { "bitmap-merge",    bitmap_merge,   nothing },
    { "bitmap-list",     a_disk,         bitmap_list_reply },
    { "bitmap-show",     a_bitmap,       bitmap_show_reply },
    { "bitmap-mark",     bitmap_mark,    nothing },
    { "bitmap-extents",  bitmap_extents, bitmap_extents_reply },
    { "diff",            diff,           diff_reply },
    { "diff-report",     diff_report,    diff_reply },
    { "diff-cancel",     diff_cancel,    diff_reply },
    { "prepare",         prepare,        session_reply },
    { "pivot",           a_session,      session_reply },
    { "cancel",          a_session,      session_reply },
    { "rollback",        rollback,       session_reply },
    { "resume",          resume,         session_reply },
    { "abandon",         abandon,        session_reply },
    { "dump",            dump,           dump_reply },
    { "load",            load,           session_reply },
    { "status",          status_request, status_reply },
    { "wait",            wait_request,   session_reply },
    { "offer",           offer,          offer_reply },
    { "attempt",         attempt,        attempt_reply },
    { "heartbeat",       heartbeat,      heartbeat_reply },
    { "seal",            seal,           seal_reply },
    { "lease",           lease,          lease_reply },
    { "state",           session_event,  NULL },
    { "link",            session_event,  NULL },
    { "progress",        session_event,  NULL },
    { "snapshot",        session_event,  NULL },
    { "diff-state",      diff_event,     NULL },
    { "diff-progress",   diff_event,     NULL },
    { "diff-snapshot",   diff_event,     NULL },
    { 0 }
};

const struct message_type *message_type_find(const char *name)
{
    for (const struct message_type *t = message_types; t->name; t++)
        if (!strcmp(t->name, name))
            return t;
    return NULL;
}
