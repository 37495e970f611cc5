// SPDX-License-Identifier: BSD-3-Clause
/*
 * df-image [OPTION]... COMMAND NAME...: src/image at work, for the flows.
 *
 *     map NAME         its extents: offset, length, "zero" or "data", inode and offset of the place
 *     cat NAME         its bytes; what an extent calls zero is not read
 *     read NAME        all of it, by all lanes at once
 *     hold NAME        says "open", waits for a line, then reads as above
 *     diff OLD NEW     counts of a comparison
 *
 *     --format F   --lanes N   --timeout MS
 */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "image/diff.h"

static struct image_how how = { .lanes = 4, .timeout_ms = IMAGE_TIMEOUT_MS };

static int map(struct image *image, struct df_error *err)
{
    struct extent e;
    int r = 0;
    for (uint64_t at = 0; at < image->size && !(r = image_extent(image, at, &e, err)); at += e.length) {
        printf("%" PRIu64 " %" PRIu64 " %s", at, e.length, e.zero ? "zero" : "data");
        if (e.place.kind == PLACE_UNKNOWN)
            puts(" -");
        else
            printf(" %s %" PRIu64 " %" PRIu64 "\n", e.place.kind == PLACE_FILE ? "file" : "guest", e.place.inode, e.place.at);
    }
    return r;
}

static int cat(struct image *image, struct df_error *err)
{
    CLEANUP(cleanup_free) uint8_t *bytes = malloc(IMAGE_PIECE_MAX);
    struct extent e;
    int r = 0;
    unsigned lane = 0;
    for (uint64_t at = 0; at < image->size && !(r = image_extent(image, at, &e, err)); at += e.length)
        for (uint64_t done = 0; done < e.length && !r;) {
            size_t n = e.length - done < image->piece_bytes ? (size_t)(e.length - done) : image->piece_bytes;
            memset(bytes, 0, n);
            r = e.zero ? 0 : image_read(image, lane++ % how.lanes, at + done, bytes, n, err);
            if (!r && fwrite(bytes, 1, n, stdout) != n)
                return -EIO;
            done += n;
        }
    return r;
}

struct reader {
    struct image *image;
    unsigned lane;
    int r;
    struct df_error err;
};

static void *read_lane(void *opaque)
{
    struct reader *reader = opaque;
    struct image *image = reader->image;
    CLEANUP(cleanup_free) uint8_t *bytes = malloc(IMAGE_PIECE_MAX);
    uint64_t stride = image->piece_bytes * how.lanes;
    for (uint64_t at = reader->lane * image->piece_bytes; at < image->size && !reader->r; at += stride)
        reader->r = image_read(image, reader->lane, at, bytes, image->size - at < image->piece_bytes ? (size_t)(image->size - at) : image->piece_bytes, &reader->err);
    return NULL;
}

static int read_all(struct image *image, struct df_error *err)
{
    static struct reader readers[IMAGE_LANES_MAX];
    pthread_t threads[IMAGE_LANES_MAX];
    int r = 0;
    for (unsigned i = 0; i < how.lanes; i++) {
        readers[i] = (struct reader){ .image = image, .lane = i };
        if (pthread_create(&threads[i], NULL, read_lane, &readers[i]))
            abort();
    }
    for (unsigned i = 0; i < how.lanes; i++) {
        pthread_join(threads[i], NULL);
        if (readers[i].r && !r) {
            r = readers[i].r;
            *err = readers[i].err;
        }
    }
    return r;
}

static int hold(struct image *image, struct df_error *err)
{
    puts("open");
    fflush(stdout);
    return getchar() == EOF ? 0 : read_all(image, err);
}

static int tell_nobody(void *opaque, uint64_t offset, uint64_t length, enum diff_verdict verdict, struct df_error *err)
{
    (void)opaque, (void)offset, (void)length, (void)verdict, (void)err;
    return 0;
}

static int diff(struct image *old, struct image *new, struct df_error *err)
{
    const struct diff d = { .old = old, .new = new, .granularity = 65536, .lanes = how.lanes, .tell = tell_nobody };
    struct diff_counts c = { 0 };
    image_relate(old, new);
    int r = diff_run(&d, &c, err);
    if (!r)
        printf("different %" PRIu64 " read %" PRIu64 " zero %" PRIu64 " shared %" PRIu64 "\n", c.different, c.read, c.zero, c.shared);
    return r;
}

static int run(const char *command, char **names, struct df_error *err)
{
    CLEANUP(image_close) struct image *image = NULL, *CLEANUP(image_close) other = NULL;
    int r = image_open(names[0], &how, &image, err);
    if (!r && names[1])
        r = image_open(names[1], &how, &other, err);
    if (r < 0)
        return r;
    if (other)
        return diff(image, other, err);
    return (!strcmp(command, "map") ? map : !strcmp(command, "cat") ? cat : !strcmp(command, "hold") ? hold : read_all)(image, err);
}

int main(int argc, char **argv)
{
    struct df_error err = { 0 };
    int i = 1;
    for (; i + 1 < argc && !strncmp(argv[i], "--", 2); i += 2) {
        if (!strcmp(argv[i], "--format"))
            how.format = argv[i + 1];
        else if (!strcmp(argv[i], "--lanes"))
            how.lanes = (unsigned)atoi(argv[i + 1]);
        else
            how.timeout_ms = atoi(argv[i + 1]);
    }
    if (argc - i < 2)
        return 2;
    if (run(argv[i], argv + i + 1, &err) < 0) {
        fprintf(stderr, "dirtyferry: %s\n", err.message);
        return 1;
    }
    return 0;
}
