// SPDX-License-Identifier: BSD-3-Clause
#include "daemon/options.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/size.h"

static const char usage[] =
    "Usage: dirtyferryd --state-dir DIR [OPTION]...\n"
    "Keeps the dirty bitmaps of disks and moves them to and from other daemons.\n"
    "\n"
    "  --state-dir DIR        where disks and bitmaps live; made if it is not there.\n"
    "                         Programs that record writes (the nbdkit filter, the\n"
    "                         library) are given the same directory.\n"
    "  --control EP           requests        [tcp://127.0.0.1:7440]\n"
    "  --data EP              bitmaps coming in [tcp://127.0.0.1:7441]\n"
    "  --events EP            progress, state [tcp://127.0.0.1:7442]\n"
    "  --advertise-data EP    what sources are told to connect to (behind NAT or a proxy)\n"
    "  --key FILE_secret      this daemon's key, from 'dirtyferry keygen FILE'\n"
    "  --allow DIR            public keys that may connect, and what each may do; goes\n"
    "                         with --key.  Changes take effect at once\n"
    "  --insecure             listen without keys where other hosts reach it: anybody\n"
    "                         there can use this daemon\n"
    "  --writer-group GROUP   programs of this group may record writes; they see neither\n"
    "                         sessions nor dumps\n"
    "  --max-bitmap-bytes SIZE  what all bitmaps together may take; K M G T P\n"
    "  --verbose              log more\n"
    "  --help, --version\n"
    "\n"
    "EP is tcp://HOST:PORT or ipc://PATH; PORT may be * for any free one.\n"
    "When it serves it prints one line: ready control=EP data=EP events=EP\n";

static int check(const struct options *o, const char *argument)
{
    const char *wrong = NULL;
    if (argument) {
        fprintf(stderr, "dirtyferryd: the argument '%s' is not expected.  Try 'dirtyferryd --help'.\n", argument);
        return -EINVAL;
    }
    if (!o->state_dir)
        wrong = "--state-dir is needed";
    else if (!o->key != !o->allow)
        wrong = "--key and --allow go together: without the first there is no key, without the second nobody could come in";
    else if (o->key && o->insecure)
        wrong = "--insecure is for a daemon without a key";
    if (!wrong)
        return 0;
    fprintf(stderr, "dirtyferryd: %s.  Try 'dirtyferryd --help'.\n", wrong);
    return -EINVAL;
}

int options_parse(int argc, char **argv, struct options *o)
{
    struct df_error err;
    *o = (struct options){ .control = "tcp://127.0.0.1:7440", .data = "tcp://127.0.0.1:7441", .events = "tcp://127.0.0.1:7442" };
    static const struct option longs[] = {
        { "state-dir", required_argument, NULL, 's' }, { "control", required_argument, NULL, 'c' },
        { "data", required_argument, NULL, 'd' },      { "events", required_argument, NULL, 'e' },
        { "advertise-data", required_argument, NULL, 'a' },
        { "key", required_argument, NULL, 'k' },       { "allow", required_argument, NULL, 'l' },
        { "insecure", no_argument, NULL, 'i' },
        { "writer-group", required_argument, NULL, 'g' }, { "max-bitmap-bytes", required_argument, NULL, 'm' },
        { "verbose", no_argument, NULL, 'v' },         { "help", no_argument, NULL, 'h' },
        { "version", no_argument, NULL, 'V' },         { 0 }
    };
    for (int c; (c = getopt_long(argc, argv, "", longs, NULL)) != -1;) {
        switch (c) {
        case 's': o->state_dir = optarg; break;
        case 'c': o->control = optarg; break;
        case 'd': o->data = optarg; break;
        case 'e': o->events = optarg; break;
        case 'a': o->advertise_data = optarg; break;
        case 'k': o->key = optarg; break;
        case 'l': o->allow = optarg; break;
        case 'i': o->insecure = true; break;
        case 'g': o->writer_group = optarg; break;
        case 'm':
            if (size_parse(optarg, "--max-bitmap-bytes", &o->max_bitmap_bytes, &err) < 0) {
                fprintf(stderr, "dirtyferryd: %s\n", err.message);
                return -EINVAL;
            }
            break;
        case 'v': log_set_level(LOG_LEVEL_DEBUG); break;
        case 'h': fputs(usage, stdout); exit(0);
        case 'V': puts("dirtyferryd " PACKAGE_VERSION); exit(0);
        default:
            fputs("Try 'dirtyferryd --help'.\n", stderr);
            return -EINVAL;
        }
    }
    return check(o, optind < argc ? argv[optind] : NULL);
}
