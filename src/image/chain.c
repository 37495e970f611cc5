// SPDX-License-Identifier: BSD-3-Clause
/*
 * The chain is read by `qemu-img info --backing-chain`, and every file that is
 * not raw is checked by `qemu-img check`: QEMU reads zeroes behind the end of a
 * file that was cut, without an error.
 *
 * Places: what is allocated in a file of a format is found by that file's
 * identity and the offset in its disk, whatever that format does with it; a raw
 * file holds its bytes where they are in the disk.  Files that are not local, or
 * that need options, have a name that is no path: their place is not known.
 */
#include "image/chain.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <jansson.h>
#include <xxhash.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "image/program.h"

#define LEAKS         3     /* status of qemu-img check: clusters that nobody uses, which does no harm */
#define CORRUPTIONS   2
#define NO_CHECKS     63    /* the format has none */
#define TABLE_BYTES   65536

static void json_release(json_t **json)
{
    json_decref(steal(json));
}

static bool is_path(const char *name)
{
    return name[0] == '/' || !strncmp(name, "./", 2);
}

/* In a sentence, without what only QEMU needs. */
static const char *shown(const char *name)
{
    return strncmp(name, "./", 2) ? name : name + 2;
}

static int check_file(const char *name, const char *format, struct df_error *err)
{
    const char *const argv[] = { "qemu-img", "check", "-q", "-f", format, "--", name, NULL };
    struct program program;
    int r = program_run(&program, argv, NULL, err);
    if (r < 0)
        return r;
    int status = WIFEXITED(program.status) ? WEXITSTATUS(program.status) : -1;
    if (status == 0 || status == LEAKS || status == NO_CHECKS)
        return 0;
    if (status == CORRUPTIONS)
        return error_set(err, -EPROTO, "'%.1024s' is damaged or was cut, what is read from it would be wrong: 'qemu-img check' says what is missing, use another copy", shown(name));
    return program_explain(&program, argv[0], shown(name), err);
}

/* Of one that is not here only the name is known. */
static void find_place(const char *name, const char *format, struct place *place, uint64_t *identity)
{
    struct stat st;
    bool is_here = is_path(name) && stat(name, &st) == 0;
    const uint64_t both[] = { *identity, is_here ? image_file_identity(&st) : XXH3_64bits(name, strlen(name)) };
    *identity = XXH3_64bits(both, sizeof both);
    *place = (struct place){ .kind = PLACE_UNKNOWN };
    if (!is_here)
        return;
    *place = (struct place){ .kind = strcmp(format, "raw") ? PLACE_GUEST : PLACE_FILE, .device = st.st_dev, .inode = st.st_ino };
}

/* path: of the first file, since JSON has no names that are not UTF-8; or NULL. */
static int read_layer(const json_t *json, const char *path, struct nbd_layer *layer, uint64_t *identity, struct df_error *err)
{
    const char *name = path ? path : json_string_value(json_object_get(json, "filename"));
    const char *format = json_string_value(json_object_get(json, "format"));
    json_int_t size = json_integer_value(json_object_get(json, "virtual-size"));
    if (!name || !format || size < 0)
        return error_set(err, -EPROTO, "what 'qemu-img info' says has no filename, format and virtual-size: is it QEMU's?");
    layer->size = (uint64_t)size;
    find_place(name, format, &layer->place, identity);
    return strcmp(format, "raw") ? check_file(name, format, err) : 0;
}

/* A value ends with a comma, unless there are two. */
static void print_value(FILE *out, const char *value)
{
    for (; *value; value++)
        fprintf(out, *value == ',' ? ",," : "%c", *value);
}

/* The files behind the first are named by those before them; options reach them as long as those are plain. */
static int make_options(struct chain *chain, const char *path, const char *format, const json_t *json, struct df_error *err)
{
    size_t nbytes;
    FILE *out = open_memstream(&chain->options, &nbytes);
    if (!out)
        return error_errno(err, -errno, "cannot read '%.1024s'", shown(path));
    fputs("driver=", out);
    print_value(out, format);
    fputs(",file.filename=", out);
    print_value(out, path);
    for (unsigned i = 0; i < chain->nlayers && chain->layers[i].place.kind != PLACE_UNKNOWN; i++) {
        const json_t *file = json_array_get(json, i);
        json_int_t cluster = json_integer_value(json_object_get(file, "cluster-size"));
        if (strcmp(json_string_value(json_object_get(file, "format")), "qcow2"))
            continue;
        fputc(',', out);
        for (unsigned k = 0; k < i; k++)
            fputs("backing.", out);
        fprintf(out, "l2-cache-entry-size=%d", cluster < TABLE_BYTES ? (int)cluster : TABLE_BYTES);
    }
    return fclose(out) ? error_errno(err, -errno, "cannot read '%.1024s'", shown(path)) : 0;
}

static int read_layers(struct chain *chain, const char *path, const char *format, const json_t *json, struct df_error *err)
{
    size_t n = json_array_size(json);
    int r = 0;
    if (!n)
        return error_set(err, -EPROTO, "cannot read '%.1024s': what 'qemu-img info' says of it is no list of files", shown(path));
    chain->layers = calloc(n, sizeof *chain->layers);
    if (!chain->layers)
        return error_errno(err, -ENOMEM, "cannot read '%.1024s'", shown(path));
    for (; chain->nlayers < n && !r; chain->nlayers++)
        r = read_layer(json_array_get(json, chain->nlayers), chain->nlayers ? NULL : path, &chain->layers[chain->nlayers], &chain->identity, err);
    return r ? r : make_options(chain, path, format, json, err);
}

int chain_read(const char *path, const char *format, struct chain *chain, struct df_error *err)
{
    const char *const argv[] = { "qemu-img", "info", "--backing-chain", "--output=json", "-f", format, "--", path, NULL };
    CLEANUP(cleanup_free) char *output = NULL;
    struct program program;
    *chain = (struct chain){ 0 };
    int r = program_run(&program, argv, &output, err);
    if (r < 0)
        return r;
    if (program.status)
        return program_explain(&program, argv[0], shown(path), err);
    CLEANUP(json_release) json_t *json = json_loads(output, 0, NULL);
    return read_layers(chain, path, format, json, err);
}

void chain_release(struct chain *chain)
{
    free(steal(&chain->layers));
    free(steal(&chain->options));
}
