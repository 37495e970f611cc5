// SPDX-License-Identifier: BSD-3-Clause
/*
 * How things are in QEMU now: all its nodes and their bitmaps, by one question.
 * Every step (steps.h) begins with it and goes by what is there, not by what it
 * remembers: so it may be repeated, and a restart of either side changes nothing.
 */
#ifndef QEMU_VIEW_H
#define QEMU_VIEW_H

#include <stdint.h>

#include "qemu/qmp.h"

/* *view: the answer of query-named-block-nodes; json_decref() it. */
int view_take(struct qmp *qmp, int timeout_ms, json_t **view, struct df_error *err);

/* NULL: there is none. */
const json_t *view_node(const json_t *view, const char *node);
const json_t *view_bitmap(const json_t *view, const char *node, const char *bitmap);

uint64_t view_size(const json_t *node);             /* bytes */
bool view_flag(const json_t *bitmap, const char *key);
uint64_t view_number(const json_t *bitmap, const char *key);

#endif
