// SPDX-License-Identifier: BSD-3-Clause
/* What the world sees of a comparison: the fields of replies and events. */
#include <stdio.h>

#include "daemon/comparison.h"

void comparison_put(struct out *out, const struct comparison *c)
{
    comparison_put_fields(out, c);
    if (c->state == COMPARISON_COMPLETE)
        out_bool(out, "inconsistent", c->inconsistent);
}

void comparison_publish(void *events, const struct comparison *c, const char *what, uint64_t seq)
{
    struct out out;
    char topic[64], type[32], text[UUID_TEXT_BYTES];
    snprintf(topic, sizeof topic, "diff/%s/%s", uuid_format(c->uuid, text), what);
    snprintf(type, sizeof type, "diff-%s", what);
    message_begin(&out, type, seq);
    out_u64(&out, "seq", seq);
    comparison_put(&out, c);
    events_publish(events, topic, &out);
}
