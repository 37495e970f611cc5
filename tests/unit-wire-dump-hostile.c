// SPDX-License-Identifier: BSD-3-Clause
/*
 * Dumps of a writer that breaks the format: every checksum is right, what it
 * covers is not.
 */
#include "dump-sample.h"
#include "wire/out.h"

static void replace_block(struct file *f, size_t at, const struct dump_block *b)
{
    remove_block(f, at);
    insert_block(f, at, b->bytes, b->nbytes);
}

/* A header as a map, with one field changed. */
struct change {
    const char *key;
    enum { LEAVE_OUT, TO_NUMBER, TO_TEXT, TWO_BITMAPS } how;
    uint64_t number;
    const char *text;
    const char *reason;
};

static bool changed(struct out *out, const struct change *c, const char *key)
{
    if (strcmp(c->key, key))
        return false;
    if (c->how == TO_NUMBER)
        out_u64(out, key, c->number);
    else if (c->how == TO_TEXT)
        out_text(out, key, c->text);
    return true;
}

static void u64(struct out *out, const struct change *c, const char *key, uint64_t value)
{
    if (!changed(out, c, key))
        out_u64(out, key, value);
}

static void text(struct out *out, const struct change *c, const char *key, const char *value)
{
    if (!changed(out, c, key))
        out_text(out, key, value);
}

static void header_with(struct dump_block *block, const struct change *c)
{
    struct out out;
    const uint8_t *bytes;
    size_t n;
    out_init(&out);
    u64(&out, c, "v", 1);
    u64(&out, c, "id", 7);
    text(&out, c, "content", "bitmap");
    text(&out, c, "session", "6fa2c1d0-0f3e-4b52-9c7b-2d1e8a90b344");
    u64(&out, c, "epoch", 1);
    u64(&out, c, "chunk_size", 1024);
    if (!changed(&out, c, "bitmaps")) {
        out_list(&out, "bitmaps");
        for (int i = 0; i < (c->how == TWO_BITMAPS ? 2 : 1); i++) {
            out_map(&out, NULL);
            text(&out, c, "disk", "vda");
            text(&out, c, "bitmap", "b0");
            u64(&out, c, "size", 1 << 20);
            u64(&out, c, "granularity", 512);
            if (!changed(&out, c, "enabled"))
                out_bool(&out, "enabled", true);
            if (!changed(&out, c, "persistent"))
                out_bool(&out, "persistent", true);
            out_close(&out);
        }
        out_close(&out);
    }
    ck_assert(out_finish(&out, &bytes, &n));
    OK(dump_block_pack(block, DUMP_HEADER, 0, 0, bytes, n, &unit_err));
    out_destroy(&out);
}

