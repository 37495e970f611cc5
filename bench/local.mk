# SPDX-License-Identifier: BSD-3-Clause
# `make bench`: a table on the terminal and bench.json in the build directory.

bench_programs = bench/bench-record bench/bench-fill bench/bench-zmq bench/bench-nbd
EXTRA_PROGRAMS += $(bench_programs)
CLEANFILES += $(bench_programs) bench.json
EXTRA_DIST += bench/bench.py bench/bench_qemu.py bench/bench_diff.py bench/bench-fio.sh

bench_bench_record_SOURCES = bench/bench-record.c
bench_bench_record_LDADD = libbitmap.la libbase.la
bench_bench_fill_SOURCES = bench/bench-fill.c
bench_bench_fill_LDADD = libbitmap.la libbase.la
bench_bench_zmq_SOURCES = bench/bench-zmq.c
bench_bench_zmq_CFLAGS = $(AM_CFLAGS) $(ZMQ_CFLAGS)
bench_bench_zmq_LDADD = libnet.la libwire.la libbase.la $(ZMQ_LIBS) $(MSGPACK_LIBS) $(XXHASH_LIBS)
bench_bench_nbd_SOURCES = bench/bench-nbd.c
bench_bench_nbd_LDADD = libimage.la libbitmap.la libbase.la

bench: all $(bench_programs)
	/usr/bin/python3 $(srcdir)/bench/bench.py --build $(abs_top_builddir) --source $(abs_top_srcdir) --json bench.json $(BENCH)
.PHONY: bench
