// SPDX-License-Identifier: BSD-3-Clause
/*
 * The comparison of two images against a model that looks at every byte: images
 * in memory whose extents, places and errors are drawn at random, and real files.
 */
#include "unit.h"

#include <pthread.h>
#include <stdatomic.h>

#include "bitmap/fault.h"
#include "image/diff.h"

#define SIZE_MAX_TESTED (9 * MiB)
#define LANES           4

/* ------------------------------------------------------- an image in memory */

struct memory {
    struct image image;             /* first */
    uint8_t bytes[SIZE_MAX_TESTED];
    uint64_t device, shift;         /* of its places */
    bool has_places;
    uint64_t bad, bad_end;          /* cannot be read; equal: all can */
    bool extents_fail;              /* there, too */
    _Atomic uint64_t read;
    _Atomic bool lanes[LANES];      /* is in use */
};

/* One for each test: what is drawn is reset. */
static struct memory sides[2];

#define old_side (&sides[0])
#define new_side (&sides[1])

static bool is_bad(const struct memory *m, uint64_t offset, uint64_t length)
{
    return m->bad < m->bad_end && offset < m->bad_end && offset + length > m->bad;
}

/* How far is it zero, or not, and in the same place?  Cut now and then where nothing changes. */
static int memory_extent(struct image *image, uint64_t offset, struct extent *extent, struct df_error *err)
{
    struct memory *m = (struct memory *)image;
    ck_assert_uint_lt(offset, image->size);
    if (m->extents_fail && is_bad(m, offset, 1)) {
        snprintf(err->message, sizeof err->message, "no extents at offset %" PRIu64, offset);
        return err->code = -EIO;
    }
    uint64_t block = 1 + (offset / 512) % 7 * 512, length = 0;
    bool zero = !m->bytes[offset];
    while (length < block * 40 && offset + length < image->size && !m->bytes[offset + length] == zero && !(m->extents_fail && is_bad(m, offset + length, 1)))
        length++;
    /* Zeroes that are not known to be: 16 at most are. */
    *extent = (struct extent){ .length = length, .zero = zero && length > 16 };
    if (m->has_places)
        extent->place = (struct place){ PLACE_GUEST, m->device, 7, offset + m->shift };
    return 0;
}

static int memory_read(struct image *image, unsigned lane, uint64_t offset, void *buffer, size_t nbytes, struct df_error *err)
{
    struct memory *m = (struct memory *)image;
    ck_assert_uint_lt(lane, LANES);
    ck_assert(!atomic_exchange(&m->lanes[lane], true));
    ck_assert(nbytes && nbytes <= IMAGE_PIECE_MAX && offset < image->size && nbytes <= image->size - offset);
    int r = is_bad(m, offset, nbytes) ? -EIO : 0;
    memset(buffer, 0xee, nbytes);       /* what a read that failed leaves is nothing to go by */
    if (r == 0)
        memcpy(buffer, m->bytes + offset, nbytes);
    else
        snprintf(err->message, sizeof err->message, "%s is bad at offset %" PRIu64, image->name, offset < m->bad ? m->bad : offset);
    err->code = r < 0 ? r : err->code;
    atomic_fetch_add(&m->read, nbytes);
    atomic_store(&m->lanes[lane], false);
    return r;
}

static void memory_close(struct image *image)
{
    (void)image;
}

static const struct image_ops memory_ops = { .extent = memory_extent, .read = memory_read, .close = memory_close };

/* Runs of zeroes, of one byte, of noise. */
static void fill(uint8_t *bytes, uint64_t nbytes)
{
    for (uint64_t at = 0, n; at < nbytes; at += n) {
        unsigned kind = (unsigned)unit_below(3);
        n = 1 + unit_below(unit_below(4) ? 200 * KiB : 700);
        if (n > nbytes - at)
            n = nbytes - at;
        memset(bytes + at, kind ? 1 + (int)unit_below(255) : 0, n);
        for (uint64_t i = 0; kind == 2 && i < n; i += 61)
            bytes[at + i] = (uint8_t)unit_random();
    }
}

static uint64_t size_max = 3 * MiB;     /* the model is slow */

static uint64_t draw_size(void)
{
    uint64_t size = 1 + unit_below(size_max);
    return unit_below(3) ? size : (size + 511) / 512 * 512;
}

