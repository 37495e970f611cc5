# SPDX-License-Identifier: BSD-3-Clause
# Everything that is installed.  One convenience library a folder, in the order
# of the include table in HACKING.md.

AM_CPPFLAGS = -I$(top_srcdir)/include -I$(top_srcdir)/src -I$(top_builddir)
AM_CFLAGS = -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wvla \
	$(WERROR_CFLAGS) $(SANITIZER_CFLAGS) -pthread -fvisibility=default
AM_LDFLAGS = $(SANITIZER_CFLAGS) -pthread

noinst_LTLIBRARIES =
lib_LTLIBRARIES =
bin_PROGRAMS =
sbin_PROGRAMS =
EXTRA_PROGRAMS =
EXTRA_DIST =
CLEANFILES =

dirtyferryincludedir = $(includedir)/dirtyferry
dirtyferryinclude_HEADERS = include/dirtyferry/error.h include/dirtyferry/bitmap.h
pkgconfigdir = $(libdir)/pkgconfig
pkgconfig_DATA = dirtyferry.pc

noinst_LTLIBRARIES += libbase.la
libbase_la_SOURCES = \
	src/base/boot.c src/base/boot.h \
	src/base/cleanup.h src/base/clock.h \
	src/base/error.c src/base/error.h \
	src/base/files.c src/base/files.h \
	src/base/log.c src/base/log.h \
	src/base/size.c src/base/size.h \
	src/base/uuid.c src/base/uuid.h

noinst_LTLIBRARIES += libbitmap.la
libbitmap_la_CFLAGS = $(AM_CFLAGS) $(XXHASH_CFLAGS) $(NETTLE_CFLAGS)
libbitmap_la_LIBADD = $(NETTLE_LIBS) $(XXHASH_LIBS)

libbitmap_la_SOURCES = \
	src/bitmap/map.h src/bitmap/map.c src/bitmap/mark.c src/bitmap/iterate.c \
	src/bitmap/merge.c src/bitmap/scale.c src/bitmap/digest.c src/bitmap/write.c \
	src/bitmap/disk.h src/bitmap/disk.c src/bitmap/table.c src/bitmap/mapref.c \
	src/bitmap/section.c src/bitmap/writer.c src/bitmap/sync.c src/bitmap/crash.c \
	src/bitmap/permit.c src/bitmap/bitmap.c src/bitmap/handover.c src/bitmap/compare.c \
	src/bitmap/sane.c src/bitmap/share.c src/bitmap/attachment.c \
	src/bitmap/fault.c src/bitmap/fault.h

lib_LTLIBRARIES += libdirtyferry.la
libdirtyferry_la_SOURCES =
libdirtyferry_la_LIBADD = libbitmap.la libbase.la
# current:revision:age as in the libtool manual; the map file carries the symbol version.
libdirtyferry_la_LDFLAGS = $(AM_LDFLAGS) -version-info 0:0:0 -no-undefined \
	-Wl,--version-script=$(top_srcdir)/src/dirtyferry.map
EXTRA_libdirtyferry_la_DEPENDENCIES = $(top_srcdir)/src/dirtyferry.map
EXTRA_DIST += src/dirtyferry.map

noinst_LTLIBRARIES += libwire.la
libwire_la_CFLAGS = $(AM_CFLAGS) $(MSGPACK_CFLAGS) $(XXHASH_CFLAGS)
libwire_la_SOURCES = \
	src/base/bits.h src/wire/limits.h \
	src/wire/scan.c src/wire/scan.h src/wire/out.c src/wire/out.h \
	src/wire/schema.c src/wire/schema.h src/wire/message.c src/wire/message.h \
	src/wire/frame.c src/wire/frame.h src/wire/encoder.c src/wire/encoder.h \
	src/wire/dump.c src/wire/dumpmap.c src/wire/dump.h

noinst_LTLIBRARIES += libimage.la
libimage_la_CFLAGS = $(AM_CFLAGS) $(LIBNBD_CFLAGS) $(XXHASH_CFLAGS) $(JANSSON_CFLAGS)
libimage_la_LIBADD = $(LIBNBD_LIBS) $(JANSSON_LIBS)
libimage_la_SOURCES = src/image/nbdlink.c src/image/nbdlink.h src/image/nbd.c src/image/nbd.h \
	src/image/image.c src/image/image.h src/image/file.c src/image/blocks.c src/image/blocks.h \
	src/image/diff.c src/image/diff.h src/image/plan.c src/image/plan.h \
	src/image/compare.c src/image/compare.h src/image/clusters.c src/image/clusters.h \
	src/image/nbdimage.h src/image/nbdimage.c src/image/nbdextent.c \
	src/image/qemunbd.c src/image/chain.c src/image/chain.h src/image/program.c src/image/program.h \
	src/image/qcow2.h src/image/qcow2format.h src/image/qcow2image.h \
	src/image/qcow2write.c src/image/qcow2open.c src/image/qcow2read.c

