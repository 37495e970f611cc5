// SPDX-License-Identifier: BSD-3-Clause
/*
 * What the recording of a write costs: a pair of df_write_begin and
 * df_write_end whose bits are set already, which is the common case of a busy
 * disk.  One line a figure: name, value, unit.  The best of some rounds counts,
 * since whatever else the machine does only ever adds.
 *
 *     bench-record [pairs a round]
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <dirtyferry/bitmap.h>

#include "base/clock.h"

#define NROUNDS 7
#define NTHREADS 2
#define SIZE (UINT64_C(64) << 30)

static uint64_t npairs = 2000000;
static struct df_disk *disk;
static _Atomic unsigned at_start;

static void must(int r, const struct df_error *err)
{
    if (r < 0) {
        fprintf(stderr, "bench-record: %s\n", err->message);
        exit(1);
    }
}

/* Guests write 4 KiB here and there: a step that visits many words. */
static void pairs(struct df_writer *w, uint64_t offset)
{
    for (uint64_t i = 0; i < npairs; i++) {
        if (df_write_begin(w, offset, 4096) < 0)
            exit(2);
        df_write_end(w);
        offset = (offset + 1237 * 4096) % (SIZE / 4);
    }
}

struct worker {
    pthread_t thread;
    struct df_writer *w;
    unsigned nthreads;
    uint64_t offset;
    int64_t from_ns, to_ns;
};

static void *work(void *opaque)
{
    struct worker *me = opaque;
    atomic_fetch_add(&at_start, 1);
    while (atomic_load(&at_start) < me->nthreads)
        ;
    me->from_ns = clock_ns();
    pairs(me->w, me->offset);
    me->to_ns = clock_ns();
    return NULL;
}

/* Wall time of one round, in ns. */
static int64_t round_ns(struct worker *workers, unsigned n)
{
    atomic_store(&at_start, 0);
    for (unsigned i = 0; i < n; i++) {
        workers[i].nthreads = n;
        pthread_create(&workers[i].thread, NULL, work, &workers[i]);
    }
    int64_t from = INT64_MAX, to = 0;
    for (unsigned i = 0; i < n; i++) {
        pthread_join(workers[i].thread, NULL);
        from = workers[i].from_ns < from ? workers[i].from_ns : from;
        to = workers[i].to_ns > to ? workers[i].to_ns : to;
    }
    return to - from;
}

/* Pairs a second, all threads together. */
static double throughput(struct worker *workers, unsigned n)
{
    int64_t best = INT64_MAX;
    for (unsigned i = 0; i < NROUNDS; i++) {
        int64_t ns = round_ns(workers, n);
        best = ns < best ? ns : best;
    }
    return (double)(npairs * n) * 1e9 / (double)best;
}

static void run(const char *state)
{
    struct df_error err;
    struct worker workers[NTHREADS] = { 0 };
    must(df_disk_create(state, "bench", SIZE, &err), &err);
    must(df_disk_open(state, "bench", &disk, &err), &err);
    for (unsigned i = 0; i < NTHREADS; i++) {
        workers[i].offset = i * 4096;
        must(df_writer_new(disk, &workers[i].w, &err), &err);
    }
    double none = throughput(workers, 1);
    must(df_bitmap_add(disk, "bitmap", DF_GRANULARITY_DEFAULT, 0, &err), &err);
    must(df_disk_mark(disk, 0, SIZE, &err), &err);
    double one = throughput(workers, 1), two = throughput(workers, 2);
    printf("write_pair_no_bitmap %.2f ns\n", 1e9 / none);
    printf("write_pair_bits_set %.2f ns\n", 1e9 / one);
    printf("write_pair_throughput_1_thread %.0f pairs/s\n", one);
    printf("write_pair_throughput_2_threads %.0f pairs/s\n", two);
    printf("write_pair_scaling_2_threads %.2f ratio\n", two / one);
    for (unsigned i = 0; i < NTHREADS; i++)
        df_writer_free(&workers[i].w);
    df_disk_close(&disk);
    must(df_disk_remove(state, "bench", &err), &err);
}

int main(int argc, char **argv)
{
    char state[] = "/tmp/df-bench-XXXXXX", path[64];
    if (argc > 1)
        npairs = strtoull(argv[1], NULL, 0);
    if (!npairs || !mkdtemp(state)) {
        fprintf(stderr, "usage: bench-record [pairs a round]\n");
        return 2;
    }
    run(state);
    snprintf(path, sizeof path, "%s/disks", state);
    rmdir(path);
    rmdir(state);
    return 0;
}