static void draw_images(void)
{
    memset(sides, 0, sizeof sides);
    for (unsigned i = 0; i < 2; i++) {
        sides[i].image = (struct image){ .ops = &memory_ops, .name = i ? "new" : "old", .size = draw_size(), .piece_bytes = (size_t)4096 << unit_below(9) };
        sides[i].device = i;
    }
    if (unit_below(2))
        new_side->image.size = old_side->image.size;
    fill(old_side->bytes, old_side->image.size);
    memcpy(new_side->bytes, old_side->bytes, new_side->image.size < old_side->image.size ? new_side->image.size : old_side->image.size);
    for (uint64_t n = unit_below(20); n; n--) {
        uint64_t at = unit_below(new_side->image.size), length = 1 + unit_below(unit_below(3) ? 5000 : 300000);
        if (length > new_side->image.size - at)
            length = new_side->image.size - at;
        if (unit_below(3))
            new_side->bytes[at] ^= 1;
        else
            fill(new_side->bytes + at, length);
    }
    if (new_side->image.size > old_side->image.size && unit_below(2))
        fill(new_side->bytes + old_side->image.size, new_side->image.size - old_side->image.size);
}

/* ---------------------------------------------------------------- the model */

static bool model_differs(uint64_t offset, uint64_t granularity)
{
    bool is_last = granularity >= new_side->image.size - offset;
    for (uint64_t at = offset; at < offset + granularity && at < new_side->image.size; at++)
        if (at >= old_side->image.size || old_side->bytes[at] != new_side->bytes[at])
            return true;
    return is_last && new_side->image.size % granularity && old_side->image.size > new_side->image.size;
}

/* ------------------------------------------------------------------ one run */

static struct told {
    uint64_t at, different, unlike;     /* where it is; bytes; clusters that the model sees otherwise */
    uint64_t granularity;
    bool errors_differ;
    uint64_t stop_at;                   /* the caller's error, when that is reached; 0: none */
    pthread_t thread;
} told;

static bool may_be_bad(uint64_t offset, uint64_t length)
{
    return told.errors_differ && (is_bad(old_side, offset, length) || is_bad(new_side, offset, length));
}

static int tell(void *opaque, uint64_t offset, uint64_t length, enum diff_verdict verdict, struct df_error *err)
{
    struct told *t = opaque;
    ck_assert(pthread_equal(t->thread, pthread_self()));
    ck_assert_uint_eq(offset, t->at);
    ck_assert_uint_gt(length, 0);
    ck_assert(length <= new_side->image.size - offset);
    ck_assert(length % t->granularity == 0 || offset + length == new_side->image.size);
    for (uint64_t at = offset; at < offset + length; at += t->granularity)
        if (model_differs(at, t->granularity) != (verdict == DIFF_DIFFERENT) && !(verdict == DIFF_DIFFERENT && may_be_bad(at, t->granularity)))
            t->unlike++;
    t->at += length;
    t->different += verdict == DIFF_DIFFERENT ? length : 0;
    if (!t->stop_at || t->at < t->stop_at)
        return 0;
    snprintf(err->message, sizeof err->message, "the caller has enough");
    return err->code = -ENOSPC;
}

static int run(uint64_t granularity, bool errors_differ, uint64_t start, struct diff_counts *counts)
{
    told = (struct told){ .at = start, .granularity = granularity, .errors_differ = errors_differ, .stop_at = told.stop_at, .thread = pthread_self() };
    const struct diff diff = { .old = &old_side->image, .new = &new_side->image, .granularity = granularity, .start = start,
                               .errors_differ = errors_differ, .lanes = 1 + (unsigned)unit_below(LANES), .tell = tell, .opaque = &told };
    int r = diff_run(&diff, counts, &unit_err);
    ck_assert_uint_eq(told.unlike, 0);
    ck_assert_uint_eq(counts->different, told.different);
    return r;
}

static uint64_t draw_granularity(void)
{
    return UINT64_C(512) << unit_below(14);
}

