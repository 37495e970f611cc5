# SPDX-License-Identifier: BSD-3-Clause
# What the daemon runs under: a unit for systemd with its sandbox, and its user.

EXTRA_DIST += contrib/systemd/dirtyferryd.service.in
dist_doc_DATA = contrib/systemd/daemon.conf contrib/systemd/writer-group.conf
sysusersdir = $(prefix)/lib/sysusers.d
dist_sysusers_DATA = contrib/systemd/sysusers.d/dirtyferry.conf
nodist_systemdsystemunit_DATA = dirtyferryd.service
CLEANFILES += dirtyferryd.service

dirtyferryd.service: contrib/systemd/dirtyferryd.service.in Makefile
	$(AM_V_GEN)$(SED) 's|@sbindir[@]|$(sbindir)|' $(srcdir)/contrib/systemd/dirtyferryd.service.in >$@.tmp && mv $@.tmp $@
