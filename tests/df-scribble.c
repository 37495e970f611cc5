// SPDX-License-Identifier: BSD-3-Clause
/*
 * df-scribble [--cut] STATE DISK SEED COUNT: scribbles COUNT times on the files
 * of a disk that programs have mapped.  With --cut it truncates them, too.
 */
#include "scribble.h"

/* We have the files mapped ourselves: between a cut and its end nobody else may cut. */
int main(int argc, char **argv)
{
    static struct scribbler s;
    bool cuts = argc > 1 && !strcmp(argv[1], "--cut");
    if (argc != 5 + cuts) {
        fputs("Usage: df-scribble [--cut] STATE DISK SEED COUNT\n", stderr);
        return 2;
    }
    argv += cuts;
    if (scribble_open(&s, argv[1], argv[2], strtoull(argv[3], NULL, 0), cuts) < 0) {
        perror("df-scribble");
        return 1;
    }
    unsigned long long count = strtoull(argv[4], NULL, 0);
    for (unsigned long long i = 0; i < count; i++) {
        if (i % 256 == 0)
            scribble_look(&s);
        scribble_once(&s);
    }
    return 0;
}
