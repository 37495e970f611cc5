// SPDX-License-Identifier: BSD-3-Clause
/*
 * The registry of mappings whose faults are caught, and the handler that looks into it.
 *
 * The handler may interrupt any thread anywhere, so it takes no lock, allocates
 * nothing and looks at nothing but slots, which are never freed.  A slot is
 * changed under the mutex, by one thread, as a seqlock: `turn` is odd
 * meanwhile.  The handler passes over a slot that changes while it looks: it is
 * not the one that it seeks, for nobody drops a mapping that is being accessed.
 *
 * Memory order.  The release fence behind the odd `turn` pairs with the
 * handler's acquire fence before its second look, the release store of the even
 * one with its first look.  `broken` is stored before the pages are replaced
 * (the system call and the shoot-down of other processors' translations come
 * behind it), so who reads zeroes and then asks, sees it.
 *
 * The whole mapping is replaced, not a page of it: a map has millions of pages,
 * a process may have 65530 mappings.  Two threads that fault at once both
 * replace it; what the first one stored in between is lost with the rest.
 */
#include "bitmap/fault.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base/cleanup.h"
#include "base/error.h"

#define CHUNK_SLOTS 128

struct fault_slot {
    _Atomic uint64_t turn;
    _Atomic uintptr_t base;             /* 0: free */
    _Atomic size_t length;
    _Atomic(_Atomic bool *) broken;
    struct fault_slot *next_free;       /* guarded by the mutex */
};

struct chunk {
    struct fault_slot slots[CHUNK_SLOTS];
    struct chunk *next;                 /* set before the chunk can be seen */
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct fault_slot *free_slots;   /* guarded by the mutex */
static struct chunk *_Atomic chunks;
static _Atomic bool on;
static struct sigaction before;

static bool replace(const struct fault_slot *slot, uintptr_t address)
{
    uint64_t turn = atomic_load_explicit(&slot->turn, memory_order_acquire);
    uintptr_t base = atomic_load_explicit(&slot->base, memory_order_relaxed);
    size_t length = atomic_load_explicit(&slot->length, memory_order_relaxed);
    _Atomic bool *broken = atomic_load_explicit(&slot->broken, memory_order_relaxed);
    atomic_thread_fence(memory_order_acquire);
    if (turn & 1 || atomic_load_explicit(&slot->turn, memory_order_relaxed) != turn)
        return false;
    if (!base || address < base || address - base >= length)
        return false;
    atomic_store_explicit(broken, true, memory_order_seq_cst);
    return mmap((void *)base, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) != MAP_FAILED;
}

static void on_sigbus(int number, siginfo_t *info, void *context)
{
    int saved = errno;
    bool done = false;
    (void)context;
    /* BUS_ADRERR: behind the end of the file, or no space for a page of it.  Not: sent by somebody, broken memory. */
    if (info->si_code == BUS_ADRERR)
        for (struct chunk *c = atomic_load_explicit(&chunks, memory_order_acquire); c && !done; c = c->next)
            for (unsigned i = 0; i < CHUNK_SLOTS && !done; i++)
                done = replace(&c->slots[i], (uintptr_t)info->si_addr);
    errno = saved;
    if (done)
        return;
    /* Blocked until the handler returns; then it does what it did without us. */
    sigaction(SIGBUS, &before, NULL);
    raise(number);
}

int fault_start(struct df_error *err)
{
    struct sigaction action = { .sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO | SA_RESTART };
    sigemptyset(&action.sa_mask);
    if (sigaction(SIGBUS, &action, &before) < 0)
        return error_errno(err, -errno, "cannot catch faults of shared mappings whose files are cut");
    atomic_store_explicit(&on, true, memory_order_release);
    return 0;
}

bool fault_is_on(void)
{
    return atomic_load_explicit(&on, memory_order_acquire);
}

/* Callers hold the mutex. */
static int add_chunk(void)
{
    struct chunk *c = calloc(1, sizeof *c);
    if (!c)
        return -ENOMEM;
    for (unsigned i = 0; i < CHUNK_SLOTS; i++) {
        c->slots[i].next_free = free_slots;
        free_slots = &c->slots[i];
    }
    c->next = atomic_load_explicit(&chunks, memory_order_relaxed);
    atomic_store_explicit(&chunks, c, memory_order_release);
    return 0;
}

/* Callers hold the mutex. */
static void set(struct fault_slot *slot, uintptr_t base, size_t length, _Atomic bool *broken)
{
    uint64_t turn = atomic_load_explicit(&slot->turn, memory_order_relaxed);
    atomic_store_explicit(&slot->turn, turn + 1, memory_order_relaxed);
    atomic_thread_fence(memory_order_release);
    atomic_store_explicit(&slot->base, base, memory_order_relaxed);
    atomic_store_explicit(&slot->length, length, memory_order_relaxed);
    atomic_store_explicit(&slot->broken, broken, memory_order_relaxed);
    atomic_store_explicit(&slot->turn, turn + 2, memory_order_release);
}

int fault_add(void *base, size_t length, _Atomic bool *broken, struct fault_slot **out)
{
    *out = NULL;
    if (!fault_is_on())
        return 0;
    LOCK_SCOPE(&mutex);
    int r = free_slots ? 0 : add_chunk();
    if (r < 0)
        return r;
    struct fault_slot *slot = free_slots;
    free_slots = slot->next_free;
    set(slot, (uintptr_t)base, length, broken);
    *out = slot;
    return 0;
}

void fault_drop(struct fault_slot **slotp)
{
    struct fault_slot *slot = steal(slotp);
    if (!slot)
        return;
    LOCK_SCOPE(&mutex);
    set(slot, 0, 0, NULL);
    slot->next_free = free_slots;
    free_slots = slot;
}