START_TEST(bad_headers)
{
    char name_of_256[257] = { 0 }, name_of_1024[1025] = { 0 };
    memset(name_of_256, 'x', 256);
    memset(name_of_1024, 'x', 1024);
    const struct change changes[] = {
        { "v", LEAVE_OUT, 0, 0, "lacks the field 'v'" }, { "v", TO_NUMBER, 2, 0, "'v' is out of range" },
        { "id", LEAVE_OUT, 0, 0, "lacks" }, { "id", TO_NUMBER, 0, 0, "'id' is out of range" }, { "id", TO_TEXT, 0, "7", "'id' is not an" },
        { "content", LEAVE_OUT, 0, 0, "lacks" }, { "content", TO_TEXT, 0, "bitmaps", "content 'bitmaps' is not known" },
        { "session", LEAVE_OUT, 0, 0, "lacks" }, { "session", TO_TEXT, 0, "6fa2c1d0", "not a UUID" },
        { "epoch", LEAVE_OUT, 0, 0, "lacks" }, { "epoch", TO_NUMBER, 0, 0, "'epoch' is out of range" },
        { "epoch", TO_NUMBER, UINT64_C(1) << 32, 0, "'epoch' is out of range" }, { "epoch", TO_NUMBER, 2, 0, "epoch 2 is out of range" },
        { "chunk_size", LEAVE_OUT, 0, 0, "lacks" }, { "chunk_size", TO_NUMBER, 16, 0, "out of range" },
        { "chunk_size", TO_NUMBER, 131072, 0, "out of range" }, { "chunk_size", TO_NUMBER, 1023, 0, "chunk size 1023" },
        { "bitmaps", LEAVE_OUT, 0, 0, "lacks" }, { "bitmaps", TO_NUMBER, 1, 0, "not a list" },
        { "", TWO_BITMAPS, 0, 0, "'b0' of disk 'vda' stands twice" },
        { "disk", LEAVE_OUT, 0, 0, "lacks" }, { "disk", TO_TEXT, 0, "", "'disk' is out of range" }, { "disk", TO_TEXT, 0, name_of_256, "'disk' is out of range" },
        { "disk", TO_TEXT, 0, "a\nb", "control character" },
        { "bitmap", LEAVE_OUT, 0, 0, "lacks" }, { "bitmap", TO_TEXT, 0, "", "'bitmap' is out of range" }, { "bitmap", TO_TEXT, 0, name_of_1024, "'bitmap' is out of range" },
        { "bitmap", TO_TEXT, 0, "\x7f", "control character" },
        { "size", LEAVE_OUT, 0, 0, "lacks" }, { "size", TO_NUMBER, 0, 0, "'size' is out of range" },
        { "size", TO_NUMBER, (UINT64_C(1) << 60) + 1, 0, "'size' is out of range" }, { "size", TO_NUMBER, UINT64_C(1) << 60, 0, "bits: " },
        { "granularity", LEAVE_OUT, 0, 0, "lacks" }, { "granularity", TO_NUMBER, 256, 0, "'granularity' is out of range" },
        { "granularity", TO_NUMBER, 0, 0, "'granularity' is out of range" }, { "granularity", TO_NUMBER, UINT64_C(1) << 32, 0, "'granularity' is out of range" },
        { "granularity", TO_NUMBER, 1000, 0, "granularity 1000 is out of range" },
        { "enabled", LEAVE_OUT, 0, 0, "lacks" }, { "enabled", TO_NUMBER, 1, 0, "not true or false" }, { "persistent", LEAVE_OUT, 0, 0, "lacks" },
    };
    struct dump_block block = { 0 };
    struct dump_checker *c = calloc(1, sizeof *c);
    struct dump_head head;
    header_with(&block, &(struct change){ .key = "" });
    OK(dump_checker_feed(c, block.bytes, block.nbytes, &head, &unit_err));
    for (unsigned i = 0; i < sizeof changes / sizeof *changes; i++) {
        memset(c, 0, sizeof *c);
        header_with(&block, &changes[i]);
        FAILS(-EINVAL, dump_checker_feed(c, block.bytes, block.nbytes, &head, &unit_err));
        ck_assert_msg(strstr(unit_err.message, "block 0 of the dump breaks the format") && strstr(unit_err.message, changes[i].reason),
                      "'%s': '%s', not '%s'", changes[i].key, unit_err.message, changes[i].reason);
    }
    dump_block_destroy(&block);
    free(c);
}
END_TEST