START_TEST(test_random)
{
    for (unsigned i = 0; i < 60; i++) {
        struct diff_counts counts;
        draw_images();
        uint64_t granularity = draw_granularity();
        uint64_t start = unit_below(3) ? 0 : unit_below(new_side->image.size / granularity + 1) * granularity;
        OK(run(granularity, unit_below(2), start, &counts));
        ck_assert_uint_eq(told.at, new_side->image.size);
        ck_assert_uint_eq(counts.read, old_side->read + new_side->read);
        ck_assert_uint_eq(counts.unread, 0);
        ck_assert_uint_eq(counts.shared, 0);
    }
}
END_TEST

/* What both have in one place is not read, and the rest is told as before. */
START_TEST(test_places)
{
    for (unsigned i = 0; i < 20; i++) {
        struct diff_counts counts;
        draw_images();
        old_side->has_places = new_side->has_places = true;
        OK(run(draw_granularity(), false, 0, &counts));     /* of other devices: nothing is shared */
        ck_assert_uint_eq(counts.shared, 0);
        new_side->device = old_side->device;
        new_side->shift = 512;
        OK(run(draw_granularity(), false, 0, &counts));     /* elsewhere on the same */
        ck_assert_uint_eq(counts.shared, 0);
        new_side->shift = 0;
        memcpy(new_side->bytes, old_side->bytes, sizeof old_side->bytes);
        old_side->read = new_side->read = 0;
        new_side->image.size = old_side->image.size;
        OK(run(draw_granularity(), false, 0, &counts));
        ck_assert_uint_eq(counts.shared + counts.zero, new_side->image.size);
        ck_assert_uint_eq(counts.read + old_side->read + new_side->read, 0);
        ck_assert_uint_eq(counts.different, 0);
    }
}
END_TEST

static void draw_bad(bool extents_fail)
{
    struct memory *m = unit_below(2) ? old_side : new_side;
    uint64_t both = old_side->image.size < new_side->image.size ? old_side->image.size : new_side->image.size;
    m->bad = unit_below(both);
    m->bad_end = m->bad + 1 + unit_below(9000);
    m->extents_fail = extents_fail;
}

/* A cluster that cannot be read counts as different, its neighbours do not. */
START_TEST(test_errors_differ)
{
    for (unsigned i = 0; i < 40; i++) {
        struct diff_counts counts;
        draw_images();
        draw_bad(i % 2);
        uint64_t granularity = draw_granularity();
        OK(run(granularity, true, 0, &counts));
        ck_assert_uint_eq(told.at, new_side->image.size);
        ck_assert_uint_le(counts.unread, 9000 + 2 * (granularity > 512 ? granularity : 512));
        ck_assert_int_eq(counts.unread > 0, counts.first_unread.code == -EIO);
    }
}
END_TEST

/* Without that the run ends there: always at the same place, with all before it told. */
START_TEST(test_errors_end_the_run)
{
    for (unsigned i = 0; i < 40; i++) {
        struct diff_counts counts;
        char first[DF_ERROR_MESSAGE_BYTES];
        draw_images();
        draw_bad(i % 2);
        uint64_t granularity = draw_granularity(), at = 0;
        for (unsigned again = 0; again < 3; again++) {
            int r = run(granularity, false, 0, &counts);
            if (r == 0)     /* zeroes on both sides: it need not be read */
                break;
            ck_assert_int_eq(r, -EIO);
            ck_assert_uint_le(told.at, (old_side->bad_end ? old_side : new_side)->bad_end);
            ck_assert(!again || (told.at == at && !strcmp(first, unit_err.message)));
            at = told.at;
            memcpy(first, unit_err.message, sizeof first);
        }
    }
}
END_TEST

START_TEST(test_caller_ends_the_run)
{
    struct diff_counts counts;
    draw_images();
    for (unsigned i = 0; i < 20; i++) {
        told.stop_at = 1 + unit_below(new_side->image.size);
        FAILS(-ENOSPC, run(512, false, 0, &counts));
    }
    told.stop_at = 0;
}
END_TEST

START_TEST(test_stop)
{
    _Atomic bool stop = true;
    struct diff_counts counts;
    draw_images();
    told = (struct told){ .granularity = 512, .thread = pthread_self() };
    const struct diff diff = { .old = &old_side->image, .new = &new_side->image, .granularity = 512, .lanes = 2, .stop = &stop, .tell = tell, .opaque = &told };
    FAILS(-ECANCELED, diff_run(&diff, &counts, &unit_err));
}
END_TEST

