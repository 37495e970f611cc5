// SPDX-License-Identifier: BSD-3-Clause
#include "qemu/view.h"

#include <string.h>

int view_take(struct qmp *qmp, int timeout_ms, json_t **view, struct df_error *err)
{
    return qmp_call(qmp, "query-named-block-nodes", json_pack("{s:b}", "flat", 1), view, timeout_ms, err);
}

/* The item of a list whose text under `key` is that. */
static const json_t *find(const json_t *list, const char *key, const char *text)
{
    size_t i;
    const json_t *item;
    json_array_foreach(list, i, item) {
        const char *found = json_string_value(json_object_get(item, key));
        if (found && !strcmp(found, text))
            return item;
    }
    return NULL;
}

const json_t *view_node(const json_t *view, const char *node)
{
    return find(view, "node-name", node);
}

const json_t *view_bitmap(const json_t *view, const char *node, const char *bitmap)
{
    return find(json_object_get(view_node(view, node), "dirty-bitmaps"), "name", bitmap);
}

uint64_t view_size(const json_t *node)
{
    return view_number(json_object_get(node, "image"), "virtual-size");
}

bool view_flag(const json_t *bitmap, const char *key)
{
    return json_is_true(json_object_get(bitmap, key));
}

uint64_t view_number(const json_t *bitmap, const char *key)
{
    json_int_t n = json_integer_value(json_object_get(bitmap, key));
    return n > 0 ? (uint64_t)n : 0;
}