/* The writer refuses what the reader would; 2^32 chunks are too many although each field is within its range. */
START_TEST(headers_not_written)
{
    struct dump_block block = { 0 };
    struct file *f = file_new(1, 32);
    struct dump_header *h = &f->header, good;
    set_bitmap(f, 0, 1000, 512);
    good = *h;
    OK(dump_pack_header(&block, h, &unit_err));
#define REFUSED(change)                                                 \
    do {                                                                \
        change;                                                         \
        FAILS(-EINVAL, dump_pack_header(&block, h, &unit_err));         \
        *h = good;                                                      \
    } while (0)
    REFUSED(h->id = 0);
    REFUSED(h->content = (enum dump_content)2);
    REFUSED(h->session[3] = 'x');
    REFUSED(h->epoch = 0);
    REFUSED(h->epoch = UINT64_C(1) << 32);
    REFUSED((h->content = DUMP_BITMAP, h->epoch = 2));
    REFUSED(h->chunk_bytes = 131072);
    REFUSED(h->chunk_bytes = 33);
    REFUSED(h->nbitmaps = 0);
    REFUSED(h->nbitmaps = 65);
    REFUSED(h->bitmaps[0].disk[0] = 0);
    REFUSED(memset(h->bitmaps[0].disk, 'x', sizeof h->bitmaps[0].disk));
    REFUSED(memset(h->bitmaps[0].name, 'x', sizeof h->bitmaps[0].name));
    REFUSED((h->bitmaps[0].granularity = UINT64_C(1) << 31, h->bitmaps[0].size = 0));
    REFUSED((h->bitmaps[0].granularity = UINT64_C(1) << 31, h->bitmaps[0].size = (UINT64_C(1) << 60) + 1));
    REFUSED(h->bitmaps[0].granularity = 0);
    REFUSED(h->bitmaps[0].granularity = 513);
    REFUSED((h->nbitmaps = 2, h->bitmaps[1] = h->bitmaps[0]));
    REFUSED((h->bitmaps[0].granularity = UINT64_C(1) << 20, h->bitmaps[0].size = UINT64_C(1) << 60));    /* 2^40 bits, 2^32 chunks */
    REFUSED((h->chunk_bytes = 65536, h->bitmaps[0].granularity = UINT64_C(1) << 18, h->bitmaps[0].size = UINT64_C(1) << 60));   /* 2^42 bits */
    h->nbitmaps = 3;        /* one name on two disks, two names on one: fine */
    h->bitmaps[1] = h->bitmaps[2] = h->bitmaps[0];
    h->bitmaps[1].disk[0] = 'D';
    h->bitmaps[2].name[0] = 'N';
    OK(dump_pack_header(&block, h, &unit_err));
    *h = good;
    dump_block_destroy(&block);
    file_free(f);
}
END_TEST

/* This payload in place of block 1's, with a right checksum. */
static void data_with(struct file *f, const char *reason, const uint8_t *payload, size_t n)
{
    struct dump_block block = { 0 };
    OK(dump_block_pack(&block, DUMP_DATA, 1, f->header.id, payload, n, &unit_err));
    replace_block(f, 1, &block);
    if (reason)
        refused(f, reason);
    else
        ck_assert_msg(check_file(f) == 0, "%s", said.message);
    dump_block_destroy(&block);
}

#define FRAME(...) sizeof (uint8_t[]){ __VA_ARGS__ }, 0, 0, 0, __VA_ARGS__
#define DATA(reason, ...) data_with(f, reason, (const uint8_t[]){ __VA_ARGS__ }, sizeof (uint8_t[]){ __VA_ARGS__ })