START_TEST(test_bad_arguments)
{
    struct diff_counts counts;
    draw_images();
    FAILS(-EINVAL, run(256, false, 0, &counts));
    FAILS(-EINVAL, run(3000, false, 0, &counts));
    FAILS(-EINVAL, run(4096, false, 512, &counts));
    FAILS(-EINVAL, run(512, false, SIZE_MAX_TESTED * 2, &counts));
}
END_TEST

/* --------------------------------------------------------------- real files */

/* Write the bytes but for zeroes of whole blocks: those become holes. */
static void write_file(const struct memory *m, char path[400], const char *name)
{
    snprintf(path, 400, "%s/%s", unit_dir, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    ck_assert_int_ge(fd, 0);
    for (uint64_t at = 0, n; at < m->image.size; at += n) {
        static const uint8_t zeroes[4096];
        n = m->image.size - at < 4096 ? m->image.size - at : 4096;
        if (memcmp(m->bytes + at, zeroes, n))
            ck_assert_int_eq(pwrite(fd, m->bytes + at, n, (off_t)at), (ssize_t)n);
    }
    ck_assert_int_eq(ftruncate(fd, (off_t)m->image.size), 0);
    close(fd);
}

/* i: whether files are seen through mappings. */
START_TEST(test_files)
{
    if (_i)
        OK(fault_start(&unit_err));
    const struct image_how how = { .format = "raw", .lanes = LANES, .timeout_ms = IMAGE_TIMEOUT_MS };
    size_max = SIZE_MAX_TESTED;
    for (unsigned i = 0; i < 12; i++) {
        char paths[2][400];
        struct diff_counts counts;
        struct image *images[2];
        draw_images();
        for (unsigned j = 0; j < 2; j++) {
            write_file(&sides[j], paths[j], j ? "new" : "old");
            OK(image_open(paths[j], &how, &images[j], &unit_err));
            ck_assert_uint_eq(images[j]->size, sides[j].image.size);
        }
        told = (struct told){ .granularity = draw_granularity(), .thread = pthread_self() };
        const struct diff diff = { .old = images[0], .new = images[1], .granularity = told.granularity, .lanes = LANES, .tell = tell, .opaque = &told };
        OK(diff_run(&diff, &counts, &unit_err));
        ck_assert_uint_eq(told.unlike, 0);
        ck_assert_uint_eq(told.at, images[1]->size);
        for (unsigned j = 0; j < 2; j++)
            image_close(&images[j]);
    }
}
END_TEST

/*
 * A file that is cut between the opening and the end, seen through a mapping or
 * not: an error that says where, or different from there on.
 */
START_TEST(test_cut_in_the_run)
{
    const struct image_how how = { .format = "raw", .lanes = LANES, .timeout_ms = IMAGE_TIMEOUT_MS };
    char paths[2][400];
    struct image *images[2];
    struct diff_counts counts;
    if (_i)
        OK(fault_start(&unit_err));
    draw_images();
    old_side->image.size = new_side->image.size = SIZE_MAX_TESTED;
    memset(old_side->bytes, 7, SIZE_MAX_TESTED);
    memset(new_side->bytes, 7, SIZE_MAX_TESTED);
    for (unsigned i = 0; i < 2; i++) {
        write_file(&sides[i], paths[i], i ? "new" : "old");
        OK(image_open(paths[i], &how, &images[i], &unit_err));
    }
    uint64_t cut = 512 + unit_below(SIZE_MAX_TESTED / 4096 - 1) * 4096;
    ck_assert_int_eq(truncate(paths[unit_below(2)], (off_t)cut), 0);
    struct diff diff = { .old = images[0], .new = images[1], .granularity = 512, .lanes = LANES, .tell = tell, .opaque = &told };
    told = (struct told){ .granularity = 512, .thread = pthread_self() };
    FAILS(-EIO, diff_run(&diff, &counts, &unit_err));
    char where[32];
    snprintf(where, sizeof where, "offset %" PRIu64 ":", cut);
    ck_assert_msg(strstr(unit_err.message, where) != NULL, "'%s' is not in '%s'", where, unit_err.message);
    ck_assert_uint_eq(told.different, 0);
    ck_assert_uint_le(told.at, cut);
    memset(new_side->bytes + cut, 8, SIZE_MAX_TESTED - cut);
    told = (struct told){ .granularity = 512, .thread = pthread_self() };
    diff.errors_differ = true;
    OK(diff_run(&diff, &counts, &unit_err));
    ck_assert_uint_eq(told.unlike, 0);
    ck_assert_uint_eq(counts.unread, SIZE_MAX_TESTED - cut);
    image_close(&images[0]);
    image_close(&images[1]);
}
END_TEST

/* A file is the same as itself, also under two names, without being read. */
START_TEST(test_same_file)
{
    const struct image_how how = { .lanes = 1, .timeout_ms = IMAGE_TIMEOUT_MS };
    char path[400], link_path[410];
    struct diff_counts counts;
    struct image *images[2];
    draw_images();
    write_file(old_side, path, "one");
    snprintf(link_path, sizeof link_path, "%s.link", path);
    ck_assert_int_eq(link(path, link_path), 0);
    OK(image_open(path, &how, &images[0], &unit_err));
    OK(image_open(link_path, &how, &images[1], &unit_err));
    memcpy(new_side->bytes, old_side->bytes, sizeof old_side->bytes);
    new_side->image.size = old_side->image.size;
    told = (struct told){ .granularity = 512, .thread = pthread_self() };
    const struct diff diff = { .old = images[0], .new = images[1], .granularity = 512, .lanes = 1, .tell = tell, .opaque = &told };
    OK(diff_run(&diff, &counts, &unit_err));
    ck_assert_uint_eq(counts.read, 0);
    ck_assert_uint_eq(counts.shared + counts.zero, old_side->image.size);
    image_close(&images[0]);
    image_close(&images[1]);
}
END_TEST

/* A file that somebody cuts: what is gone cannot be read, and is not taken for zeroes. */
START_TEST(test_cut_file)
{
    const struct image_how how = { .format = "raw", .lanes = 1, .timeout_ms = IMAGE_TIMEOUT_MS };
    char path[400];
    struct image *image = NULL;
    uint8_t byte[2];
    draw_images();
    old_side->image.size = 2 * MiB;
    memset(old_side->bytes, 1, 2 * MiB);
    write_file(old_side, path, "cut");
    OK(image_open(path, &how, &image, &unit_err));
    ck_assert_int_eq(truncate(path, MiB), 0);
    OK(image_read(image, 0, MiB - 2, byte, 2, &unit_err));
    FAILS(-EIO, image_read(image, 0, MiB - 1, byte, 2, &unit_err));
    image_close(&image);
}
END_TEST

START_TEST(test_what_is_no_image)
{
    const struct image_how how = { .lanes = 1, .timeout_ms = IMAGE_TIMEOUT_MS };
    char path[400];
    struct image *image = NULL;
    FAILS(-EISDIR, image_open(unit_dir, &how, &image, &unit_err));
    FAILS(-EINVAL, image_open("/dev/null", &how, &image, &unit_err));
    snprintf(path, sizeof path, "%s/none", unit_dir);
    FAILS(-ENOENT, image_open(path, &how, &image, &unit_err));
    close(open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    FAILS(-EINVAL, image_open(path, &how, &image, &unit_err));
    ck_assert_ptr_null(image);
}
END_TEST

static void add_cases(Suite *suite)
{
    TCase *tc = unit_case(suite, "memory");
    tcase_add_test(tc, test_random);
    tcase_add_test(tc, test_places);
    tcase_add_test(tc, test_errors_differ);
    tcase_add_test(tc, test_errors_end_the_run);
    tcase_add_test(tc, test_caller_ends_the_run);
    tcase_add_test(tc, test_stop);
    tcase_add_test(tc, test_bad_arguments);
    tc = unit_case(suite, "files");
    tcase_add_loop_test(tc, test_files, 0, 2);
    tcase_add_loop_test(tc, test_cut_in_the_run, 0, 2);
    tcase_add_test(tc, test_same_file);
    tcase_add_test(tc, test_cut_file);
    tcase_add_test(tc, test_what_is_no_image);
}

UNIT_MAIN("diff", add_cases)
