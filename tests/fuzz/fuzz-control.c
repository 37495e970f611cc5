// SPDX-License-Identifier: BSD-3-Clause
/*
 * Control messages.  Input: a byte that says which kind (request, reply,
 * event), then the message.
 */
#include <errno.h>

#include "base/cleanup.h"
#include "fields.h"

static void walk(const struct message *m, enum message_kind kind)
{
    struct df_error err;
    fields_walk(message_header, m->root);
    CHECK(m->type && m->id == node_u64(m->root, "id", 0));
    CHECK((kind == MESSAGE_REPLY && message_get_error(m, &err) < 0) == (m->error != NULL));
    if (m->error)
        fields_walk(message_error, m->error);
    else
        fields_walk(kind == MESSAGE_REPLY ? m->type->reply : m->type->request, m->root);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t nbytes)
{
    struct input in = { bytes, bytes + nbytes };
    enum message_kind kind = (enum message_kind)(input_take(&in, 1) % 3);
    size_t n = input_left(&in);
    CLEANUP(cleanup_free) uint8_t *copy = input_copy(in.at, n);
    CLEANUP(message_free) struct message *m = NULL;
    struct df_error err = { 0 };
    uint64_t id, again;
    int r = message_decode(copy, n, kind, &m, &id, &err);
    CHECK(r == err.code && (r == 0 || (r == -EPROTO && !m && *err.message)));
    if (kind == MESSAGE_REQUEST)
        CHECK(message_identify(copy, n, &again, &err) == (m ? m->type : NULL));
    if (m)
        walk(m, kind);
    return 0;
}
