// SPDX-License-Identifier: BSD-3-Clause
/*
 * For a process that does not trust those who share its mappings: the daemon.
 *
 * Whoever may write to a mapped file may also cut it, and the next access
 * behind its end is a SIGBUS.  Once fault_start() was called, such a fault puts
 * zero pages in place of the whole mapping and notes that it is broken; the
 * thread goes on with zeroes.  So whoever reads a mapping and hands on what he
 * read asks afterwards whether it is broken: then what he has is worth nothing.
 *
 * The library never calls fault_start(): signals are its host's.
 */
#ifndef BITMAP_FAULT_H
#define BITMAP_FAULT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include <dirtyferry/error.h>

struct fault_slot;

/* Installs the handler, for the whole process.  To be called once, before anything is mapped. */
int fault_start(struct df_error *err);
/* Also: no lock of another process is waited for without an end (table.c). */
bool fault_is_on(void);

/*
 * From now on a fault in [base, base + length) sets *broken.  *slot stays NULL
 * before fault_start().  -ENOMEM.  Drop it before the mapping goes.
 */
int fault_add(void *base, size_t length, _Atomic bool *broken, struct fault_slot **slot);
void fault_drop(struct fault_slot **slot);

/* *broken, as whoever has read zeroes in place of the mapping must see it. */
static inline bool fault_is_broken(const _Atomic bool *broken)
{
    atomic_thread_fence(memory_order_acquire);
    return atomic_load_explicit(broken, memory_order_relaxed);
}

#endif