START_TEST(bad_frames)
{
    struct file *f = file_new(2, 32);
    f->header.epoch = 257;
    set_bitmap(f, 0, 700, 512);         /* 3 chunks */
    set_bitmap(f, 1, 65, 65536);
    write_file(f);
    DATA(NULL, FRAME(0x96, 1, 1, 0, 3, 1, 0xc4, 0), FRAME(0x96, 2, 1, 0, 1, 1, 0xc4, 0));
    DATA(NULL, FRAME(0x96, 1, 1, 0, 1, 1, 0xc4, 0), FRAME(0x96, 1, 1, 1, 2, 2, 0xc4, 0), FRAME(0x96, 2, 1, 0, 1, 1, 0xc4, 0));
    DATA("block 2 of the dump breaks the format: it is the end, and chunk 0 of bitmap 2 has not come", FRAME(0x96, 1, 1, 0, 3, 1, 0xc4, 0));
    DATA("chunk 2 of bitmap 1 has not come", FRAME(0x96, 1, 1, 0, 2, 1, 0xc4, 0));
    DATA("not the next one", FRAME(0x96, 1, 1, 0, 2, 1, 0xc4, 0), FRAME(0x96, 2, 1, 0, 1, 1, 0xc4, 0));
    DATA("not the next one", FRAME(0x96, 2, 1, 0, 1, 1, 0xc4, 0), FRAME(0x96, 1, 1, 0, 3, 1, 0xc4, 0));
    DATA("not the next one", FRAME(0x96, 1, 1, 1, 2, 1, 0xc4, 0));
    DATA("not the next one", FRAME(0x96, 1, 1, 0, 2, 1, 0xc4, 0), FRAME(0x96, 1, 1, 1, 2, 1, 0xc4, 0));
    DATA("not the next one", FRAME(0x96, 1, 1, 0, 2, 1, 0xc4, 0), FRAME(0x96, 1, 1, 0, 2, 1, 0xc4, 0));
    DATA("not the next one", FRAME(0x96, 0, 1, 0, 3, 1, 0xc4, 0));
    DATA("not the next one", FRAME(0x96, 3, 1, 0, 3, 1, 0xc4, 0));
    DATA("behind the last chunk", FRAME(0x96, 1, 1, 0, 3, 1, 0xc4, 0), FRAME(0x96, 2, 1, 0, 1, 1, 0xc4, 0), FRAME(0x96, 2, 1, 0, 1, 1, 0xc4, 0));
    DATA("behind the last chunk", FRAME(0x96, 1, 1, 0, 3, 1, 0xc4, 0), FRAME(0x96, 2, 1, 0, 1, 1, 0xc4, 0), FRAME(0x96, 3, 1, 0, 1, 1, 0xc4, 0));
    DATA("another epoch", FRAME(0x96, 1, 2, 0, 3, 1, 0xc4, 0));
    DATA("chunks out of range", FRAME(0x96, 1, 1, 0, 4, 1, 0xc4, 0));
    DATA("chunks out of range", FRAME(0x96, 1, 1, 0, 0, 1, 0xc4, 0));
    DATA("should be empty", FRAME(0x96, 1, 1, 0, 3, 1, 0xc4, 1, 0));
    DATA("set bit behind the end", FRAME(0x96, 1, 1, 0, 3, 3, 0xc4, 2, 0xff, 7));
    DATA("not a list of six", FRAME(0x95, 1, 1, 0, 3, 1));
    DATA("not a list of six", 0, 0, 0, 0);
    DATA("longer than the block", 1);
    DATA("longer than the block", 9, 0, 0, 0, 0x96, 1, 1, 0, 3, 1, 0xc4, 0);
    DATA("longer than the block", 0xff, 0xff, 0xff, 0xff, 0x96, 1, 1, 0, 3, 1, 0xc4, 0);
    DATA("block 1 of the dump breaks the format: the frame for chunk 0 of bitmap 2 is refused (it is longer",
         FRAME(0x96, 1, 1, 0, 3, 1, 0xc4, 0), 0, 0, 0);
    file_free(f);
}
END_TEST

/* An end with these numbers, behind one data block; the first bitmap has `first_bytes` of digests. */
static void end_with(struct file *f, const char *reason, uint64_t blocks, size_t nbitmaps, size_t first_bytes)
{
    static const uint8_t zeroes[9000];
    struct dump_block block = { 0 };
    struct dump_digests digests[66];
    for (size_t i = 0; i < nbitmaps; i++)
        digests[i] = (struct dump_digests){ zeroes, i ? 8 : first_bytes };
    OK(dump_pack_end(&block, 2, f->header.id, digests, nbitmaps, &unit_err));
    if (blocks != 2) {
        uint8_t *at = memmem(block.bytes + 32, block.nbytes - 32, "blocks", 6);
        at[6] = (uint8_t)blocks;
        struct dump_block again = { 0 };
        OK(dump_block_pack(&again, DUMP_END, 2, f->header.id, block.bytes + 32, block.nbytes - 32, &unit_err));
        replace_block(f, 2, &again);
        dump_block_destroy(&again);
    } else {
        replace_block(f, 2, &block);
    }
    if (reason)
        refused(f, reason);
    else
        ck_assert_msg(check_file(f) == 0, "%s", said.message);
    dump_block_destroy(&block);
}