noinst_LTLIBRARIES += libnet.la
libnet_la_CFLAGS = $(AM_CFLAGS) $(MSGPACK_CFLAGS) $(ZMQ_CFLAGS) $(XXHASH_CFLAGS)
libnet_la_SOURCES = \
	src/net/socket.c src/net/socket.h src/net/client.c src/net/client.h \
	src/net/server.c src/net/server.h src/net/peer.c src/net/peer.h \
	src/net/events.c src/net/events.h \
	src/net/keys.c src/net/keyfile.c src/net/keys.h \
	src/net/allow.c src/net/allow.h src/net/allowlist.c src/net/allowlist.h \
	src/net/monitor.c src/net/monitor.h src/net/handshake.c src/net/handshake.h \
	src/net/zap.c src/net/zap.h src/net/connections.c src/net/connections.h \
	src/net/refusals.c src/net/refusals.h src/net/guard.c src/net/guard.h \
	src/net/access.c src/net/access.h src/net/ipc.c src/net/ipc.h

noinst_LTLIBRARIES += libqemu.la
libqemu_la_CFLAGS = $(AM_CFLAGS) $(JANSSON_CFLAGS) $(XXHASH_CFLAGS)
libqemu_la_LIBADD = $(JANSSON_LIBS) $(XXHASH_LIBS)
libqemu_la_SOURCES = \
	src/qemu/qmp.c src/qemu/qmp.h src/qemu/node.c src/qemu/node.h \
	src/qemu/attach.c src/qemu/attach.h src/qemu/view.c src/qemu/view.h \
	src/qemu/remote.c src/qemu/remote.h src/qemu/qemu.h src/qemu/source.c src/qemu/target.c \
	src/qemu/export.c src/qemu/carrier.c src/qemu/compare.c

noinst_LTLIBRARIES += libsession.la
libsession_la_CFLAGS = $(AM_CFLAGS) $(MSGPACK_CFLAGS) $(ZMQ_CFLAGS) $(XXHASH_CFLAGS)
libsession_la_SOURCES = \
	src/backend/backend.c src/backend/backend.h src/backend/native.c \
	src/backend/quota.c src/backend/quota.h \
	src/session/session.h src/session/state.c src/session/state.h \
	src/session/engine.c src/session/sessions.c src/session/report.c \
	src/session/journal.c src/session/journal.h src/session/recover.c \
	src/session/keep.c src/session/keep.h src/session/durable.c \
	src/session/hands.c src/session/hands.h src/session/remote.c \
	src/session/source.c src/session/source.h src/session/prepare.c \
	src/session/pivot.c src/session/lease.c src/session/worker.c src/session/worker.h \
	src/session/seal.c src/session/attempt.c src/session/link.c \
	src/session/feed.c src/session/feed.h src/session/dump.c src/session/dump.h src/session/stilled.c src/session/snapshot.c \
	src/session/target.c src/session/target.h src/session/incoming.c src/session/intake.c \
	src/session/load.c src/session/fromdump.c \
	src/session/receive.c src/session/receive.h \
	src/session/fill.c src/session/fill.h

# In the order in which they need each other.
ENGINE_LIBS = libsession.la libnet.la libwire.la libbitmap.la libbase.la \
	$(ZMQ_LIBS) $(MSGPACK_LIBS)

sbin_PROGRAMS += dirtyferryd
dirtyferryd_CFLAGS = $(AM_CFLAGS) $(MSGPACK_CFLAGS) $(ZMQ_CFLAGS) $(CAPNG_CFLAGS) $(JANSSON_CFLAGS) $(XXHASH_CFLAGS)
dirtyferryd_LDADD = libqemu.la libimage.la $(ENGINE_LIBS) $(CAPNG_LIBS)
dirtyferryd_SOURCES = \
	src/daemon/main.c src/daemon/accept.c src/daemon/admin.c src/daemon/admin.h \
	src/daemon/stores.h src/daemon/native.c src/daemon/qemu.c \
	src/daemon/comparison.h src/daemon/comparisons.c src/daemon/comparisonwork.c src/daemon/comparisonfile.c src/daemon/comparisonqemu.c src/daemon/comparisonevents.c \
	src/daemon/options.c src/daemon/options.h \
	src/daemon/orphans.c src/daemon/orphans.h src/daemon/statedir.c src/daemon/statedir.h \
	src/daemon/privilege.c src/daemon/privilege.h src/daemon/ready.c src/daemon/ready.h

bin_PROGRAMS += dirtyferry
dirtyferry_CFLAGS = $(AM_CFLAGS) $(MSGPACK_CFLAGS) $(ZMQ_CFLAGS) $(JANSSON_CFLAGS)
dirtyferry_LDADD = libimage.la $(ENGINE_LIBS) $(JANSSON_LIBS)
dirtyferry_SOURCES = \
	src/cli/cli.h src/cli/main.c src/cli/common.c src/cli/address.c \
	src/cli/disk.c src/cli/bitmap.c src/cli/export.c src/cli/livediff.c src/cli/livediff.h src/cli/liveinputs.c \
	src/cli/formats.c src/cli/formats.h src/cli/stretches.h src/cli/picture.c src/cli/picture.h \
	src/cli/import.c src/cli/input.h src/cli/inputs.c src/cli/input-nbd.c \
	src/cli/diff.c src/cli/verify.c src/cli/verify.h \
	src/cli/plan.c src/cli/pivot.c src/cli/migrate.c src/cli/steps.c src/cli/await.c \
	src/cli/resume.c src/cli/dump.c src/cli/load.c src/cli/upload.c src/cli/upload.h src/cli/output.c \
	src/cli/status.c src/cli/progress.c src/cli/worker.c src/cli/watch.c \
	src/cli/keygen.c