START_TEST(bad_ends)
{
    struct file *f = file_new(2, 32);
    struct dump_block b = { 0 };
    set_bitmap(f, 0, 2 * 32768, 512);
    set_bitmap(f, 1, 65, 65536);
    write_file(f);
    end_with(f, NULL, 2, 2, 16);
    end_with(f, "there are 1 blocks before it", 1, 2, 16);
    end_with(f, "there are 3 blocks before it", 3, 2, 16);
    end_with(f, "'blocks' is out of range", 0, 2, 16);
    end_with(f, "digests of 1 bitmaps", 2, 1, 16);
    end_with(f, "digests of 3 bitmaps", 2, 3, 16);
    end_with(f, "'bitmaps' is out of range", 2, 0, 16);
    end_with(f, "'bitmaps' is out of range", 2, 65, 16);
    end_with(f, "8 bytes of digests are there for the 2 segments of bitmap 1", 2, 2, 8);
    end_with(f, "24 bytes of digests", 2, 2, 24);
    end_with(f, "17 bytes of digests", 2, 2, 17);
    end_with(f, "'digests' is out of range", 2, 2, 7);
    end_with(f, "'digests' is out of range", 2, 2, 8193);
    /* An end right behind the header, and a dump without data */
    remove_block(f, 2);
    remove_block(f, 1);
    refused(f, "its end is missing");
    struct dump_digests digests[2] = { { f->digests[0], 16 }, { f->digests[1], 8 } };
    OK(dump_pack_end(&b, 1, f->header.id, digests, 2, &unit_err));
    insert_block(f, 1, b.bytes, b.nbytes);
    refused(f, "chunk 0 of bitmap 1 has not come");
    dump_block_destroy(&b);
    file_free(f);
}
END_TEST

/* Any payload under a right checksum: refused or harmless.  What it reads beyond, a sanitizer sees. */
START_TEST(random_payloads)
{
    struct file *f = small_file();
    unsigned accepted = 0;
    for (unsigned round = 0; round < 20000; round++) {
        size_t at = unit_below(f->nblocks), payload = f->nbytes[at] - DUMP_HEAD_BYTES, n = unit_below(6) ? payload : 1 + unit_below(payload);
        uint8_t *bytes = copy_of(f->block[at] + DUMP_HEAD_BYTES, payload), *whole = copy_of(f->block[at], f->nbytes[at]);
        size_t nwhole = f->nbytes[at];
        struct dump_block b = { 0 };
        for (uint64_t k = 1 + unit_below(3); k; k--)
            bytes[unit_below(payload)] = unit_below(2) ? (uint8_t)unit_random() : (uint8_t)(0xc0 + unit_below(64));
        OK(dump_block_pack(&b, at == 0 ? DUMP_HEADER : at == 3 ? DUMP_END : DUMP_DATA, at, f->header.id, bytes, n, &unit_err));
        replace_block(f, at, &b);
        accepted += check_file(f) == 0;
        remove_block(f, at);
        insert_block(f, at, whole, nwhole);
        dump_block_destroy(&b);
        free(bytes);
        free(whole);
    }
    ck_assert_uint_gt(accepted, 0);     /* a changed name or digest is fine */
    file_free(f);
}
END_TEST

static void add_cases(Suite *suite)
{
    TCase *tc = unit_case(suite, "hostile");
    tcase_add_test(tc, bad_headers);
    tcase_add_test(tc, headers_not_written);
    tcase_add_test(tc, bad_frames);
    tcase_add_test(tc, bad_ends);
    tcase_add_test(tc, random_payloads);
}

UNIT_MAIN("wire-dump-hostile", add_cases)
